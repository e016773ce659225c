"""Dividing replicas: sums, bounds, stability."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kcp.tmc.placement.divide import divide

names = st.lists(st.sampled_from(["east", "west", "north", "south"]), unique=True, min_size=1)


@given(st.integers(0, 1000), names)
def test_shares_sum_to_the_total_and_differ_by_at_most_one(total: int, targets: list[str]) -> None:
    shares = divide(total, targets)
    assert sum(shares.values()) == total
    assert max(shares.values()) - min(shares.values()) <= 1


@given(st.integers(0, 1000), names, st.dictionaries(st.sampled_from(["east", "west", "north", "south"]), st.integers(0, 5)))
def test_weighted_shares_are_within_one_of_exact(total: int, targets: list[str], weights: dict[str, int]) -> None:
    shares = divide(total, targets, weights=weights)
    effective = {t: weights.get(t, 1) for t in targets}
    if not any(effective.values()):
        effective = dict.fromkeys(targets, 1)
    whole = sum(effective.values())
    assert sum(shares.values()) == total
    assert all(abs(shares[t] - total * effective[t] / whole) < 1 for t in targets)


@given(st.integers(0, 1000), names)
def test_dividing_again_changes_nothing(total: int, targets: list[str]) -> None:
    shares = divide(total, targets)
    assert divide(total, targets, current=shares) == shares


@given(st.integers(0, 1000), names)
def test_scaling_by_one_changes_one_target(total: int, targets: list[str]) -> None:
    before = divide(total, targets)
    after = divide(total + 1, targets, current=before)
    assert sum(abs(after[t] - before[t]) for t in targets) == 1


def test_nothing_is_divided_over_no_targets() -> None:
    assert divide(3, []) == {}
