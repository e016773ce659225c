"""What a server measured of itself, and at the run before: a small file keeps that from one run of `kcp ops` to the next.

Before: the checks of `kcp ops`. After: `/metrics` in Prometheus' text format.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from math import inf
from pathlib import Path
from typing import NamedTuple

from kcp.aio.clock import parse_rfc3339

_KEPT = 400
"""Runs in the file: a year of daily ones."""
_LATENCIES = "apiserver_request_sli_duration_seconds_bucket"
_LONG_RUNNING = ("WATCH", "CONNECT")

Buckets = dict[str, float]
"""Upper bound in seconds → how many were at most that; as a histogram has them."""


class FiguresError(Exception):
    """The file of figures cannot be used."""


class Sample(NamedTuple):
    labels: Mapping[str, str]
    value: float


class Figures:
    """One scrape."""

    def __init__(self, text: str) -> None:
        from prometheus_client.parser import text_string_to_metric_families

        self._samples: dict[str, list[Sample]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append(Sample(sample.labels, sample.value))

    def of(self, name: str) -> Sequence[Sample]:
        return self._samples.get(name, ())

    def total(self, name: str, **labels: str) -> float:
        return sum(s.value for s in self.of(name) if all(s.labels.get(key) == value for key, value in labels.items()))

    def buckets(self, name: str, *labels: str) -> dict[tuple[str, ...], Buckets]:
        """Those of a histogram added up by some of its labels."""
        found: dict[tuple[str, ...], Buckets] = {}
        for sample in self.of(name):
            of_one = found.setdefault(tuple(sample.labels.get(label, "") for label in labels), {})
            bound = sample.labels["le"]
            of_one[bound] = of_one.get(bound, 0.0) + sample.value
        return found


def quantile_s(buckets: Buckets, share: float) -> float:
    """The upper bound of the bucket in which it lies: what is said is not better than what was; infinity beyond the last.

    >>> quantile_s({"0.1": 98.0, "1": 100.0, "+Inf": 100.0}, 0.99), quantile_s({}, 0.5)
    (1.0, 0.0)
    """
    bounds = sorted((inf if bound == "+Inf" else float(bound), count) for bound, count in buckets.items())
    if not bounds or not bounds[-1][1]:
        return 0.0
    return next(bound for bound, count in bounds if count >= share * bounds[-1][1])


@dataclass(frozen=True, slots=True)
class Run:
    """What is kept of one run."""

    at: str
    command: str
    started_s: float
    """When the server's process started: counters of another process begin anew."""
    counters: dict[str, float] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    latencies: dict[str, Buckets] = field(default_factory=dict)
    """Of requests, by verb."""
    server: str = ""
    """Of several: host and port of a further one; "" for the kubeconfig's."""

    @property
    def instant(self) -> datetime:
        return parse_rfc3339(self.at)


def run_of(figures: Figures, command: str, at: str) -> Run:
    requests = figures.of("apiserver_request_total")
    counters = {
        "requests": sum(s.value for s in requests),
        "failed requests": sum(s.value for s in requests if s.labels.get("code", "").startswith("5")),
        "placement decisions": figures.total("tmc_placement_requests_total"),
        "placement errors": figures.total("tmc_placement_errors_total"),
        "processor seconds": figures.total("process_cpu_seconds_total"),
    }
    gauges = {
        "memory MiB": figures.total("process_resident_memory_bytes") / 2**20,
        "store MiB": figures.total("kcp_store_bytes") / 2**20,
        "objects": figures.total("kcp_storage_objects"),
        "workspaces": figures.total("apiserver_storage_objects", resource="logicalclusters.core.kcp.io"),
        "clusters": figures.total("apiserver_storage_objects", resource="synctargets.workload.kcp.io"),
        "Deployments": figures.total("apiserver_storage_objects", resource="deployments.apps"),
    }
    latencies = {verb: found for (verb,), found in figures.buckets(_LATENCIES, "verb").items() if verb not in _LONG_RUNNING}
    return Run(at, command, figures.total("process_start_time_seconds"), counters, gauges, latencies)


def since(now: Run, before: Run | None) -> Run:
    """What was counted since then; all of it without such a run, or if the server was started anew."""
    if before is None or before.started_s != now.started_s:
        return now
    counters = {name: value - before.counters.get(name, 0.0) for name, value in now.counters.items()}
    latencies = {
        verb: {bound: count - before.latencies.get(verb, {}).get(bound, 0.0) for bound, count in found.items()}
        for verb, found in now.latencies.items()
    }
    return Run(now.at, now.command, now.started_s, counters, now.gauges, latencies)


def read_runs(path: Path) -> list[Run]:
    """Oldest first; none where there is no file yet. Raises FiguresError."""
    try:
        return [Run(**json.loads(line)) for line in path.read_text().splitlines() if line]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FiguresError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError):
        raise FiguresError(f"{path} is no file of figures: move it away, or name another with --figures") from None


def write_runs(path: Path, runs: Iterable[Run]) -> None:
    """One line each, the newest only. Raises FiguresError."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text("".join(json.dumps(asdict(run)) + "\n" for run in list(runs)[-_KEPT:]))
        part.replace(path)
    except OSError as error:
        raise FiguresError(f"{path}: {error.strerror}") from None
