"""Rolling updates: limits are kept at every step, they end, scaling shares in proportion, history is trimmed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.sim.workloads.rollout import (
    DESIRED_ANNOTATION,
    MAX_ANNOTATION,
    Bounds,
    ReplicaSetView,
    is_scaling,
    new_size,
    outdated,
    rescale,
    shrink_old,
)


def rs(name: str, replicas: int, available: int | None = None, **changes: object) -> ReplicaSetView:
    made = ReplicaSetView(
        name=name, uid=name, replicas=replicas, current=replicas, ready=replicas, available=replicas if available is None else available,
        is_observed=True, created=f"2026-01-01T00:00:0{len(name)}Z", revision=1, annotations={}, template={}, min_ready_s=0,
        terminating=False, failure=None,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("surge", "unavailable", "expected"),
    [("25%", "25%", (3, 2)), (1, 0, (1, 0)), (0, 0, (0, 1)), ("0%", "0%", (0, 1)), ("100%", "0%", (10, 0))],
)
def test_surge_rounds_up_and_unavailable_rounds_down_and_both_are_never_zero(
    surge: object, unavailable: object, expected: tuple[int, int]
) -> None:
    bounds = Bounds.of({"replicas": 10, "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}})
    assert (bounds.surge, bounds.unavailable) == expected


@given(
    desired=st.integers(0, 40),
    surge=st.integers(0, 10),
    unavailable=st.integers(0, 10),
    old=st.lists(st.integers(0, 15), min_size=1, max_size=4),
    readiness=st.randoms(use_true_random=False),
)
def test_a_rolling_update_keeps_its_limits_at_every_step_and_ends(
    desired: int, surge: int, unavailable: int, old: list[int], readiness: object
) -> None:
    bounds = Bounds(desired, surge, unavailable or (0 if surge else 1), rolling=True)
    new, olds = rs("new", 0), [rs("o" * (i + 1), n) for i, n in enumerate(old)]
    started_available = sum(old)
    for _ in range(400):
        total = new.replicas + sum(o.replicas for o in olds)
        size = new_size(bounds, new.replicas, total)
        if size != new.replicas:
            assert total - new.replicas + size <= max(bounds.max_total, total), "surge exceeded"
            new = replace(new, replicas=size, available=min(new.available, size))
            continue
        sizes = shrink_old(bounds, new, olds)
        olds = [replace(o, replicas=sizes.get(o.name, o.replicas), available=min(o.available, sizes.get(o.name, o.replicas))) for o in olds]
        available = new.available + sum(o.available for o in olds)
        assert available >= min(bounds.min_available, started_available), "too few available"
        if sizes:
            continue
        if new.available == new.replicas:
            break
        pick = readiness.randint(1, new.replicas - new.available)  # type: ignore[attr-defined]
        new = replace(new, available=new.available + pick)
    assert new.replicas == desired
    assert all(o.replicas == 0 for o in olds)


def test_unhealthy_old_pods_go_first() -> None:
    bounds = Bounds(4, 1, 1, rolling=True)
    assert shrink_old(bounds, rs("new", 1, 0), [rs("aa", 2, 2), rs("b", 2, 0)]) == {"b": 1}


def test_recreate_takes_all_at_once() -> None:
    assert new_size(Bounds(5, 0, 0, rolling=False), 0, 3) == 5


def test_scaling_is_seen_by_the_annotation_of_an_active_replicaset() -> None:
    assert is_scaling(3, [rs("a", 2, annotations={DESIRED_ANNOTATION: "2"})])
    assert not is_scaling(2, [rs("a", 2, annotations={DESIRED_ANNOTATION: "2"})])
    assert not is_scaling(3, [rs("a", 2)])


def test_scaling_resizes_the_only_active_replicaset() -> None:
    assert rescale(Bounds(6, 1, 1, rolling=True), rs("new", 3), [rs("old", 0)], 3) == {"new": 6}


def test_scaling_in_the_middle_of_a_rollout_shares_in_proportion() -> None:
    """Upstream's example: 10 replicas, maxSurge 3, 8 old and 5 new, scaled to 15: 3 more for the old, 2 for the new."""
    marks = {DESIRED_ANNOTATION: "10", MAX_ANNOTATION: "13"}
    sizes = rescale(Bounds(15, 3, 2, rolling=True), rs("new", 5, 0, annotations=marks), [rs("old", 8, annotations=marks)], 13)
    assert sizes == {"old": 11, "new": 7}


@given(desired=st.integers(0, 60), surge=st.integers(0, 5), sizes=st.lists(st.integers(1, 20), min_size=2, max_size=5))
def test_proportional_scaling_adds_up_and_is_never_negative(desired: int, surge: int, sizes: list[int]) -> None:
    bounds = Bounds(desired, surge, 1, rolling=True)
    total = sum(sizes)
    sets = [rs("s" * (i + 1), n, annotations={MAX_ANNOTATION: str(total)}) for i, n in enumerate(sizes)]
    resized = rescale(bounds, replace(sets[0], available=0), sets[1:], total)
    final = [resized.get(s.name, s.replicas) for s in sets]
    assert all(n >= 0 for n in final)
    assert sum(final) == (bounds.max_total if desired else 0)


def test_history_keeps_the_newest_empty_replicasets() -> None:
    sets = [rs("a" * (i + 1), 0, revision=i) for i in range(4)] + [rs("busy-one", 2, revision=0)]
    assert outdated(2, sets) == ["a", "aa"]
    assert outdated(10, sets) == []
