"""What servers and networks do to connections: reuse, ends in every place, slow and large answers, interim ones, proxies, cancelled requests.

The server is a script over TLS: it says what it reads, and sends what the test tells it to.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kcp.aio.clock import SystemClock
from kcp.apimachinery.errors import Expired, ServiceUnavailable, TooManyRequests
from kcp.apiserver.pki import PKI
from kcp.client.endpoint import Endpoint, Timeouts
from kcp.client.http import HttpTransport
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse, TransportError

GET = RawRequest("GET", "/x")
PATCH = RawRequest("PATCH", "/x", body=b"{}")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@dataclass(eq=False)
class Wire:
    """One connection as the server has it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """The script is through with it."""

    async def read(self) -> bytes:
        """The next request, whole; b"" where there is none."""
        with suppress(asyncio.IncompleteReadError, OSError):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")), 0)
            return head + await self.reader.readexactly(length)
        return b""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with suppress(OSError):
            await self.writer.drain()

    async def answer_all(self, answer: bytes = OK) -> None:
        while await self.read():
            await self.send(answer)


Script = Callable[[Wire], Awaitable[None]]


@dataclass
class Scripted:
    endpoint: Endpoint
    wires: list[Wire] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    return PKI.ensure(tmp_path_factory.mktemp("pki"), clock=SystemClock())


@asynccontextmanager
async def scripted(pki: PKI, script: Script, *, is_secure: bool = True) -> AsyncIterator[Scripted]:
    context = None
    if is_secure:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pki.serving.certificate, pki.serving.key)
    served: Scripted

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer, len(served.wires))
        served.wires.append(wire)
        try:
            await script(wire)
        finally:
            writer.close()
            wire.ended.set()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    served = Scripted(Endpoint(server=f"http{'s' if is_secure else ''}://127.0.0.1:{port}", ca_pem=pki.ca_pem().encode()))
    try:
        yield served
    finally:
        server.close()
        for wire in served.wires:
            wire.writer.transport.abort()
        async with asyncio.timeout(5):
            await server.wait_closed()
            for wire in served.wires:
                await wire.ended.wait()


@asynccontextmanager
async def asking(endpoint: Endpoint, timeouts: Timeouts | None = None) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(endpoint, timeouts=timeouts)
    try:
        yield transport
    finally:
        await transport.close()


async def one_answer(pki: PKI, answer: bytes, request: RawRequest = GET) -> RawResponse:
    """What comes of an answer after which the server closes."""

    async def script(wire: Wire) -> None:
        await wire.read()
        await wire.send(answer)

    async with scripted(pki, script) as server, asking(server.endpoint) as transport:
        return await transport.request(request)


async def test_requests_one_after_the_other_share_a_connection_and_those_at_once_have_their_own(pki: PKI) -> None:
    async with scripted(pki, Wire.answer_all) as server, asking(server.endpoint) as transport:
        for _ in range(3):
            assert (await transport.request(PATCH)).body == b"{}"
        assert len(server.wires) == 1
        await asyncio.gather(*(transport.request(GET) for _ in range(3)))
        assert len(server.wires) == 3
        await asyncio.gather(*(transport.request(GET) for _ in range(3)))
        assert len(server.wires) == 3


async def test_a_connection_that_the_server_closed_while_idle_is_not_used_again(pki: PKI) -> None:
    async def script(wire: Wire) -> None:
        await wire.read()
        await wire.send(OK)

    async with scripted(pki, script) as server, asking(server.endpoint) as transport:
        await transport.request(PATCH)
        (connection,) = transport._made()._all
        await connection.lost
        await transport.request(PATCH)
        assert len(server.wires) == 2


async def closes_on_second(wire: Wire) -> None:
    """The race of every keep-alive: the request is on its way when the server closes."""
    await wire.read()
    await wire.send(OK)
    await wire.read()
    if wire.number:
        await wire.send(OK)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_close_that_crosses_a_request_is_made_good_where_it_may_be_sent_twice(pki: PKI, method: str) -> None:
    async with scripted(pki, closes_on_second) as server, asking(server.endpoint) as transport:
        await transport.request(GET)
        assert (await transport.request(RawRequest(method, "/x"))).status == 200
        assert len(server.wires) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_write_that_a_close_crossed_is_not_sent_twice(pki: PKI, method: str) -> None:
    async with scripted(pki, closes_on_second) as server, asking(server.endpoint) as transport:
        await transport.request(GET)
        with pytest.raises(TransportError, match="the server closed the connection"):
            await transport.request(RawRequest(method, "/x", body=b"{}"))
        assert len(server.wires) == 1


