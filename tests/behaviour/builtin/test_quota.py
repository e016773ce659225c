"""ResourceQuotas: published, reserved, refused with upstream's words, given back; per workspace, over a workspace; races, failed writes."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
from tests.behaviour.builtin.world import Parts, World, make_world
from tests.faults import FailingTransport

from kcp.apimachinery.errors import AlreadyExists, Forbidden
from kcp.apimachinery.meta import JSONObject
from kcp.controller.builtin.resourcequota import build_quota_controller
from kcp.controller.controller import Controller


def quota_controller(parts: Parts) -> Controller[Any]:
    return build_quota_controller(
        parts.client, parts.informers, for_cluster=parts.for_cluster, resources=parts.resources, clock=parts.clock
    )


async def used(world: World, name: str = "q", *, namespace: str = "default", cluster: str | None = None) -> dict[str, str]:
    held = await world.get("ResourceQuota", name, namespace=namespace, cluster=cluster)
    figures: dict[str, str] = held.get("status", {}).get("used", {})
    return figures


async def make_quota(world: World, name: str = "q", *, cluster: str | None = None, namespace: str = "default", **more: Any) -> None:
    """Create a quota and wait until its status says its limits."""
    spec = more.pop("spec", None) or {"hard": more.pop("hard")}
    await world.create("ResourceQuota", name, namespace=namespace, cluster=cluster, spec=spec, **more)

    async def is_published() -> bool:
        return bool(await used(world, name, namespace=namespace, cluster=cluster))

    await world.until(is_published)


def pod_spec(cpu: str = "", *, limit: str = "", **more: Any) -> JSONObject:
    resources: JSONObject = {}
    if cpu:
        resources["requests"] = {"cpu": cpu}
    if limit:
        resources["limits"] = {"cpu": limit}
    return {"containers": [{"name": "c", "image": "nginx", "resources": resources}], **more}


async def test_objects_are_counted_reserved_and_given_back(world: World) -> None:
    await world.create("ConfigMap", "before")
    async with world.running(quota_controller):
        await make_quota(world, hard={"configmaps": "3", "count/secrets": "1"})
        assert await used(world) == {"configmaps": "1", "count/secrets": "0"}
        await world.create("ConfigMap", "a")
        await world.create("ConfigMap", "b")
        assert (await used(world))["configmaps"] == "3"
        with pytest.raises(Forbidden) as refused:
            await world.create("ConfigMap", "c")
        text = 'configmaps "c" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=3, limited: configmaps=3'
        assert refused.value.message == text
        await world.resource("ConfigMap").delete("a", namespace="default")

        async def is_free() -> bool:
            return (await used(world))["configmaps"] == "2"

        await world.until(is_free, limit_s=2)
        await world.create("ConfigMap", "c")


async def test_a_quota_concerns_its_namespace_and_cluster_only(kcp_world: World) -> None:
    async with kcp_world.running(quota_controller):
        await make_quota(kcp_world, hard={"configmaps": "0"})
        await kcp_world.create("ConfigMap", "a", namespace="other")
        await kcp_world.create("ConfigMap", "a", cluster="two")
        with pytest.raises(Forbidden):
            await kcp_world.create("ConfigMap", "a")


async def test_a_quota_over_the_workspace_counts_every_namespace_and_objects_outside_of_them(kcp_world: World) -> None:
    world = kcp_world
    annotations = {"experimental.quota.kcp.io/cluster-scoped": "true"}
    await world.create("ConfigMap", "a", namespace="shop")
    await world.create("ConfigMap", "a", namespace="shop", cluster="two")
    async with world.running(quota_controller):
        hard = {"count/configmaps": "2", "count/clusterroles.rbac.authorization.k8s.io": "1"}
        await make_quota(world, namespace="admin", hard=hard, annotations=annotations)
        await make_quota(world, "elsewhere", namespace="shop", hard={"count/secrets": "5"}, annotations=annotations)
        await world.create("ConfigMap", "b", namespace="default")
        await world.create("ClusterRole", "one", namespace="", rules=[])
        assert await used(world, namespace="admin") == {"count/configmaps": "2", "count/clusterroles.rbac.authorization.k8s.io": "1"}
        for kind, namespace in (("ConfigMap", "third"), ("ClusterRole", "")):
            with pytest.raises(Forbidden, match="exceeded quota: q"):
                await world.create(kind, "c", namespace=namespace)
        await world.create("ConfigMap", "c", cluster="two")
        await world.create("Secret", "s", namespace="default")
        assert await used(world, "elsewhere", namespace="shop") == {"count/secrets": "0"}


async def test_pods_are_measured_until_they_are_finished(world: World) -> None:
    async with world.running(quota_controller):
        await make_quota(world, hard={"pods": "2", "requests.cpu": "1", "limits.cpu": "2"})
        await world.create("Pod", "a", spec=pod_spec("400m", limit="1"))
        assert await used(world) == {"pods": "1", "requests.cpu": "400m", "limits.cpu": "1"}
        with pytest.raises(Forbidden) as refused:
            await world.create("Pod", "b", spec=pod_spec("700m", limit="700m"))
        assert refused.value.message.endswith(
            "exceeded quota: q, requested: requests.cpu=700m, used: requests.cpu=400m, limited: requests.cpu=1"
        )
        with pytest.raises(Forbidden, match=r"failed quota: q: must specify limits.cpu for: c; requests.cpu for: c"):
            await world.create("Pod", "b", spec=pod_spec())
        await world.resource("Pod").patch("a", {"status": {"phase": "Succeeded"}}, namespace="default", subresource="status")

        async def is_free() -> bool:
            return await used(world) == {"pods": "0", "requests.cpu": "0", "limits.cpu": "0"}

        await world.until(is_free, limit_s=2)


async def test_scopes_choose_pods(world: World) -> None:
    async with world.running(quota_controller):
        await make_quota(world, "best-effort", spec={"hard": {"pods": "1"}, "scopes": ["BestEffort"]})
        await make_quota(world, "short", spec={"hard": {"pods": "1"}, "scopes": ["Terminating"]})
        high = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}
        await make_quota(world, "high", spec={"hard": {"pods": "1"}, "scopeSelector": high})
        await world.create("Pod", "a", spec=pod_spec())
        await world.create("Pod", "b", spec=pod_spec("1", limit="1", activeDeadlineSeconds=5))
        await world.create("Pod", "c", spec=pod_spec("1", limit="1", priorityClassName="high"))
        for name, spec in (
            ("best-effort", pod_spec()),
            ("short", pod_spec("1", limit="1", activeDeadlineSeconds=5)),
            ("high", pod_spec("1", limit="1", priorityClassName="high")),
        ):
            assert await used(world, name) == {"pods": "1"}
            with pytest.raises(Forbidden, match=f"exceeded quota: {name}, requested: pods=1"):
                await world.create("Pod", "x", spec=spec)
        await world.create("Pod", "d", spec=pod_spec("1", limit="1"))


async def test_a_pod_that_gets_a_deadline_moves_to_the_quota_of_those_that_have_one(world: World) -> None:
    async with world.running(quota_controller):
        for name, scope in (("short", "Terminating"), ("long", "NotTerminating")):
            selector = {"matchExpressions": [{"scopeName": scope, "operator": "Exists"}]}
            await make_quota(world, name, spec={"hard": {"pods": "1"}, "scopeSelector": selector})
        await world.create("Pod", "a", spec=pod_spec())
        await world.resource("Pod").patch("a", {"spec": {"activeDeadlineSeconds": 60}}, namespace="default")
        assert await used(world, "short") == {"pods": "1"}
        with pytest.raises(Forbidden, match="exceeded quota: short, requested: pods=1"):
            await world.create("Pod", "b", spec=pod_spec(activeDeadlineSeconds=60))

        async def has_left() -> bool:
            return await used(world, "long") == {"pods": "0"}

        await world.until(has_left, limit_s=10)


async def test_device_claims_count_by_class_and_the_most_of_alternatives(world: World) -> None:
    gold, grey = "gold.deviceclass.resource.k8s.io/devices", "grey.deviceclass.resource.k8s.io/devices"
    async with world.running(quota_controller):
        await make_quota(world, hard={"count/resourceclaims.resource.k8s.io": "2", gold: "5", grey: "40"})
        requests = [
            {"name": "a", "exactly": {"deviceClassName": "gold", "count": 2}},
            {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "gold", "count": 1},
                                             {"name": "y", "deviceClassName": "gold", "count": 3}]},
            {"name": "c", "exactly": {"deviceClassName": "grey", "allocationMode": "All"}},
        ]  # fmt: skip
        await world.create("ResourceClaim", "a", spec={"devices": {"requests": requests}})
        assert await used(world) == {"count/resourceclaims.resource.k8s.io": "1", gold: "5", grey: "32"}
        with pytest.raises(Forbidden, match=f"exceeded quota: q, requested: {gold}=2, used: {gold}=5, limited: {gold}=5"):
            await world.create("ResourceClaim", "b", spec={"devices": {"requests": requests[:1]}})


async def test_claims_count_for_each_volume_attributes_class_they_name(world: World) -> None:
    # Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/#quota-scope-volume-attributes-class; KEP-3751.
    def claim(attributes: str) -> JSONObject:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        return {**spec, "volumeAttributesClassName": attributes} if attributes else spec

    async with world.running(quota_controller):
        for name, operator, values in (("gold", "In", ["gold"]), ("none", "DoesNotExist", []), ("any", "Exists", [])):
            expression = {"scopeName": "VolumeAttributesClass", "operator": operator, **({"values": values} if values else {})}
            selector = {"matchExpressions": [expression]}
            await make_quota(world, name, spec={"hard": {"persistentvolumeclaims": "2"}, "scopeSelector": selector})
        for name, attributes in (("a", "gold"), ("b", "silver"), ("c", "")):
            await world.create("PersistentVolumeClaim", name, spec=claim(attributes))
        assert [(await used(world, name))["persistentvolumeclaims"] for name in ("gold", "none", "any")] == ["1", "1", "2"]
        with pytest.raises(Forbidden, match="exceeded quota: any"):
            await world.create("PersistentVolumeClaim", "d", spec=claim("gold"))


async def test_services_and_claims_are_charged_for_changes(world: World) -> None:
    async with world.running(quota_controller):
        gold = "gold.storageclass.storage.k8s.io/requests.storage"
        await make_quota(world, hard={"services.nodeports": "1", "requests.storage": "3Gi", gold: "1Gi"})
        await world.create("Service", "web", spec={"ports": [{"port": 80}]})
        await world.resource("Service").patch("web", {"spec": {"type": "NodePort"}}, namespace="default")
        assert (await used(world))["services.nodeports"] == "1"
        with pytest.raises(Forbidden, match=r"requested: services.nodeports=1, used: services.nodeports=1"):
            await world.create("Service", "api", spec={"type": "NodePort", "ports": [{"port": 80}]})
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        await world.create("PersistentVolumeClaim", "a", spec={**claim, "storageClassName": "gold"})
        await world.create("PersistentVolumeClaim", "b", spec=claim)
        with pytest.raises(Forbidden, match=gold):
            await world.create("PersistentVolumeClaim", "c", spec={**claim, "storageClassName": "gold"})
        assert {name: value for name, value in (await used(world)).items() if "storage" in name} == {"requests.storage": "2Gi", gold: "1Gi"}


async def test_of_many_creations_at_once_exactly_as_many_succeed_as_fit(world: World) -> None:
    async with world.running(quota_controller):
        await make_quota(world, hard={"configmaps": "7"})
        results = await asyncio.gather(*(world.create("ConfigMap", f"c{n}") for n in range(20)), return_exceptions=True)
        assert sum(isinstance(result, dict) for result in results) == 7
        assert all(isinstance(result, (dict, Forbidden)) for result in results)
        assert len(list(await world.names("ConfigMap"))) == 7
        assert world.quotas.statistics() == {"waiting": 0}


async def test_what_was_reserved_for_nothing_comes_back(world: World) -> None:
    async with world.running(quota_controller):
        await make_quota(world, hard={"configmaps": "2"})
        await world.create("ConfigMap", "a")
        with pytest.raises(AlreadyExists):
            await world.create("ConfigMap", "a")
        assert (await used(world))["configmaps"] == "1"
        await world.resource("ResourceQuota").patch(
            "q", {"status": {"used": {"configmaps": "2"}}}, namespace="default", subresource="status"
        )

        async def is_right() -> bool:
            return (await used(world))["configmaps"] == "1"

        await world.until(is_right, limit_s=10)


async def test_a_dry_run_is_checked_and_reserves_nothing(world: World) -> None:
    async with world.running(quota_controller):
        await make_quota(world, hard={"configmaps": "1"})
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
        await world.resource("ConfigMap").create(obj, namespace="default", dry_run=True)
        assert (await used(world))["configmaps"] == "0"
        await world.create("ConfigMap", "b")
        with pytest.raises(Forbidden):
            await world.resource("ConfigMap").create(obj, namespace="default", dry_run=True)


async def test_limits_may_be_raised_lowered_and_removed(world: World) -> None:
    async with world.running(quota_controller):
        await make_quota(world, hard={"configmaps": "1"})
        await world.create("ConfigMap", "a")
        for hard, allowed in (({"configmaps": "3"}, True), ({"configmaps": "1"}, False), ({"configmaps": None, "secrets": "5"}, True)):
            await world.resource("ResourceQuota").patch("q", {"spec": {"hard": hard}}, namespace="default")
            await world.clock.advance(1)
            if allowed:
                await world.create("ConfigMap", f"b{len(list(await world.names('ConfigMap')))}")
            else:
                with pytest.raises(Forbidden):
                    await world.create("ConfigMap", "c")
        assert await used(world) == {"secrets": "0"}
        await world.resource("ResourceQuota").delete("q", namespace="default")
        await world.create("ConfigMap", "z")


async def test_second_run_writes_nothing(world: World) -> None:
    await world.create("ConfigMap", "a")
    async with world.running(quota_controller):
        await make_quota(world, hard={"configmaps": "3", "pods": "1", "count/widgets.example.com": "4"})
    transport = FailingTransport(world.transport())
    async with world.running(quota_controller, transport=transport):
        await world.clock.advance(600)
    assert transport.written == []


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_any_write_may_fail(lost: Literal["request", "answer"]) -> None:
    for n in range(1, 4):
        async with make_world(has_workspaces=True) as world:
            transport = FailingTransport(world.transport(), n, lost=lost)
            async with world.running(quota_controller, transport=transport):
                for name in ("q", "r"):
                    await make_quota(world, name, hard={"configmaps": "3"})
                await world.create("ConfigMap", "a")
                await world.resource("ConfigMap").delete("a", namespace="default")
                await world.clock.advance(20)
                assert await used(world) == await used(world, "r") == {"configmaps": "0"}
