"""The answers of one connection of HTTP/1.1, one after the other, while they arrive: head, parts of the body, end.

Before: `connection` feeds it. After: httptools, the parser.
Source: RFC 9110, RFC 9112.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Protocol

import httptools

MOST_HEAD_BYTES = 256 * 1024
_BUFFERED_BYTES = 256 * 1024
"""Of a body that is read in parts: more waits in the connection until some of it is taken."""
_NO_BODY = frozenset((204, 304))
_ENCODINGS = frozenset(("gzip", "x-gzip", "deflate"))


class ConnectionBroken(OSError):
    """The connection ended before its answer did, or what came is no answer."""


class Flow(Protocol):
    """The connection that an answer comes through."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Answer:
    """What the parser calls, and what the request's task waits for. One parser and one of these serve all requests of a connection.

    A whole answer wakes its reader once, at the end; one in parts at its head and whenever something is there.
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._parser = httptools.HttpResponseParser(self)
        self._is_paused = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.is_complete = True
        """Whether nothing more is to come, as before the first request."""
        self.expect(is_head_only=False, in_parts=False)
        self.is_complete = True

    def expect(self, *, is_head_only: bool, in_parts: bool) -> None:
        """A request was sent. Args: is_head_only: of a HEAD request: its Content-Length is that of another answer."""
        self.status = 0
        self.headers: dict[str, str] = {}
        """Names in lower case; of several of one name, the last."""
        self.is_complete = False
        self.may_be_reused = False
        """Whether another request may follow on the connection; known once the answer is complete."""
        self.has_begun = False
        self._is_head_only, self._in_parts = is_head_only, in_parts
        self._is_in_head, self._head_bytes = True, 0
        self._lasts_to_the_end = False
        """The body is as long as the connection lives."""
        self._parts: list[bytes] = []
        self._buffered = 0
        self._inflate: Callable[[bytes], bytes] | None = None

    # Fed by the connection

    def feed(self, data: bytes) -> None:
        """Raises ConnectionBroken for what is no answer, or none to any request."""
        if self.is_complete:
            raise ConnectionBroken("the server sent something that nobody asked for")
        self.has_begun = True
        if self._is_in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise ConnectionBroken("the server changed the protocol without being asked") from None
        except httptools.HttpParserError as error:
            cause = error.__context__ or error
            raise ConnectionBroken(str(cause) if isinstance(cause, ConnectionBroken) else f"this is no answer of HTTP: {cause}") from error
        if self._is_in_head and self._head_bytes > MOST_HEAD_BYTES:
            raise ConnectionBroken(f"the head of the answer is longer than {MOST_HEAD_BYTES} bytes")

    def ended(self, error: Exception | None) -> None:
        """The connection is over."""
        if self.is_complete:
            return
        if error is None and self._lasts_to_the_end and not self._is_in_head:
            self._complete()
            return
        self._error = error or ConnectionBroken("the server closed the connection")
        self._wake()

    # Called by the parser

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise ConnectionBroken("the server sent something that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # what follows the body is of no use to anybody here
            self.headers[name.decode("latin-1").lower()] = value.decode("utf-8", "surrogateescape")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200:  # an interim answer: another follows
            return
        self._is_in_head, self.status, headers = False, status, self.headers
        if (encoding := headers.get("content-encoding", "identity").lower()) in _ENCODINGS:
            self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress
        elif encoding != "identity":
            raise ConnectionBroken(f"the body is encoded as {encoding}, which was not asked for")
        self._lasts_to_the_end = "content-length" not in headers and "transfer-encoding" not in headers and status not in _NO_BODY
        if self._is_head_only:
            self._lasts_to_the_end = True  # the parser waits for a body that never comes: nothing can follow
            self._complete()
        elif self._in_parts:
            self._wake()

    def on_body(self, data: bytes) -> None:
        if self.is_complete:
            return
        if self._inflate is not None:
            data = self._inflate(data)
            if not data:
                return
        self._parts.append(data)
        if self._in_parts:
            self._buffered += len(data)
            if self._buffered > _BUFFERED_BYTES and not self._is_paused:
                self._is_paused = True
                self._flow.pause()
            self._wake()

    def on_message_complete(self) -> None:
        if self._is_in_head:
            self.headers = {}
        elif not self.is_complete:
            self._complete()

    def _complete(self) -> None:
        self.is_complete = True
        self.may_be_reused = not self._lasts_to_the_end and self._parser.should_keep_alive()
        self._wake()

    # Read by the request's task

    async def wait_readable(self) -> None:
        """Until the head is there, or everything. Raises what broke it: OSError, ssl.SSLError, TimeoutError."""
        while not self.is_complete and not (self._in_parts and self.status):
            await self._wait()

    async def part(self) -> bytes:
        """Bytes as they come; b"" at the end. Raises as `wait_readable`."""
        while not self._parts:
            if self.is_complete:
                return b""
            await self._wait()
        return self.taken()

    def taken(self) -> bytes:
        """All of the body that has come and was not taken before."""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._buffered = 0
        if self._is_paused:
            self._is_paused = False
            self._flow.resume()
        return data

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
