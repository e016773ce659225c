"""A request sent on to another server under its user's name, and its answer brought back: whole, as a stream, or as another protocol.

Before: `aggregation`, `tenancy.mountproxy`. After: `client.http`.
Source: net/http/httputil/reverseproxy.go, k8s.io/client-go/transport/round_trippers.go (SetAuthProxyHeaders).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from urllib.parse import quote

from kcp.apiserver.connect.upgrades import wanted, without_credentials
from kcp.apiserver.request import Request, Response, Upgrade
from kcp.client.http import HttpTransport
from kcp.client.transport import RawRequest, RawResponse
from kcp.registry.backend import UserInfo
from kcp.streams.ways import Duplex, splice

_OF_ONE_CONNECTION = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding upgrade".split()
)
"""Source: net/http/httputil/reverseproxy.go, hopHeaders."""
_OF_ONE_BODY = frozenset(("content-length", "content-encoding"))
_NOT_SENT = _OF_ONE_CONNECTION | _OF_ONE_BODY | {"host", "authorization", "accept-encoding", "expect", "cookie"}
_NOT_ANSWERED = _OF_ONE_CONNECTION | _OF_ONE_BODY | {"content-type", "set-cookie"}


async def forward(
    server: HttpTransport, req: Request, path: str, identity: Iterable[tuple[str, str]], more: Mapping[str, str] | None = None
) -> Response:
    """What the server answers at `path`, a quoted one; the query is the request's.

    Args: identity: by which headers it knows the user, whose credentials stay here. more: headers beside the request's.
    Raises: TransportError.
    """
    target = f"{path}{'?' + req.query_string if req.query_string else ''}"
    body = await req.read_body() if req.method not in ("GET", "HEAD") else b""
    if req.audit is not None:
        req.audit.take_passed_on(body)
    headers = {name: value for name, value in req.headers.items() if _is_sent(name)} | dict(more or {})
    request = RawRequest(req.method, target, headers=headers, body=body, repeated=tuple(identity))
    if wanted(req):
        return await _upgraded(server, req, request)
    async with AsyncExitStack() as stack:
        raw, chunks = await stack.enter_async_context(server.stream(request))
        response = _response(raw)
        if raw.status == 200 and not (req.audit is not None and req.audit.wants_answer):
            response.stream = _until_closed(chunks, stack.pop_all())
            return response
        if raw.status == 200:
            response.body = b"".join([chunk async for chunk in chunks])
        if req.audit is not None and "json" in response.content_type:
            req.audit.take_answer(response.body)
        return response


async def _upgraded(server: HttpTransport, req: Request, request: RawRequest) -> Response:
    """A connection that changes its protocol: passed on as it is, whatever it is."""
    headers = {**request.headers, "connection": "Upgrade", "upgrade": req.headers["upgrade"]}
    if offered := without_credentials(req):
        headers["sec-websocket-protocol"] = offered
    also_spoken = [("x-stream-protocol-version", text) for text in req.values("x-stream-protocol-version")[:-1]]
    request = replace(request, headers=headers, repeated=(*also_spoken, *request.repeated))
    async with AsyncExitStack() as stack:
        raw, far = await stack.enter_async_context(server.upgrade(request))
        response = _response(raw)
        if raw.status == 101:
            response.content_type = ""
            response.headers += (("upgrade", raw.headers.get("upgrade", "")), ("connection", "Upgrade"))
            response.upgrade = _joined(far, stack.pop_all())
        return response


def identity_headers(user: UserInfo) -> Iterator[tuple[str, str]]:
    """Who asks, in the headers of an authenticating proxy."""
    yield "X-Remote-User", user.name
    for group in user.groups:
        yield "X-Remote-Group", group
    for key, values in user.extra.items():
        for value in values:
            yield f"X-Remote-Extra-{quote(key, safe='')}", value


def _is_sent(header: str) -> bool:
    return header not in _NOT_SENT and not header.startswith(("impersonate-", "x-remote-"))


def _response(raw: RawResponse) -> Response:
    answered = tuple((name, value) for name, value in raw.headers.items() if name not in _NOT_ANSWERED)
    return Response(raw.status, raw.body, raw.headers.get("content-type", "application/json"), answered)


def _joined(far: Duplex, stack: AsyncExitStack) -> Upgrade:
    async def joined(near: Duplex) -> None:
        async with stack:
            await splice(near, far)

    return joined


async def _until_closed(chunks: AsyncIterator[bytes], stack: AsyncExitStack) -> AsyncIterator[bytes]:
    async with stack:
        async for chunk in chunks:
            yield chunk
