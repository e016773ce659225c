"""The text that Prometheus reads: families as lines, with what does not change kept from one scrape to the next.

A control plane of a hundred clusters shows 8,000 series each time. The Prometheus library's objects, and text made of them, cost several
times as much, on the loop that serves; the library is asked only for what it measures, the process.
Before: `metrics`, which holds the numbers. After: nothing.
Source: prometheus.io/docs/instrumenting/exposition_formats, text format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isfinite
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `scrape` makes."""

Labels: TypeAlias = tuple[str, ...]
Page: TypeAlias = "Metric | str"
"""One family: the library's, or its text already."""


Found: TypeAlias = tuple[Labels, tuple[float, ...], Sequence[int], float]
"""A histogram: labels, upper bounds, how many values are in each bucket, not cumulated, and their sum."""


@lru_cache(maxsize=64)
def _shown(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*map(_as_go, bounds), "+Inf")


def _as_go(bound: float) -> str:
    """As Go prints it, and so as rules and dashboards that were made for Go programs name it.

    >>> [_as_go(bound) for bound in (0.005, 1.0, 300, 2**20)]
    ['0.005', '1', '300', '1.048576e+06']
    """
    text = f"{bound:g}"
    if float(text) == bound and "e" not in text:
        return text
    digits, _, exponent = f"{bound:.15e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{exponent}"


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A histogram as it was last shown."""

    counts: tuple[int, ...]
    sum: float
    text: str


class Sheet:
    """One family as text. Its lines keep their beginnings, and histograms that saw nothing new all of it."""

    __slots__ = ("_drawn", "_head", "_labels", "_name", "_starts")

    def __init__(self, name: str, kind: str, text: str, labels: Labels = ()) -> None:
        """Args: kind: as after `# TYPE`."""
        self._name, self._labels = name, labels
        self._head = f"# HELP {name} {escaped(text)}\n# TYPE {name} {kind}\n"
        self._starts: dict[Labels, str] = {}
        self._drawn: dict[Labels, _Drawn] = {}

    def numbers(self, values: Mapping[Labels, float]) -> str:
        """The whole family."""
        starts, made = self._starts, [self._head]
        if len(starts) > 2 * len(values):
            starts.clear()  # mostly of what is gone
        for labels, value in values.items():
            start = starts.get(labels)
            if start is None:
                pairs = ",".join(self._pairs(labels))
                start = starts[labels] = f"{self._name}{{{pairs}}}" if pairs else self._name
            made.append(f"{start} {number(value)}\n")
        return "".join(made)

    def histograms(self, found: Iterable[Found]) -> str:
        before, now, made = self._drawn, dict[Labels, _Drawn](), [self._head]
        for labels, bounds, counts, total in found:
            drawn, held = before.get(labels), tuple(counts)
            if drawn is None or drawn.counts != held or drawn.sum != total:
                drawn = _Drawn(held, total, self._histogram(labels, bounds, held, total))
            now[labels] = drawn
            made.append(drawn.text)
        self._drawn = now
        return "".join(made)

    def _histogram(self, labels: Labels, bounds: tuple[float, ...], counts: Sequence[int], total: float) -> str:
        name, pairs, reached, lines = self._name, self._pairs(labels), 0, []
        first = "".join(f"{pair}," for pair in pairs if pair < "le=")
        rest = "".join(f",{pair}" for pair in pairs if pair > "le=")
        for bound, count in zip(_shown(bounds), counts, strict=True):
            reached += count
            lines.append(f'{name}_bucket{{{first}le="{bound}"{rest}}} {float(reached)!r}\n')
        end = f"{{{','.join(pairs)}}}" if pairs else ""
        return f"{''.join(lines)}{name}_count{end} {float(reached)!r}\n{name}_sum{end} {number(total)}\n"

    def _pairs(self, labels: Labels) -> list[str]:
        """`label="value"`, in the order of the labels' names."""
        return [f'{label}="{quoted(value)}"' for label, value in sorted(zip(self._labels, labels, strict=True))]


def scrape(collect: Callable[[], Iterable[Page]]) -> bytes:
    """The text of a scrape: these families, and `process_*` of this process."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    pages = (*collect(), *ProcessCollector(registry=CollectorRegistry()).collect())
    return "".join(page if isinstance(page, str) else _page(page) for page in pages).encode()


def _page(metric: Metric) -> str:
    kind = "untyped" if metric.type == "unknown" else metric.type
    name = f"{metric.name}_total" if kind == "counter" else metric.name
    head = f"# HELP {name} {escaped(metric.documentation)}\n# TYPE {name} {kind}\n"
    return head + "".join(_line(sample.name, sample.labels, sample.value) for sample in metric.samples)


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{label}="{quoted(held)}"' for label, held in sorted(labels.items()))
    return f"{name}{{{pairs}}} {number(value)}\n" if pairs else f"{name} {number(value)}\n"


_NOT_FINITE = {inf: "+Inf", -inf: "-Inf"}


def number(value: float) -> str:
    """
    >>> number(3), number(1e21), number(inf)
    ('3.0', '1e+21', '+Inf')
    """
    return repr(float(value)) if isfinite(value) else _NOT_FINITE.get(value, "NaN")


def quoted(value: str) -> str:
    """
    >>> quoted('a "b"'), quoted("plain")
    ('a \\\\"b\\\\"', 'plain')
    """
    return escaped(value).replace('"', r"\"") if '"' in value or "\\" in value or "\n" in value else value


def escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
