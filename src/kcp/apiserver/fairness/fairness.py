"""`Fairness`: FlowSchemas and PriorityLevelConfigurations as they are now, and under which of them a request falls.

The answer is remembered by who asks for what, until one of the objects changes; asking again costs a look into a dictionary.
Before: `filter`, `sim.server`. After: `matching`, `levels`, the watch cache.
Source: k8s.io/apiserver/pkg/util/flowcontrol/{apf_controller.go,metrics/metrics.go}.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kcp.aio.clock import Clock
from kcp.aio.folding import Fold
from kcp.aio.metrics import MOST_NAMED, OTHER, Histogram, Labels, Meter, counter, gauge, histogram
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apis.kubernetes import flowcontrol
from kcp.apiserver.fairness.levels import Level, LevelSpec, Seats
from kcp.apiserver.fairness.matching import in_order, matches
from kcp.apiserver.request import Request
from kcp.storage.keyspace import resource_prefix
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.watchcache import WatchCache

_GROUP = "flowcontrol.apiserver.k8s.io"
_MOST_REMEMBERED = 4096
CATCH_ALL = "catch-all"

_BY_FLOW = ("priority_level", "flow_schema")
_BY_LEVEL = ("priority_level",)
DISPATCHED = counter("apiserver_flowcontrol_dispatched_requests_total", "Requests that were let through.", _BY_FLOW, many=_BY_FLOW)
REJECTED = counter("apiserver_flowcontrol_rejected_requests_total", "Requests that were refused.", (*_BY_FLOW, "reason"), many=_BY_FLOW)
EXECUTING = gauge("apiserver_flowcontrol_current_executing_requests", "Requests at work; of watches the start.", _BY_FLOW, many=_BY_FLOW)
EXECUTING_SEATS = gauge("apiserver_flowcontrol_current_executing_seats", "Seats that they occupy.", _BY_FLOW, many=_BY_FLOW)
QUEUED = gauge("apiserver_flowcontrol_current_inqueue_requests", "Requests that wait.", _BY_FLOW, many=_BY_FLOW)
NOMINAL = gauge("apiserver_flowcontrol_nominal_limit_seats", "Seats of each level.", _BY_LEVEL, many=_BY_LEVEL)
LOWER = gauge("apiserver_flowcontrol_lower_limit_seats", "Of them, those that are never lent.", _BY_LEVEL, many=_BY_LEVEL)
UPPER = gauge("apiserver_flowcontrol_upper_limit_seats", "Seats of each level with all that it may borrow.", _BY_LEVEL, many=_BY_LEVEL)
WAIT = histogram(
    "apiserver_flowcontrol_request_wait_duration_seconds", "How long requests waited in a queue.", (*_BY_FLOW, "execute"),
    buckets=(0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0), many=_BY_FLOW,
    fold=Fold(most=4, rest={"priority_level": OTHER, "flow_schema": OTHER}),
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Counts:
    """What happened to the requests of one FlowSchema."""

    dispatched: int = 0
    executing: int = 0
    queued: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    waits: dict[str, Histogram] = field(default_factory=dict)
    """By whether the request was let through in the end."""

    def waited(self, seconds: float, *, has_seat: bool) -> None:
        held = self.waits.setdefault(str(has_seat).lower(), Histogram(WAIT.buckets))
        held.observe(seconds)


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """One FlowSchema at work."""

    name: str
    level: Level
    rules: tuple[Mapping[str, Any], ...]
    distinguisher: str
    headers: tuple[tuple[str, str], tuple[str, str]]
    """By which an answer tells where its request belonged."""
    counts: Counts

    def entropy(self, req: Request) -> int:
        """What decides about the queues of the flow that this request is part of. Source: apf_controller.go, hashFlowID."""
        method = self.distinguisher
        part = req.user.name if method == "ByUser" else req.info.namespace if method == "ByNamespace" else ""
        return int.from_bytes(hashlib.sha256(f"{self.name}\0{part}".encode()).digest()[:8], "little")


class Fairness:
    """Fed by the watch cache; a change of an object counts for the next request."""

    def __init__(self, schemas: PrefixCache, levels: PrefixCache, seats: Seats, clock: Clock) -> None:
        self._schemas, self._levels = schemas, levels
        self.seats = seats
        self.clock = clock
        self._counts: dict[tuple[str, str], Counts] = {}
        self._flows: list[Flow] = []
        self._known: dict[Hashable, Flow] = {}
        self._is_stale = True
        schemas.listen(lambda _: self._outdate())
        levels.listen(lambda _: self._reconfigure())
        self._reconfigure()

    @classmethod
    async def open(cls, cache: WatchCache, clock: Clock, *, seats: int, wait_s: float) -> Fairness:
        """Args: seats: requests that are worked on at a time. wait_s: how long one may wait in a queue."""
        schemas, levels = [await cache.prefix(resource_prefix(GroupResource(_GROUP, kind))) for kind in ("flowschemas", _LEVELS)]
        return cls(schemas, levels, Seats(seats, clock, wait_s), clock)

    def flow_of(self, req: Request) -> Flow:
        """The flow under which a request falls; there always is one."""
        if self._is_stale:
            self._compile()
        info, user = req.info, req.user
        key: Hashable
        if info.is_resource:
            key = (user.name, user.groups, info.verb, info.resource, info.group, info.subresource, info.namespace)
        else:
            key = (user.name, user.groups, info.verb, info.path)
        flow = self._known.get(key)
        if flow is None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            flow = self._known[key] = self._first(req)
        return flow

    def _first(self, req: Request) -> Flow:
        fallback = self._flows[-1]
        for flow in self._flows:
            if matches(flow.rules, req.user, req.info):
                return flow
            if flow.name == CATCH_ALL:
                fallback = flow
        return fallback

    def _outdate(self) -> None:
        self._is_stale = True

    def _reconfigure(self) -> None:
        """Levels are told at once, for those who wait in them."""
        self._is_stale = True
        self.seats.configure({name: LevelSpec.of(level["spec"]) for name, level in self._configured().items()})

    def _configured(self) -> dict[str, Mapping[str, Any]]:
        """All levels by name, the mandatory ones even where they are not there. Source: apf_controller.go, imaginePL."""
        found: dict[str, Mapping[str, Any]] = {
            meta.name(level): level for level in flowcontrol.mandatory_objects() if level["kind"] == flowcontrol.LEVEL
        }
        return found | {item.key.name: item.decode() for item in self._levels.scan(self._levels.prefix)}

    def _compile(self) -> None:
        configured = self._configured()
        schemas = {meta.name(schema): schema for schema in flowcontrol.mandatory_objects() if schema["kind"] == flowcontrol.SCHEMA}
        schemas |= {item.key.name: item.decode() for item in self._schemas.scan(self._schemas.prefix)}
        self._flows = [
            self._flow(schema, configured[level])
            for schema in in_order(schemas.values())
            if (level := schema["spec"]["priorityLevelConfiguration"]["name"]) in configured
        ]
        self._known.clear()
        self._is_stale = False

    def _flow(self, schema: Mapping[str, Any], level: Mapping[str, Any]) -> Flow:
        spec = schema["spec"]
        headers = (
            ("x-kubernetes-pf-flowschema-uid", schema["metadata"].get("uid", "")),
            ("x-kubernetes-pf-prioritylevel-uid", level["metadata"].get("uid", "")),
        )
        name, of = schema["metadata"]["name"], self.seats.levels[level["metadata"]["name"]]
        method = (spec.get("distinguisherMethod") or {}).get("type") or ""
        return Flow(name, of, tuple(spec.get("rules") or ()), method, headers, self._counts_of(of.name, name))

    def _counts_of(self, level: str, schema: str) -> Counts:
        """Bounded: after the first so many, all others are counted together."""
        labels = (level, schema)
        if labels not in self._counts and len(self._counts) >= MOST_NAMED:
            labels = (OTHER, OTHER)
        return self._counts.setdefault(labels, Counts())

    # What is seen from outside

    def show(self, meter: Meter) -> None:
        """Let scrapes find it."""
        for family, read in (
            (DISPATCHED, lambda counts: counts.dispatched),
            (EXECUTING, lambda counts: counts.executing),
            (EXECUTING_SEATS, lambda counts: counts.executing),
            (QUEUED, lambda counts: counts.queued),
        ):
            meter.show(family, self._by_flow(read))
        meter.show(REJECTED, self._rejections)
        meter.show(NOMINAL, self._by_level(lambda level: level.nominal))
        meter.show(LOWER, self._by_level(lambda level: level.lower))
        meter.show(UPPER, self._by_level(lambda level: level.upper))
        meter.show_histograms(WAIT, self._waits)

    def _by_flow(self, read: Callable[[Counts], int]) -> Callable[[], Iterable[tuple[Labels, float]]]:
        return lambda: [(labels, float(read(counts))) for labels, counts in self._counts.items()]

    def _by_level(self, read: Callable[[Level], int]) -> Callable[[], Iterable[tuple[Labels, float]]]:
        return lambda: [((level.name,), float(read(level))) for level in self.seats.levels.values()]

    def _rejections(self) -> Iterator[tuple[Labels, float]]:
        for labels, counts in self._counts.items():
            yield from (((*labels, reason), float(count)) for reason, count in counts.rejected.items())

    def _waits(self) -> Iterator[tuple[Labels, Histogram]]:
        for labels, counts in self._counts.items():
            yield from (((*labels, execute), held) for execute, held in counts.waits.items())


_LEVELS = "prioritylevelconfigurations"
