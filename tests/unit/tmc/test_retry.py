"""How soon what failed is tried again."""

from __future__ import annotations

from kcp.aio.clock import VirtualClock
from kcp.tmc.retry import AT_ONCE_S, RetryPolicy


def test_once_at_once_then_as_the_policy_says_with_a_little_chance() -> None:
    limiter = RetryPolicy().limiter(VirtualClock(), seed="east")
    delays = [limiter.when_s("a") for _ in range(9)]
    assert delays[0] == AT_ONCE_S
    for delay, least in zip(delays[1:], (1, 2, 4, 8, 16, 30, 30, 30), strict=True):
        assert least <= delay <= least * 1.2
    assert limiter.failures("a") == 9
    limiter.forget("a")
    assert limiter.when_s("a") == AT_ONCE_S


def test_two_that_failed_together_do_not_come_back_together() -> None:
    delays = []
    for seed in ("east", "west"):
        limiter = RetryPolicy().limiter(VirtualClock(), seed=seed)
        delays.append([limiter.when_s("a") for _ in range(5)])
    assert delays[0][1:] != delays[1][1:]
