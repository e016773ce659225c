"""`Meter`: counts and durations as plain numbers, made into Prometheus' text when somebody scrapes.

    Family   what one metric is: its name, help, labels, buckets; a constant of the room that measures it
    Meter    the numbers; `count`, `observe`, and `show` for what is read at each scrape

Counting costs about a microsecond. Labels that name what users make, such as
workspaces, are bounded: the first `MOST_NAMED` series of a family keep these names, the rest are counted together as `other`.
Families with a `Fold` are bounded as a whole.
Before: every room that measures; `apiserver.metrics` and the syncer's endpoint collect. After: `folding`, `exposition`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Generic, TypeAlias, TypeVar

from kcp.aio.exposition import Labels as Labels
from kcp.aio.exposition import Sheet
from kcp.aio.folding import NUMBERS, Fold, Folding, Sums, largest, places

K = TypeVar("K", bound=Hashable)

MOST_NAMED = 20
"""Series of one family that name a workspace, a namespace or the like."""

OTHER = "other"
"""All others."""

Reading: TypeAlias = Callable[[], Iterable[tuple[Labels, float]]]
"""Label values in the family's order, and the number; numbers with the same labels are added up."""


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


DEFAULT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Source: github.com/prometheus/client_golang prometheus/histogram.go DefBuckets."""


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric. Counters are named with their `_total`."""

    kind: Kind
    name: str
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = DEFAULT_BUCKETS_S
    many: Labels = ()
    """Labels whose values users make: bounded."""
    alias: str = ""
    """Of a gauge whose name breaks Prometheus' rules for names: the name that does not. Both are shown, the former without a type."""
    fold: Fold | None = None
    """How many series it has at most."""


def counter(name: str, text: str, labels: Labels = (), *, many: Labels = (), fold: Fold | None = None) -> Family:
    return Family(Kind.COUNTER, name, text, labels, many=many, fold=fold)


def gauge(name: str, text: str, labels: Labels = (), *, many: Labels = (), alias: str = "", fold: Fold | None = None) -> Family:
    return Family(Kind.GAUGE, name, text, labels, many=many, alias=alias, fold=fold)


def histogram(
    name: str, text: str, labels: Labels = (), *, buckets: tuple[float, ...] = DEFAULT_BUCKETS_S, many: Labels = (),
    fold: Fold | None = None,
) -> Family:  # fmt: skip
    return Family(Kind.HISTOGRAM, name, text, labels, buckets, many, fold=fold)


class Histogram:
    """Observed values by upper bound, not yet cumulated."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = DEFAULT_BUCKETS_S) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def merge(self, other: Histogram) -> None:
        """Add what the other has, of the same bounds."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def of(self, bounds: tuple[float, ...]) -> Histogram:
        """The same values in fewer buckets, whose bounds are among these."""
        if bounds == self.bounds:
            return self
        made = Histogram(bounds)
        made.sum = self.sum
        for bound, count in zip((*self.bounds, inf), self.counts, strict=True):
            made.counts[bisect_left(bounds, bound)] += count
        return made


def _sum(one: Histogram, other: Histogram, sign: int) -> Histogram:
    made = Histogram(one.bounds)
    made.counts = [a + sign * b for a, b in zip(one.counts, other.counts, strict=True)]
    made.sum = one.sum + sign * other.sum
    return made


_HISTOGRAMS: Sums[Histogram] = Sums(
    lambda held: sum(held.counts), lambda one, other: _sum(one, other, 1), lambda one, other: _sum(one, other, -1)
)

L = TypeVar("L", bound=Hashable)


def merged(found: Iterable[tuple[L, Histogram]], bounds: tuple[float, ...]) -> dict[L, Histogram]:
    """One histogram for each label, of all that bear it."""
    totals: dict[L, Histogram] = {}
    for labels, held in found:
        total = totals.get(labels)
        if total is None:
            total = totals[labels] = Histogram(bounds)
        total.merge(held)
    return totals


Histograms: TypeAlias = Callable[[], Iterable[tuple[Labels, Histogram]]]


@dataclass(slots=True)
class _Named:
    """Which series of a bounded family keep their names."""

    places: tuple[int, ...]
    held: set[Labels] = field(default_factory=set)

    def fold(self, labels: Labels) -> Labels:
        if labels in self.held or len(self.held) < MOST_NAMED:
            self.held.add(labels)
            return labels
        return tuple(OTHER if place in self.places else label for place, label in enumerate(labels))

    def keep(self, present: Iterable[Labels]) -> None:
        """Names of what is gone are free again."""
        self.held.intersection_update(present)


