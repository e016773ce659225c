"""`Tracer`: begins spans, decides which traces are recorded, and knows its own traces again.

A trace is decided on where it begins; whatever belongs to it later is recorded with it. Recording takes no more than filling in a few
fields; what is not recorded costs a comparison with a random number.
Before: API filter, controllers, syncer. After: a sink, which is `exporting.Pump`. Names of attributes: the TMC reference §10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Token
from hashlib import blake2b
from random import Random
from types import TracebackType
from typing import Literal, Self, TypeAlias

from kcp.aio.clock import Clock
from kcp.aio.tracecontext import CURRENT, SpanContext

Attribute: TypeAlias = str | int | float | bool
Kind: TypeAlias = Literal["internal", "server", "client"]

ERROR_TYPE = "tmc.error.type"
_HALF = 64
_RANDOM_BITS = (1 << _HALF) - 1


class Span:
    """One piece of work; a context manager that makes it the current one. An error that passes through is told of."""

    __slots__ = ("_token", "_tracer", "attributes", "context", "ended_ns", "error", "kind", "link", "name", "parent", "started_ns")

    def __init__(  # noqa: PLR0913 - what a span is
        self, tracer: Tracer, name: str, context: SpanContext, parent: SpanContext | None, kind: Kind, link: SpanContext | None,
        attributes: dict[str, Attribute],
    ) -> None:  # fmt: skip
        self._tracer = tracer
        self._token: Token[SpanContext | None] | None = None
        self.name, self.context, self.parent, self.kind, self.link = name, context, parent, kind, link
        self.attributes = attributes
        self.started_ns = self.ended_ns = 0
        self.error = ""

    def fail(self, message: str, error_type: str) -> None:
        self.error = message
        self.attributes[ERROR_TYPE] = error_type

    def __enter__(self) -> Self:
        self.started_ns = self._tracer.now_ns()
        self._token = CURRENT.set(self.context)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._token is not None:
            CURRENT.reset(self._token)
        if error is not None and ERROR_TYPE not in self.attributes:
            self.fail(str(error), type(error).__name__)
        self.ended_ns = self._tracer.now_ns()
        self._tracer.sink(self)


class Tracer:
    """Of one process."""

    def __init__(
        self, clock: Clock, sink: Callable[[Span], None], *, ratio: float = 0.1, secret: bytes = b"", random: Random | None = None
    ) -> None:
        """Args:
        ratio: of the traces begun here, how many are recorded.
        secret: marks the ids of traces, so that whoever shares it knows them again; at most 64 bytes.
        """
        self._clock = clock
        self.sink = sink
        self.ratio = ratio
        self._secret = secret
        self._random = random or Random()

    def now_ns(self) -> int:
        return int(self._clock.now().timestamp() * 1e9)

    def is_chosen(self) -> bool:
        """Whether a trace that begins now is recorded."""
        if not self.ratio:
            return False
        return self._random.random() < self.ratio

    def is_own(self, context: SpanContext) -> bool:
        """Whether a trace was begun here, or by somebody with the same secret: only those may be joined by strangers."""
        return self._mark(context.trace_id >> _HALF) == context.trace_id & _RANDOM_BITS

    def begin(self, name: str, *, kind: Kind = "internal", link: SpanContext | None = None, **attributes: Attribute) -> Span:
        """The first span of a new trace. Args: link: what it has to do with, though it does not belong to it."""
        first = self._random.getrandbits(_HALF) or 1
        return self._span(name, (first << _HALF) | self._mark(first), None, kind, link, attributes)

    def span(self, name: str, parent: SpanContext, *, kind: Kind = "internal", **attributes: Attribute) -> Span:
        return self._span(name, parent.trace_id, parent, kind, None, attributes)

    def _span(
        self,
        name: str,
        trace_id: int,
        parent: SpanContext | None,
        kind: Kind,
        link: SpanContext | None,
        attributes: Mapping[str, Attribute],
    ) -> Span:
        named = {_ATTRIBUTES.get(key, key): value for key, value in attributes.items() if value != ""}
        return Span(self, name, SpanContext(trace_id, self._random.getrandbits(_HALF) or 1), parent, kind, link, named)

    def _mark(self, first: int) -> int:
        return int.from_bytes(blake2b(first.to_bytes(8, "big"), digest_size=8, key=self._secret).digest(), "big")


_ATTRIBUTES = {
    "component": "tmc.component.type",
    "component_id": "tmc.component.id",
    "operation": "tmc.operation",
    "cluster": "tmc.cluster",
    "logical_cluster": "tmc.logical_cluster",
    "resource": "tmc.resource.gvk",
    "namespace": "tmc.resource.namespace",
    "object_name": "tmc.resource.name",
    "method": "http.request.method",
    "path": "url.path",
    "agent": "user_agent.original",
    "audit_id": "audit-id",
}
"""Short names of the attributes that callers use."""
