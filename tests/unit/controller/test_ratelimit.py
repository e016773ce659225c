"""Delays of failing keys: exponential for each, a bucket for all, the longest of both."""

from kcp.aio.clock import VirtualClock
from kcp.controller.ratelimit import ExponentialPerKey, MaxOf, TokenBucket, default_rate_limiter


def test_exponential_delay_doubles_from_5_ms_to_1000_s() -> None:
    limiter = ExponentialPerKey()
    delays = [limiter.when_s("a") for _ in range(20)]
    assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
    assert delays[-1] == 1000.0
    assert limiter.when_s("b") == 0.005


def test_exponential_delay_does_not_overflow() -> None:
    limiter = ExponentialPerKey()
    for _ in range(5000):
        last = limiter.when_s("a")
    assert last == 1000.0


async def test_bucket_gives_a_burst_and_then_a_steady_rate() -> None:
    clock = VirtualClock()
    bucket = TokenBucket(clock, per_s=10.0, burst=2)
    assert [bucket.when_s(key) for key in "abcd"] == [0.0, 0.0, 0.1, 0.2]
    await clock.advance(1.0)
    assert bucket.when_s("e") == 0.0


def test_longest_delay_counts_and_failures_are_those_of_the_key() -> None:
    clock = VirtualClock()
    limiter = MaxOf(ExponentialPerKey(initial_s=1.0), TokenBucket(clock, per_s=1.0, burst=1))
    assert limiter.when_s("a") == 1.0
    assert limiter.when_s("b") == 1.0
    assert limiter.when_s("c") == 2.0
    assert limiter.failures("a") == 1
    limiter.forget("a")
    assert limiter.failures("a") == 0


def test_default_is_client_gos() -> None:
    assert default_rate_limiter(VirtualClock()).when_s("a") == 0.005
