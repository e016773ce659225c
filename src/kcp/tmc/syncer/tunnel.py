"""The syncer's end of the tunnel: opened to the control plane, kept open, and served, for pods of its own namespaces and nothing else.

The control plane is not trusted with the syncer's rights in the cluster: what is no subresource of a pod that a workspace placed here is
refused. Before: `engine`. After: `tmc.tunnel.protocol`, the clients of both sides.
Source: kcp 0.11 pkg/tunneler/listener.go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

import orjson

from kcp.aio.backoff import Backoff
from kcp.aio.clock import Clock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.errors import Forbidden, RequestEntityTooLarge, ServiceUnavailable, StatusError
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse, TransportError, upgrade
from kcp.streams.spdy import WINDOW, Session, Stream
from kcp.streams.spdyframes import Headers
from kcp.streams.ways import BrokenStream, splice
from kcp.streams.websocket import BytesOverMessages, WebSocket, new_key
from kcp.tmc.model.names import NamespaceLocator
from kcp.tmc.syncer.identity import Identity
from kcp.tmc.tunnel.protocol import SUBPROTOCOL, carry, meant_pod, tunnel_path, value

log = logging.getLogger(__name__)

_MOST_BODY: Final = 3 << 20
_OF_ONE_CONNECTION = frozenset(("content-length", "transfer-encoding", "date", "keep-alive"))


@dataclass
class Tunnel:
    identity: Identity
    control_plane: Client
    downstream: Client
    clock: Clock
    locator: Callable[[str], NamespaceLocator | None]
    """What a namespace of the cluster stands for; None for one that is not this target's."""
    announce: Callable[[str], None] = lambda _: None
    _backoff: Backoff = field(default_factory=Backoff)
    _problem: str = ""

    async def run(self) -> None:
        """Open, serve, and open again, with growing pauses while it cannot be had."""
        while True:
            try:
                await self._hold()
                problem = "the control plane ended it"
            except (TransportError, BrokenStream, TimeoutError) as error:
                problem = str(error)
            if problem != self._problem:
                self._problem = problem
                log.info("the tunnel of %s is not open: %s; it is tried again", self.identity.name, problem)
            await self.clock.sleep(self._backoff.next_s())

    async def _hold(self) -> None:
        socket_headers = {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": new_key(),
            "Sec-WebSocket-Protocol": SUBPROTOCOL, "User-Agent": self.control_plane.user_agent,
        }  # fmt: skip
        path = f"{self.control_plane.base_path}{tunnel_path(self.identity.cluster, self.identity.name)}?uid={self.identity.uid}"
        async with upgrade(self.control_plane.transport, RawRequest("GET", path, headers=socket_headers)) as (response, wire):
            if response.status != 101:
                raise TransportError(f"the control plane answers {response.status}: {_message(response.body)}")
            async with Supervisor(f"tunnel {self.identity.name}") as streams:

                async def opened(stream: Stream) -> None:
                    streams.spawn(self._answer(stream), name=f"tunnel stream {stream.number}")

                socket = WebSocket(wire, is_client=True)
                session = Session(BytesOverMessages(socket), is_client=False, opened=opened, window=WINDOW)
                self._backoff.reset()
                self._problem = ""
                self.announce("the tunnel for logs, exec and port-forward is open")
                try:
                    await carry(session, self.clock)
                finally:
                    await session.close()

    async def _answer(self, stream: Stream) -> None:
        with suppress(BrokenStream):  # who asked has gone
            try:
                await self._pass_on(stream)
            except TransportError as error:
                await _refuse(stream, ServiceUnavailable(f'cluster "{self.identity.name}" cannot be reached by its syncer: {error}'))
            except StatusError as refusal:
                await _refuse(stream, refusal)
        await stream.close()

    async def _pass_on(self, stream: Stream) -> None:
        """Raises StatusError, TransportError, BrokenStream."""
        path = value(stream.headers, ":path")
        pod = meant_pod(unquote(path.partition("?")[0]))
        locator = self.locator(pod[0]) if pod is not None else None
        if pod is None or locator is None:
            raise Forbidden(f"this is no pod that a workspace placed in cluster {self.identity.name}: {path.partition('?')[0]}")
        log.info("passing on a request to a pod: %s %s", value(stream.headers, ":method"), path.partition("?")[0])
        is_upgrade = bool(value(stream.headers, "upgrade"))
        headers = {name: text for name, text in stream.headers if not name.startswith(":")}
        repeated = tuple(pair for pair in stream.headers if not pair[0].startswith(":") and headers[pair[0]] != pair[1])
        body = b"" if is_upgrade else await _body(stream)
        method, base = value(stream.headers, ":method"), self.downstream.base_path
        request = RawRequest(method, f"{base}{path}", headers=headers, body=body, repeated=repeated)
        if is_upgrade:
            async with upgrade(self.downstream.transport, request) as (response, wire):
                await stream.answer(_head(response))
                if response.status == 101:
                    await splice(stream, wire)
                else:
                    await stream.write(response.body)
            return
        async with self.downstream.transport.stream(request) as (response, chunks):
            await stream.answer(_head(response))
            await stream.write(response.body)
            async for chunk in chunks:
                await stream.write(chunk)


def _head(response: RawResponse) -> Headers:
    return [(":status", str(response.status)), *(pair for pair in response.headers.items() if pair[0] not in _OF_ONE_CONNECTION)]


async def _body(stream: Stream) -> bytes:
    body = bytearray()
    while data := await stream.read():
        body += data
        if len(body) > _MOST_BODY:
            raise RequestEntityTooLarge(f"Request entity too large: limit is {_MOST_BODY}")
    return bytes(body)


async def _refuse(stream: Stream, refusal: StatusError) -> None:
    await stream.answer([(":status", str(refusal.code)), ("content-type", "application/json")])
    await stream.write(orjson.dumps(refusal.to_status()))


def _message(body: bytes) -> str:
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:200].decode(errors="replace")
    return str(told.get("message", "")) if isinstance(told, dict) else str(told)[:200]
