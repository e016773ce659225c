"""Exclusive workloads under virtual time: a cluster that is cut off stops its copy, another one starts it after that, and never both run."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kcp.aio import virtualloop
from kcp.aio.clock import LoopClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.replay.fleet import Fleet, run_fleet
from kcp.replay.player import Outcome, play
from kcp.replay.scenario import Scenario, Step
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.model.wishes import EXCLUSIVE
from kcp.tmc.syncer.fence import Fence

CLUSTERS = ("east", "west")
DEPLOYMENTS, DAEMON_SETS, PODS = GVR("apps", "v1", "deployments"), GVR("apps", "v1", "daemonsets"), GVR("", "v1", "pods")
POD = {"metadata": {"labels": {"app": "only"}}, "spec": {"containers": [{"name": "c", "image": "web:1"}]}}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def played(scenario: Scenario, directory: Path) -> Outcome:
    return virtualloop.run(play(scenario, directory, LoopClock()))


def in_fleet(directory: Path, story: Callable[[Fleet], Awaitable[None]]) -> None:
    async def run() -> None:
        async with run_fleet(directory, LoopClock(), CLUSTERS, seed=1, number_of_clusters=1) as fleet:
            await story(fleet)

    virtualloop.run(run())


async def deploy(fleet: Fleet, exclusive: str, gvr: GVR = DEPLOYMENTS, kind: str = "Deployment", **spec: Any) -> None:
    metadata = {"name": "only", "annotations": {EXCLUSIVE: exclusive}}
    held = {"selector": {"matchLabels": {"app": "only"}}, "template": POD, **spec}
    await (
        fleet.user().resource(gvr).create({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": held}, namespace="default")
    )


async def running(fleet: Fleet) -> dict[str, int]:
    """Pods by cluster, of those that have some."""
    found = {}
    for name, cluster in fleet.clusters.items():
        pods = (await cluster.observer().resource(PODS).list(label_selector="app=only")).items
        found[name] = sum(1 for pod in pods if meta.nested(pod, "status", "phase", default="") == "Running")
    return {name: number for name, number in found.items() if number}


async def at_home(fleet: Fleet) -> tuple[str, str]:
    """The cluster that runs it, and the other one."""
    await fleet.clock.sleep(30.0)
    (home,) = await running(fleet)
    return home, next(name for name in CLUSTERS if name != home)


async def told(fleet: Fleet) -> JSONObject:
    obj = await fleet.user().resource(DEPLOYMENTS).get("only", namespace="default")
    return dict(conditions.get(obj, "Synced") or {})


def test_a_lease_that_runs_out_stops_it_here_and_lets_it_start_there_and_nothing_comes_back(tmp_path: Path) -> None:
    async def story(fleet: Fleet) -> None:
        await deploy(fleet, "lease", replicas=2)
        home, other = await at_home(fleet)
        fleet.cut_off(home)
        await fleet.clock.sleep(30.0)
        assert await running(fleet) == {home: 2}, "an interruption that is shorter than the lease stops nothing"
        await fleet.clock.sleep(60.0)
        assert await running(fleet) == {}, "it was stopped, and nobody may have it yet"
        await fleet.clock.sleep(400.0)
        assert await running(fleet) == {other: 2}
        fleet.cuts[home].restore()
        await fleet.clock.sleep(60.0)
        assert await running(fleet) == {other: 2}
        assert (await told(fleet))["message"] == f"runs on {other}"

    in_fleet(tmp_path, story)


@pytest.mark.parametrize("kind", ["Deployment", "DaemonSet"])
def test_who_is_back_before_anybody_else_began_goes_on(tmp_path: Path, kind: str) -> None:
    async def story(fleet: Fleet) -> None:
        gvr = DEPLOYMENTS if kind == "Deployment" else DAEMON_SETS
        await deploy(fleet, "lease", gvr, kind, **({"replicas": 2} if kind == "Deployment" else {}))
        home, _ = await at_home(fleet)
        fleet.cut_off(home)
        await fleet.clock.sleep(120.0)
        assert await running(fleet) == {}
        fleet.cuts[home].restore()
        await fleet.clock.sleep(30.0)
        assert await running(fleet) == {home: 2}
        obj = await fleet.user().resource(gvr).get("only", namespace="default")
        assert conditions.get(obj, "Drifted") is None, "that the syncer itself stopped it is no drift"

    in_fleet(tmp_path, story)


def test_what_must_be_confirmed_waits_and_says_so_until_somebody_vouches_for_the_cluster(tmp_path: Path) -> None:
    async def story(fleet: Fleet) -> None:
        await deploy(fleet, "confirmed", replicas=2)
        home, other = await at_home(fleet)
        fleet.cut_off(home)
        await fleet.clock.sleep(600.0)
        assert await running(fleet) == {}
        condition = await told(fleet)
        assert condition["status"] == "False"
        assert f"{home} has not said that its copy is gone" in condition["message"]
        taint = {"key": "tmc.kcp.io/out-of-service", "effect": "NoExecute"}
        await fleet.user().resource(SYNC_TARGETS).patch(home, {"spec": {"taints": [taint]}})
        await fleet.clock.sleep(60.0)
        assert await running(fleet) == {other: 2}

    in_fleet(tmp_path, story)


def test_a_syncer_that_starts_and_hears_nothing_stops_what_another_one_left(tmp_path: Path) -> None:
    async def story(fleet: Fleet) -> None:
        await deploy(fleet, "lease", replicas=2)
        home, _ = await at_home(fleet)
        await fleet.stop_syncer(home)
        fleet.cut_off(home)
        fleet.start_syncer(home)
        await fleet.clock.sleep(90.0)
        assert await running(fleet) == {}

    in_fleet(tmp_path, story)


def test_a_drain_moves_it_old_one_first(tmp_path: Path) -> None:
    async def story(fleet: Fleet) -> None:
        await deploy(fleet, "lease", replicas=2)
        home, other = await at_home(fleet)
        taint = {"key": "maintenance", "effect": "NoExecute"}
        await fleet.user().resource(SYNC_TARGETS).patch(home, {"spec": {"taints": [taint]}})
        for _ in range(600):
            await fleet.clock.sleep(0.1)
            assert len(await running(fleet)) <= 1
        assert await running(fleet) == {other: 2}

    in_fleet(tmp_path, story)


@pytest.mark.parametrize("exclusive", ["lease", "confirmed"])
def test_where_two_clusters_are_chosen_one_has_it_whatever_happens(exclusive: str, tmp_path: Path) -> None:
    steps = (Step(1.0, "deploy", name="only", replicas=2, exclusive=exclusive), Step(60.0, "cut-off", "east", 500.0))
    assert played(Scenario(1, 600.0, CLUSTERS, 2, steps), tmp_path).violations == []


def test_a_syncer_that_stops_nothing_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_self: object) -> bool:
        return True

    monkeypatch.setattr(Fence, "stop", nothing)
    only = Step(1.0, "deploy", name="only", replicas=2, exclusive="lease")
    outcomes = [played(Scenario(1, 600.0, CLUSTERS, 1, (only, Step(60.0, "cut-off", name, 500.0))), tmp_path / name) for name in CLUSTERS]
    assert {violation.invariant for outcome in outcomes for violation in outcome.violations} == {"twice"}
