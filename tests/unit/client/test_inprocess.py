"""The in-process transport: a small ASGI application, its answers, streams, back-pressure, and what happens when either side leaves."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
import pytest

from kcp.aio.clock import settle
from kcp.client.inprocess import AsgiTransport
from kcp.client.transport import RawRequest, TransportError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class SmallApp:
    """`/echo` answers what it was asked; `/count/<n>` streams numbers; `/refused` and `/nothing` misbehave."""

    def __init__(self) -> None:
        self.sent = 0
        self.cancelled = False

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["path"] == "/echo":
            await self._echo(scope, receive, send)
        elif scope["path"].startswith("/count/"):
            await self._count(int(scope["path"].rpartition("/")[2]), send)
        elif scope["path"] == "/wait":
            await self._wait(receive, send)
        elif scope["path"] == "/refused":
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"no"})
        elif scope["path"] == "/cut":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async def _echo(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        message = await receive()
        told = {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode(),
            "user": scope["extensions"]["kcp.user"],
            "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
            "body": message["body"].decode(),
        }
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Seen", b"yes")]})
        await send({"type": "http.response.body", "body": orjson.dumps(told)})

    async def _count(self, to: int, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(to):
            await send({"type": "http.response.body", "body": b"%06d\n" % number * 1000, "more_body": True})
            self.sent += 1
        await send({"type": "http.response.body", "body": b""})

    async def _wait(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        try:
            await receive()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_request_reaches_the_application_with_identity_and_body() -> None:
    transport = AsgiTransport(SmallApp(), "alice")
    request = RawRequest("PUT", "/echo", {"a": "b c", "d": "e&f"}, {"Accept": "x"}, b"hello")
    response = await transport.request(request)
    assert (response.status, response.headers) == (200, {"x-seen": "yes"})
    assert orjson.loads(response.body) == {
        "method": "PUT",
        "path": "/echo",
        "query": "a=b+c&d=e%26f",
        "user": "alice",
        "headers": {"accept": "x", "content-length": "5"},
        "body": "hello",
    }


async def test_escaped_path_arrives_decoded() -> None:
    transport = AsgiTransport(SmallApp(), "alice")
    assert orjson.loads((await transport.request(RawRequest("GET", "/ech%6F"))).body)["path"] == "/echo"


async def test_stream_arrives_whole_and_in_order() -> None:
    transport = AsgiTransport(SmallApp(), "alice")
    async with transport.stream(RawRequest("GET", "/count/300")) as (response, chunks):
        data = b"".join([chunk async for chunk in chunks])
    assert response.status == 200
    assert data == b"".join(b"%06d\n" % number * 1000 for number in range(300))


async def test_slow_reader_holds_the_application_back() -> None:
    app = SmallApp()
    async with AsgiTransport(app, "alice").stream(RawRequest("GET", "/count/1000")) as (_, chunks):
        await settle(2000)
        held_back_at = app.sent
        assert 100 < held_back_at < 200  # 1 MiB of 7,000 bytes each
        await anext(chunks)
        await settle(2000)
        assert app.sent > held_back_at


async def test_leaving_a_stream_ends_the_application() -> None:
    app = SmallApp()
    async with AsgiTransport(app, "alice").stream(RawRequest("GET", "/wait")):
        await settle()
    assert app.cancelled


async def test_error_of_the_reader_comes_out_as_it_is() -> None:
    app = SmallApp()

    async def read() -> None:
        async with AsgiTransport(app, "alice").stream(RawRequest("GET", "/wait")):
            await settle()
            raise KeyError("mine")

    with pytest.raises(KeyError):
        await read()
    assert app.cancelled


async def test_cancelled_reader_ends_the_application() -> None:
    app = SmallApp()

    async def read() -> None:
        async with AsgiTransport(app, "alice").stream(RawRequest("GET", "/wait")) as (_, chunks):
            await anext(chunks)

    task = asyncio.ensure_future(read())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert app.cancelled


async def test_refused_stream_carries_its_body() -> None:
    async with AsgiTransport(SmallApp(), "alice").stream(RawRequest("GET", "/refused")) as (response, chunks):
        assert (response.status, response.body, [chunk async for chunk in chunks]) == (403, b"no", [])


async def test_answer_broken_off_is_a_transport_error() -> None:
    transport = AsgiTransport(SmallApp(), "alice")
    with pytest.raises(TransportError, match="without a full answer"):
        await transport.request(RawRequest("GET", "/cut"))
    with pytest.raises(TransportError, match="broke off"):
        async with transport.stream(RawRequest("GET", "/cut")) as (_, chunks):
            assert [chunk async for chunk in chunks] == [b"half"]
    with pytest.raises(TransportError, match="without an answer"):
        async with transport.stream(RawRequest("GET", "/nothing")):
            pass
