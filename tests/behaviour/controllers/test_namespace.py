"""Namespace deletion: content goes, Pods first; conditions say what is left; the namespace goes last; crashes at any write converge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from tests.behaviour.controllers.world import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, SERVICE_ACCOUNTS, World, make_world
from tests.faults import FailingTransport

from kcp.apimachinery import conditions
from kcp.apimachinery.errors import NotFound, ServiceUnavailable
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import APIResource
from kcp.client.transport import Transport
from kcp.controller.builtin.namespace import build_namespace_controller
from kcp.controller.controller import Controller
from kcp.controller.factory import InformerFactory


def building(world: World, list_resources: Any = None) -> Callable[[InformerFactory, Transport], Controller[Any]]:
    def build(informers: InformerFactory, transport: Transport) -> Controller[Any]:
        return build_namespace_controller(
            informers, for_cluster=world.for_cluster(transport), list_resources=list_resources or world.api_resources, clock=world.clock
        )

    return build


async def fill(world: World, cluster: str, namespace: str = "shop") -> None:
    await world.create(NAMESPACES, namespace, cluster=cluster)
    for gvr in (CONFIG_MAPS, DEPLOYMENTS, SERVICE_ACCOUNTS, PODS):
        for name in ("a", "b"):
            await world.create(gvr, name, cluster=cluster, namespace=namespace)


async def is_gone(world: World, cluster: str, namespace: str = "shop") -> bool:
    try:
        await world.of(cluster).resource(NAMESPACES).get(namespace)
    except NotFound:
        return True
    return False


async def status_of(world: World, cluster: str, namespace: str = "shop") -> JSONObject:
    return await world.of(cluster).resource(NAMESPACES).get(namespace)


async def test_deleted_namespace_goes_with_all_its_content_and_nothing_else(world: World) -> None:
    for cluster in world.clusters():
        await fill(world, cluster)
        await fill(world, cluster, "other")
    last = world.clusters()[-1]
    async with world.running(building(world)):
        await world.of(last).resource(NAMESPACES).delete("shop")
        await world.until(lambda: is_gone(world, last))
    for gvr in (CONFIG_MAPS, DEPLOYMENTS, SERVICE_ACCOUNTS, PODS):
        assert await world.names(gvr, cluster=last) == ["a", "b"]
        assert await world.names(gvr, cluster=last, namespace="other") == ["a", "b"]
    if world.has_workspaces:
        assert await world.names(NAMESPACES, cluster="one") == ["other", "shop"]
        assert await world.names(PODS, cluster="one", namespace="shop") == ["a", "b"]


async def test_namespace_deleted_while_nobody_looked_is_finished_later(world: World) -> None:
    cluster = world.clusters()[0]
    await fill(world, cluster)
    await world.of(cluster).resource(NAMESPACES).delete("shop")
    async with world.running(building(world)):
        await world.until(lambda: is_gone(world, cluster))


async def test_content_with_finalizers_holds_the_namespace_and_is_named_in_its_conditions(world: World) -> None:
    cluster = world.clusters()[0]
    await fill(world, cluster)
    maps = world.of(cluster).resource(CONFIG_MAPS)
    await maps.patch("a", {"metadata": {"finalizers": ["example.com/hold"]}}, namespace="shop")
    async with world.running(building(world)):
        await world.of(cluster).resource(NAMESPACES).delete("shop")
        await world.clock.advance(60.0)
        namespace = await status_of(world, cluster)
        assert namespace["status"]["phase"] == "Terminating"
        remaining = conditions.get(namespace, "NamespaceContentRemaining") or {}
        assert (remaining["status"], remaining["reason"]) == ("True", "SomeResourcesRemain")
        assert remaining["message"] == "Some resources are remaining: configmaps. has 1 resource instances"
        waiting = conditions.get(namespace, "NamespaceFinalizersRemaining") or {}
        assert waiting["message"] == "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        for kind in ("NamespaceDeletionDiscoveryFailure", "NamespaceDeletionGroupVersionParsingFailure", "NamespaceDeletionContentFailure"):
            assert conditions.is_false(namespace, kind), kind
        await maps.patch("a", {"metadata": {"finalizers": None}}, namespace="shop")
        await world.until(lambda: is_gone(world, cluster))


async def test_pods_go_before_everything_else(world: World) -> None:
    cluster = world.clusters()[0]
    await fill(world, cluster)
    pods = world.of(cluster).resource(PODS)
    await pods.patch("a", {"metadata": {"finalizers": ["example.com/slow"]}}, namespace="shop")
    async with world.running(building(world)):
        await world.of(cluster).resource(NAMESPACES).delete("shop")
        await world.clock.advance(30.0)
        assert await world.names(PODS, cluster=cluster, namespace="shop") == ["a"]
        assert await world.names(CONFIG_MAPS, cluster=cluster, namespace="shop") == ["a", "b"]
        await pods.patch("a", {"metadata": {"finalizers": None}}, namespace="shop")
        await world.until(lambda: is_gone(world, cluster))


async def test_discovery_failure_deletes_nothing_and_is_reported(world: World) -> None:
    cluster = world.clusters()[0]
    await fill(world, cluster)
    broken = True

    async def list_resources(name: ClusterName) -> Sequence[APIResource]:
        if broken:
            raise ServiceUnavailable("metrics.k8s.io is down")
        return await world.api_resources(name)

    async with world.running(building(world, list_resources)):
        await world.of(cluster).resource(NAMESPACES).delete("shop")
        await world.clock.advance(5.0)
        failure = conditions.get(await status_of(world, cluster), "NamespaceDeletionDiscoveryFailure") or {}
        assert (failure["status"], failure["reason"]) == ("True", "DiscoveryFailed")
        assert "metrics.k8s.io is down" in failure["message"]
        assert await world.names(PODS, cluster=cluster, namespace="shop") == ["a", "b"]
        broken = False
        await world.until(lambda: is_gone(world, cluster), limit_s=2000)


async def test_active_namespaces_are_left_alone(world: World) -> None:
    cluster = world.clusters()[0]
    await fill(world, cluster)
    transport = FailingTransport(world.transport())
    async with world.running(building(world), transport):
        await world.clock.advance(60.0)
    assert transport.writes == 0


async def test_waiting_namespace_is_not_written_again(world: World) -> None:
    cluster = world.clusters()[0]
    await fill(world, cluster)
    await world.of(cluster).resource(CONFIG_MAPS).patch("a", {"metadata": {"finalizers": ["example.com/hold"]}}, namespace="shop")
    await world.of(cluster).resource(NAMESPACES).delete("shop")
    async with world.running(building(world)):
        await world.clock.advance(60.0)
    transport = FailingTransport(world.transport())
    async with world.running(building(world), transport):
        await world.clock.advance(60.0)
    assert transport.written == []


async def deletion(has_workspaces: bool, n: int, lost: Literal["request", "answer"]) -> int:
    """Delete a full namespace while the n-th write fails. Returns the number of writes."""
    async with make_world(has_workspaces=has_workspaces) as world:
        cluster = world.clusters()[0]
        await fill(world, cluster)
        await world.of(cluster).resource(CONFIG_MAPS).delete("a", namespace="shop")
        transport = FailingTransport(world.transport(), n, lost=lost)
        async with world.running(building(world), transport):
            await world.of(cluster).resource(NAMESPACES).delete("shop")
            await world.until(lambda: is_gone(world, cluster))
        assert await world.names(CONFIG_MAPS, cluster=cluster, namespace="shop") == []
        return transport.writes


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_any_write_may_fail(lost: Literal["request", "answer"]) -> None:
    writes = await deletion(has_workspaces=True, n=0, lost=lost)
    assert writes >= 5
    for n in range(1, writes + 1):
        await deletion(has_workspaces=True, n=n, lost=lost)
