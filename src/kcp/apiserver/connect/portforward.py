"""`portforward`: any number of TCP connections to a pod's ports over one connection of the client.

SPDY, alone or inside a WebSocket (KEP-4006), and the WebSocket channels of Python's and JavaScript's clients, two for each port.
Who listens at a port is the caller's. Before: `sim.dialing`. After: `upgrades`, `kcp.streams`.
Source: k8s.io/cri-streaming/pkg/streaming/portforward/{httpstream,websocket}.go, k8s.io/apimachinery/pkg/util/portforward/constants.go.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import parse_qs

from kcp.apimachinery.errors import BadRequest
from kcp.apiserver.connect.upgrades import SPDY, WEBSOCKET, offers, required, server_session, spdy, subprotocol, wanted, websocket
from kcp.apiserver.request import Request, Response
from kcp.streams.spdy import Stream
from kcp.streams.ways import BrokenStream, Duplex, PipeEnd, pipe
from kcp.streams.websocket import BytesOverMessages, WebSocket

_PROTOCOL = "portforward.k8s.io"
_TUNNELED = "SPDY/3.1+portforward.k8s.io"
_SOCKET_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "")
_MOST_PORTS = 100


class PortError(Exception):
    """Nothing can be had of a port; the message is for the user."""


Dial: TypeAlias = Callable[[int, Duplex], Awaitable[None]]
"""Connects a port with a client's connection, until one of them ends. Raises PortError, BrokenStream."""


def respond(req: Request, dial: Dial) -> Response:
    """The answer 101 in the client's protocol. Raises BadRequest, Forbidden."""
    protocol = wanted(req)
    if protocol == SPDY:
        return spdy(req, (_PROTOCOL,), lambda wire, _: _Streams(dial).speak(wire))
    if protocol != WEBSOCKET:
        raise required(req)
    if _TUNNELED in offers(req, "sec-websocket-protocol"):
        return websocket(req, _TUNNELED, lambda socket: _Streams(dial).speak(BytesOverMessages(socket)))
    chosen = subprotocol(req, _SOCKET_PROTOCOLS)
    if chosen is None:
        raise BadRequest(
            "unable to upgrade: none of the WebSocket's subprotocols is served: " + ", ".join((_TUNNELED, *_SOCKET_PROTOCOLS[:2]))
        )
    ports = _ports(req)
    return websocket(req, chosen, lambda socket: _Channels(socket, ports, is_base64="base64" in chosen).speak(dial))


def _ports(req: Request) -> list[int]:
    """Raises BadRequest. Source: portforward/websocket.go (NewV4Options)."""
    texts = [port for text in parse_qs(req.query_string, keep_blank_values=True).get("ports", ()) for port in text.split(",")]
    if not texts:
        raise BadRequest('query parameter "ports" is required')
    for text in texts:
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16):
            raise BadRequest(f'unable to parse "{text}" as a port')
    if len(texts) > _MOST_PORTS:
        raise BadRequest(f"at most {_MOST_PORTS} ports can be forwarded over one connection")
    return [int(text) for text in texts]


@dataclass
class _Streams:
    """Pairs of SPDY streams, `data` and `error`, that carry one `requestID`: one pair for each connection to a port."""

    dial: Dial
    _waiting: dict[str, Stream] = field(default_factory=dict)

    async def speak(self, wire: Duplex) -> None:
        running: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:

            async def opened(stream: Stream) -> None:
                kind, request = stream.header("streamtype"), stream.header("requestid") or str(stream.number - (stream.number - 1) % 4)
                other = self._waiting.get(request)
                if kind not in ("data", "error") or (other is not None and other.header("streamtype") == kind):
                    await stream.reset()
                    return
                await stream.answer()
                if other is None:
                    self._waiting[request] = stream
                    return
                del self._waiting[request]
                data, error = (stream, other) if kind == "data" else (other, stream)
                task = group.create_task(self._connect(data, error))
                running.add(task)
                task.add_done_callback(running.discard)

            session = server_session(wire, opened)
            try:
                with suppress(BrokenStream):  # the client went without a goodbye: so be it
                    await session.run()
            finally:
                for task in running:
                    task.cancel()
            await session.close()

    async def _connect(self, data: Stream, error: Stream) -> None:
        port = data.header("port")
        try:
            with suppress(BrokenStream):  # one of the connections ended: that is no fault of the others
                await self.dial(int(port) if port.isascii() and port.isdigit() else 0, data)
        except PortError as fault:
            with suppress(BrokenStream):
                await error.write(str(fault).encode())
        await error.close()
        await data.close()


class _Channels:
    """A WebSocket with channel 2n for the data of the nth port, and 2n+1 for its error."""

    def __init__(self, socket: WebSocket, ports: Sequence[int], *, is_base64: bool) -> None:
        self._socket = socket
        self._ports = ports
        self._is_base64 = is_base64

    async def speak(self, dial: Dial) -> None:
        """Until the client goes, or nothing is left of any port: a channel has no end of its own."""
        ends = [pipe() for _ in self._ports]
        with suppress(BrokenStream):
            for at, port in enumerate(self._ports):
                for channel in (2 * at, 2 * at + 1):
                    await self._send(channel, port.to_bytes(2, "little"))
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(self._read([near for near, _ in ends]))
                ports = group.create_task(self._forward(ends, dial))
                await asyncio.wait((reader, ports), return_when=asyncio.FIRST_COMPLETED)
                reader.cancel()
                ports.cancel()

    async def _forward(self, ends: Sequence[tuple[PipeEnd, PipeEnd]], dial: Dial) -> None:
        async with asyncio.TaskGroup() as group:
            for at, (near, far) in enumerate(ends):
                group.create_task(self._connect(at, far, dial))
                group.create_task(self._pass_on(2 * at, near))

    async def _connect(self, at: int, far: PipeEnd, dial: Dial) -> None:
        with suppress(BrokenStream):
            try:
                await dial(self._ports[at], far)
            except PortError as fault:
                await self._send(2 * at + 1, str(fault).encode())
        far.leave()

    async def _pass_on(self, channel: int, near: PipeEnd) -> None:
        with suppress(BrokenStream):
            while data := await near.read():
                await self._send(channel, data)

    async def _read(self, ends: Sequence[PipeEnd]) -> None:
        with suppress(BrokenStream):
            async for message in self._socket.messages():
                if not message.data:
                    continue
                channel = message.data[0] - (ord("0") if self._is_base64 else 0)
                data = base64.b64decode(message.data[1:]) if self._is_base64 else message.data[1:]
                if channel % 2 == 0 and channel // 2 < len(ends):
                    await ends[channel // 2].write(data)

    async def _send(self, channel: int, data: bytes) -> None:
        if self._is_base64:
            await self._socket.send(bytes((ord("0") + channel,)) + base64.b64encode(data), is_text=True)
        else:
            await self._socket.send(bytes((channel,)) + data)
