"""How well something does: four states, what one check found, and what many add up to. Pure.

Before: `monitor`, `providers`. Source for the vocabulary and the rules of `overall`: the TMC reference §7.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    HEALTHY = "Healthy"
    DEGRADED = "Degraded"
    UNHEALTHY = "Unhealthy"
    UNKNOWN = "Unknown"

    @property
    def value_of_metric(self) -> float:
        return _VALUES[self]


_VALUES = {Status.HEALTHY: 1.0, Status.DEGRADED: 0.5, Status.UNHEALTHY: 0.0, Status.UNKNOWN: -1.0}
_WORST_FIRST = (Status.UNHEALTHY, Status.DEGRADED, Status.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Component:
    """Who is checked."""

    type: str
    id: str
    cluster: str = ""
    """Name of the physical cluster that it is about, "" if it is about none."""


@dataclass(frozen=True, slots=True)
class Check:
    """What one look at a component found."""

    component: Component
    status: Status
    message: str = ""
    """What is wrong and what to do; "" while nothing is."""
    details: Mapping[str, str] = field(default_factory=dict)
    """What was measured."""
    duration_s: float = 0.0


def overall(checks: Sequence[Check]) -> Status:
    """Any Unhealthy makes the whole Unhealthy, else any Degraded, else any Unknown; of nothing, nothing is known.

    >>> overall([])
    <Status.UNKNOWN: 'Unknown'>
    """
    found = {check.status for check in checks}
    return next((status for status in _WORST_FIRST if status in found), Status.HEALTHY if checks else Status.UNKNOWN)


def counts(checks: Iterable[Check]) -> dict[str, int]:
    """How many of each, under the names of the reference."""
    found = Counter(check.status for check in checks)
    return {"totalComponents": found.total(), **{f"{status.lower()}Components": found[status] for status in Status}}
