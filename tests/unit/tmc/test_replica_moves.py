"""Replicas that move among clusters that stay: the new ones are ready before the old ones go, or all stays as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from kcp.aio.clock import parse_rfc3339, rfc3339
from kcp.apimachinery import meta
from kcp.tmc.model.names import (
    DELETION_ANNOTATION,
    HANDOVER_SECONDS_ANNOTATION,
    SHARES_ANNOTATION,
    SPEC_DIFF_ANNOTATION,
    STATE_LABEL,
    STATUS_ANNOTATION,
)
from kcp.tmc.model.shifts import SHIFT_ANNOTATION, Shift, Stage
from kcp.tmc.placement.policy import Division, Movement, Policy, Preference, RebalanceMode
from kcp.tmc.placement.rebalancing import Levelled, Rebalancing
from kcp.tmc.placement.resources import decide
from kcp.tmc.placement.schedule import Decision
from kcp.tmc.placement.shares import ClusterShare, Shares, share_of

NOW = parse_rfc3339("2026-01-01T00:00:00Z")
UNTIL = NOW + timedelta(minutes=10)
SHIFT = Shift({"a": 4, "b": 0}, {"a": 1, "b": 3}, 4, Stage.MOVING, NOW, UNTIL)
SHARES = Shares(Division.DIVIDED, Preference.CAPACITY, {"a": ClusterShare(), "b": ClusterShare()})


def deployment(*, replicas: int = 4, shift: Shift | None = SHIFT, ready: dict[str, int] | None = None, **shares: int) -> dict[str, Any]:
    annotations = {
        SPEC_DIFF_ANNOTATION + key: json.dumps([{"op": "replace", "path": "/replicas", "value": n}]) for key, n in shares.items()
    }
    annotations |= {STATUS_ANNOTATION + key: json.dumps({"readyReplicas": n}) for key, n in (ready or {}).items()}
    if shift is not None:
        annotations[SHIFT_ANNOTATION] = shift.to_json()
    labels = {STATE_LABEL + key: "Sync" for key in shares}
    return {"metadata": {"name": "web", "namespace": "d", "labels": labels, "annotations": annotations}, "spec": {"replicas": replicas}}


def placed(
    obj: dict[str, Any], *keys: str, at: datetime = NOW, shares: Shares | None = SHARES, hand_over: str = ""
) -> tuple[dict[str, int | None], Shift | None]:
    annotations = {SHARES_ANNOTATION: shares.to_json()} if shares is not None else {}
    annotations |= {HANDOVER_SECONDS_ANNOTATION: hand_over} if hand_over else {}
    namespace = {"metadata": {"name": "d", "labels": {STATE_LABEL + key: "Sync" for key in keys or "ab"}, "annotations": annotations}}
    wanted = decide(obj, namespace, divided=True, now=rfc3339(at))
    return {key: share_of(wanted, key) for key in keys or "ab"}, Shift.of(wanted)


def test_who_gets_more_has_it_first() -> None:
    assert placed(deployment(a=4, b=0)) == ({"a": 4, "b": 3}, SHIFT)
    assert placed(deployment(a=4, b=3, ready={"a": 4, "b": 2})) == ({"a": 4, "b": 3}, SHIFT)


def test_who_gives_gives_once_the_others_are_ready_and_so_it_stays() -> None:
    done = replace(SHIFT, stage=Stage.DONE)
    assert placed(deployment(a=4, b=3, ready={"a": 4, "b": 3})) == ({"a": 1, "b": 3}, done)
    assert placed(deployment(a=1, b=3, shift=done, ready={"a": 1, "b": 0})) == ({"a": 1, "b": 3}, done)


def test_who_is_not_ready_in_time_gives_back() -> None:
    given_up = replace(SHIFT, stage=Stage.GIVEN_UP, since=UNTIL)
    assert placed(deployment(a=4, b=3, ready={"a": 4, "b": 2}), at=UNTIL) == ({"a": 4, "b": 0}, given_up)


def test_a_cluster_that_joins_is_ready_before_the_others_give_theirs() -> None:
    joined = deployment(shift=None, a=4)
    found, shift = placed(joined, shares=None)
    assert (found, shift and shift.after, shift and shift.stage) == ({"a": 4, "b": 2}, {"a": 2, "b": 2}, Stage.MOVING)
    waiting = deployment(shift=shift, a=4, b=2, ready={"a": 4, "b": 1})
    assert placed(waiting, shares=None) == (found, shift)
    ready = deployment(shift=shift, a=4, b=2, ready={"a": 4, "b": 2})
    assert placed(ready, shares=None)[0] == {"a": 2, "b": 2}


def test_a_cluster_that_is_wanted_again_while_it_removes_its_copy_is_ready_anew_before_the_others_give_theirs() -> None:
    leaving = deployment(shift=None, a=4, b=2, ready={"a": 4, "b": 2})
    meta.set_annotation(leaving, DELETION_ANNOTATION + "b", rfc3339(NOW))
    namespace = {"metadata": {"name": "d", "labels": {STATE_LABEL + key: "Sync" for key in "ab"}}}
    back = decide(leaving, namespace, divided=True, now=rfc3339(NOW))
    assert DELETION_ANNOTATION + "b" not in meta.annotations(back)
    assert {key: share_of(back, key) for key in "ab"} == {"a": 4, "b": 2}
    again = decide(back, namespace, divided=True, now=rfc3339(NOW))
    assert {key: share_of(again, key) for key in "ab"} == {"a": 4, "b": 2}, "what was said of the copy before counted as ready"
    ready = deployment(shift=Shift.of(again), a=4, b=2, ready={"a": 4, "b": 2})
    assert placed(ready, shares=None)[0] == {"a": 2, "b": 2}


def test_what_is_needed_is_done_after_the_time_all_the_same_and_at_once_where_nobody_is_to_wait() -> None:
    _, shift = placed(deployment(shift=None, a=4), shares=None)
    late = deployment(shift=shift, a=4, b=2, ready={"a": 4})
    found, done = placed(late, shares=None, at=UNTIL)
    assert (found, done and done.stage) == ({"a": 2, "b": 2}, Stage.DONE)
    assert placed(deployment(shift=None, a=4), shares=None, hand_over="0") == ({"a": 2, "b": 2}, None)


@pytest.mark.parametrize(
    ("replicas", "expected"), [(6, {"a": 3, "b": 3}), (2, {"a": 1, "b": 1}), (4, {"a": 2, "b": 2})], ids=["more", "fewer", "as many"]
)
def test_scaling_waits_for_nobody(replicas: int, expected: dict[str, int]) -> None:
    assert placed(deployment(replicas=replicas, shift=None, a=2, b=2), shares=None) == (expected, None)


@pytest.mark.parametrize(
    ("obj", "keys", "expected"),
    [
        (deployment(replicas=6, a=4, b=3), "ab", 6),
        (deployment(replicas=8, a=4, b=3), "ab", 8),
        (deployment(a=4, b=3), "abc", 4),
        (deployment(a=4, b=3), "a", 4),
        (deployment(a=2, b=2), "ab", 4),
    ],
    ids=["fewer than are there", "more", "another cluster", "a cluster less", "divided otherwise"],
)
def test_a_move_of_what_is_no_longer_so_is_dropped(obj: dict[str, Any], keys: str, expected: int) -> None:
    found, shift = placed(obj, *keys)
    assert shift is None
    assert sum(number or 0 for number in found.values()) == expected


def test_what_somebody_else_wrote_there_is_not_a_move() -> None:
    obj = deployment(a=2, b=2, shift=None)
    for text in ("nonsense", "[]", '{"from":{"a":1},"to":{"b":1}}', '{"from":{},"to":{},"since":"x"}'):
        meta.set_annotation(obj, SHIFT_ANNOTATION, text)
        assert Shift.of(obj) is None
        assert placed(obj) == ({"a": 2, "b": 2}, None)


def rebalancing(policy: Policy, **status: Any) -> Rebalancing:
    return Rebalancing.of({"metadata": {"annotations": {"tmc.kcp.io/rebalance": "1"}}, "status": status}, policy, NOW)


def test_moves_of_replicas_count_for_the_bound_and_a_request_is_done_when_there_are_no_more() -> None:
    policy = Policy(movement=Movement(moves_per_minute=2))
    first = rebalancing(policy)
    assert first.levels(Decision(), NOW)
    moving = first.after(Decision(), NOW, Levelled(is_looked=True, moves=2, is_settled=False))
    assert (moving.request, len(moving.moved_at)) == ("", 2)
    assert not rebalancing(policy, recentMoves=list(moving.moved_at)).levels(Decision(), NOW)
    assert first.next_look(Decision(), Levelled(is_settled=False)) == 60.0
    assert first.after(Decision(), NOW, Levelled(is_looked=True)).request == "1"


def test_a_policy_looks_once_in_five_minutes_and_a_request_at_once() -> None:
    policy = Policy(movement=Movement(rebalance=RebalanceMode.ALWAYS))
    settled = Levelled(is_looked=True)
    found = rebalancing(policy, rebalanceRequest="1").after(Decision(), NOW, settled)
    assert found.levelled_at == rfc3339(NOW)
    held = {"rebalanceRequest": "1", "replicasLevelledAt": found.levelled_at}
    assert not rebalancing(policy, **held).levels(Decision(), NOW + timedelta(seconds=299))
    assert rebalancing(policy, **held).levels(Decision(), NOW + timedelta(seconds=300))
    assert rebalancing(policy, **(held | {"rebalanceRequest": "0"})).levels(Decision(), NOW)
