"""The syncer's part of a trace: what it was told of from above, what it asks of the cluster, and what the cluster says of it.

Down, the trace comes with the watch of the view. At the cluster each request is a span of its own, and its `traceparent` lets a cluster
that traces go on. Up, a cluster does not say why a status changed: what it says of a copy soon after a traced write of that copy belongs
to that write.
Before: `engine`. After: `tracing.tracer`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial

from kcp.aio.clock import Clock
from kcp.aio.tracecontext import CURRENT, HEADER, SpanContext
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse, Transport, upgrade
from kcp.controller.controller import Controller
from kcp.streams.ways import Duplex
from kcp.tracing.tracer import Tracer

_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "apply", "DELETE": "delete"}
_SOON_S = 60.0
_MOST_ANSWERS = 20
"""Changes of one copy's status that still belong to a write: a status that never rests must not make an endless trace."""
_MOST_COPIES = 4096

Copy = tuple[str, ObjectKey]
"""Resource, and key in the cluster."""


@dataclass(slots=True)
class _Caused:
    by: SpanContext
    until_s: float
    answers: int = 0


class SyncerTracing:
    """Of one syncer."""

    def __init__(self, tracer: Tracer, clock: Clock, cluster: str) -> None:
        self._tracer = tracer
        self._clock = clock
        self._cluster = cluster
        self._caused: dict[Copy, _Caused] = {}

    def client(self, downstream: Client) -> Client:
        """The same cluster, each request of a trace recorded."""
        transport = _TracedTransport(downstream.transport, self._tracer, self._cluster, self._written)
        return Client(transport, downstream.base_path, clock=self._clock, user_agent=downstream.user_agent, origin=downstream.origin)

    def follow(self, controller: Controller, answers_for: GVR | None = None) -> None:
        """Args: answers_for: the resource whose copies' states it sends up."""
        if answers_for is None:
            controller.trace(self._tracer)
        else:
            controller.trace(self._tracer, cause_of=partial(self._cause, answers_for.resource))

    def _written(self, path: str) -> None:
        """A request changes a copy, as part of the running trace, or of none."""
        cause = CURRENT.get()
        if cause is None and not self._caused:
            return
        copy = _copy(path)
        if copy is None:
            return
        self._caused.pop(copy, None)
        if cause is not None:
            if len(self._caused) >= _MOST_COPIES:
                del self._caused[next(iter(self._caused))]
            self._caused[copy] = _Caused(cause, self._clock.monotonic() + _SOON_S)

    def _cause(self, resource: str, key: ObjectKey) -> SpanContext | None:
        held = self._caused.get((resource, key))
        if held is None:
            return None
        held.answers += 1
        if held.answers > _MOST_ANSWERS or self._clock.monotonic() > held.until_s:
            del self._caused[resource, key]
            return None
        return held.by


def _copy(path: str) -> Copy | None:
    """
    >>> _copy("/apis/apps/v1/namespaces/kcp-1/deployments/web")
    ('deployments', ObjectKey(cluster='', namespace='kcp-1', name='web'))
    """
    _, found, rest = path.partition("/namespaces/")
    parts = rest.split("/")
    return (parts[1], ObjectKey(ClusterName(""), parts[0], parts[2])) if found and len(parts) == 3 else None


class _TracedTransport:
    """Implements UpgradingTransport."""

    def __init__(self, inner: Transport, tracer: Tracer, cluster: str, written: Callable[[str], None]) -> None:
        self._inner, self._tracer, self._cluster, self._written = inner, tracer, cluster, written

    async def request(self, request: RawRequest) -> RawResponse:
        if request.method != "GET":
            self._written(request.path)
        parent = CURRENT.get()
        if parent is None:
            return await self._inner.request(request)
        verb = _VERBS.get(request.method, request.method.lower())
        span = self._tracer.span(
            f"cluster.{verb}", parent, kind="client", component="Syncer", operation=verb, cluster=self._cluster,
            method=request.method, path=request.path,
        )  # fmt: skip
        with span:
            response = await self._inner.request(replace(request, headers={**request.headers, HEADER: str(span.context)}))
            span.attributes["http.response.status_code"] = response.status
            if response.status >= 500:
                span.fail(response.body[:200].decode(errors="replace"), str(response.status))
            return response

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        return self._inner.stream(request)

    def upgrade(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, Duplex]]:
        return upgrade(self._inner, request)

    async def close(self) -> None:
        await self._inner.close()
