"""ClusterRole aggregation: rules in order and once each, kept up to date, per workspace; chains, faulty selectors, failed writes."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from tests.behaviour.builtin.world import Parts, World, make_world
from tests.faults import FailingTransport

from kcp.apimachinery.meta import JSONObject
from kcp.controller.builtin.clusterroles import build_cluster_role_aggregation
from kcp.controller.controller import Controller


def aggregation(parts: Parts) -> Controller[Any]:
    return build_cluster_role_aggregation(parts.informers, for_cluster=parts.for_cluster, clock=parts.clock)


def rule(resource: str) -> JSONObject:
    return {"apiGroups": [""], "resources": [resource], "verbs": ["get"]}


def selecting(*labels: str) -> JSONObject:
    return {"clusterRoleSelectors": [{"matchLabels": {label: "true"}} for label in labels]}


async def part(world: World, name: str, *resources: str, label: str = "to-admin", cluster: str | None = None) -> None:
    rules = [rule(r) for r in resources]
    await world.create("ClusterRole", name, namespace="", cluster=cluster, labels={label: "true"}, rules=rules)


async def rules(world: World, name: str = "admin", cluster: str | None = None) -> list[str]:
    held = await world.get("ClusterRole", name, namespace="", cluster=cluster)
    return [r["resources"][0] for r in held.get("rules") or ()]


async def test_rules_come_in_the_order_of_selectors_and_names_each_once(world: World) -> None:
    async with world.running(aggregation):
        await part(world, "b", "pods", "nodes", label="first")
        await part(world, "a", "pods", "secrets", label="first")
        await part(world, "c", "secrets", "services", label="second")
        await world.create("ClusterRole", "admin", namespace="", aggregationRule=selecting("second", "first"), labels={"first": "true"})
        await world.clock.advance(1)
        assert await rules(world) == ["secrets", "services", "pods", "nodes"]


async def test_rules_follow_the_roles_they_come_from_in_the_same_workspace(kcp_world: World) -> None:
    world = kcp_world
    async with world.running(aggregation):
        await world.create("ClusterRole", "admin", namespace="", aggregationRule=selecting("to-admin"), rules=[rule("written-by-hand")])
        await part(world, "a", "pods")
        await part(world, "b", "secrets", cluster="two")
        await world.clock.advance(1)
        assert await rules(world) == ["pods"]
        await world.resource("ClusterRole").patch("a", {"rules": [rule("nodes")]})
        await world.clock.advance(1)
        assert await rules(world) == ["nodes"]
        await world.resource("ClusterRole").delete("a")
        await world.clock.advance(1)
        assert await rules(world) == []


async def test_aggregated_roles_may_be_aggregated(world: World) -> None:
    async with world.running(aggregation):
        await world.create("ClusterRole", "admin", namespace="", aggregationRule=selecting("to-admin"))
        await world.create("ClusterRole", "edit", namespace="", aggregationRule=selecting("to-edit"), labels={"to-admin": "true"})
        await part(world, "pods", "pods", label="to-edit")
        await world.clock.advance(1)
        assert await rules(world) == ["pods"]


async def test_second_run_writes_nothing(world: World) -> None:
    await part(world, "a", "pods")
    await world.create("ClusterRole", "admin", namespace="", aggregationRule=selecting("to-admin"))
    async with world.running(aggregation):
        await world.clock.advance(1)
    transport = FailingTransport(world.transport())
    async with world.running(aggregation, transport=transport):
        await world.clock.advance(60)
    assert transport.written == []


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_any_write_may_fail(lost: Literal["request", "answer"]) -> None:
    for n in range(1, 3):
        async with make_world(has_workspaces=True) as world:
            await part(world, "a", "pods")
            for cluster in world.clusters:
                await world.create("ClusterRole", "admin", namespace="", cluster=cluster, aggregationRule=selecting("to-admin"))
            async with world.running(aggregation, transport=FailingTransport(world.transport(), n, lost=lost)):
                await part(world, "b", "nodes", cluster="two")
                await world.clock.advance(10)
                assert (await rules(world), await rules(world, cluster="two")) == (["pods"], ["nodes"])
