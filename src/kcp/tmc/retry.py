"""How often and how soon what failed is tried again: one policy, for the keys of queues and for recoveries.

A first failure is tried again at once, for most are a lost race or a lost packet; then the delays of the policy follow, each a little
longer by chance, so that many who failed together do not come back together. No wait blocks anybody: a queue ends it when its cause is
known to have gone (`hurry`) or the object changes, a recovery when it is cancelled.
Before: the syncer's controllers, recoveries. After: nothing. Source for the defaults: the TMC reference §6.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from dataclasses import dataclass, field

from kcp.aio.clock import Clock
from kcp.controller.ratelimit import MaxOf, RateLimiter, TokenBucket

AT_ONCE_S = 0.005


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    attempts: int = 5
    """Of a recovery, the first included; the keys of a queue are tried until they work, or as often as their user wants."""
    initial_s: float = 1.0
    factor: float = 2.0
    max_s: float = 30.0
    jitter: float = 0.2
    """Each delay is up to so much of itself longer."""

    def delay_s(self, failures: int, rng: random.Random) -> float:
        """Seconds to wait after so many failures in a row.

        >>> policy = RetryPolicy(jitter=0)
        >>> [policy.delay_s(n, random.Random(0)) for n in range(1, 7)]
        [1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
        """
        return min(self.initial_s * self.factor ** min(failures - 1, 64), self.max_s) * (1.0 + self.jitter * rng.random())

    def limiter(self, clock: Clock, seed: str) -> RateLimiter:
        """For the queue of a controller; no more than ten tries a second for all keys, a hundred at once."""
        return MaxOf(KeyDelays(self, random.Random(seed)), TokenBucket(clock))


@dataclass(slots=True)
class KeyDelays:
    """Of the keys of one queue."""

    policy: RetryPolicy
    rng: random.Random
    _failures: dict[Hashable, int] = field(default_factory=dict)

    def when_s(self, key: Hashable) -> float:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        return AT_ONCE_S if count == 1 else self.policy.delay_s(count - 1, self.rng)

    def forget(self, key: Hashable) -> None:
        self._failures.pop(key, None)

    def failures(self, key: Hashable) -> int:
        return self._failures.get(key, 0)

    def reset(self) -> None:
        self._failures.clear()
