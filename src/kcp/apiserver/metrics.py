"""Request metrics under upstream's names, and `/metrics`.

Counting is plain numbers in a dictionary (about a microsecond per request).

Labels are bounded: no object, namespace, user or workspace names; verbs from a fixed list; resources only once a request for them has
succeeded, so that a client cannot make series by asking for things that do not exist or are not for it. What is shown is bounded more
tightly: kinds of requests that come often have histograms of their own, the rest of each verb has one without resource, so that a server
stays below 2,000 series whatever its users bring.

Before: the outermost filter, the router. After: nothing.
Source: k8s.io/apiserver/pkg/endpoints/metrics/metrics.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import TypeAlias

from kcp.aio.clock import Clock
from kcp.aio.exposition import CONTENT_TYPE, Labels, Page, Sheet, scrape
from kcp.aio.folding import Fold
from kcp.aio.metrics import Histogram, Meter, counter, gauge, histogram, merged
from kcp.apimachinery.errors import NotImplementedStatus
from kcp.apiserver.request import Filter, Handler, Request, RequestInfo, Response, Upgrade, and_then

BUCKETS_S = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0)
"""Upper bounds of the duration histogram; fewer than upstream's, because every series has them all."""

_MAX_KINDS = 5_000
"""Further kinds of requests are counted together, without resource."""

_REST = {"group": "", "version": "", "resource": "", "subresource": "", "scope": ""}
_COUNTED = Fold(most=160, rest=_REST)
_TIMED = Fold(most=10, often=100, rest=_REST)

_VERBS = {
    "get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE",
    "deletecollection": "DELETECOLLECTION", "post": "POST", "put": "PUT", "head": "GET", "connect": "CONNECT",
}  # fmt: skip
_READ_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
_LABELS = ("verb", "group", "version", "resource", "subresource", "scope")

_COMPONENT = "apiserver"
"""Upstream tells requests to aggregated servers apart by it; here there are none."""

_METHODS = {"LIST": "GET", "WATCH": "GET", "DELETECOLLECTION": "DELETE"}

_REQUESTS = counter("apiserver_request_total", "Counter of apiserver requests.", (*_LABELS, "component", "code"), fold=_COUNTED)
_DURATIONS = histogram(
    "apiserver_request_duration_seconds", "Response latency in seconds.", (*_LABELS, "component"), buckets=BUCKETS_S, fold=_TIMED
)  # fmt: skip
_TOGETHER = histogram(
    "apiserver_request_sli_duration_seconds", "The same, all resources together, for service levels.", (*_LABELS, "component"),
    buckets=(0.1, 1.0, 5.0, 30.0),
)  # fmt: skip
_IN_FLIGHT = gauge("apiserver_current_inflight_requests", "Requests being answered.", ("request_kind",))
_LONG_RUNNING = gauge("apiserver_longrunning_requests", "Open watches.", _LABELS, fold=Fold(most=30, rest=_REST))
_WATCH_EVENTS = counter("apiserver_watch_events_total", "Events sent to watchers.",
    ("group", "version", "resource"),
    fold=Fold(most=40, rest={"group": "", "version": "", "resource": "other"}),
)  # fmt: skip
_LISTS = counter(
    "apiserver_cache_list_total", "LIST requests served from the watch cache.", ("group", "resource", "index", "resource_prefix"),
    fold=Fold(most=40, rest={"group": "", "resource": "other", "resource_prefix": "other"}),
)  # fmt: skip

RequestKind: TypeAlias = tuple[str, str, str, str, str, str]
"""Verb, group, version, resource, subresource, scope."""

_STREAMED = frozenset(("proxy", "attach", "log", "exec", "portforward"))
"""Subresources that rules for service levels leave out."""

Statistics: TypeAlias = Callable[[], Mapping[str, float]]


