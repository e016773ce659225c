"""From a request that wants another protocol to the answer 101, and the connection in that protocol.

Before: `remotecommand`, `portforward`, `tmc.tunnel`. After: `kcp.streams`.
Source: RFC 6455 section 4.2, k8s.io/apimachinery/pkg/util/httpstream/{httpstream,spdy/upgrade}.go,
httpstream/wsstream/conn.go (which subprotocols are chosen).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from kcp.apimachinery.errors import BadRequest, Forbidden
from kcp.apiserver.request import Request, Response
from kcp.streams.spdy import Session, Stream
from kcp.streams.ways import Duplex
from kcp.streams.websocket import WebSocket, accept

SPDY = "spdy/3.1"
WEBSOCKET = "websocket"
_PROTOCOLS_HEADER = "x-stream-protocol-version"

BEARER = "base64url.bearer.authorization.k8s.io."
"""Source: k8s.io/apiserver/pkg/authentication/request/websocket/protocol.go."""

Speak: TypeAlias = Callable[[WebSocket], Awaitable[None]]


def wanted(req: Request) -> str:
    """The protocol that a request wants to change to, in lower case; "" if none."""
    tokens = [token.strip().lower() for token in ",".join(req.values("connection")).split(",")]
    return req.headers.get("upgrade", "").strip().lower() if "upgrade" in tokens else ""


def required(req: Request) -> BadRequest:
    """For a request that only makes sense as a connection."""
    return BadRequest("Upgrade request required" if not wanted(req) else f"unable to upgrade: unknown protocol {wanted(req)!r}")


def subprotocol(req: Request, known: Sequence[str]) -> str | None:
    """The first of a WebSocket's offered subprotocols that is known; "" where none is offered and that is known too; else None."""
    offered = offers(req, "sec-websocket-protocol") or [""]
    return next((offer for offer in offered if offer in known), None)


def offers(req: Request, header: str) -> list[str]:
    return [offer.strip() for value in req.values(header) for offer in value.split(",") if offer.strip()]


def without_credentials(req: Request) -> str:
    """The subprotocols that a WebSocket offers, but for those that are credentials for this server alone."""
    return ", ".join(offer for offer in offers(req, "sec-websocket-protocol") if not offer.startswith(BEARER))


def websocket(req: Request, protocol: str, speak: Speak) -> Response:
    """Answer with a WebSocket, and speak over it. Raises BadRequest."""
    key = req.headers.get("sec-websocket-key", "")
    if req.method != "GET" or not key or req.headers.get("sec-websocket-version") != "13":
        raise BadRequest("a WebSocket is opened with GET, Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key")

    async def speaking(wire: Duplex) -> None:
        socket = WebSocket(wire)
        try:
            await speak(socket)
        finally:
            await socket.close()

    headers = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", accept(key))]
    if protocol:
        headers.append(("sec-websocket-protocol", protocol))
    return Response(101, headers=tuple(headers), content_type="", upgrade=speaking)


def spdy(req: Request, known: Sequence[str], speak: Callable[[Duplex, str], Awaitable[None]]) -> Response:
    """Answer with SPDY, and speak over it by the first of the offered protocols that is known. Raises Forbidden.

    Source: httpstream.Handshake: who offers nothing gets the first protocol there was.
    """
    offered = offers(req, _PROTOCOLS_HEADER)
    chosen = next((offer for offer in offered if offer in known), None) if offered else ""
    if chosen is None:
        raise Forbidden(f"unable to upgrade: unable to negotiate protocol: client supports {offered}, server accepts {list(known)}")
    headers = [("upgrade", "SPDY/3.1"), ("connection", "Upgrade")]
    if chosen:
        headers.append((_PROTOCOLS_HEADER, chosen))

    async def speaking(wire: Duplex) -> None:
        await speak(wire, chosen)

    return Response(101, headers=tuple(headers), content_type="", upgrade=speaking)


def server_session(wire: Duplex, opened: Callable[[Stream], Awaitable[None]]) -> Session:
    """With a client that opens the streams, and keeps no windows."""
    return Session(wire, is_client=False, opened=opened)
