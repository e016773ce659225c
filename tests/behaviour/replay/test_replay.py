"""Whole fleets under virtual time: every fault alone, pairs of them and random hours leave nothing lost, doubled or untrue."""

from __future__ import annotations

import gc
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from kcp.aio import virtualloop
from kcp.aio.clock import LoopClock
from kcp.replay.player import Outcome, play
from kcp.replay.scenario import CLUSTER_FAULTS, CONTROL_PLANE, CONTROL_PLANE_FAULTS, Scenario, Step, from_seed
from kcp.tmc.syncer.status import StatusReconciler

CLUSTERS = ("east", "west")
FAULTS = [("east", verb) for verb in CLUSTER_FAULTS] + [(CONTROL_PLANE, verb) for verb in CONTROL_PLANE_FAULTS]
WORK = (
    Step(1.0, "deploy", name="kept", replicas=4),
    Step(2.0, "deploy", name="scaled", replicas=2),
    Step(3.0, "deploy", name="deleted", replicas=3),
    Step(70.0, "scale", name="scaled", replicas=5),
    Step(75.0, "image", name="kept", replicas=1),
    Step(80.0, "delete", name="deleted"),
    Step(85.0, "deploy", name="late", replicas=3),
    Step(90.0, "drift", "west", name="kept", replicas=1),
    Step(95.0, "remove-copy", "west", name="kept"),
)
"""Users and meddlers at work before and during the fault."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Programs complain of the faults they meet, and rightly."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def played(scenario: Scenario, directory: Path) -> Outcome:
    return virtualloop.run(play(scenario, directory, LoopClock()))


def faults(target: str, verb: str, at_s: float, for_s: float) -> Step:
    return Step(at_s, verb, target, for_s, {"slow": 2.0, "skew": 600.0}.get(verb, 0.0))


@pytest.mark.parametrize(("target", "verb"), FAULTS)
def test_nothing_is_lost_by_one_fault(target: str, verb: str, tmp_path: Path) -> None:
    scenario = Scenario(1, 150.0, CLUSTERS, 2, (*WORK[:3], faults(target, verb, 60.0, 60.0), *WORK[3:]))
    outcome = played(scenario, tmp_path)
    assert outcome.violations == []
    assert outcome.calm_looks > 0


@pytest.mark.e2e
@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(FAULTS, 2)))
def test_nor_by_two_at_once(one: tuple[str, str], other: tuple[str, str], tmp_path: Path) -> None:
    second = other if other[0] != one[0] else ("west" if other[0] == "east" else other[0], other[1])
    steps = sorted((*WORK, faults(*one, 60.0, 60.0), faults(*second, 68.0, 400.0)), key=lambda step: step.at_s)
    assert played(Scenario(2, 500.0, CLUSTERS, 2, tuple(steps)), tmp_path).violations == []


@pytest.mark.parametrize("seed", [1, 2])
def test_nor_by_a_quarter_of_an_hour_of_anything(seed: int, tmp_path: Path) -> None:
    assert played(from_seed(seed, hours=0.25, per_hour=60.0), tmp_path).violations == []


@pytest.mark.e2e
@pytest.mark.parametrize("seed", range(100, 105))
def test_nor_by_an_hour_of_anything(seed: int, tmp_path: Path) -> None:
    assert played(from_seed(seed, hours=1.0), tmp_path).violations == []


def test_the_same_seed_plays_the_same(tmp_path: Path) -> None:
    first, second = (played(from_seed(3, hours=0.05, per_hour=200.0), tmp_path / name) for name in ("first", "second"))
    assert (first.digest, first.played) == (second.digest, second.played)
    assert first.digest != played(from_seed(4, hours=0.05, per_hour=200.0), tmp_path / "other").digest


def test_when_garbage_is_collected_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No task may be begun by the collector, as it begins one for each generator that somebody left halfway."""
    left = list[object]()
    monkeypatch.setattr(virtualloop.VirtualLoop, "_asyncgen_finalizer_hook", lambda _loop, generator: left.append(generator))
    scenario, digests = from_seed(5, hours=0.01, clusters=2, per_hour=400.0), list[str]()
    thresholds = gc.get_threshold()
    try:
        for generation in (0, 500):  # never, and often
            gc.set_threshold(generation, *thresholds[1:])
            digests.append(played(scenario, tmp_path / str(generation)).digest)
            gc.collect()
    finally:
        gc.set_threshold(*thresholds)
    assert len(set(digests)) == 1
    assert left == []


def test_a_broken_program_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A syncer that reports no status breaks an invariant."""

    async def nothing(_self: object, _key: object) -> object:
        from kcp.controller.controller import Result

        return Result()

    monkeypatch.setattr(StatusReconciler, "reconcile", nothing)
    outcome = played(Scenario(1, 60.0, CLUSTERS, 2, WORK[:1]), tmp_path)
    assert {violation.invariant for violation in outcome.violations} == {"told"}
