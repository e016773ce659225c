"""A whole server in this process as a fuzzer sees it: raw requests in; out come the answer, what was logged as an error, and what it cost.

The promise that every request is held to (`Answer.check`): an answer below 500, or 501, 503 or 504; an error is a `metav1.Status` whose code
is the answer's; nothing unexpected in the log; less than a second of processor time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import orjson

from kcp.aio.clock import SystemClock
from kcp.aio.collector import paused
from kcp.apiserver.asgi import USER_EXTENSION, App
from kcp.registry.backend import UserInfo
from kcp.server.compose import run_server
from kcp.server.options import Options, TMCOptions
from kcp.sim.cluster import SimCluster

T = TypeVar("T")

ROOT = UserInfo("root", ("system:masters", "system:authenticated"))
HONEST_FAILURES = (501, 503, 504)
"""What a server may answer beside 2xx to 4xx: not offered, not now, and the client's own time limit."""
MOST_CPU_S = 1.0
"""Upstream's own budget for a request is a minute; half a megabyte of bad input costs some 50 ms here."""
_LONGEST_STREAM_S = 0.05


@dataclass(frozen=True)
class Sent:
    """One request, as bytes where a client sends bytes."""

    method: str
    path: str
    """As in the URL: percent-encoded, with its query."""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    user: UserInfo | None = ROOT

    def __str__(self) -> str:
        shown = self.body if len(self.body) < 2000 else self.body[:2000] + b"..."
        return f"{self.method} {self.path[:2000]} {dict(self.headers)!r:.2000} {shown!r}"


@dataclass(frozen=True)
class Answer:
    sent: Sent
    status: int
    headers: Mapping[str, str]
    raw: bytes
    cpu_s: float
    logged: Sequence[str]

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)

    def check(self) -> Answer:
        """Itself, if the server kept its promise. Raises AssertionError."""
        about = f"{self.status} {self.raw[:1500]!r}\nto {self.sent}"
        assert not self.logged, f"{self.logged}\n{about}"
        assert self.status < 500 or self.status in HONEST_FAILURES, about
        assert self.cpu_s < MOST_CPU_S, f"{self.cpu_s:.2f} s of processor time: {about}"
        if self.status >= 400 and self.sent.method != "HEAD" and self.headers.get("content-type") == "application/json":
            held = self.body
            assert held["kind"] == "Status", about
            assert held["code"] == self.status, about
            assert held["reason"], about
            assert held["message"], about
        return self


class Errors(logging.Handler):
    """What the server logged as an error, and the event loop's complaints."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))

    def take(self) -> list[str]:
        found, self.found = self.found, []
        return found


class Target:
    """A server that runs whenever a request is sent to it."""

    def __init__(self, server: Any, runner: asyncio.Runner, errors: Errors) -> None:
        self.server = server
        """A KcpServer or SimCluster."""
        self.app: App = server.app if hasattr(server, "app") else server._server.app
        self.runner = runner
        self.errors = errors

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.runner.run(awaited())

    def send(self, sent: Sent) -> Answer:
        self.errors.take()
        return self.run(self._send(sent))

    def check(self, method: str, path: str, body: bytes | object = b"", headers: Mapping[str, str] | None = None) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()  # orjson writes 254 levels at most
        given = dict(headers or {})
        if raw and "content-type" not in given:
            given["content-type"] = "application/json"
        return self.send(Sent(method, path, raw, given)).check()

    async def _send(self, sent: Sent) -> Answer:
        exchange = _Exchange(sent)
        with paused():  # what thousands of tests left behind is not this answer's to collect
            started_s = time.process_time()
            try:
                async with asyncio.timeout(60):
                    await self.app(_scope(sent), exchange.receive, exchange.send)
            except TimeoutError:
                exchange.status = exchange.status or 599
            spent_s = time.process_time() - started_s
        await asyncio.sleep(0)
        return Answer(sent, exchange.status, exchange.headers, b"".join(exchange.chunks), spent_s, self.errors.take())


def _scope(sent: Sent) -> dict[str, Any]:
    path, _, query = sent.path.partition("?")
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in sent.headers.items()]
    if sent.body:
        headers.append((b"content-length", b"%d" % len(sent.body)))
    return {
        "type": "http", "method": sent.method, "path": unquote(path), "query_string": query.encode("utf-8", "replace"), "headers": headers,
        "extensions": {USER_EXTENSION: sent.user} if sent.user is not None else {},
    }  # fmt: skip


class _Exchange:
    """A client that sends its body in one piece, and leaves a stream soon after its start."""

    def __init__(self, sent: Sent) -> None:
        self._body: bytes | None = sent.body
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: list[bytes] = []

    async def receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.sleep(_LONGEST_STREAM_S)
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode("latin-1"): value.decode("utf-8") for name, value in message["headers"]}
        elif message.get("body"):
            self.chunks.append(message["body"])


@contextmanager
def running(server: Callable[[], AbstractAsyncContextManager[Any]]) -> Iterator[Target]:
    """A server from its start to its end, in an event loop of its own."""
    errors = Errors()
    logging.getLogger().addHandler(errors)
    try:
        with asyncio.Runner() as runner:
            context = server()
            served = runner.run(context.__aenter__())
            try:
                yield Target(served, runner, errors)
            finally:
                runner.run(context.__aexit__(None, None, None))
    finally:
        logging.getLogger().removeHandler(errors)


@contextmanager
def kcp(directory: Path) -> Iterator[Target]:
    """A kcp server with TMC."""
    options = Options(root_directory=directory, in_memory=True, tmc=TMCOptions(enabled=True))
    with running(lambda: run_server(options, clock=SystemClock(), with_socket=False)) as target:
        yield target


@contextmanager
def simulated() -> Iterator[Target]:
    """A simulated cluster, whose controllers run."""
    with running(lambda: SimCluster.in_process("fuzzed", clock=SystemClock())) as target:
        yield target
