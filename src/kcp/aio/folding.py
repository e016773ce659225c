"""Few series of many labels: those that matter keep their names, the rest are counted together.

    Fold      how many of a family keep their names, and what the labels of the rest say
    Folding   counts and histograms: who has a name keeps it, and no series ever falls
    largest   gauges: whichever are largest at this scrape

A server has some three hundred kinds of requests and users bring more with each CRD: a histogram for each would be most of a scrape.
Before: `metrics`, at each scrape. After: nothing.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from kcp.aio.exposition import Labels

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Fold:
    """Bounds a family."""

    most: int
    """Series with names of their own."""
    rest: Mapping[str, str]
    """Labels that say something else in the series of the rest, such as `other`."""
    often: int = 0
    """Counts from which on one may have a name of its own."""


@dataclass(frozen=True, slots=True)
class Sums(Generic[V]):
    """What can be done with the values of a family."""

    size: Callable[[V], float]
    plus: Callable[[V, V], V]
    minus: Callable[[V, V], V]


NUMBERS: Sums[float] = Sums(float, operator.add, operator.sub)
Places: TypeAlias = Mapping[int, str]


def places(fold: Fold, labels: Labels) -> Places:
    """The places of labels that are replaced, and by what."""
    return {labels.index(label): value for label, value in fold.rest.items()}


def _renamed(labels: Labels, at: Places) -> Labels:
    return tuple(at.get(place, label) for place, label in enumerate(labels))


@dataclass(slots=True)
class Folding(Generic[V]):
    """Which series of one family have names; what others saw before they got theirs stays with the rest."""

    fold: Fold
    at: Places
    sums: Sums[V]
    _own: dict[Labels, V | None] = field(default_factory=dict)
    """With what the rest has of it; None: nothing."""
    _together: set[Labels] = field(default_factory=set)
    """Shown with the rest so far."""

    def shown(self, values: Mapping[Labels, V]) -> dict[Labels, V]:
        """One scrape."""
        self._keep(values)
        self._name(values)
        plus, minus, found = self.sums.plus, self.sums.minus, dict[Labels, V]()
        for labels, value in values.items():
            if labels in self._own:
                before = self._own[labels]
                found[labels] = value if before is None else minus(value, before)
                if before is None:
                    continue
                value = before
            self._together.add(labels)
            key = _renamed(labels, self.at)
            found[key] = plus(found[key], value) if key in found else value
        return found

    def _keep(self, values: Mapping[Labels, V]) -> None:
        """Who is gone gives its name free; who began anew, as after a restart of its part, has nothing with the rest any more."""
        self._together.intersection_update(values)
        for labels, before in list(self._own.items()):
            if labels not in values:
                del self._own[labels]
            elif before is not None and self.sums.size(values[labels]) < self.sums.size(before):
                self._own[labels] = None

    def _name(self, values: Mapping[Labels, V]) -> None:
        """Names for the largest of those that are large enough, as long as there are any."""
        room = self.fold.most - len(self._own)
        if room <= 0:
            return
        size, often = self.sums.size, self.fold.often
        able = [(-size(value), labels) for labels, value in values.items() if labels not in self._own and size(value) >= often]
        for _, labels in sorted(entry for entry in able if _renamed(entry[1], self.at) != entry[1])[:room]:
            value = values[labels]
            self._own[labels] = self.sums.plus(value, self.sums.minus(value, value)) if labels in self._together else None


def largest(values: Mapping[Labels, float], fold: Fold, at: Places) -> dict[Labels, float]:
    """
    >>> largest({("a",): 1.0, ("b",): 5.0, ("c",): 2.0}, Fold(1, {"name": "other"}), {0: "other"})
    {('b',): 5.0, ('other',): 3.0}
    """
    if len(values) <= fold.most:
        return dict(values)
    ranked = sorted(values.items(), key=lambda entry: (-entry[1], entry[0]))
    found = dict(ranked[: fold.most])
    for labels, value in ranked[fold.most :]:
        key = _renamed(labels, at)
        found[key] = found.get(key, 0.0) + value
    return found
