"""Clients that read their answers late or never, over TLS and both event loops.

Aspects: one that never reads is cut off, and the application told; one that reads slowly gets all of a large answer, however long that
takes; one that leaves a large answer unread does not keep its connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest
import uvloop

from kcp.aio.clock import SystemClock
from kcp.apiserver.pki import PKI
from kcp.apiserver.serving import ServingConfig, TLSFiles, serve

CLOCK = SystemClock()
"""Sockets live in real time; nothing here waits for a clock."""
ANSWER_BYTES = 24 << 20
"""More than the kernel keeps for a socket that nobody reads."""

Scenario: TypeAlias = Callable[[PKI, pytest.LogCaptureFixture], Coroutine[Any, Any, None]]


class Flood:
    """`/stream` sends parts for ever; everything else is answered with one large body."""

    def __init__(self) -> None:
        self.sent = 0
        self.told = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % ANSWER_BYTES)]})
            await send({"type": "http.response.body", "body": bytes(ANSWER_BYTES)})
            self.told.set()
            return
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with asyncio.TaskGroup() as group:
            flood = group.create_task(self._flood(send))
            while (await receive())["type"] != "http.disconnect":
                pass
            flood.cancel()
        self.told.set()

    async def _flood(self, send: Any) -> None:
        while True:
            await send({"type": "http.response.body", "body": bytes(64 * 1024), "more_body": True})
            self.sent += 64 * 1024
            await asyncio.sleep(0)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    return PKI.ensure(tmp_path_factory.mktemp("root"), clock=CLOCK)


@asynccontextmanager
async def asked(app: Flood, pki: PKI, path: str, *, grace_s: float = 0.05, **config: float) -> AsyncIterator[asyncio.StreamReader]:
    """A client that has sent a request, and reads only what it is told to."""
    tls = TLSFiles(certificate=pki.serving.certificate, key=pki.serving.key)
    async with await serve(app, ServingConfig(port=0, tls=tls, grace_s=grace_s, **config), clock=CLOCK) as handle:  # type: ignore[arg-type]
        context = ssl.create_default_context(cafile=str(pki.ca.certificate))
        reader, writer = await asyncio.open_connection("127.0.0.1", handle.port, ssl=context)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        try:
            yield reader
        finally:
            writer.transport.abort()


async def cut_off(pki: PKI, caplog: pytest.LogCaptureFixture) -> None:
    app = Flood()
    async with asked(app, pki, "/stream", stall_s=0.1):
        async with asyncio.timeout(20):
            await app.told.wait()
    assert "did not read the answer to /stream" in caplog.text
    assert app.sent < 3 * ANSWER_BYTES, "no more than buffers hold"


async def served_slowly(pki: PKI, caplog: pytest.LogCaptureFixture) -> None:
    unhurried = 30.0  # a connection that is closed has this long for what is still on its way, however busy the machine is
    async with asked(Flood(), pki, "/large", keep_alive_s=1.0, grace_s=unhurried) as reader:
        head = await reader.readuntil(b"\r\n\r\n")
        read = 0
        while read < ANSWER_BYTES and (part := await reader.read(64 * 1024)):
            read += len(part)
            await asyncio.sleep(0.004)  # longer in all than the server keeps an idle connection
    assert b"200 OK" in head
    assert read == ANSWER_BYTES


async def left_unread(pki: PKI, caplog: pytest.LogCaptureFixture) -> None:
    app = Flood()
    async with asked(app, pki, "/large", stall_s=0.1) as reader:
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(20):
            await app.told.wait()
    assert "did not read the answer to /large" in caplog.text


@pytest.mark.parametrize("scenario", [cut_off, served_slowly, left_unread])
@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_client_that_reads_late_or_never(
    pki: PKI, caplog: pytest.LogCaptureFixture, scenario: Scenario, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario(pki, caplog))
