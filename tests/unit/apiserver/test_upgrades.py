"""Connections that change their protocol, over real sockets and TLS: both ends, refusals, slow readers, the server's end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from kcp.aio.clock import SystemClock
from kcp.apiserver.asgi import App
from kcp.apiserver.connect import upgrades
from kcp.apiserver.pki import PKI
from kcp.apiserver.request import Request, Response
from kcp.apiserver.serving import ServingConfig, TLSFiles, serve
from kcp.client.endpoint import Endpoint
from kcp.client.http import HttpTransport
from kcp.client.transport import RawRequest, TransportError
from kcp.streams.ways import BrokenStream, Duplex

CLOCK = SystemClock()
UP = {"connection": "keep-alive, Upgrade", "upgrade": "SPDY/3.1"}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    return PKI.ensure(tmp_path_factory.mktemp("root"), clock=CLOCK)


def authority(pki: PKI) -> bytes:
    return pki.ca.certificate.read_bytes()


async def echo(wire: Duplex) -> None:
    while data := await wire.read():
        await wire.write(data)


class Upgrading:
    """Takes up every request to change to SPDY; what it then does is a test's."""

    def __init__(self, speak: Callable[[Duplex], object]) -> None:
        self._speak = speak
        self.ended = asyncio.Event()

    async def __call__(self, req: Request) -> Response:
        if upgrades.wanted(req) != upgrades.SPDY:
            return Response(400, b"no upgrade", "text/plain")

        async def speaking(wire: Duplex, _: str) -> None:
            try:
                await self._speak(wire)  # type: ignore[misc]
            finally:
                self.ended.set()

        return upgrades.spdy(req, ("a", "b"), speaking)


@asynccontextmanager
async def talking(handler: Upgrading, pki: PKI) -> AsyncIterator[tuple[HttpTransport, App]]:
    app = App(handler)
    tls = TLSFiles(certificate=pki.serving.certificate, key=pki.serving.key, client_ca=pki.client_ca.certificate)
    async with await serve(app, ServingConfig(port=0, tls=tls, grace_s=0.2), clock=CLOCK) as server:
        transport = HttpTransport(Endpoint(server=server.url, ca_pem=authority(pki)))
        yield transport, app
        await transport.close()


async def test_bytes_go_both_ways_in_large_and_small(pki: PKI) -> None:
    async with talking(Upgrading(echo), pki) as (transport, _):
        async with transport.upgrade(RawRequest("POST", "/x", headers={**UP, "x-stream-protocol-version": "z, b"})) as (response, wire):
            assert (response.status, response.headers["x-stream-protocol-version"]) == (101, "b")
            for size in (1, 100_000, 3_000_000):
                sending = asyncio.ensure_future(wire.write(b"x" * size))
                got = 0
                while got < size:
                    got += len(await wire.read())
                await sending
        assert (await transport.request(RawRequest("GET", "/x"))).body == b"no upgrade"


async def test_an_answer_200_may_take_both_bodies_while_they_go_on(pki: PKI) -> None:
    """As the syncer of kcp 0.11 opens its tunnel: a GET whose body never ends, answered at once."""

    async def handler(req: Request) -> Response:
        return Response(200, upgrade=echo, headers=(("content-type", "application/octet-stream"),))

    tls = TLSFiles(certificate=pki.serving.certificate, key=pki.serving.key, client_ca=pki.client_ca.certificate)
    async with await serve(App(handler), ServingConfig(port=0, tls=tls, grace_s=0.2), clock=CLOCK) as server:
        context = ssl.create_default_context(cadata=authority(pki).decode())
        reader, writer = await asyncio.open_connection(server.host, server.port, ssl=context, server_hostname="localhost")
        writer.write(b"GET /x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"transfer-encoding: chunked\r\n" in head
        for _ in range(2):
            writer.write(b"4\r\nping\r\n")
            assert await reader.readexactly(9) == b"4\r\nping\r\n"
        writer.write(b"0\r\n\r\n")
        assert await reader.read() == b"0\r\n\r\n", "what the client ends, ends"
        writer.close()


async def test_a_client_that_goes_is_noticed(pki: PKI) -> None:
    handler = Upgrading(echo)
    async with talking(handler, pki) as (transport, _):
        async with transport.upgrade(RawRequest("GET", "/x", headers=UP)):
            pass
        async with asyncio.timeout(5):
            await handler.ended.wait()


async def test_the_last_bytes_of_a_client_that_goes_arrive(pki: PKI) -> None:
    got = bytearray()
    begun = asyncio.Event()

    async def late(wire: Duplex) -> None:
        begun.set()
        while data := await wire.read():
            got.extend(data)

    handler = Upgrading(late)
    async with talking(handler, pki) as (transport, _):
        async with transport.upgrade(RawRequest("GET", "/x", headers=UP)) as (_, wire):
            await wire.write(b"last words")
        async with asyncio.timeout(5):
            await handler.ended.wait()
    assert got == b"last words"


async def test_who_does_not_read_makes_the_other_wait_and_nothing_pile_up(pki: PKI) -> None:
    async def idle(wire: Duplex) -> None:
        await asyncio.Event().wait()

    async with talking(Upgrading(idle), pki) as (transport, _), transport.upgrade(RawRequest("GET", "/x", headers=UP)) as (_, wire):
        written = 0

        async def flood() -> None:
            nonlocal written
            while True:
                await wire.write(b"x" * 65_536)
                written += 65_536

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await flood()
        assert written < 32 << 20, "the buffers of the kernel on both sides, and little more"


async def test_the_end_of_the_server_ends_its_connections(pki: PKI) -> None:
    handler = Upgrading(echo)
    async with talking(handler, pki) as (transport, app), transport.upgrade(RawRequest("GET", "/x", headers=UP)) as (_, wire):
        await app.shutdown()
        async with asyncio.timeout(5):
            assert await wire.read() == b""
            await handler.ended.wait()


async def test_an_answer_that_is_no_upgrade_is_read_whole(pki: PKI) -> None:
    async with talking(Upgrading(echo), pki) as (transport, _):
        for protocol in ("h2c", "websocket"):
            async with transport.upgrade(RawRequest("GET", "/x", headers={**UP, "upgrade": protocol})) as (response, wire):
                assert (response.status, response.body) == (400, b"no upgrade")
                with pytest.raises(BrokenStream):
                    await wire.write(b"x")
    with pytest.raises(TransportError, match="refused"):
        async with transport.upgrade(RawRequest("GET", "/x", headers=UP)):
            raise AssertionError
