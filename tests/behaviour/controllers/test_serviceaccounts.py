"""The default service account and the root CA of every namespace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from tests.behaviour.controllers.world import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS, World, make_world
from tests.faults import FailingTransport

from kcp.apimachinery.errors import NotFound
from kcp.client.transport import Transport
from kcp.controller.builtin.serviceaccounts import ROOT_CA, build_root_ca_publisher, build_service_account_controller
from kcp.controller.controller import Controller
from kcp.controller.factory import InformerFactory

Build = Callable[[InformerFactory, Transport], Controller[Any]]


def accounts(world: World) -> Build:
    def build(informers: InformerFactory, transport: Transport) -> Controller[Any]:
        return build_service_account_controller(informers, for_cluster=world.for_cluster(transport), clock=world.clock)

    return build


def root_ca(world: World, bundle: str = "CA") -> Build:
    def build(informers: InformerFactory, transport: Transport) -> Controller[Any]:
        return build_root_ca_publisher(informers, for_cluster=world.for_cluster(transport), clock=world.clock, ca_bundle=lambda: bundle)

    return build


async def has_account(world: World, cluster: str, namespace: str) -> bool:
    return await world.names(SERVICE_ACCOUNTS, cluster=cluster, namespace=namespace) == ["default"]


async def has_root_ca(world: World, cluster: str, namespace: str, bundle: str = "CA") -> bool:
    try:
        held = await world.of(cluster).resource(CONFIG_MAPS).get(ROOT_CA, namespace=namespace)
    except NotFound:
        return False
    return bool(held["data"] == {"ca.crt": bundle})


async def test_every_namespace_gets_a_service_account_which_comes_back_when_deleted(world: World) -> None:
    for cluster in world.clusters():
        await world.create(NAMESPACES, "before", cluster=cluster)
    async with world.running(accounts(world)):
        for cluster in world.clusters():
            await world.create(NAMESPACES, "after", cluster=cluster)
            for namespace in ("before", "after"):
                await world.until(lambda c=cluster, n=namespace: has_account(world, c, n))  # type: ignore[misc]
        last = world.clusters()[-1]
        await world.of(last).resource(SERVICE_ACCOUNTS).delete("default", namespace="after")
        await world.until(lambda: has_account(world, last, "after"))


async def test_every_namespace_gets_the_root_ca_and_changes_to_it_are_undone(world: World) -> None:
    for cluster in world.clusters():
        await world.create(NAMESPACES, "shop", cluster=cluster)
    cluster = world.clusters()[-1]
    async with world.running(root_ca(world)):
        await world.until(lambda: has_root_ca(world, cluster, "shop"))
        maps = world.of(cluster).resource(CONFIG_MAPS)
        await maps.patch(ROOT_CA, {"data": {"ca.crt": "EVIL", "more": "x"}}, namespace="shop")
        await world.until(lambda: has_root_ca(world, cluster, "shop"))
        await maps.delete(ROOT_CA, namespace="shop")
        await world.until(lambda: has_root_ca(world, cluster, "shop"))
    async with world.running(root_ca(world, "NEW")):
        await world.until(lambda: has_root_ca(world, cluster, "shop", "NEW"))


@pytest.mark.parametrize("kind", [accounts, root_ca])
async def test_second_run_writes_nothing_and_leaves_terminating_namespaces_alone(world: World, kind: Callable[[World], Build]) -> None:
    cluster = world.clusters()[0]
    for namespace in ("shop", "going"):
        await world.create(NAMESPACES, namespace, cluster=cluster)
    await world.of(cluster).resource(NAMESPACES).delete("going")
    async with world.running(kind(world)):
        await world.clock.advance(10.0)
    assert await world.names(SERVICE_ACCOUNTS, cluster=cluster, namespace="going") == []
    assert await world.names(CONFIG_MAPS, cluster=cluster, namespace="going") == []
    transport = FailingTransport(world.transport())
    async with world.running(kind(world), transport):
        await world.clock.advance(60.0)
    assert transport.written == []


@pytest.mark.parametrize("lost", ["request", "answer"])
@pytest.mark.parametrize("kind", [accounts, root_ca])
async def test_any_write_may_fail(kind: Callable[[World], Build], lost: Literal["request", "answer"]) -> None:
    for n in range(1, 4):
        async with make_world(has_workspaces=True) as world:
            for namespace in ("a", "b", "c"):
                await world.create(NAMESPACES, namespace, cluster="one")
            transport = FailingTransport(world.transport(), n, lost=lost)
            async with world.running(kind(world), transport):
                await world.clock.advance(10.0)
            for namespace in ("a", "b", "c"):
                assert await (has_account if kind is accounts else has_root_ca)(world, "one", namespace)
