"""The invariant `within` bites: fewer replicas than wanted, and more than ever wanted, in copies made by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

from kcp.apimachinery.meta import JSONObject
from kcp.replay.bounds import BoundsWatch
from kcp.replay.ledger import Ledger


def watch(wanted: int, **ledger: Any) -> BoundsWatch:
    account = Ledger(**ledger)
    account.want("web", wanted)
    return BoundsWatch(cast("Any", None), account)


def copy(replicas: int) -> JSONObject:
    return {"metadata": {"name": "web", "namespace": "n"}, "spec": {"replicas": replicas}}


def told(found: BoundsWatch) -> list[str]:
    return [detail for _, detail in found.found]


def test_what_moves_is_there_before_it_goes() -> None:
    seen = watch(4)
    for cluster, replicas in (("east", 2), ("west", 2), ("west", 4), ("east", 0)):
        seen.see(cluster, copy(replicas), is_gone=False)
    seen.see("east", copy(0), is_gone=True)
    assert seen.found == []


def test_fewer_than_wanted_are_too_few_once_there_were_enough() -> None:
    seen = watch(4)
    seen.see("east", copy(2), is_gone=False)
    assert seen.found == []
    seen.see("west", copy(2), is_gone=False)
    seen.see("east", copy(1), is_gone=False)
    assert told(seen) == ["web is asked for 3 times in {'east': 1, 'west': 2}; its user wants 4"]
    seen.see("east", copy(1), is_gone=True)
    assert len(seen.found) == 2


def test_more_than_was_ever_wanted_is_too_many() -> None:
    seen = watch(4)
    seen.ledger.want("web", 2)
    seen.see("east", copy(4), is_gone=False)
    assert seen.found == []
    seen.see("east", copy(5), is_gone=False)
    assert told(seen) == ["east is asked for 5 replicas of web; its user wanted 4 at most"]


def test_who_scales_meddles_or_is_not_answered_yet_changes_what_is_right() -> None:
    seen = watch(4)
    seen.see("east", copy(4), is_gone=False)
    seen.ledger.want("web", 2)
    seen.see("east", copy(2), is_gone=False)
    for excuse in ({"pending": Counter(["web"])}, {"meddled": {("east", "web"): 1.0}}, {"exclusive": {"web": "lease"}}):
        excused = watch(4, **excuse)
        excused.see("east", copy(4), is_gone=False)
        excused.see("east", copy(1), is_gone=False)
        assert excused.found == []
    assert seen.found == []


def test_where_somebody_is_away_for_longer_than_a_hand_over_waits_nothing_is_said() -> None:
    seen = watch(4)
    seen.longest_fault_s = 600.0
    seen.see("east", copy(4), is_gone=False)
    seen.see("east", copy(1), is_gone=False)
    assert seen.found == []