async def test_a_request_on_a_new_connection_is_not_sent_twice(pki: PKI) -> None:
    with pytest.raises(TransportError, match="the server closed the connection"):
        await one_answer(pki, b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ],
    ids=["head", "body", "chunk", "last-chunk"],
)
async def test_an_answer_that_ends_too_soon_is_an_error(pki: PKI, answer: bytes) -> None:
    with pytest.raises(TransportError, match="the server closed the connection"):
        await one_answer(pki, answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"SSH-2.0-x\r\n\r\n", "no answer of HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", "no answer of HTTP"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "no answer of HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "changed the protocol"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\n{}", "encoded as br"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}", "incorrect header check"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: %b\r\n" % (b"x" * 1000) * 300, "longer than 262144 bytes"),
    ],
    ids=["ssh", "two-lengths", "chunk-size", "upgrade", "brotli", "no-gzip", "endless-head"],
)
async def test_what_is_no_answer_is_an_error_that_says_so(pki: PKI, answer: bytes, message: str) -> None:
    with pytest.raises(TransportError, match=message):
        await one_answer(pki, answer)


async def test_an_answer_without_a_length_lasts_as_long_as_its_connection(pki: PKI) -> None:
    assert (await one_answer(pki, b"HTTP/1.0 200 OK\r\n\r\n{}")).body == b"{}"


