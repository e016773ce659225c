"""A receiver of traces that speaks OTLP over gRPC and over HTTP, as collectors do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from aiohttp import web
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server


@dataclass(frozen=True, slots=True)
class Received:
    """A span."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    links: Sequence[str]
    """Their trace ids."""
    is_error: bool
    duration_ns: int


@dataclass(slots=True)
class Receiver:
    grpc_endpoint: str = ""
    http_endpoint: str = ""
    spans: list[Received] = field(default_factory=list)
    requests: int = 0
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    async def Export(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the service's name for it
        self.take(request)
        return messages.ExportTraceServiceResponse()

    async def post(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.take(messages.ExportTraceServiceRequest.FromString(body))
        return web.Response(body=messages.ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf")

    def take(self, request: Any) -> None:
        self.requests += 1
        for group in request.resource_spans:
            resource = _plain(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [_received(span, resource) for span in scope.spans]
        self._came.set()

    def trace(self, trace_id: str) -> list[Received]:
        return [span for span in self.spans if span.trace_id == trace_id]

    async def wait(self, is_there: Callable[[Receiver], bool], *, timeout_s: float = 20.0) -> None:
        """Until what has come satisfies `is_there`."""
        async with asyncio.timeout(timeout_s):
            while not is_there(self):
                self._came.clear()
                await self._came.wait()


def _received(span: Any, resource: dict[str, Any]) -> Received:
    return Received(
        span.name, resource["service.name"], span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), _plain(span.attributes),
        resource, [link.trace_id.hex() for link in span.links], span.status.code == 2,
        span.end_time_unix_nano - span.start_time_unix_nano,
    )  # fmt: skip


def _plain(attributes: Any) -> dict[str, Any]:
    return {entry.key: getattr(entry.value, entry.value.WhichOneof("value")) for entry in attributes}


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """On loopback. Args: port: of gRPC; 0: a free one."""
    receiver = Receiver()
    server = grpc.aio.server()
    add_TraceServiceServicer_to_server(receiver, server)  # type: ignore[no-untyped-call]
    receiver.grpc_endpoint = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    await server.start()
    app = web.Application()
    app.router.add_post("/v1/traces", receiver.post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.http_endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    try:
        yield receiver
    finally:
        await runner.cleanup()
        await server.stop(0)


class _Servicer:
    """The service for a server with threads."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the service's name for it
        self._receiver.take(request)
        return messages.ExportTraceServiceResponse()


@contextmanager
def receiving_in_threads() -> Iterator[tuple[Receiver, grpc.Server]]:
    """For tests that wait for processes: the receiver, and its server, which may be stopped before."""
    receiver, server = Receiver(), grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(_Servicer(receiver), server)  # type: ignore[no-untyped-call]
    receiver.grpc_endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield receiver, server
    finally:
        server.stop(0).wait()
