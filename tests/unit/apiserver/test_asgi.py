"""ASGI messages: heads without bodies, lifespan, bodies in parts, clients that go away early."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.errors import BadRequest
from kcp.apiserver.asgi import App
from kcp.apiserver.request import Handler, Request, Response
from kcp.registry.backend import UserInfo


async def exchange(handler: Handler, *messages: dict[str, Any], **scope: Any) -> list[Any]:
    incoming = iter(messages or ({"type": "http.request", "body": b""},))
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(message)

    whole = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], **scope}
    await App(handler)(whole, receive, send)
    return sent


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_says_nothing_about_one(status: int) -> None:
    async def handler(req: Request) -> Response:
        return Response(status, content_type="", headers=(("etag", '"x"'),))

    start, body = await exchange(handler)
    assert start["headers"] == [(b"etag", b'"x"')]
    assert body["body"] == b""


async def test_a_body_in_parts_is_put_together() -> None:
    async def handler(req: Request) -> Response:
        return Response(200, await req.read_body())

    parts = ({"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.request", "body": b"b"})
    sent = await exchange(handler, *parts)
    assert sent[1]["body"] == b"ab"


async def test_a_client_that_breaks_off_inside_the_body_is_a_bad_request() -> None:
    async def handler(req: Request) -> Response:
        with pytest.raises(BadRequest, match="broke off"):
            await req.read_body()
        return Response()

    await exchange(handler, {"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"})


async def test_identity_comes_from_the_extensions() -> None:
    seen: list[Request] = []

    async def handler(req: Request) -> Response:
        seen.append(req)
        return Response()

    await exchange(handler, extensions={"kcp.user": UserInfo("inside")})
    await exchange(handler, extensions={"tls": {"peer_subject": {"CN": ("alice",)}}})
    assert seen[0].user.name == "inside"
    assert seen[1].user.name == "system:anonymous"
    assert seen[1].peer_subject == {"CN": ("alice",)}


async def test_the_lifespan_protocol_is_answered() -> None:
    async def handler(req: Request) -> Response:
        return Response()

    sent = await exchange(handler, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}, type="lifespan")
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(ValueError, match="HTTP only"):
        await exchange(handler, type="websocket")
