"""Garbage collection: background, foreground, orphaning; absent, mistaken and foreign owners; circles; crashes at any write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import pytest
from tests.behaviour.controllers.world import CONFIG_MAPS, DEPLOYMENTS, EVENTS, NAMESPACES, NODES, PODS, REPLICA_SETS, World, make_world
from tests.faults import FailingTransport

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import APIResource
from kcp.client.transport import Transport
from kcp.controller.builtin.garbagecollector import build_garbage_collector
from kcp.controller.controller import Controller
from kcp.controller.factory import InformerFactory


def building(world: World) -> Callable[[InformerFactory, Transport], Controller[Any]]:
    def build(informers: InformerFactory, transport: Transport) -> Controller[Any]:
        return build_garbage_collector(
            informers.client, for_cluster=world.for_cluster(transport), resources=world.api_resources, clock=world.clock
        )

    return build


def owned_by(*owners: JSONObject, block: bool = True) -> list[JSONObject]:
    return [
        {"apiVersion": o["apiVersion"], "kind": o["kind"], "name": meta.name(o), "uid": meta.uid(o), "blockOwnerDeletion": block}
        for o in owners
    ]


async def chain_of_three(world: World, cluster: str, *, block: bool = True) -> JSONObject:
    """A Deployment, its ReplicaSet and two Pods, in namespace `shop`. Returns the Deployment."""
    at: dict[str, Any] = {"cluster": cluster, "namespace": "shop"}
    deployment = await world.create(DEPLOYMENTS, "web", **at)
    replica_set = await world.create(REPLICA_SETS, "web-1", **at, ownerReferences=owned_by(deployment, block=block))
    for name in ("web-1-a", "web-1-b"):
        await world.create(PODS, name, **at, ownerReferences=owned_by(replica_set, block=block))
    return deployment


async def left(world: World, cluster: str) -> list[str]:
    return [name for gvr in (DEPLOYMENTS, REPLICA_SETS, PODS) for name in await world.names(gvr, cluster=cluster, namespace="shop")]


ALL = ["web", "web-1", "web-1-a", "web-1-b"]


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
async def test_dependents_of_dependents_go_with_their_owner(world: World, propagation: str) -> None:
    for cluster in world.clusters():
        await chain_of_three(world, cluster)
    cluster = world.clusters()[-1]

    async def all_gone() -> bool:
        return await left(world, cluster) == []

    async with world.running(building(world)):
        await world.clock.advance(10.0)
        assert await left(world, cluster) == ALL
        await world.of(cluster).resource(DEPLOYMENTS).delete("web", namespace="shop", propagation=propagation)
        await world.until(all_gone)
    if world.has_workspaces:
        assert await left(world, "one") == ALL


async def test_foreground_deletion_waits_for_blocking_dependents(world: World) -> None:
    cluster = world.clusters()[0]
    await chain_of_three(world, cluster)
    pods = world.of(cluster).resource(PODS)
    await pods.patch("web-1-a", {"metadata": {"finalizers": ["example.com/slow"]}}, namespace="shop")
    async with world.running(building(world)):
        await world.of(cluster).resource(DEPLOYMENTS).delete("web", namespace="shop", propagation="Foreground")
        await world.clock.advance(30.0)
        assert await left(world, cluster) == ["web", "web-1", "web-1-a"]
        await pods.patch("web-1-a", {"metadata": {"finalizers": None}}, namespace="shop")
        await world.clock.advance(30.0)
        assert await left(world, cluster) == []


async def test_foreground_deletion_does_not_wait_for_dependents_that_do_not_block(world: World) -> None:
    cluster = world.clusters()[0]
    owner = await world.create(DEPLOYMENTS, "web", cluster=cluster, namespace="shop")
    await world.create(
        REPLICA_SETS,
        "web-1",
        cluster=cluster,
        namespace="shop",
        ownerReferences=owned_by(owner, block=False),
        finalizers=["example.com/slow"],
    )
    async with world.running(building(world)):
        await world.of(cluster).resource(DEPLOYMENTS).delete("web", namespace="shop", propagation="Foreground")
        await world.clock.advance(30.0)
        held = await world.of(cluster).resource(REPLICA_SETS).get("web-1", namespace="shop")
        assert await world.names(DEPLOYMENTS, cluster=cluster, namespace="shop") == []
        assert meta.deletion_timestamp(held)


async def test_orphaned_dependents_stay_without_the_reference(world: World) -> None:
    cluster = world.clusters()[0]
    await chain_of_three(world, cluster)
    async with world.running(building(world)):
        await world.of(cluster).resource(DEPLOYMENTS).delete("web", namespace="shop", propagation="Orphan")
        await world.clock.advance(30.0)
        assert await left(world, cluster) == ["web-1", "web-1-a", "web-1-b"]
        orphan = await world.of(cluster).resource(REPLICA_SETS).get("web-1", namespace="shop")
        assert meta.owner_references(orphan) == []


async def test_object_stays_while_one_owner_is_left_and_loses_the_other_reference(world: World) -> None:
    cluster = world.clusters()[0]
    owners = [await world.create(CONFIG_MAPS, name, cluster=cluster, namespace="shop") for name in ("a", "b")]
    await world.create(PODS, "p", cluster=cluster, namespace="shop", ownerReferences=owned_by(*owners))
    maps, pods = world.of(cluster).resource(CONFIG_MAPS), world.of(cluster).resource(PODS)
    async with world.running(building(world)):
        await maps.delete("a", namespace="shop")
        await world.clock.advance(30.0)
        assert [ref["name"] for ref in meta.owner_references(await pods.get("p", namespace="shop"))] == ["b"]
        await maps.delete("b", namespace="shop")
        await world.clock.advance(30.0)
        assert await world.names(PODS, cluster=cluster, namespace="shop") == []


async def test_owner_of_the_same_name_but_another_uid_is_not_the_owner(world: World) -> None:
    cluster = world.clusters()[0]
    owner = await world.create(CONFIG_MAPS, "a", cluster=cluster, namespace="shop")
    refs = owned_by(owner)
    refs[0]["uid"] = "11111111-0000-0000-0000-000000000000"
    await world.create(PODS, "p", cluster=cluster, namespace="shop", ownerReferences=refs)
    async with world.running(building(world)):
        await world.clock.advance(30.0)
        assert await world.names(PODS, cluster=cluster, namespace="shop") == []


async def test_owner_deleted_while_nobody_looked_is_noticed_at_start(world: World) -> None:
    cluster = world.clusters()[0]
    await chain_of_three(world, cluster)
    await world.of(cluster).resource(DEPLOYMENTS).delete("web", namespace="shop", propagation="Background")
    async with world.running(building(world)):
        await world.clock.advance(30.0)
        assert await left(world, cluster) == []


async def test_owner_of_a_kind_that_is_not_served_counts_as_there(world: World) -> None:
    cluster = world.clusters()[0]
    ref = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "u"}
    await world.create(PODS, "p", cluster=cluster, namespace="shop", ownerReferences=[ref])
    async with world.running(building(world)):
        await world.clock.advance(300.0)
        assert await world.names(PODS, cluster=cluster, namespace="shop") == ["p"]


async def test_resource_that_is_not_served_any_more_deletes_no_dependents(world: World) -> None:
    cluster = world.clusters()[0]
    await chain_of_three(world, cluster)
    async with world.running(building(world)):
        await world.clock.advance(10.0)
        del world.served.by_gvr[DEPLOYMENTS]
        await world.clock.advance(10.0)
        await world.of(cluster).resource(REPLICA_SETS).patch("web-1", {"metadata": {"labels": {"a": "b"}}}, namespace="shop")
        await world.clock.advance(300.0)
        assert await world.names(REPLICA_SETS, cluster=cluster, namespace="shop") == ["web-1"]


async def test_owner_that_cannot_be_looked_up_counts_as_there(world: World) -> None:
    """Its kind is known, from another workspace say, but not served here: a 404 that says nothing about the object."""
    cluster = world.clusters()[0]
    await chain_of_three(world, cluster)
    known = await world.api_resources()
    del world.served.by_gvr[DEPLOYMENTS]

    async def resources() -> Sequence[APIResource]:
        return known

    def build(informers: InformerFactory, transport: Transport) -> Controller[Any]:
        return build_garbage_collector(informers.client, for_cluster=world.for_cluster(transport), resources=resources, clock=world.clock)

    async with world.running(build):
        await world.clock.advance(300.0)
        assert await world.names(REPLICA_SETS, cluster=cluster, namespace="shop") == ["web-1"]


async def test_owner_that_goes_before_its_resource_is_mirrored_takes_its_dependents_along(world: World) -> None:
    """Its kind is known from another export, so that the server can be asked; its own resource is found later, without the owner.

    Source: kcp 0.31 test/e2e/garbagecollector (TestGarbageCollectorTypesFromBinding); garbagecollector.go, attemptToDeleteWorker.
    """
    cluster = world.clusters()[0]
    elsewhere = DEPLOYMENTS._replace(resource="deployments:elsewhere")
    known = [replace(r, gvr=elsewhere) if r.gvr == DEPLOYMENTS else r for r in await world.api_resources()]

    async def resources() -> Sequence[APIResource]:
        return known

    def build(informers: InformerFactory, transport: Transport) -> Controller[Any]:
        return build_garbage_collector(informers.client, for_cluster=world.for_cluster(transport), resources=resources, clock=world.clock)

    async with world.running(build):
        await world.clock.advance(60.0)
        await chain_of_three(world, cluster)
        await world.clock.advance(1.0)
        await world.of(cluster).resource(DEPLOYMENTS).delete("web", namespace="shop", propagation="Background")
        await world.clock.advance(30.0)
        assert await left(world, cluster) == []


async def test_owner_in_another_namespace_does_not_count_and_is_reported(world: World) -> None:
    cluster = world.clusters()[0]
    owner = await world.create(CONFIG_MAPS, "a", cluster=cluster, namespace="elsewhere")
    await world.create(PODS, "p", cluster=cluster, namespace="shop", ownerReferences=owned_by(owner))
    async with world.running(building(world)):
        await world.clock.advance(30.0)
    assert await world.names(PODS, cluster=cluster, namespace="shop") == []
    event = (await world.of(cluster).resource(EVENTS).list(namespace="shop")).items[0]
    assert (event["reason"], event["type"], event["involvedObject"]["name"]) == ("OwnerRefInvalidNamespace", "Warning", "p")
    assert 'does not exist in namespace "shop"' in event["message"]


async def test_namespaced_owner_of_a_cluster_scoped_object_is_reported_and_deletes_nothing(world: World) -> None:
    cluster = world.clusters()[0]
    owner = await world.create(CONFIG_MAPS, "a", cluster=cluster, namespace="shop")
    await world.create(NODES, "n", cluster=cluster, ownerReferences=owned_by(owner))
    async with world.running(building(world)):
        await world.of(cluster).resource(CONFIG_MAPS).delete("a", namespace="shop")
        await world.clock.advance(300.0)
    assert await world.names(NODES, cluster=cluster) == ["n"]
    events = (await world.of(cluster).resource(EVENTS).list(namespace="default")).items
    assert [event["reason"] for event in events] == ["OwnerRefInvalidNamespace"]


async def test_cluster_scoped_owner_of_a_namespaced_object_counts(world: World) -> None:
    cluster = world.clusters()[0]
    node = await world.create(NODES, "n", cluster=cluster)
    await world.create(PODS, "p", cluster=cluster, namespace="shop", ownerReferences=owned_by(node))
    async with world.running(building(world)):
        await world.clock.advance(30.0)
        assert await world.names(PODS, cluster=cluster, namespace="shop") == ["p"]
        await world.of(cluster).resource(NODES).delete("n")
        await world.clock.advance(30.0)
        assert await world.names(PODS, cluster=cluster, namespace="shop") == []


async def test_owner_in_another_workspace_does_not_count(kcp_world: World) -> None:
    world = kcp_world
    owner = await world.create(CONFIG_MAPS, "a", cluster="one", namespace="shop")
    await world.create(PODS, "p", cluster="two", namespace="shop", ownerReferences=owned_by(owner))
    async with world.running(building(world)):
        await world.clock.advance(30.0)
    assert await world.names(PODS, cluster="two", namespace="shop") == []
    assert await world.names(CONFIG_MAPS, cluster="one", namespace="shop") == ["a"]


async def test_circle_of_owners_in_foreground_deletion_ends(world: World) -> None:
    cluster = world.clusters()[0]
    one = await world.create(CONFIG_MAPS, "one", cluster=cluster, namespace="shop")
    two = await world.create(CONFIG_MAPS, "two", cluster=cluster, namespace="shop", ownerReferences=owned_by(one))
    maps = world.of(cluster).resource(CONFIG_MAPS)
    await maps.patch("one", {"metadata": {"ownerReferences": owned_by(two)}}, namespace="shop")
    async with world.running(building(world)):
        await world.clock.advance(30.0)
        assert await world.names(CONFIG_MAPS, cluster=cluster, namespace="shop") == ["one", "two"]
        await maps.delete("one", namespace="shop", propagation="Foreground")
        await world.clock.advance(60.0)
        assert await world.names(CONFIG_MAPS, cluster=cluster, namespace="shop") == []


async def test_kinds_that_come_later_are_collected_too(world: World) -> None:
    cluster = world.clusters()[0]
    later = {gvr: world.served.by_gvr.pop(gvr) for gvr in (DEPLOYMENTS, REPLICA_SETS)}
    async with world.running(building(world)):
        await world.clock.advance(30.0)
        world.served.by_gvr.update(later)
        await chain_of_three(world, cluster)
        await world.clock.advance(10.0)
        await world.of(cluster).resource(DEPLOYMENTS).delete("web", namespace="shop")
        await world.clock.advance(30.0)
        assert await left(world, cluster) == []


async def test_nothing_is_written_where_nothing_is_to_collect(world: World) -> None:
    cluster = world.clusters()[0]
    await chain_of_three(world, cluster)
    await world.create(NAMESPACES, "shop", cluster=cluster)
    transport = FailingTransport(world.transport())
    async with world.running(building(world), transport):
        await world.clock.advance(300.0)
    assert transport.written == []


async def collection(propagation: str, n: int, lost: Literal["request", "answer"]) -> int:
    """Delete a Deployment while the collector's n-th write fails. Returns the number of writes."""
    async with make_world(has_workspaces=True) as world:
        await chain_of_three(world, "one")
        transport = FailingTransport(world.transport(), n, lost=lost)
        async with world.running(building(world), transport):
            await world.of("one").resource(DEPLOYMENTS).delete("web", namespace="shop", propagation=propagation)
            await world.clock.advance(60.0)
        expected = ["web-1", "web-1-a", "web-1-b"] if propagation == "Orphan" else []
        assert await left(world, "one") == expected
        return transport.writes


@pytest.mark.parametrize("lost", ["request", "answer"])
@pytest.mark.parametrize("propagation", ["Background", "Foreground", "Orphan"])
async def test_any_write_may_fail(propagation: str, lost: Literal["request", "answer"]) -> None:
    writes = await collection(propagation, 0, lost)
    assert writes >= 2
    for n in range(1, writes + 1):
        await collection(propagation, n, lost)
