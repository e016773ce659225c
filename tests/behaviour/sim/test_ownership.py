"""Who controls what: orphans are adopted by their labels, what no longer matches is released, as upstream's ControllerRefManager has it.

Conformance: sig-apps "ReplicationController/ReplicaSet should adopt matching pods on creation (and release no longer matching pods)",
"Job should adopt matching orphans and release non-matching pods".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from kcp.apimachinery import meta

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

Make = Callable[..., dict[str, Any]]
CONTAINERS = {"containers": [{"name": "c", "image": "pause"}]}


def pod(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": CONTAINERS}


def owner(kind: str, replicas: int = 1) -> dict[str, Any]:
    labels = {"app": "mine"}
    template = {"metadata": {"labels": labels}, "spec": CONTAINERS}
    is_old = kind == "ReplicationController"
    selector = labels if is_old else {"matchLabels": labels}
    spec = {"replicas": replicas, "selector": selector, "template": template}
    return {"apiVersion": "v1" if is_old else "apps/v1", "kind": kind, "metadata": {"name": "mine"}, "spec": spec}


@pytest.mark.parametrize("kind", ["ReplicationController", "ReplicaSet"])
async def test_an_orphan_is_adopted_and_released_when_its_labels_change(world: World, kind: str) -> None:
    await world.create(pod("orphan", {"app": "mine"}))
    await world.create(owner(kind))

    async def adopted() -> bool:
        held = meta.controller_of(await world.get("pods", "orphan"))
        return held is not None and held["kind"] == kind and held["name"] == "mine" and held["blockOwnerDeletion"] is True

    await world.until(adopted)
    await world.clock.advance(3)
    assert [meta.name(p) for p in await world.list("pods")] == ["orphan"]
    await world.resource("pods").patch("orphan", {"metadata": {"labels": {"app": "other"}}}, namespace="default")

    async def released() -> bool:
        pods = await world.list("pods")
        return len(pods) == 2 and meta.controller_of(await world.get("pods", "orphan")) is None

    await world.until(released)
    await world.resource("pods").patch("orphan", {"metadata": {"labels": {"app": "mine"}}}, namespace="default")

    async def one_again() -> bool:
        return len([p for p in await world.list("pods") if not meta.deletion_timestamp(p)]) == 1

    await world.until(one_again)


async def test_a_deployment_adopts_the_replicaset_of_its_template_and_what_another_controls_is_left(world: World, deployment: Make) -> None:
    await world.create(deployment())

    async def runs() -> bool:
        return len(await world.running()) == 3

    await world.until(runs)
    (first,) = await world.list("replicasets")
    await world.resource("deployments").delete("web", namespace="default", propagation="Orphan")

    async def orphaned() -> bool:
        return not await world.list("deployments") and not meta.owner_references((await world.list("replicasets"))[0])

    await world.until(orphaned, within_s=60)
    before = set(await world.running())
    again = await world.create(deployment())

    async def adopted() -> bool:
        held = meta.controller_of(await world.get("replicasets", meta.name(first)))
        return held is not None and held["uid"] == meta.uid(again)

    await world.until(adopted)
    await world.clock.advance(3)
    assert set(await world.running()) == before
    assert len(await world.list("replicasets")) == 1


async def test_controllers_say_what_they_do_in_events(world: World, deployment: Make) -> None:
    await world.create(deployment(replicas=1))

    async def runs() -> bool:
        return len(await world.running()) == 1

    await world.until(runs)
    await world.clock.advance(2)
    events = {(e["reason"], e["message"], e["source"]["component"]) for e in await world.list("events")}
    (held,) = await world.list("replicasets")
    (child,) = await world.list("pods")
    assert events >= {
        ("ScalingReplicaSet", f"Scaled up replica set {meta.name(held)} from 0 to 1", "deployment-controller"),
        ("SuccessfulCreate", f"Created pod: {meta.name(child)}", "replicaset-controller"),
    }


async def test_what_admission_fills_in_is_nobodys(world: World) -> None:
    """Who makes a pod owns what it says and what defaults say, not its account, volumes, tolerations and priority; nor who changes it.

    Source: k8s.io/apiserver/pkg/endpoints/handlers/{create,update}.go (the field manager runs before mutating admission).
    """
    spec = {"containers": [{"name": "c", "image": "busybox"}]}
    made = await world.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    assert made["spec"]["serviceAccountName"] == "default"
    assert made["spec"]["tolerations"]
    (entry,) = made["metadata"]["managedFields"]
    owned = set(entry["fieldsV1"]["f:spec"])
    assert {"f:containers", "f:dnsPolicy", "f:restartPolicy"} <= owned
    assert not owned & {
        "f:serviceAccount",
        "f:serviceAccountName",
        "f:volumes",
        "f:tolerations",
        "f:priority",
        "f:preemptionPolicy",
        "f:nodeName",
    }
    container = entry["fieldsV1"]["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert "f:volumeMounts" not in container