class RequestMetrics:
    """Numbers about requests."""

    def __init__(self) -> None:
        self._durations: dict[tuple[RequestKind, int], Histogram] = {}
        self._known: set[RequestKind] = set()
        self.in_flight = {"readOnly": 0, "mutating": 0}
        self._long_running: dict[RequestKind, int] = {}
        self._watch_events: dict[tuple[str, str, str], int] = {}
        self.meter = Meter()
        self._show()

    def count(self, info: RequestInfo, code: int, seconds: float) -> None:
        """One request has been answered."""
        key = (_kind(info), code)
        durations = self._durations.get(key)
        if durations is None:
            durations = self._begun(key)
        durations.observe(seconds)

    def _begun(self, key: tuple[RequestKind, int]) -> Histogram:
        """The series for it; a resource has some once a request for it has succeeded."""
        kind, code = key
        if kind not in self._known:
            if code >= 400 or len(self._known) >= _MAX_KINDS:
                kind = (kind[0], "", "", "", "", "")
            self._known.add(kind)
        return self._durations.setdefault((kind, code), Histogram(BUCKETS_S))

    async def follow(self, info: RequestInfo, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass a watch through, counting its events (one line each) and itself as long as it lasts."""
        kind, resource = _kind(info), (info.group, info.version, info.resource.partition(":")[0])
        self._long_running[kind] = self._long_running.get(kind, 0) + 1
        events = self._watch_events
        try:
            async with aclosing(stream) as chunks:  # type: ignore[type-var]  # every stream here is a generator
                async for chunk in chunks:
                    events[resource] = events.get(resource, 0) + chunk.count(b"\n")
                    yield chunk
        finally:
            self._long_running[kind] -= 1

    def follow_upgrade(self, info: RequestInfo, upgrade: Upgrade) -> Upgrade:
        """Count a connection that changed its protocol as long as it lasts."""
        kind, running = _kind(info), self._long_running
        running[kind] = running.get(kind, 0) + 1

        def ended() -> None:
            running[kind] -= 1

        return and_then(upgrade, ended)

    def _show(self) -> None:
        show, durations = self.meter.show, self._durations
        show(_REQUESTS, lambda: (((*kind, _COMPONENT, str(code)), sum(held.counts)) for (kind, code), held in durations.items()))
        self.meter.show_histograms(_DURATIONS, lambda: (((*kind, _COMPONENT), held) for kind, held in self._of_kinds().items()))
        self.meter.show_histograms(_TOGETHER, self._together)
        show(_IN_FLIGHT, lambda: (((kind,), count) for kind, count in self.in_flight.items()))
        show(_LONG_RUNNING, self._long_running.items)
        show(_WATCH_EVENTS, self._watch_events.items)
        show(_LISTS, lambda: (((*of, "", _resource_prefix(*of)), count) for of, count in self._lists().items()))

    def _of_kinds(self) -> dict[RequestKind, Histogram]:
        return merged(((kind, durations) for (kind, _), durations in self._durations.items()), BUCKETS_S)

    def _together(self) -> Iterable[tuple[Labels, Histogram]]:
        """All resources together."""
        found = (
            ((verb, "", "", "", sub if sub in _STREAMED else "", scope, _COMPONENT), held)
            for ((verb, _, _, _, sub, scope), _), held in self._durations.items()
        )
        return merged(found, BUCKETS_S).items()

    def by_endpoint(self) -> dict[Labels, Histogram]:
        """Durations by method, path of the resource, and status code."""
        return merged(
            (((_METHODS.get(kind[0], kind[0]), _endpoint(kind), str(code)), held) for (kind, code), held in self._durations.items()),
            BUCKETS_S,
        )

    def _lists(self) -> Mapping[tuple[str, str], int]:
        """Successful LISTs by group and resource. Source: k8s.io/apiserver/pkg/storage/cacher/metrics."""
        found: dict[tuple[str, str], int] = {}
        for ((verb, group, _, resource, *_), code), durations in self._durations.items():
            if verb == "LIST" and resource and code == 200:
                found[group, resource] = found.get((group, resource), 0) + sum(durations.counts)
        return found


def _resource_prefix(group: str, resource: str) -> str:
    """What kcp 0.11 says in place of group and resource: as there, the keys of custom resources are apart.

    >>> [_resource_prefix("", "secrets"), _resource_prefix("apps", "deployments"), _resource_prefix("wildwest.dev", "cowboys")]
    ['/core/secrets', '/apps/deployments', '/wildwest.dev/cowboys/customresources']
    """
    is_custom = "." in group and not group.endswith(".k8s.io")
    return f"/{group or 'core'}/{resource}{'/customresources' if is_custom else ''}"


def _endpoint(kind: RequestKind) -> str:
    """
    >>> _endpoint(("GET", "apps", "v1", "deployments", "scale", "resource")), _endpoint(("GET", "", "", "", "", ""))
    ('/apis/apps/v1/deployments', '/')
    """
    _, group, version, resource, *_ = kind
    return f"/{f'apis/{group}' if group else 'api'}/{version}/{resource}" if resource else "/"


def _kind(info: RequestInfo) -> RequestKind:
    verb = _VERBS.get(info.verb, "other")
    if not info.is_resource:
        return verb, "", "", "", "", ""
    scope = "resource" if info.name else "namespace" if info.namespace else "cluster"
    return verb, info.group, info.version, info.resource.partition(":")[0], info.subresource, scope


def with_metrics(metrics: RequestMetrics, clock: Clock) -> Filter:
    """Counts requests and how long they take; outermost, so that it sees the answers to errors too."""

    def wrap(handler: Handler) -> Handler:
        monotonic, in_flight = clock.monotonic, metrics.in_flight

        async def counted(req: Request) -> Response:
            kind = "readOnly" if req.method in _READ_METHODS else "mutating"
            in_flight[kind] += 1
            started = monotonic()
            try:
                response = await handler(req)
            finally:
                in_flight[kind] -= 1
            metrics.count(req.info, response.status, monotonic() - started)
            if response.stream is not None:
                response.stream = metrics.follow(req.info, response.stream)
            if response.upgrade is not None:
                response.upgrade = metrics.follow_upgrade(req.info, response.upgrade)
            return response

        return counted

    return wrap


class Metrics:
    """Everything one server shows under /metrics."""

    def __init__(self) -> None:
        self.requests = RequestMetrics()
        self._statistics: dict[str, Statistics] = {}
        self._families: list[Callable[[], Iterable[Page]]] = []

    def add_statistics(self, part: str, read: Statistics) -> None:
        """Show what `statistics()` of a long-lived object answers as gauges `kcp_<part>_<key>`."""
        self._statistics[part] = read

    def add_families(self, collect: Callable[[], Iterable[Page]]) -> None:
        """Show what a part counts in plain numbers, made into families at each scrape."""
        self._families.append(collect)

    def pages(self) -> Iterator[Page]:
        """For one scrape."""
        yield from self.requests.meter.text()
        for collect in self._families:
            yield from collect()
        for part, read in self._statistics.items():
            for key, value in read().items():
                yield Sheet(f"kcp_{part}_{key}", "gauge", f"{key} of {part}").numbers({(): value})

    async def handle(self, req: Request) -> Response:
        """GET /metrics. Only for the whole server: a workspace has none (kcp answers 501 there)."""
        if req.info.cluster_path not in ("", "system:admin"):
            raise NotImplementedStatus("metrics are those of the whole server: ask for /metrics without /clusters/…")
        return Response(200, scrape(self.pages), CONTENT_TYPE)
