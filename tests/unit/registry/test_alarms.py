"""Deadlines under virtual time."""

from __future__ import annotations

from kcp.aio.clock import VirtualClock
from kcp.registry.alarms import Alarms


async def test_alarms_ring_at_their_time_whatever_the_order_they_were_set_in() -> None:
    clock = VirtualClock()
    alarms, rung = Alarms(clock), list[tuple[float, str]]()
    for name, at in (("late", 30.0), ("early", 10.0), ("middle", 20.0)):
        alarms.set(at, lambda name=name: rung.append((clock.monotonic(), name)))  # type: ignore[misc]
    await clock.advance(60)
    assert rung == [(10.0, "early"), (20.0, "middle"), (30.0, "late")]
    assert alarms.statistics() == {"alarms": 0}


async def test_a_cancelled_alarm_is_silent_and_the_last_one_takes_the_task_along() -> None:
    clock = VirtualClock()
    alarms, rung = Alarms(clock), list[str]()
    first, second = alarms.set(10, lambda: rung.append("first")), alarms.set(20, lambda: rung.append("second"))
    first.cancel()
    alarms.tidy()
    await clock.advance(15)
    assert rung == []
    second.cancel()
    alarms.tidy()
    assert alarms.statistics() == {"alarms": 0}
    await clock.advance(15)
    assert rung == []


async def test_many_cancelled_alarms_do_not_pile_up_behind_a_live_one() -> None:
    alarms = Alarms(VirtualClock())
    alive = alarms.set(1, lambda: None)
    for _ in range(5_000):
        alarms.set(1_000, lambda: None).cancel()
        alarms.tidy()
    assert alarms.statistics()["alarms"] < 2_000
    alive.cancel()
    alarms.tidy()