async def test_a_compressed_body_is_given_as_it_was(pki: PKI) -> None:
    body = gzip.compress(b"{}" * 1000)
    told = await one_answer(pki, b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    assert told.body == b"{}" * 1000


async def test_interim_answers_are_passed_over(pki: PKI) -> None:
    told = await one_answer(pki, b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert (told.status, told.body, told.headers) == (200, b"{}", {"content-length": "2"})


async def test_the_length_in_an_answer_to_head_is_of_no_body(pki: PKI) -> None:
    told = await one_answer(pki, b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", RawRequest("HEAD", "/x"))
    assert (told.headers["content-length"], told.body) == ("1000", b"")


async def test_what_nobody_asked_for_ends_the_connection(pki: PKI) -> None:
    async def script(wire: Wire) -> None:
        await wire.read()
        await wire.send(OK + OK)
        await wire.answer_all()

    async with scripted(pki, script) as server, asking(server.endpoint) as transport:
        await transport.request(GET)
        await transport.request(GET)
        assert len(server.wires) == 2


async def test_large_bodies_go_both_ways(pki: PKI) -> None:
    size = 20 << 20

    async def script(wire: Wire) -> None:
        asked = await wire.read()
        assert asked.endswith(b"x" * size)
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        await wire.send(head + (b"%x\r\n%b\r\n" % (1 << 20, b"y" * (1 << 20))) * 20 + b"0\r\n\r\n")
        await wire.answer_all()

    async with scripted(pki, script) as server, asking(server.endpoint) as transport:
        assert (await transport.request(RawRequest("POST", "/x", body=b"x" * size))).body == b"y" * size
        await transport.request(GET)
        assert len(server.wires) == 1


async def test_a_stream_that_nobody_reads_makes_the_server_wait(pki: PKI) -> None:
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.read()
        await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while sent < 64:
            await wire.send(b"%x\r\n%b\r\n" % (1 << 20, b"y" * (1 << 20)))
            sent += 1
        await wire.send(b"0\r\n\r\n")

    async with scripted(pki, script) as server, asking(server.endpoint) as transport, transport.stream(GET) as (_, parts):
        last, still = -1, 0
        while still < 50:
            await asyncio.sleep(0.001)
            last, still = sent, still + 1 if sent == last else 0
        assert sent < 32
        assert sum([len(part) async for part in parts]) == 64 << 20


async def test_a_stream_gives_what_came_before_it_broke(pki: PKI) -> None:
    async def script(wire: Wire) -> None:
        await wire.read()
        await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")

    async with scripted(pki, script) as server, asking(server.endpoint) as transport, transport.stream(GET) as (_, parts):
        assert await anext(parts) == b"one"
        with pytest.raises(TransportError, match="the server closed the connection"):
            await anext(parts)


async def test_a_stream_left_early_ends_its_connection_and_one_read_to_its_end_does_not(pki: PKI) -> None:
    async def script(wire: Wire) -> None:
        while await wire.read():
            await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n")

    async with scripted(pki, script) as server, asking(server.endpoint) as transport:
        for _ in range(2):
            async with transport.stream(GET) as (_, parts):
                assert b"".join([part async for part in parts]) == b"one"
        assert len(server.wires) == 1

    async def endless(wire: Wire) -> None:
        await wire.read()
        await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        assert await wire.read() == b""

    async with scripted(pki, endless) as server, asking(server.endpoint) as transport:
        async with transport.stream(GET) as (_, parts):
            assert await anext(parts) == b"one"
        async with transport.stream(GET) as (_, parts):
            assert await anext(parts) == b"one"
        assert len(server.wires) == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [(b"410 Gone", Expired), (b"429 Too Many Requests", TooManyRequests), (b"503 Service Unavailable", ServiceUnavailable)],
)
async def test_refusals_are_the_errors_of_the_api_and_keep_the_connection(pki: PKI, status: bytes, kind: type[Exception]) -> None:
    body = b'{"kind":"Status","reason":"%b"}' % kind.__name__.encode()
    answer = b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)
    async with scripted(pki, lambda wire: wire.answer_all(answer)) as server, Client(HttpTransport(server.endpoint)) as client:
        for _ in range(2):
            with pytest.raises(kind):
                await client.raw("GET", "/x")
            async with client.transport.stream(GET) as (response, parts):
                assert response.body == body
                assert [part async for part in parts] == []
        assert len(server.wires) == 1


async def test_a_server_that_never_answers_is_given_up_and_its_connection_closed(pki: PKI) -> None:
    async def script(wire: Wire) -> None:
        while await wire.read():
            pass

    async with scripted(pki, script) as server, asking(server.endpoint, Timeouts(request_s=0.05)) as transport:
        with pytest.raises(TransportError, match="no answer in time"):
            await transport.request(PATCH)
        async with asyncio.timeout(5):
            await server.wires[0].ended.wait()


async def test_a_shorter_patience_than_that_of_idle_connections_counts(pki: PKI) -> None:
    async def script(wire: Wire) -> None:
        await wire.read()
        await wire.send(OK)
        await wire.read()
        await wire.read()

    async with scripted(pki, script) as server, asking(server.endpoint, Timeouts(request_s=0.2)) as transport:
        await transport.request(GET)
        async with asyncio.timeout(5):
            with pytest.raises(TransportError, match="no answer in time"):
                await transport.request(PATCH)


async def test_a_cancelled_request_ends_its_connection_and_leaves_nothing_to_the_next(pki: PKI) -> None:
    asked = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.read()
        asked.set()
        await wire.answer_all(b"")

    async with scripted(pki, script) as server, asking(server.endpoint) as transport:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(transport.request(GET))
            await asked.wait()
            task.cancel()
        async with asyncio.timeout(5):
            await server.wires[0].ended.wait()
        assert transport._made().spare() is None


async def test_closing_the_client_breaks_off_what_is_under_way(pki: PKI) -> None:
    asked = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.read()
        asked.set()
        await wire.read()

    async with scripted(pki, script) as server, asking(server.endpoint) as transport, asyncio.TaskGroup() as group:
        task = group.create_task(_failing(transport.request(GET)))
        await asked.wait()
        await transport.close()
        assert "the connection was closed" in await task


async def _failing(request: Awaitable[RawResponse]) -> str:
    with pytest.raises(TransportError) as caught:
        await request
    return str(caught.value)


@pytest.mark.parametrize("name", ["x-remote-user", "x-remote-group"])
async def test_a_header_with_a_line_break_is_not_sent(pki: PKI, name: str) -> None:
    async with scripted(pki, Wire.answer_all) as server, asking(server.endpoint) as transport:
        for value in ("ann\r\nx-remote-group: system:masters", "ann\nx: y", "ann\0"):
            with pytest.raises(TransportError, match="is not sent"):
                await transport.request(RawRequest("GET", "/x", repeated=[(name, value)]))
        assert not server.wires


async def test_names_beyond_latin_are_sent_as_utf_8(pki: PKI) -> None:
    seen = b""

    async def script(wire: Wire) -> None:
        nonlocal seen
        seen = await wire.read()
        await wire.send(OK)

    async with scripted(pki, script) as server, asking(server.endpoint) as transport:
        await transport.request(RawRequest("GET", "/x", {"a": "b c"}, repeated=[("x-remote-user", "žofie"), ("x-remote-group", "a")]))
    assert "x-remote-user: žofie\r\n".encode() in seen
    assert seen.startswith(b"GET /x?a=b+c HTTP/1.1\r\nhost: 127.0.0.1:")


@pytest.mark.parametrize("is_secure", [True, False])
async def test_a_proxy_is_asked_for_the_connection_or_for_each_request(pki: PKI, *, is_secure: bool) -> None:
    lines: list[bytes] = []

    async with scripted(pki, Wire.answer_all, is_secure=is_secure) as server:

        async def relay(wire: Wire) -> None:
            lines.append(await wire.read())
            if not is_secure:
                await wire.send(OK)
                return
            host, port = server.endpoint.host.split(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            await wire.send(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n")
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass_on(wire.reader, far_writer))
                group.create_task(_pass_on(far_reader, wire.writer))

        async with scripted(pki, relay, is_secure=False) as proxy:
            told = Endpoint(
                server=server.endpoint.server, ca_pem=server.endpoint.ca_pem, proxy_url=proxy.endpoint.server.replace("//", "//me:s%40@")
            )
            async with asking(told) as transport:
                assert (await transport.request(GET)).body == b"{}"
    target = f"CONNECT {server.endpoint.host}" if is_secure else f"GET {server.endpoint.server}/x"
    assert lines[0].startswith(f"{target} HTTP/1.1\r\n".encode())
    assert b"proxy-authorization: basic bwu6c0a=" in lines[0].lower()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


async def test_a_proxy_that_refuses_is_named_with_its_words(pki: PKI) -> None:
    async def script(wire: Wire) -> None:
        await wire.read()
        await wire.send(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")

    async with scripted(pki, script, is_secure=False) as proxy:
        async with asking(Endpoint(server="https://127.0.0.1:1", proxy_url=proxy.endpoint.server)) as transport:
            with pytest.raises(TransportError, match="the proxy does not connect to the server: HTTP/1.1 407"):
                await transport.request(GET)
        async with asking(Endpoint(server="https://127.0.0.1:1", proxy_url="socks5://127.0.0.1:1")) as transport:
            with pytest.raises(TransportError, match="not a proxy's address"):
                await transport.request(GET)


@pytest.mark.parametrize("server", ["https://127.0.0.1:port", "ftp://127.0.0.1", "nowhere", "https://"])
async def test_an_address_that_is_none_is_told(server: str) -> None:
    async with asking(Endpoint(server=server, origin="the test")) as transport:
        with pytest.raises(TransportError, match="not a server address; correct it in the test"):
            await transport.request(GET)


async def test_a_name_too_long_for_a_host_cannot_be_resolved() -> None:
    async with asking(Endpoint(server=f"https://{'a' * 64}.invalid")) as transport:
        with pytest.raises(TransportError, match="cannot be resolved"):
            await transport.request(GET)


async def test_a_watch_follows_its_server_over_many_small_and_split_records(pki: PKI) -> None:
    frames = b"".join(b'{"type":"ADDED","object":{"metadata":{"name":"n%d"}}}\n' % number for number in range(200))

    async def script(wire: Wire) -> None:
        await wire.read()
        await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for start in range(0, len(frames), 7):
            piece = frames[start : start + 7]
            await wire.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
        await wire.read()

    async with scripted(pki, script) as server, Client(HttpTransport(server.endpoint)) as client:
        from kcp.apimachinery.gvk import GVR

        async with aclosing(client.resource(GVR("", "v1", "nodes")).watch()) as watch:
            names = [(await anext(watch)).object["metadata"]["name"] for _ in range(200)]
    assert names == [f"n{number}" for number in range(200)]


async def test_certificates_of_another_authority_are_refused_before_anything_is_sent(pki: PKI, tmp_path: Path) -> None:
    other = PKI.ensure(tmp_path, clock=SystemClock())
    heard: list[bytes] = []

    async def script(wire: Wire) -> None:
        heard.append(await wire.read())

    async with (
        scripted(pki, script) as server,
        asking(Endpoint(server=server.endpoint.server, ca_pem=other.ca_pem().encode())) as transport,
    ):
        with pytest.raises(TransportError, match="unknown authority"):
            await transport.request(PATCH)
    assert not any(heard)
