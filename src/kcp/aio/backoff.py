"""Exponential back-off with seeded jitter: how long to wait before the next try. Sleeps nowhere itself.

Before: informers, leader election, whoever keeps a connection up.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays that grow by `factor` from `initial_s` to `max_s`; each is drawn between itself and `1 + jitter` times itself.

    >>> backoff = Backoff(initial_s=1, max_s=5, jitter=0)
    >>> [backoff.next_s() for _ in range(4)]
    [1.0, 2.0, 4.0, 5.0]
    """

    initial_s: float = 0.2
    max_s: float = 30.0
    factor: float = 2.0
    jitter: float = 0.5
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    """Give each client its own seed, so that many do not come back in the same moment."""
    _failures: int = 0

    @property
    def has_failed(self) -> bool:
        """Whether there was a failure since the last `reset`."""
        return self._failures > 0

    def next_s(self) -> float:
        """Seconds to wait after one more failure."""
        delay_s = self.initial_s
        for _ in range(self._failures):
            delay_s = min(delay_s * self.factor, self.max_s)
            if delay_s >= self.max_s:
                break
        self._failures += 1
        return min(delay_s, self.max_s) * (1.0 + self.jitter * self.rng.random())

    def reset(self) -> None:
        """It worked: start from `initial_s` again."""
        self._failures = 0
