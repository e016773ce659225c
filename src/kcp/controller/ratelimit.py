"""How long a failing key waits before it is tried again.

Before: `workqueue.add_rate_limited`. Source: k8s.io/client-go/util/workqueue/default_rate_limiters.go.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol

from kcp.aio.clock import Clock


class RateLimiter(Protocol):
    def when_s(self, key: Hashable) -> float:
        """Seconds until `key` may be tried again; counts as one more failure of it."""

    def forget(self, key: Hashable) -> None:
        """The key works (or is given up): start afresh."""

    def failures(self, key: Hashable) -> int:
        """Failures since the last `forget`."""

    def reset(self) -> None:
        """The common cause of the failures has gone: start afresh for every key."""


@dataclass(slots=True)
class ExponentialPerKey:
    """Each further failure of a key doubles its delay, from `initial_s` up to `max_s`."""

    initial_s: float = 0.005
    max_s: float = 1000.0
    _failures: dict[Hashable, int] = field(default_factory=dict)

    def when_s(self, key: Hashable) -> float:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        return min(self.initial_s * 2.0 ** min(count, 64), self.max_s)

    def forget(self, key: Hashable) -> None:
        self._failures.pop(key, None)

    def failures(self, key: Hashable) -> int:
        return self._failures.get(key, 0)

    def reset(self) -> None:
        self._failures.clear()


class TokenBucket:
    """All keys together: `burst` tries at once, then `per_s` a second."""

    def __init__(self, clock: Clock, *, per_s: float = 10.0, burst: int = 100) -> None:
        self._clock = clock
        self._per_s = per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._at = clock.monotonic()

    def when_s(self, key: Hashable) -> float:  # noqa: ARG002 - the same for all keys
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._per_s)

    def forget(self, key: Hashable) -> None:
        """A bucket knows no keys."""

    def failures(self, key: Hashable) -> int:  # noqa: ARG002
        return 0

    def reset(self) -> None:
        self._tokens, self._at = self._burst, self._clock.monotonic()


class MaxOf:
    """The longest delay that any of several limiters asks for."""

    def __init__(self, *limiters: RateLimiter) -> None:
        self._limiters = limiters

    def when_s(self, key: Hashable) -> float:
        return max(limiter.when_s(key) for limiter in self._limiters)

    def forget(self, key: Hashable) -> None:
        for limiter in self._limiters:
            limiter.forget(key)

    def failures(self, key: Hashable) -> int:
        return max(limiter.failures(key) for limiter in self._limiters)

    def reset(self) -> None:
        for limiter in self._limiters:
            limiter.reset()


def default_rate_limiter(clock: Clock, *, max_s: float = 1000.0) -> RateLimiter:
    """5 ms doubling to `max_s` for each key, and 10 tries a second (100 at once) for all."""
    return MaxOf(ExponentialPerKey(max_s=max_s), TokenBucket(clock))
