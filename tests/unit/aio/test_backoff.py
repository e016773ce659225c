"""Back-off: growth, limit, jitter from a seed, reset."""

import random

from kcp.aio.backoff import Backoff


def test_delays_grow_to_the_limit_and_reset() -> None:
    backoff = Backoff(initial_s=0.5, max_s=3.0, jitter=0.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.has_failed


def test_reset_starts_afresh() -> None:
    backoff = Backoff(initial_s=0.5, max_s=3.0, jitter=0.0)
    backoff.next_s()
    backoff.reset()
    assert not backoff.has_failed
    assert backoff.next_s() == 0.5


def test_jitter_is_bounded_and_the_same_for_a_seed() -> None:
    one, two = (Backoff(initial_s=1.0, max_s=1.0, jitter=0.5, rng=random.Random(7)) for _ in range(2))
    delays = [one.next_s() for _ in range(50)]
    assert delays == [two.next_s() for _ in range(50)]
    assert all(1.0 <= delay <= 1.5 for delay in delays)
    assert len(set(delays)) > 1
