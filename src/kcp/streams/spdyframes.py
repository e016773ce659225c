"""SPDY/3.1 on the wire: frames to bytes and back, headers compressed. Without any connection, without any state but zlib's.

There is no maintained library: SPDY lives on in Kubernetes only. Before: `spdy`. After: nothing.
Source: SPDY Protocol, Draft 3.1 (chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1), sections 2.2 and 2.6.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

DATA, SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 0, 1, 2, 3, 4, 6, 7, 8, 9
FIN = 1
_VERSION = 3
_MOST_HEADER_BYTES = 256 * 1024

Headers: TypeAlias = Sequence[tuple[str, str]]

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow authorization "
    "cache-control connection content-base content-encoding content-language content-length content-location content-md5 content-range "
    "content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified "
    "location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding "
    "upgrade user-agent vary via warning www-authenticate method get status"
).split()
_MORE_WORDS = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information"
    "204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error"
    "501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, "
    "Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,public"
    "privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(struct.pack(">I", len(word)) + word.encode() for word in (*_WORDS, *_MORE_WORDS)) + _TEXT.encode()
"""What both ends' compressors know from the start: 1,423 bytes, laid down in section 2.6.10.1."""


class SpdyFault(Exception):
    """Bytes that are no SPDY/3.1."""


@dataclass(frozen=True, slots=True)
class Frame:
    kind: int
    stream: int = 0
    """Of PING: its id."""
    flags: int = 0
    headers: Headers = ()
    data: bytes = b""
    number: int = 0
    """The status of RST_STREAM and GOAWAY, the growth of WINDOW_UPDATE."""


class Encoder:
    """Of one direction of one connection, in the order the frames are sent."""

    def __init__(self) -> None:
        self._zip = zlib.compressobj(6, zlib.DEFLATED, 15, 8, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)

    def encode(self, frame: Frame) -> bytes:
        match frame.kind:
            case 0:
                return struct.pack(">II", frame.stream, frame.flags << 24 | len(frame.data)) + frame.data
            case 1:
                return self._control(frame, struct.pack(">IIH", frame.stream, 0, 0) + self._packed(frame.headers))
            case 2 | 8:
                return self._control(frame, struct.pack(">I", frame.stream) + self._packed(frame.headers))
            case 6:
                return self._control(frame, struct.pack(">I", frame.stream))
            case _:  # RST_STREAM, GOAWAY, WINDOW_UPDATE: two numbers each
                return self._control(frame, struct.pack(">II", frame.stream, frame.number))

    @staticmethod
    def _control(frame: Frame, body: bytes) -> bytes:
        return struct.pack(">HHI", 0x8000 | _VERSION, frame.kind, frame.flags << 24 | len(body)) + body

    def _packed(self, headers: Headers) -> bytes:
        names: dict[str, list[str]] = {}
        for name, value in headers:
            names.setdefault(name.lower(), []).append(value)
        plain = struct.pack(">I", len(names)) + b"".join(
            _counted(name) + _counted("\0".join(values)) for name, values in names.items()
        )  # fmt: skip
        return self._zip.compress(plain) + self._zip.flush(zlib.Z_SYNC_FLUSH)


def _counted(text: str) -> bytes:
    held = text.encode("utf-8", "surrogateescape")
    return struct.pack(">I", len(held)) + held


class Decoder:
    """Frames out of bytes as they come. Raises SpdyFault."""

    def __init__(self, most_bytes: int = 1 << 20) -> None:
        """Args: most_bytes: of one frame."""
        self._most = most_bytes
        self._unread = bytearray()
        self._unzip = zlib.decompressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._unread += data
        while len(self._unread) >= 8:
            first, second = struct.unpack_from(">II", self._unread)
            size = second & 0xFFFFFF
            if size > self._most:
                raise SpdyFault(f"a frame of {size} bytes")
            if len(self._unread) < 8 + size:
                return
            body = bytes(self._unread[8 : 8 + size])
            del self._unread[: 8 + size]
            frame = self._frame(first, second >> 24, body)
            if frame is not None:
                yield frame

    def _frame(self, first: int, flags: int, body: bytes) -> Frame | None:
        if not first >> 31:
            return Frame(DATA, first, flags, data=body)
        if (first >> 16) & 0x7FFF != _VERSION:
            raise SpdyFault(f"version {(first >> 16) & 0x7FFF}, not 3")
        kind = first & 0xFFFF
        try:
            if kind == SYN_STREAM:
                return Frame(kind, _number(body, 0), flags, self._headers(body[10:]))
            if kind in (SYN_REPLY, HEADERS):
                return Frame(kind, _number(body, 0), flags, self._headers(body[4:]))
            if kind == PING:
                return Frame(kind, struct.unpack(">I", body)[0])
            if kind in (RST_STREAM, GOAWAY, WINDOW_UPDATE):
                return Frame(kind, _number(body, 0), flags, number=_number(body, 4))
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SpdyFault(f"a frame of kind {kind} that cannot be read: {error}") from error
        return None  # SETTINGS and what later versions know: nothing that must be heeded

    def _headers(self, packed: bytes) -> Headers:
        plain = self._unzip.decompress(packed, _MOST_HEADER_BYTES)
        if self._unzip.unconsumed_tail:
            raise SpdyFault("headers that are too large")
        return tuple(_pairs(plain))


def _number(body: bytes, at: int) -> int:
    value: int = struct.unpack_from(">I", body, at)[0]
    return value & 0x7FFFFFFF


def _pairs(plain: bytes) -> Iterable[tuple[str, str]]:
    count, at = struct.unpack_from(">I", plain)[0], 4
    for _ in range(count):
        name, at = _text(plain, at)
        values, at = _text(plain, at)
        for value in values.split("\0"):
            yield name, value


def _text(plain: bytes, at: int) -> tuple[str, int]:
    size = struct.unpack_from(">I", plain, at)[0]
    if at + 4 + size > len(plain):
        raise struct.error("a text that is not all there")
    return plain[at + 4 : at + 4 + size].decode("utf-8", "surrogateescape"), at + 4 + size
