"""What users and meddlers have done so far, and hence what must be so: the replay's own account, kept apart from the system's.

Before: `player`, which writes it, `invariants`, which compares the fleet with it. After: nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """Deployments by name; all are in the namespace `default` of the one workspace."""

    wanted: dict[str, int] = field(default_factory=dict)
    """Replicas as the last acknowledged write said."""
    highest: dict[str, int] = field(default_factory=dict)
    """The most that was ever wanted."""
    pending: Counter[str] = field(default_factory=Counter)
    """Writes to these that were sent and not answered yet: they may be in effect or not."""
    meddled: dict[tuple[str, str], float] = field(default_factory=dict)
    """(cluster, name) → when somebody in that cluster changed or removed the copy."""
    cordoned: set[str] = field(default_factory=set)
    exclusive: dict[str, str] = field(default_factory=dict)
    """Deployments that may run in one cluster at a time → how strictly."""
    unwatched: set[str] = field(default_factory=set)
    """Clusters whose syncer was dead at some time: nobody was there who could have stopped anything."""
    faults: dict[str, str] = field(default_factory=dict)
    """Target → the fault it has now."""
    quiet_since_s: float = 0.0
    """When the last fault was mended, or the last act was done."""

    def want(self, name: str, replicas: int) -> None:
        """A write was acknowledged."""
        self.wanted[name] = replicas
        self.highest[name] = max(self.highest.get(name, 0), replicas)

    def stir(self, now_s: float) -> None:
        self.quiet_since_s = now_s

    def is_calm(self, now_s: float, patience_s: float) -> bool:
        """Whether everything has had time to become as it should be."""
        return not self.faults and not self.pending and not self.cordoned and now_s - self.quiet_since_s >= patience_s