@dataclass(slots=True)
class _Series:
    """What is held of one family."""

    family: Family
    named: _Named
    sheets: tuple[Sheet, ...]
    """The family, under each of its names."""
    numbers: dict[Labels, float] = field(default_factory=dict)
    durations: dict[Labels, Histogram] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    histograms: list[Histograms] = field(default_factory=list)
    _numbers: Folding[float] | None = field(init=False)
    _histograms: Folding[Histogram] | None = field(init=False)

    def __post_init__(self) -> None:
        fold = self.family.fold
        at = places(fold, self.family.labels) if fold is not None else {}
        self._numbers = Folding(fold, at, NUMBERS) if fold is not None else None
        self._histograms = Folding(fold, at, _HISTOGRAMS) if fold is not None else None

    def key(self, labels: Labels) -> Labels:
        if len(labels) != len(self.family.labels):
            raise ValueError(f"{self.family.name} has labels {self.family.labels}, not {labels}")
        return self.named.fold(labels) if self.named.places else labels

    def read(self) -> dict[Labels, float]:
        found = [entry for reading in self.readings for entry in reading()]
        if self.named.places and found:
            self.named.keep([labels for labels, _ in found])
        totals = dict(self.numbers)
        for labels, value in found:
            key = self.key(labels)
            totals[key] = totals.get(key, 0.0) + value
        return self._folded(totals)

    def _folded(self, totals: dict[Labels, float]) -> dict[Labels, float]:
        numbers = self._numbers
        if numbers is None:
            return totals
        return numbers.shown(totals) if self.family.kind is Kind.COUNTER else largest(totals, numbers.fold, numbers.at)

    def read_histograms(self) -> Iterable[tuple[Labels, Histogram]]:
        bounds = self.family.buckets
        found = [*self.durations.items(), *(entry for read in self.histograms for entry in read())]
        coarse = [(labels, held.of(bounds)) for labels, held in found]
        return self._histograms.shown(dict(coarse)).items() if self._histograms is not None else coarse

    def text(self) -> Iterator[str]:
        """Nothing of a family without numbers."""
        if self.family.kind is not Kind.HISTOGRAM:
            if values := self.read():
                yield from (sheet.numbers(values) for sheet in self.sheets)
        elif found := self.read_histograms():
            yield from (sheet.histograms((labels, held.bounds, held.counts, held.sum) for labels, held in found) for sheet in self.sheets)


class Tally(Generic[K]):
    """How many things have which labels, kept in step with each change instead of counted anew at each scrape."""

    def __init__(self) -> None:
        self._held: dict[K, tuple[Labels, ...]] = {}
        self._counts: dict[Labels, int] = {}

    def put(self, key: K, *now: Labels) -> None:
        """This thing has these labels now; none: it is gone."""
        for labels in self._held.pop(key, ()):
            if self._counts[labels] == 1:
                del self._counts[labels]
            else:
                self._counts[labels] -= 1
        for labels in now:
            self._counts[labels] = self._counts.get(labels, 0) + 1
        if now:
            self._held[key] = now

    def read(self) -> list[tuple[Labels, float]]:
        """For `Meter.show`."""
        return [(labels, float(count)) for labels, count in self._counts.items()]


class Meter:
    """All numbers of one process, or of one part of it."""

    def __init__(self, *, is_on: bool = True) -> None:
        """Args: is_on: False for one that nobody asks: it keeps nothing, and those who measure need not know."""
        self.is_on = is_on
        self._series: dict[str, _Series] = {}

    def count(self, family: Family, *labels: str, by: float = 1.0) -> None:
        """Labels in the family's order."""
        if not self.is_on:
            return
        series = self._of(family)
        held = series.numbers.get(labels)
        key = labels if held is not None else series.key(labels)
        series.numbers[key] = (series.numbers.get(key, 0.0) if held is None else held) + by

    def observe(self, family: Family, value: float, *labels: str) -> None:
        """One value of a histogram, in the unit that its name ends with."""
        if not self.is_on:
            return
        series = self._of(family)
        held = series.durations.get(labels)
        if held is None:
            held = series.durations.setdefault(series.key(labels), Histogram(family.buckets))
        held.observe(value)

    def show(self, family: Family, read: Reading) -> Callable[[], None]:
        """Ask `read` at every scrape: for gauges, and for counts that somebody keeps anyway. Gives what ends it."""
        readings = self._of(family).readings
        readings.append(read)
        return lambda: readings.remove(read)

    def show_histograms(self, family: Family, read: Histograms) -> Callable[[], None]:
        """The same for histograms that somebody keeps."""
        histograms = self._of(family).histograms
        histograms.append(read)
        return lambda: histograms.remove(read)

    def forget(self, label: str, value: str) -> None:
        """Drop what was counted with this value of this label: a cluster that is gone for good."""
        for series in self._series.values():
            if label in series.family.labels:
                place = series.family.labels.index(label)
                for held in (series.numbers, series.durations):
                    for labels in [labels for labels in held if labels[place] == value]:
                        del held[labels]

    def counted(self, family: Family) -> dict[Labels, float]:
        """What `count` made of it so far, by labels: for shares of it."""
        series = self._series.get(family.name)
        return dict(series.numbers) if series is not None else {}

    def text(self) -> Iterator[str]:
        """For one scrape, family by family; one without numbers is left out."""
        for series in list(self._series.values()) if self.is_on else ():
            yield from series.text()

    def _of(self, family: Family) -> _Series:
        series = self._series.get(family.name)
        if series is None:
            places = tuple(place for place, label in enumerate(family.labels) if label in family.many)
            series = self._series[family.name] = _Series(family, _Named(places), _sheets(family))
        return series


def _sheets(family: Family) -> tuple[Sheet, ...]:
    if family.alias:
        copy = Sheet(family.name, "untyped", f"{family.help} The same as {family.alias}.", family.labels)
        return copy, Sheet(family.alias, family.kind, family.help, family.labels)
    return (Sheet(family.name, family.kind, family.help, family.labels),)
