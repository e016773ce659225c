"""The placement decision: filters, stickiness, determinism, explanations."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kcp.apimachinery.selectors import LabelSelector
from kcp.tmc.placement.schedule import Location, Reason, Snapshot, Taint, Target, Toleration, schedule

EAST = Target("K-east", "east", {"region": "east"}, ready=True)
WEST = Target("K-west", "west", {"region": "west"}, ready=True)
BOTH = [LabelSelector.parse("region=east"), LabelSelector.parse("region=west")]


def reasons(snapshot: Snapshot) -> dict[str, Reason]:
    return {v.target.name: v.reason for v in schedule(snapshot).verdicts}


def test_location_selectors_are_ored() -> None:
    assert reasons(Snapshot(BOTH, 2, [WEST, EAST])) == {"east": Reason.SELECTED, "west": Reason.SELECTED}


def test_a_target_that_no_selector_matches_says_so_with_its_labels() -> None:
    verdict = schedule(Snapshot([LabelSelector.parse("region=north")], 1, [EAST])).verdicts[0]
    assert (verdict.chosen, verdict.reason) == (False, Reason.LOCATION_MISMATCH)
    assert "region=east" in verdict.message


def test_locations_win_over_the_targets_own_labels_where_any_location_matches() -> None:
    location = Location("europe", {"region": "east"}, LabelSelector.parse("zone=a"))
    in_zone = replace(WEST, labels={"zone": "a"})
    decided = schedule(Snapshot([LabelSelector.parse("region=east")], 2, [EAST, in_zone], locations=[location]))
    assert [(v.target.name, v.chosen, v.location) for v in decided.verdicts] == [("east", False, ""), ("west", True, "europe")]


def test_surplus_targets_are_not_needed() -> None:
    assert reasons(Snapshot(BOTH, 1, [EAST, WEST])) == {"east": Reason.SELECTED, "west": Reason.NOT_NEEDED}


def test_a_chosen_target_is_kept_when_a_better_name_appears() -> None:
    snapshot = Snapshot(BOTH, 1, [EAST, WEST], current=frozenset({"K-west"}))
    assert reasons(snapshot) == {"east": Reason.NOT_NEEDED, "west": Reason.KEPT}


def test_an_unready_target_is_not_chosen_but_one_chosen_before_is_kept_within_the_grace() -> None:
    down = replace(EAST, ready=False, not_ready_for_s=10.0)
    assert reasons(Snapshot(BOTH, 2, [down, WEST]))["east"] is Reason.NOT_READY
    kept = Snapshot(BOTH, 2, [down, WEST], current=frozenset({"K-east"}), eviction_grace_s=300.0)
    assert reasons(kept)["east"] is Reason.KEPT_UNREADY
    assert reasons(replace(kept, eviction_grace_s=5.0))["east"] is Reason.NOT_READY


def test_a_ready_target_is_preferred_over_none_but_not_over_a_kept_one() -> None:
    down = replace(EAST, ready=False, not_ready_for_s=1.0)
    snapshot = Snapshot(BOTH, 1, [down, WEST], current=frozenset({"K-east"}))
    assert reasons(snapshot) == {"east": Reason.KEPT_UNREADY, "west": Reason.NOT_NEEDED}


def test_cordoning_keeps_what_is_there_and_refuses_what_is_new() -> None:
    cordoned = replace(EAST, unschedulable=True)
    assert reasons(Snapshot(BOTH, 2, [cordoned]))["east"] is Reason.UNSCHEDULABLE
    assert reasons(Snapshot(BOTH, 2, [cordoned], current=frozenset({"K-east"})))["east"] is Reason.KEPT


def test_draining_moves_what_is_there() -> None:
    snapshot = Snapshot(BOTH, 2, [replace(EAST, evicting=True)], current=frozenset({"K-east"}))
    assert reasons(snapshot)["east"] is Reason.EVICTED


def test_taints_need_tolerations() -> None:
    tainted = replace(EAST, taints=(Taint("dedicated", "gpu", "NoSchedule"),))
    assert reasons(Snapshot(BOTH, 2, [tainted]))["east"] is Reason.TAINTED
    tolerant = Snapshot(BOTH, 2, [tainted], tolerations=[Toleration("dedicated", "Equal", "gpu")])
    assert reasons(tolerant)["east"] is Reason.SELECTED


def test_no_execute_moves_what_runs_and_no_schedule_does_not() -> None:
    for effect, expected in (("NoSchedule", Reason.KEPT), ("NoExecute", Reason.TAINTED)):
        tainted = replace(EAST, taints=(Taint("k", "v", effect),))
        assert reasons(Snapshot(BOTH, 2, [tainted], current=frozenset({"K-east"})))["east"] is expected


def test_a_missing_api_rules_a_target_out() -> None:
    assert reasons(Snapshot(BOTH, 2, [replace(EAST, missing_apis=("deployments.apps",))]))["east"] is Reason.API_INCOMPATIBLE


def test_the_summary_names_what_was_chosen_and_why_the_rest_was_not() -> None:
    text = schedule(Snapshot(BOTH, 2, [EAST, replace(WEST, ready=False, not_ready_reason="no heartbeat")])).summary()
    assert text == "chosen: east; west: not ready: no heartbeat"


targets = st.lists(
    st.builds(
        Target,
        key=st.sampled_from(["a", "b", "c", "d", "e"]),
        name=st.sampled_from(["t1", "t2", "t3", "t4", "t5"]),
        labels=st.dictionaries(st.just("region"), st.sampled_from(["east", "west", "north"])),
        ready=st.booleans(),
        not_ready_for_s=st.floats(0, 600),
        unschedulable=st.booleans(),
        evicting=st.booleans(),
    ),
    max_size=6,
    unique_by=lambda t: t.key,
)


@given(targets, st.integers(1, 5), st.sets(st.sampled_from("abcde")), st.integers())
def test_the_order_of_the_input_never_matters(found: list[Target], number: int, current: set[str], seed: int) -> None:
    shuffled = list(found)
    random.Random(seed).shuffle(shuffled)
    first = schedule(Snapshot(BOTH, number, found, current=frozenset(current), eviction_grace_s=300.0))
    assert first == schedule(Snapshot(BOTH, number, shuffled, current=frozenset(current), eviction_grace_s=300.0))


@given(targets, st.integers(1, 5))
def test_a_decision_is_stable_once_taken(found: list[Target], number: int) -> None:
    first = schedule(Snapshot(BOTH, number, found, eviction_grace_s=300.0))
    chosen = frozenset(t.key for t in first.chosen)
    again = schedule(Snapshot(BOTH, number, found, current=chosen, eviction_grace_s=300.0))
    assert frozenset(t.key for t in again.chosen) == chosen
    assert len(first.chosen) <= number
    assert len(first.verdicts) == len(found)
