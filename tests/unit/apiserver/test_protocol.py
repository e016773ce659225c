"""What one HTTP/1.1 connection does with odd, ambiguous and hostile bytes: refusals in Go's words, early answers, upgrades, old versions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kcp.aio.clock import SystemClock
from kcp.apiserver.requesttarget import Target, split
from kcp.apiserver.serving import ServerHandle, ServingConfig, serve

CLOCK = SystemClock()


class Echo:
    """Answers with the path and the body it was sent; `/early` without reading; `/stream` in two parts."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        body = scope["path"].encode()
        while scope["path"] != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        length = [] if scope["path"] == "/stream" else [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": body, "more_body": bool(not length)})
        if not length:
            await send({"type": "http.response.body", "body": b"!"})


@asynccontextmanager
async def serving(app: Echo) -> AsyncIterator[ServerHandle]:
    async with await serve(app, ServingConfig(port=0, grace_s=0.05, linger_s=0.02), clock=CLOCK) as handle:
        yield handle


async def exchanged(handle: ServerHandle, raw: bytes) -> bytes:
    """Everything that is answered to these bytes, until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", handle.port)
    try:
        writer.write(raw)
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


async def to(raw: bytes) -> bytes:
    async with serving(Echo()) as handle:
        return await exchanged(handle, raw)


HOST = b"Host: x\r\n"
LAST = HOST + b"Connection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400 Bad Request: missing required Host header"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400 Bad Request: too many Host headers"),
        (b"GET / HTTP/2.0\r\n" + LAST, b"505 HTTP Version Not Supported: unsupported protocol version"),
        (b"GET /\r\n\r\n", b"400 Bad Request"),
        (b"GET /%zz HTTP/1.1\r\n" + LAST, b"400 Bad Request"),
        (b"FOO /api/v1/pods HTTP/1.1\r\n" + LAST, b"405 Method Not Allowed"),
        (b"CONNECT a:443 HTTP/1.1\r\n" + LAST, b"400 Bad Request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400 Bad Request"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"501 Not Implemented: Unsupported transfer encoding"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", b"400 Bad Request"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", b"400 Bad Request"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x3\r\n\r\nabc", b"400 Bad Request"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400 Bad Request"),
    ],
)  # fmt: skip
async def test_what_two_servers_could_read_differently_is_refused(raw: bytes, told: bytes) -> None:
    """Source: net/http/{request,transfer,server}.go."""
    answer = await to(raw)
    assert answer.startswith(b"HTTP/1.1 " + told.partition(b":")[0])
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\n" + told)


async def test_a_path_may_have_bytes_beyond_ascii() -> None:
    """Source: net/url/url.go (parse)."""
    assert (await to("GET /é?x=ü HTTP/1.1\r\n".encode() + LAST)).endswith("/é".encode())
    first = b"GET /first HTTP/1.1\r\n" + HOST + b"\r\n"
    answer = await to(first + "GET /é HTTP/1.1\r\n".encode() + LAST)
    assert answer.count(b"HTTP/1.1 200") == 1, "only at the beginning of what comes; else it is malformed, and nothing is done twice"
    assert (await to(b"GET /\xff\x00 HTTP/1.1\r\n" + LAST)).startswith(b"HTTP/1.1 400")


async def test_a_request_before_a_malformed_one_is_answered_first() -> None:
    answer = await to(b"GET /first HTTP/1.1\r\n" + HOST + b"\r\n\x00\x00\x00\r\n\r\n")
    assert answer.endswith(b"/first")
    assert answer.count(b"HTTP/1.1") == 1


async def test_a_body_that_turns_malformed_is_answered_once() -> None:
    answer = await to(b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" + b"nonsense\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("framing", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"])
async def test_a_request_to_upgrade_is_answered_with_its_body_like_any_other(framing: bytes) -> None:
    """Source: net/http: who does not take over the connection does not look at Upgrade. Another reading makes a request of the body."""
    upgraded = b"POST /up HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + framing
    answer = await to(upgraded * 3 + b"GET /next HTTP/1.1\r\n" + LAST)
    assert answer.count(b"/upabc") == 3
    assert answer.endswith(b"/next")


async def test_trailers_are_no_headers() -> None:
    app = Echo()
    async with serving(app) as handle:
        chunks = b"3\r\nabc\r\n0\r\nImpersonate-User: root\r\n\r\n"
        await exchanged(handle, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n" + HOST + b"\r\n" + chunks)
    assert [name for name, _ in app.scopes[0]["headers"]] == [b"transfer-encoding", b"connection", b"host"]


@pytest.mark.parametrize("endless", [b"x: y\r\n", b"y"])
async def test_trailers_that_do_not_end_are_refused(endless: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + HOST + b"\r\n0\r\nx: "
    answer = await to(head + endless * (2_000_000 // len(endless)))
    assert answer.startswith(b"HTTP/1.1 431")


async def test_an_early_answer_to_a_large_body_ends_the_connection() -> None:
    answer = await to(b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 9000000\r\n\r\n" + b"x" * 300_000)
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.endswith(b"/early")


async def test_an_early_answer_to_a_small_body_keeps_the_connection() -> None:
    early = b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000
    answer = await to(early + b"GET /next HTTP/1.1\r\n" + LAST)
    assert answer.endswith(b"/next")


async def test_a_client_that_waits_for_100_and_is_answered_is_not_waited_for() -> None:
    answer = await to(b"POST /early HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\nconnection: close\r\n" in answer


async def test_a_stream_to_an_old_client_ends_with_the_connection() -> None:
    """Source: RFC 9112, section 6.1: no chunks to HTTP/1.0."""
    answer = await to(b"GET /stream HTTP/1.0\r\n\r\n")
    assert b"chunked" not in answer
    assert answer.endswith(b"\r\n\r\n/stream!")


async def test_a_long_query_is_read() -> None:
    """kubectl and operators put selectors of any length there. Source: net/http: only the whole head is limited, to 1 MiB."""
    app = Echo()
    async with serving(app) as handle:
        await exchanged(handle, b"GET /a?labelSelector=" + b"a" * 900_000 + b" HTTP/1.1\r\n" + LAST)
    assert len(app.scopes[0]["query_string"]) > 900_000


@pytest.mark.parametrize(
    ("raw", "target"),
    [
        (b"/a%2Fb?c=d?e", Target("/a/b", b"/a%2Fb", b"c=d?e")), (b"https://h:1/a?b", Target("/a", b"/a", b"b")), (b"http://h?b", Target("/", b"/", b"b")),
        (b"http://h", Target("/", b"/", b"")), (b"/%ff", Target("/�", b"/%ff", b"")), (b"/?%zz", Target("/", b"/", b"%zz")), (b"a", None), (b"", None),
        (b"/%", None), (b"://a", None), (b"//a", Target("//a", b"//a", b"")),
    ],
)  # fmt: skip
def test_a_request_target_is_split_in_every_form(raw: bytes, target: Target | None) -> None:
    assert split(raw) == target
