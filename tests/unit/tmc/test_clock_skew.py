"""How far a syncer's clock is off is read from its heartbeats; a wrong one is told once, not with every heartbeat."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kcp.aio.clock import rfc3339
from kcp.apimachinery import conditions
from kcp.tmc.health.clocks import Sight, tell_clock

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def seen(*offsets_s: float) -> float | None:
    """What is known after heartbeats with clocks that are off by so much, one every 20 s."""
    sight = Sight("uid", "", NOW)
    for beat, off_s in enumerate(offsets_s, 1):
        now = NOW + timedelta(seconds=20 * beat)
        sight = sight.followed_by(rfc3339(now + timedelta(seconds=off_s)), now)
    return sight.skew_s


@pytest.mark.parametrize(
    ("offsets_s", "expected"),
    [
        ((), None),
        ((600.0,), 600.0),
        ((0.0,), 0.0),
        ((-600.0,), None),  # it may have been on its way for so long
        ((-600.0, -600.0), -600.0),
        ((0.0, -30.0), 0.0),
        ((0.0, -30.0, 0.0), 0.0),
        ((600.0, 600.0, 0.0, 0.0), 0.0),
    ],
)
def test_a_heartbeat_that_came_late_accuses_no_clock(offsets_s: tuple[float, ...], expected: float | None) -> None:
    assert seen(*offsets_s) == expected


def test_what_is_no_time_says_nothing() -> None:
    assert Sight("uid", "", NOW).followed_by("yesterday", NOW).skew_s is None


def told(obj: dict[str, Any], skew_s: float | None) -> tuple[object, str, str]:
    tell_clock(obj, skew_s, 10.0, NOW)
    condition = conditions.get(obj, "ClockSynchronized") or {}
    return obj.get("status", {}).get("clockSkewSeconds"), str(condition.get("status", "")), str(condition.get("reason", ""))


def test_a_wrong_clock_is_told_with_its_seconds_and_taken_back() -> None:
    obj: dict[str, Any] = {}
    assert told(obj, None) == (None, "", "")
    assert told(obj, 9.0) == (None, "True", "")
    assert told(obj, 600.4) == (600, "False", "ClockAhead")
    assert "600 s ahead of" in (conditions.get(obj, "ClockSynchronized") or {})["message"]
    assert told(obj, -600.0) == (-600, "False", "ClockBehind")
    assert told(obj, None) == (-600, "False", "ClockBehind")
    assert told(obj, -1.0) == (None, "True", "")


def test_a_clock_that_wanders_about_the_limit_is_not_told_anew() -> None:
    obj: dict[str, Any] = {}
    assert told(obj, 11.0)[0] == 11
    assert [told(obj, skew_s)[0] for skew_s in (9.0, 13.0, 8.0)] == [11, 11, 11]
    assert told(obj, 17.0)[0] == 17
