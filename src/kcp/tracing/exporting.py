"""Spans as OpenTelemetry has them, sent by its OTLP exporters; imported only where tracing is on.

Headers, certificates, compression and further attributes of the resource are OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_HEADERS`,
`OTEL_EXPORTER_OTLP_CERTIFICATE`, `OTEL_RESOURCE_ATTRIBUTES`, …). What its exporters log of their retries is kept for the one line that
the pump writes.
Before: `server.compose`, the syncer. After: opentelemetry-sdk, opentelemetry-exporter-otlp-proto-{grpc,http}.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from kcp import __version__
from kcp.aio.clock import Clock
from kcp.aio.supervisor import Supervisor
from kcp.tracing.config import TracingOptions
from kcp.tracing.pump import Pump
from kcp.tracing.revisions import Revisions
from kcp.tracing.tracer import Span, Tracer

if TYPE_CHECKING:
    from kcp.aio import tracecontext

_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_SCOPE = InstrumentationScope("kcp", __version__)
_RECORDED = TraceFlags(TraceFlags.SAMPLED)
_TIMEOUT_S = 3.0


class _FirstWord(logging.Handler):
    """Keeps the first line that the exporters log of a call: it has the cause."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = self.text or record.getMessage()


class Exporting:
    """The sending end: `send` runs in the pump's thread."""

    def __init__(self, options: TracingOptions, component: str) -> None:
        self._exporter = _exporter(options)
        self._resource = Resource.create({
            "service.name": options.service_name, "service.version": options.service_version, "service.type": "kcp-controller",
            "deployment.environment.name": options.environment, "tmc.component.type": component,
        })  # fmt: skip
        self._said = _FirstWord()
        logger = logging.getLogger("opentelemetry")
        logger.propagate = False
        logger.addHandler(self._said)

    def send(self, spans: Sequence[Span]) -> str:
        self._said.text = ""
        result = self._exporter.export([self._readable(span) for span in spans])
        return "" if result is SpanExportResult.SUCCESS else self._said.text or "no answer"

    def close(self) -> None:
        self._exporter.shutdown()
        logging.getLogger("opentelemetry").removeHandler(self._said)

    def _readable(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            span.name, _named(span.context), _named(span.parent) if span.parent is not None else None, self._resource,
            attributes=span.attributes, links=[Link(_named(span.link))] if span.link is not None else (), kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
            start_time=span.started_ns, end_time=max(span.ended_ns, span.started_ns), instrumentation_scope=_SCOPE,
        )  # fmt: skip


def _named(context: tracecontext.SpanContext) -> SpanContext:
    return SpanContext(context.trace_id, context.span_id, is_remote=False, trace_flags=_RECORDED)


def _exporter(options: TracingOptions) -> SpanExporter:
    if options.protocol == "http":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp

        return OverHttp(endpoint=options.endpoint, timeout=_TIMEOUT_S)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc

    return OverGrpc(endpoint=options.endpoint, insecure=not options.endpoint.startswith("https://"), timeout=_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Tracing:
    """What a program that is traced works with."""

    tracer: Tracer
    pump: Pump
    revisions: Revisions = field(default_factory=Revisions)

    def statistics(self) -> dict[str, int]:
        return {**self.pump.statistics(), **self.revisions.statistics()}


@asynccontextmanager
async def tracing(options: TracingOptions, clock: Clock, *, component: str, secret: bytes = b"") -> AsyncIterator[Tracing]:
    """Record and send spans until the block is left. Raises TracingFileError."""
    complete = options.complete()
    exporting = Exporting(complete, component)
    pump = Pump(exporting.send, clock, endpoint=complete.endpoint)
    try:
        async with Supervisor("tracing") as supervisor:
            supervisor.spawn(pump.run(), name="traces")
            yield Tracing(Tracer(clock, pump.take, ratio=complete.ratio, secret=secret), pump)
    finally:
        await pump.close(exporting.close)
