"""WebSocket messages over a connection that speaks nothing else: frames, control frames, the end of it. Both sides of it.

Own code, because all that Kubernetes uses of it is framing without extensions, over connections that are not sockets.
Before: `apiserver.upgrades`, `tmc.tunnel`. After: `ways`. Source: RFC 6455.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from kcp.streams.ways import BrokenStream, Duplex

TEXT, BINARY, _CLOSE, _PING, _PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MOST_OF_CONTROL = 125
_NORMAL, _PROTOCOL_ERROR, _TOO_BIG = 1000, 1002, 1009


def new_key() -> str:
    """For `Sec-WebSocket-Key`."""
    return base64.b64encode(secrets.token_bytes(16)).decode()


def accept(key: str) -> str:
    """What a server answers to a key.

    >>> accept("dGhlIHNhbXBsZSBub25jZQ==")
    's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
    """
    return base64.b64encode(hashlib.sha1((key + _MAGIC).encode(), usedforsecurity=False).digest()).decode()


@dataclass(frozen=True, slots=True)
class Message:
    data: bytes
    is_text: bool = False


class _Fault(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class WebSocket:
    """Messages over `wire`. One task reads (`messages`); any may send."""

    def __init__(self, wire: Duplex, *, is_client: bool = False, most_bytes: int = 1 << 20) -> None:
        """Args: most_bytes: of one message; a longer one ends the connection."""
        self._wire = wire
        self._is_client = is_client
        self._most = most_bytes
        self._unread = bytearray()
        self._is_closing = False
        self.heard = 0
        """Counts everything that came, pongs too: whoever sends pings sees by it that the other end lives."""

    async def messages(self) -> AsyncIterator[Message]:
        """Until the other end closes. Pings are answered on the way. Raises BrokenStream where it breaks off or breaks the rules."""
        try:
            async for message in self._messages():
                yield message
        except _Fault as fault:
            await self.close(fault.code, str(fault))
            raise BrokenStream(f"the other end broke the WebSocket protocol: {fault}") from fault

    async def _messages(self) -> AsyncIterator[Message]:
        parts: list[bytes] = []
        kind = size = 0
        while True:
            frame = await self._frame()
            if frame is None:
                return
            opcode, is_last, payload = frame
            if opcode >= _CLOSE:
                if opcode == _CLOSE:
                    await self.close(_NORMAL)
                    return
                if opcode == _PING:
                    await self._send(_PONG, payload)
                continue
            if (opcode == 0) != bool(kind):
                raise _Fault(_PROTOCOL_ERROR, "a continuation without a beginning, or a beginning within a message")
            kind, size = opcode or kind, size + len(payload)
            if size > self._most:
                raise _Fault(_TOO_BIG, f"a message of more than {self._most} bytes")
            parts.append(payload)
            if is_last:
                yield Message(b"".join(parts), kind == TEXT)
                parts, kind, size = [], 0, 0

    async def send(self, data: bytes, *, is_text: bool = False) -> None:
        await self._send(TEXT if is_text else BINARY, data)

    async def ping(self) -> None:
        await self._send(_PING, b"")

    async def close(self, code: int = _NORMAL, reason: str = "") -> None:
        """Say that it is over. Idempotent, and no error where nobody listens any more."""
        if self._is_closing:
            return
        try:
            await self._send(_CLOSE, code.to_bytes(2, "big") + reason.encode()[: _MOST_OF_CONTROL - 2])
        except BrokenStream:
            return  # it has heard the end already
        finally:
            self._is_closing = True
            await self._wire.close()

    async def _send(self, opcode: int, payload: bytes) -> None:
        if self._is_closing:
            raise BrokenStream("the WebSocket is closed")
        size = len(payload)
        masked = 0x80 if self._is_client else 0
        if size < 126:
            head = bytes((0x80 | opcode, masked | size))
        elif size < 1 << 16:
            head = bytes((0x80 | opcode, masked | 126)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x80 | opcode, masked | 127)) + size.to_bytes(8, "big")
        if self._is_client:
            mask = secrets.token_bytes(4)
            await self._wire.write(head + mask + _masked(payload, mask))
        else:
            await self._wire.write(head + payload)

    async def _frame(self) -> tuple[int, bool, bytes] | None:
        """Opcode, whether it ends its message, and payload; None where the connection ends between frames."""
        if not await self._have(2, at_end=True):
            return None
        first, second = self._unread[0], self._unread[1]
        opcode, is_last, is_masked, size = first & 0x0F, bool(first & 0x80), bool(second & 0x80), second & 0x7F
        if first & 0x70 or opcode not in (0, TEXT, BINARY, _CLOSE, _PING, _PONG):
            raise _Fault(_PROTOCOL_ERROR, "reserved bits or an unknown opcode")
        if opcode >= _CLOSE and (size > _MOST_OF_CONTROL or not is_last):
            raise _Fault(_PROTOCOL_ERROR, "a control frame that is long or in parts")
        if is_masked == self._is_client:
            raise _Fault(_PROTOCOL_ERROR, "a server's frame with a mask, or a client's without")
        at = 2
        if size >= 126:
            width = 2 if size == 126 else 8
            await self._have(at + width)
            size, at = int.from_bytes(self._unread[at : at + width], "big"), at + width
        if size > self._most:
            raise _Fault(_TOO_BIG, f"a frame of more than {self._most} bytes")
        width = 4 if is_masked else 0
        await self._have(at + width + size)
        mask = bytes(self._unread[at : at + width])
        payload = bytes(self._unread[at + width : at + width + size])
        del self._unread[: at + width + size]
        self.heard += 1
        return opcode, is_last, _masked(payload, mask) if is_masked else payload

    async def _have(self, count: int, *, at_end: bool = False) -> bool:
        """Read until so many bytes are there. False at the end, where that is allowed. Raises BrokenStream."""
        while len(self._unread) < count:
            data = await self._wire.read()
            if not data:
                if at_end and not self._unread:
                    return False
                raise BrokenStream("the connection broke off within a WebSocket frame")
            self._unread += data
        return True


def _masked(data: bytes, mask: bytes) -> bytes:
    """As one number: a loop over the bytes would take a thousand times as long."""
    size = len(data)
    whole = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(size, "big")


class BytesOverMessages:
    """A `Duplex` whose bytes travel as binary messages, wherever the messages' borders are. Source: KEP-4006 (tunneled port-forward)."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._messages = socket.messages()

    async def read(self) -> bytes:
        async for message in self._messages:
            if message.data:
                return message.data
        return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send(data)

    async def close(self) -> None:
        await self._socket.close()
