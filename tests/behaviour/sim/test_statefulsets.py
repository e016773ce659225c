"""StatefulSets on a simulated cluster: order, health, revisions, claims.

Conformance: sig-apps StatefulSet ("predictable order and halt", "burst scaling", "recreate evicted", "canary and phased rolling updates",
"validate Statefulset Status endpoints"); KEP-961 (maxUnavailable), KEP-1847 (claim retention), KEP-3335 (ordinals.start).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World


def stateful(replicas: int = 3, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "s"}}, "spec": {"containers": [{"name": "c", "image": "httpd:1"}]}}
    wanted = {"replicas": replicas, "serviceName": "s", "selector": {"matchLabels": {"app": "s"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"}, "spec": wanted}


async def settled(world: World, replicas: int) -> None:
    async def ready() -> bool:
        status = (await world.get("statefulsets", "s")).get("status") or {}
        return bool(status.get("replicas") == replicas == status.get("readyReplicas", 0))

    await world.until(ready, within_s=60)


async def patch(world: World, spec: dict[str, Any]) -> None:
    await world.resource("statefulsets").patch("s", {"spec": spec}, namespace="default")


IMAGE_2 = {"template": {"spec": {"containers": [{"name": "c", "image": "httpd:2"}]}}}


async def images(world: World) -> dict[str, str]:
    return {meta.name(p): p["spec"]["containers"][0]["image"] for p in await world.list("pods") if not meta.deletion_timestamp(p)}


async def test_an_unhealthy_pod_halts_growing_and_shrinking(world: World) -> None:
    await world.create(stateful(1))
    await settled(world, 1)
    marks = {"metadata": {"annotations": {"sim.kcp.io/ready": "false"}}}
    await world.resource("pods").patch("s-0", marks, namespace="default")
    await world.clock.advance(2)
    await patch(world, {"replicas": 3})
    await world.clock.advance(10)
    assert set(await images(world)) == {"s-0"}
    await world.resource("pods").patch("s-0", {"metadata": {"annotations": {"sim.kcp.io/ready": None}}}, namespace="default")
    await settled(world, 3)
    for name in ("s-0", "s-1", "s-2"):
        await world.resource("pods").patch(name, marks, namespace="default")
    await world.clock.advance(2)
    await patch(world, {"replicas": 0})
    await world.clock.advance(10)
    assert set(await images(world)) == {"s-0", "s-1", "s-2"}


async def test_parallel_pods_do_not_wait_for_each_other(world: World) -> None:
    body = stateful(podManagementPolicy="Parallel", ordinals={"start": 5})
    body["spec"]["template"]["metadata"]["annotations"] = {"sim.kcp.io/ready": "false"}
    await world.create(body)
    await world.clock.advance(2)
    assert set(await images(world)) == {"s-5", "s-6", "s-7"}
    await patch(world, {"replicas": 0})
    await world.clock.advance(3)
    assert await images(world) == {}


async def test_a_failed_pod_comes_back_under_its_name(world: World) -> None:
    await world.create(stateful(1))
    await settled(world, 1)
    before = meta.uid(await world.get("pods", "s-0"))
    status = {"status": {"phase": "Failed", "reason": "Evicted"}}
    await world.resource("pods").patch("s-0", status, namespace="default", subresource="status")

    async def replaced() -> bool:
        try:
            pod = await world.get("pods", "s-0")
        except NotFound:
            return False
        return meta.uid(pod) != before and conditions.is_true(pod, "Ready")

    await world.until(replaced)
    assert "RecreatingFailedPod" in {e["reason"] for e in await world.list("events")}


async def test_a_pod_that_its_node_refuses_is_recreated_until_there_is_room(world: World) -> None:
    port = [{"containerPort": 80, "hostPort": 21017}]
    holder = {"containers": [{"name": "h", "image": "pause", "ports": port}], "nodeName": "east-node-1"}
    await world.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "holder"}, "spec": holder})
    await world.clock.advance(2)
    body = stateful(1)
    body["spec"]["template"]["spec"] = {"containers": [{"name": "c", "image": "httpd", "ports": port}], "nodeName": "east-node-1"}
    await world.create(body)
    seen: set[str] = set()

    async def refused_twice() -> bool:
        seen.update(meta.uid(p) for p in await world.list("pods", "app=s"))
        return len(seen) > 1

    await world.until(refused_twice, within_s=30)
    await world.resource("pods").delete("holder", namespace="default")
    await settled(world, 1)


async def test_a_canary_and_its_phases(world: World) -> None:
    await world.create(stateful(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}))
    await settled(world, 3)
    await patch(world, IMAGE_2)
    await world.clock.advance(5)
    held = (await world.get("statefulsets", "s"))["status"]
    assert held["currentRevision"] != held["updateRevision"]
    assert set((await images(world)).values()) == {"httpd:1"}
    for partition, expected in ((2, {"s-2"}), (0, {"s-0", "s-1", "s-2"})):
        await patch(world, {"updateStrategy": {"rollingUpdate": {"partition": partition}}})
        await world.clock.advance(20)
        assert {name for name, image in (await images(world)).items() if image == "httpd:2"} == expected
    held = (await world.get("statefulsets", "s"))["status"]
    assert held["currentRevision"] == held["updateRevision"]


async def test_several_pods_may_be_replaced_at_once(world: World) -> None:
    await world.create(stateful(4, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}))
    await settled(world, 4)
    await patch(world, IMAGE_2)
    least = 4

    async def done() -> bool:
        nonlocal least
        least = min(least, len(await world.running("app=s")))
        return list((await images(world)).values()) == ["httpd:2"] * 4 and len(await world.running("app=s")) == 4

    await world.until(done, step_s=0.01)
    assert least == 2


async def test_on_delete_waits_for_the_user(world: World) -> None:
    await world.create(stateful(2, updateStrategy={"type": "OnDelete"}))
    await settled(world, 2)
    await patch(world, IMAGE_2)
    await world.clock.advance(5)
    assert set((await images(world)).values()) == {"httpd:1"}
    await world.resource("pods").delete("s-0", namespace="default")
    await world.clock.advance(5)
    assert await images(world) == {"s-0": "httpd:2", "s-1": "httpd:1"}


async def test_min_ready_seconds_hold_back_the_next_pod(world: World) -> None:
    await world.create(stateful(2, minReadySeconds=10))
    await world.clock.advance(8)
    assert set(await images(world)) == {"s-0"}
    await world.clock.advance(30)
    assert (await world.get("statefulsets", "s"))["status"]["availableReplicas"] == 2


@pytest.mark.parametrize(("deleted", "scaled"), [("Retain", "Retain"), ("Delete", "Retain"), ("Retain", "Delete"), ("Delete", "Delete")])
async def test_claims_go_as_their_retention_policy_says(world: World, deleted: str, scaled: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"metadata": {"name": "data"}, "spec": spec}
    policy = {"whenDeleted": deleted, "whenScaled": scaled}
    made = stateful(2, volumeClaimTemplates=[claim], persistentVolumeClaimRetentionPolicy=policy)
    made["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    await world.create(made)
    await settled(world, 2)
    await patch(world, {"replicas": 1})
    await world.clock.advance(30)
    after_scaling = {meta.name(c) for c in await world.list("persistentvolumeclaims")}
    assert after_scaling == ({"data-s-0"} if scaled == "Delete" else {"data-s-0", "data-s-1"})
    await world.resource("statefulsets").delete("s", namespace="default")
    await world.clock.advance(60)
    left = {meta.name(c) for c in await world.list("persistentvolumeclaims")}
    assert ("data-s-0" in left) == (deleted == "Retain")


async def test_a_claim_that_another_controls_stays_whatever_the_policy(world: World) -> None:
    """Source: test/e2e/apps/statefulset.go (should not delete PVC with OnScaledown policy if another controller owns the PVC)."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"metadata": {"name": "data"}, "spec": spec}
    made = stateful(2, volumeClaimTemplates=[claim], persistentVolumeClaimRetentionPolicy={"whenDeleted": "Retain", "whenScaled": "Delete"})
    await world.create(made)
    await settled(world, 2)
    other = await world.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": meta.uid(other), "controller": True}
    owned = {"metadata": {"ownerReferences": [reference]}}
    await world.resource("persistentvolumeclaims").patch("data-s-1", owned, namespace="default")
    await patch(world, {"replicas": 0})
    await world.clock.advance(60)
    assert await world.running() == []
    left = await world.list("persistentvolumeclaims")
    assert {meta.name(c): meta.owner_references(c) for c in left} == {"data-s-1": [reference]}
    assert "ConflictingController" in {e["reason"] for e in await world.list("events")}


async def test_conditions_that_others_set_stay(world: World) -> None:
    await world.create(stateful(1))
    await settled(world, 1)
    told = {"status": {"conditions": [{"type": "StatusUpdate", "status": "True", "reason": "E2E"}]}}
    await world.resource("statefulsets").patch("s", told, namespace="default", subresource="status")
    await patch(world, {"replicas": 2})
    await settled(world, 2)
    assert conditions.is_true(await world.get("statefulsets", "s"), "StatusUpdate")
