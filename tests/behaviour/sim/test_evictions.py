"""PodDisruptionBudgets and evictions: what a budget says, what it refuses, races, pods that no longer count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import InternalError, TooManyRequests

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

Make = Callable[..., dict[str, Any]]


async def budget(world: World, name: str = "pdb", **spec: Any) -> None:
    wanted = {"selector": {"matchLabels": {"app": "web"}}, **spec}
    obj = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": wanted}
    await world.resource("poddisruptionbudgets").create(obj, namespace="default")


async def run(world: World, deployment: Make, replicas: int = 3) -> list[str]:
    await world.create(deployment(replicas=replicas))

    async def is_running() -> bool:
        return len(await world.running("app=web")) == replicas

    await world.until(is_running)
    await world.clock.advance(3)
    return await world.running("app=web")


async def evict(world: World, pod: str) -> None:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "default"}}
    await world.resource("pods").create(eviction, name=pod, subresource="eviction")


async def status(world: World, name: str = "pdb") -> dict[str, Any]:
    held: dict[str, Any] = (await world.get("poddisruptionbudgets", name)).get("status") or {}
    return held


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 2}, (3, 2, 1)),
        ({"minAvailable": "50%"}, (3, 2, 1)),
        ({"maxUnavailable": 1}, (3, 2, 1)),
        ({"maxUnavailable": "70%"}, (3, 0, 3)),
        ({"minAvailable": 4}, (3, 4, 0)),
    ],
)
async def test_a_budget_says_what_is_expected_desired_and_allowed(
    world: World, deployment: Make, spec: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    await run(world, deployment)
    await budget(world, **spec)
    await world.clock.advance(1)
    said = await status(world)
    assert (said["expectedPods"], said["desiredHealthy"], said["disruptionsAllowed"]) == expected
    assert said["currentHealthy"] == 3
    told = conditions.get({"status": said}, "DisruptionAllowed") or {}
    assert (told["status"], told["reason"]) == (("True", "SufficientPods") if expected[2] else ("False", "InsufficientPods"))


async def test_evictions_beyond_the_budget_are_refused_until_pods_are_back(world: World, deployment: Make) -> None:
    pods = await run(world, deployment)
    await budget(world, maxUnavailable=1)
    await world.clock.advance(1)
    results = await asyncio.gather(*(evict(world, pod) for pod in pods), return_exceptions=True)
    refusals = [r for r in results if isinstance(r, TooManyRequests)]
    assert len(refusals) == 2
    assert refusals[0].message == "Cannot evict pod as it would violate the pod's disruption budget."
    cause = refusals[0].causes[0]
    assert (cause.reason, cause.message) == ("DisruptionBudget", "The disruption budget pdb needs 2 healthy pods and has 3 currently")

    async def is_allowed() -> bool:
        return bool((await status(world))["disruptionsAllowed"] == 1)

    await world.until(is_allowed)
    await evict(world, (await world.running("app=web"))[0])


async def test_pods_that_do_not_count_go_at_once(world: World, deployment: Make) -> None:
    container = {"name": "c", "image": "does-not-exist"}
    stuck = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stuck", "labels": {"app": "web"}},
        "spec": {"containers": [container]},
    }
    await world.create(stuck)
    unready = {"labels": {"app": "web"}, "annotations": {"sim.kcp.io/ready": "false"}, "name": "unready"}
    await world.create({"apiVersion": "v1", "kind": "Pod", "metadata": unready, "spec": {"containers": [{"name": "c", "image": "x"}]}})
    await world.clock.advance(1)
    await budget(world, minAvailable=5)
    await world.clock.advance(1)
    await evict(world, "stuck")
    with pytest.raises(TooManyRequests):
        await evict(world, "unready")
    await world.resource("poddisruptionbudgets").patch("pdb", {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}, namespace="default")
    await evict(world, "unready")


async def test_two_budgets_for_one_pod_are_an_error_and_none_is_leave(world: World, deployment: Make) -> None:
    pods = await run(world, deployment)
    await evict(world, pods[0])
    for name in ("one", "two"):
        await budget(world, name, maxUnavailable=1)
    await world.clock.advance(1)
    with pytest.raises(InternalError, match="more than one PodDisruptionBudget"):
        await evict(world, pods[1])


async def test_a_budget_that_is_not_looked_at_yet_refuses(world: World, deployment: Make) -> None:
    pods = await run(world, deployment)
    await budget(world, maxUnavailable=3)
    with pytest.raises(TooManyRequests) as refused:
        await evict(world, pods[0])
    assert refused.value.causes[0].message == "The disruption budget pdb is still being processed by the server."
    assert refused.value.retry_after_s == 10


async def test_once_converged_nothing_is_written(world: World, deployment: Make) -> None:
    await run(world, deployment)
    await budget(world, maxUnavailable=1)
    await world.clock.advance(5)
    before = meta.resource_version(await world.get("poddisruptionbudgets", "pdb"))
    await world.clock.advance(300)
    assert meta.resource_version(await world.get("poddisruptionbudgets", "pdb")) == before
