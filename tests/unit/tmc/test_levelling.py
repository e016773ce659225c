"""Moving replicas among the clusters that stay: to less full ones or together, within bounds, and never to and fro."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.tmc.placement.levelling import Bounds, Workload, plan
from kcp.tmc.placement.policy import Division, Preference
from kcp.tmc.placement.shares import ClusterShare, Shares
from kcp.tmc.placement.snapshot import Target

FREELY = Bounds(gain=10.0, moves=100, givers=None)


def target(key: str, *, cpu: float, used: float, **more: Any) -> Target:
    return Target(key=key, name=key, labels={}, ready=True, allocatable={"cpu": cpu}, used={"cpu": used}, **more)


def workload(name: str = "web", preference: str = "Capacity", cpu: float = 1.0, **current: int) -> Workload:
    clusters = {key: ClusterShare() for key in current}
    shares = Shares(Division.DIVIDED, Preference(preference), clusters)
    return Workload(name, current, current, {"cpu": cpu}, shares)


def moved(found: Any) -> dict[str, dict[str, int]]:
    return {one.workload.name: dict(one.after) for one in found.moves}


def test_replicas_go_from_the_fullest_to_the_emptiest_until_they_are_about_as_full() -> None:
    found = plan([workload(a=6, b=0)], [target("a", cpu=10, used=10), target("b", cpu=10, used=2)], FREELY)
    assert moved(found) == {"web": {"a": 2, "b": 4}}
    assert found.is_whole


@pytest.mark.parametrize(
    "one",
    [
        workload(a=6, b=0, cpu=0.0),
        workload("web", "Weighted", a=6, b=0),
        replace(workload(a=6, b=0), shares=Shares(Division.DUPLICATED, Preference.CAPACITY, {})),
        workload(a=6, c=0),
        workload(a=6),
        workload(a=6, b=6),
    ],
    ids=["requests nothing", "by weight", "duplicated", "a cluster that is not known", "one cluster", "as full as each other"],
)
def test_nothing_moves_where_there_is_nothing_to_gain(one: Workload) -> None:
    targets = [target("a", cpu=100, used=12), target("b", cpu=100, used=12 if one.current.get("b") else 4)]
    assert not plan([one], targets, FREELY).moves


def test_clusters_that_are_less_than_the_gain_apart_keep_what_they_run() -> None:
    targets = [target("a", cpu=100, used=29), target("b", cpu=100, used=20)]
    assert not plan([workload(a=6, b=0)], targets, FREELY).moves
    assert plan([workload(a=6, b=0)], targets, replace(FREELY, gain=5.0)).moves


def test_pods_that_find_no_room_count_as_if_they_ran() -> None:
    targets = [target("a", cpu=10, used=10), target("b", cpu=100, used=95)]
    assert not plan([workload(a=4, b=0)], targets, FREELY).moves
    assert moved(plan([replace(workload(a=4, b=0), ready={})], targets, FREELY)) == {"web": {"a": 0, "b": 4}}


def test_bounds_of_each_cluster_are_kept() -> None:
    clusters = {"a": ClusterShare(minimum=5), "b": ClusterShare()}
    one = replace(workload(a=6, b=0), shares=Shares(Division.DIVIDED, Preference.CAPACITY, clusters))
    targets = [target("a", cpu=10, used=10), target("b", cpu=10, used=0)]
    assert moved(plan([one], targets, FREELY)) == {"web": {"a": 5, "b": 1}}
    one = replace(one, shares=Shares(Division.DIVIDED, Preference.CAPACITY, {"a": ClusterShare(), "b": ClusterShare(maximum=2)}))
    assert moved(plan([one], targets, FREELY)) == {"web": {"a": 4, "b": 2}}


def test_aggregated_replicas_leave_the_smallest_cluster_when_the_others_have_room() -> None:
    targets = [target("a", cpu=10, used=5), target("b", cpu=10, used=2), target("c", cpu=10, used=1)]
    assert moved(plan([workload("web", "Aggregated", a=5, b=2, c=1)], targets, FREELY)) == {"web": {"a": 8, "b": 0, "c": 0}}
    full = [target("a", cpu=10, used=10), target("b", cpu=10, used=9), target("c", cpu=10, used=1)]
    assert moved(plan([workload("web", "Aggregated", a=5, b=2, c=1)], full, FREELY)) == {"web": {"a": 5, "b": 3, "c": 0}}


def test_no_more_begin_than_the_bound_says_and_the_plan_knows_that_there_is_more() -> None:
    targets = [target("a", cpu=10, used=10), target("b", cpu=10, used=0)]
    listed = [workload("x", a=2, b=0), workload("y", a=2, b=0)]
    found = plan(listed, targets, replace(FREELY, moves=1))
    assert (list(moved(found)), found.is_whole) == (["x"], False)
    assert not plan(listed, targets, replace(FREELY, moves=0)).moves


def test_no_more_clusters_give_than_the_budget_says() -> None:
    targets = [target("a", cpu=10, used=10), target("b", cpu=10, used=10), target("c", cpu=100, used=0)]
    found = plan([workload(a=4, b=4, c=0)], targets, replace(FREELY, givers=1))
    change = moved(found)["web"]
    assert (change["a"] < 4) != (change["b"] < 4)
    assert not found.is_whole
    assert not plan([workload(a=4, c=0)], targets, replace(FREELY, givers=1), giving=["b"]).moves


clusters_st = st.integers(2, 4)


@st.composite
def fleets(draw: st.DrawFn) -> tuple[list[Target], list[Workload]]:
    keys = "abcd"[: draw(clusters_st)]
    listed = []
    for name in "xyz"[: draw(st.integers(1, 3))]:
        preference = draw(st.sampled_from(["Capacity", "Aggregated"]))
        current = {key: draw(st.integers(0, 6)) for key in keys}
        least, most = draw(st.integers(0, 2)), draw(st.sampled_from([None, 6, 9]))
        shares = Shares(Division.DIVIDED, Preference(preference), {key: ClusterShare(minimum=least, maximum=most) for key in keys})
        pod = {"cpu": draw(st.sampled_from([0.1, 0.5, 1.0])), "memory": draw(st.sampled_from([0.0, 1.0, 2.0]))}
        listed.append(Workload(name, current, current, pod, shares))
    targets = []
    for key in keys:
        used = {r: sum(w.current[key] * w.pod[r] for w in listed) + draw(st.integers(0, 10)) for r in ("cpu", "memory")}
        room = {r: used[r] + draw(st.integers(0, 20)) + 1 for r in used}
        targets.append(Target(key=key, name=key, labels={}, ready=True, allocatable=room, used=used))
    return targets, listed


def carried_out(targets: list[Target], listed: list[Workload], found: Any) -> tuple[list[Target], list[Workload]]:
    after = {one.workload.name: one.after for one in found.moves}
    changes = [(w, {k: n - w.current[k] for k, n in after[w.name].items()}) for w in listed if w.name in after]
    for w, change in changes:
        for k, n in change.items():
            targets = [replace(t, used={r: u + n * w.pod.get(r, 0.0) for r, u in t.used.items()}) if t.key == k else t for t in targets]
    return targets, [replace(w, current=after.get(w.name, w.current), ready=after.get(w.name, w.current)) for w in listed]


@given(fleets(), st.sampled_from([0.0, 5.0, 10.0]), st.sampled_from([1, 2, 100]), st.sampled_from([None, 1]))
def test_moving_keeps_the_sum_and_the_bounds_and_comes_to_an_end(
    fleet: tuple[list[Target], list[Workload]], gain: float, moves: int, givers: int | None
) -> None:
    targets, listed = fleet
    bounds = Bounds(gain, moves, givers)
    for _ in range(200):
        found = plan(listed, targets, bounds)
        assert len(found.moves) <= moves
        for workload, after in found.moves:
            assert sum(after.values()) == sum(workload.current.values())
            for key, number in after.items():
                share = workload.shares.clusters[key]
                assert number >= min(share.minimum, workload.current[key])
                assert share.maximum is None or number <= max(share.maximum, workload.current[key])
            assert givers is None or sum(after[k] < n for k, n in workload.current.items()) <= givers
        if not found.moves:
            assert found.is_whole
            return
        targets, listed = carried_out(targets, listed, found)
    raise AssertionError("it moves for ever")


@given(fleets(), st.randoms())
def test_the_order_of_what_is_looked_at_never_matters(fleet: tuple[list[Target], list[Workload]], chance: Any) -> None:
    targets, listed = fleet
    shuffled, others = list(listed), list(targets)
    chance.shuffle(shuffled)
    chance.shuffle(others)
    assert moved(plan(shuffled, others, FREELY)) == moved(plan(listed, targets, FREELY))
