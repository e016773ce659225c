"""One HTTP/1.1 connection: uvicorn's httptools protocol, with what a Kubernetes API server needs beside.

- the verified client certificate's subject in `scope["extensions"]["tls"]["peer_subject"]`, read once per connection; instead of it
  `peer_fault`, which says why, while the certificate is not valid in time: TLS does not look at that here, see `serving.tls_context`;
- head and first body of an answer in one write, so that a small answer is one TLS record;
- limits on the size of a request's head and on the time it may take to arrive, and on what may come between two parts of a body;
- refusals of what two servers could read differently, in the words of Go's server; requests to upgrade that nobody takes up are
  answered as any other;
- an early answer ends the connection if much of the body is still to come, after some time for the client to read it;
- an end for clients that do not read their answer;
- an answer 101 that turns the connection into a plain one, whose bytes go on as the bodies of request and answer;
- one idle timer per connection instead of one per request;
- an orderly end of streaming answers at shutdown: clients see a watch that ended, not a broken one.

Before: `serving`. After: the ASGI application.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from kcp.apiserver import requesttarget
from kcp.apiserver.pki_handshake import PeerCertificate

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.protocols.http.flow_control import FlowControl
    from uvicorn.server import ServerState

    from kcp.apiserver.peerauthorities import PeerAuthorities

log = logging.getLogger(__name__)

_NO_BODY_STATUS = frozenset((204, 304))
_NO_ANSWER = STATUS_LINE[500] + b"content-type: text/plain\r\ncontent-length: 21\r\nconnection: close\r\n\r\nInternal Server Error"
_REQUEST_LINE = re.compile(rb"[!-~]+ [!-~]+ HTTP/1\.[01]\r?\n")
"""Of a method that no parser knows."""
_REQUEST_LINE_WITH_ANY_BYTES = re.compile(rb"([A-Z]+ )(/[!-~]*[\x80-\xff][!-~\x80-\xff]*) HTTP/1\.[01]\r?\n")
_DISCONNECT = {"type": "http.disconnect"}
_MOST_WRITTEN = 1 << 20
"""Bytes of an answer written at once."""
_FRAMING = (b"content-length", b"transfer-encoding")
_MOST_DISCARDED = 256 * 1024
"""Bytes of a body nobody wants that are read so that the connection can be kept. Source: net/http, maxPostHandlerReadBytes."""


class DateHeader(Protocol):
    def __call__(self) -> bytes:
        """The `date: …` line of an answer sent now, with its line end."""


@dataclass(frozen=True, slots=True)
class Limits:
    keep_alive_s: float
    head_bytes: int
    head_s: float
    linger_s: float
    stall_s: float
    connections: int
    """Of one server; further ones are closed at once."""


class Connection(HttpToolsProtocol):
    """Parses requests, runs the application for one at a time, and keeps the connection for the next."""

    def __init__(  # noqa: PLR0913 - what a server shares with its connections
        self,
        config: Config,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        date: DateHeader,
        now: Callable[[], datetime],
        authorities: PeerAuthorities | None = None,
    ) -> None:
        super().__init__(config, state, {}, loop)
        self._limits = limits
        self._now = now
        self._authorities = authorities
        self._peer: PeerCertificate | None = None
        self.date = date
        self.cycle: Any = None
        self.scope: Any = None
        self._extensions: dict[str, Any] = {}
        self._head_bytes = 0
        """Received since there was last a whole head or a part of a body."""
        self._has_come_of_it = False
        self._is_in_head = False
        self._is_resumed = False
        """The parser reads the rest of a request whose head it was told anew."""
        self._is_deaf = False
        self._hosts = 0
        self._idle_since = self._reads_since = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            log.warning("a connection is refused: there are %d", self._limits.connections)
            transport.abort()
            return
        certificate = transport.get_extra_info("peercert")
        if certificate:
            self._peer = PeerCertificate.of(certificate)
            self._extensions = {"tls": self._proved(self._peer, transport)}
        self._idle_since = self.loop.time()
        self._idle_timer = self.loop.call_later(self._limits.keep_alive_s, self._close_if_idle)

    def _proved(self, peer: PeerCertificate, transport: asyncio.Transport) -> dict[str, Any]:
        """What the certificate proves: the user who holds it, a proxy, or both."""
        if self._authorities is None:
            return {"peer_subject": peer.subject}
        signer = self._authorities.signer(transport.get_extra_info("ssl_object"))
        if signer is None:
            return {"peer_fault": "it is not known any more who signed it: connect anew without resuming the session"}
        proved: dict[str, Any] = {"peer_subject": peer.subject} if signer.of_users else {}
        if signer.of_proxies:
            proved["peer_proxy"] = peer.subject.get("CN", ("",))[-1]
        return proved

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._idle_timer, self._head_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if self.cycle is not None and self.cycle.is_upgraded:
            self.on_body(data)
            return
        self._has_come_of_it = False
        self._feed(data)
        if self._has_come_of_it:
            self._head_bytes = 0
            return
        if not self._is_in_head and (self.cycle is None or not self.cycle.more_body):
            return
        self._head_bytes += len(data)
        if self._head_bytes > self._limits.head_bytes:
            self._refuse(431, "Request Header Fields Too Large")
        elif self._is_in_head and self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.head_s, self._refuse, 408, "Request Timeout")

    def _feed(self, data: bytes) -> None:
        try:
            while data:
                try:
                    self.parser.feed_data(data)
                    return
                except httptools.HttpParserUpgrade as upgrade:
                    data = self._without_upgrade() + data[upgrade.args[0] :]
        except httptools.HttpParserInvalidURLError:
            if (escaped := _escaped(data)) is None:
                self._refuse(400, "Bad Request")
                return
            self.parser = httptools.HttpRequestParser(self)
            self._feed(escaped)
        except httptools.HttpParserError as error:
            cause = error.__context__
            unknown = isinstance(error, httptools.HttpParserInvalidMethodError) and _REQUEST_LINE.match(data)
            status, text = cause.args if isinstance(cause, _Refused) else (405, "Method Not Allowed") if unknown else (400, "Bad Request")
            self._refuse(status, text)

    def _without_upgrade(self) -> bytes:
        """A new parser, and what to tell it first: the one that has seen an Upgrade takes the body for another protocol.

        Source: net/http: a server that does not take over the connection does not look at Upgrade.
        """
        self.parser = httptools.HttpRequestParser(self)
        self._is_resumed = True
        framing = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] in _FRAMING)
        return b"POST / HTTP/1.1\r\n" + framing + b"\r\n"

    def on_message_begin(self) -> None:
        if self._is_resumed:
            return
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._is_in_head = True
        self._head_bytes = 0
        self._hosts = 0

    def on_url(self, url: bytes) -> None:
        if not self._is_resumed:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:
            return  # a trailer: nothing here reads any, and it must not pass for a header
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            raise _Refused(501, "Not Implemented: Unsupported transfer encoding")
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._is_resumed:
            self._is_resumed = False
            return
        self._is_in_head = False
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        method, version = self.parser.get_method().decode("ascii"), self.parser.get_http_version()
        target = requesttarget.split(self.url)
        self._check_head(target, version)
        assert target is not None, "checked"
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": method,
            "root_path": "",
            "path": target.path,
            "raw_path": target.raw_path,
            "query_string": target.query,
            "headers": self.headers,
            "extensions": self._extensions if self._peer is None else self._tls_extensions(self._peer),
        }
        previous = self.cycle
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        self.cycle = Cycle(self, self.scope, keep_alive=keep_alive, expects_continue=self.expect_100_continue)
        if previous is None or previous.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _check_head(self, target: requesttarget.Target | None, version: str) -> None:
        """Raises _Refused. Source: net/http/{request,server}.go (readRequest)."""
        if version > "1.1":
            raise _Refused(505, "HTTP Version Not Supported: unsupported protocol version")
        if version < "1.0" or target is None:
            raise _Refused(400, "Bad Request")
        if self._hosts != 1 and (self._hosts or version != "1.0"):
            raise _Refused(400, f"Bad Request: {'too many Host headers' if self._hosts else 'missing required Host header'}")

    def on_body(self, body: bytes) -> None:
        self._has_come_of_it = True
        if self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # it only believes so, see _without_upgrade
        self.cycle.more_body = False
        if not self.cycle.response_complete:
            self.cycle.message_event.set()
        elif not self.cycle.keep_alive:
            self.transport.close()

    def _tls_extensions(self, peer: PeerCertificate) -> dict[str, Any]:
        """Looked at with every request: a certificate may expire while its connection lives."""
        fault = peer.time_fault(self._now())
        return {"tls": {"peer_fault": fault}} if fault else self._extensions

    def on_response_complete(self) -> None:
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self._idle_since = self.loop.time()

    def end_stream(self) -> None:
        """Close an answer that arrives over time as if it had ended: for the server's shutdown."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.end_stream()

    @property
    def is_idle(self) -> bool:
        return not self._is_in_head and (self.cycle is None or self.cycle.response_complete)

    def _close_if_idle(self) -> None:
        """Close after `keep_alive_s` without a request, else look again when that could next be so.

        A client that still reads its last answer then gets as long again for the end of it.
        """
        if self.flow.write_paused and self._reads_since != self._idle_since:
            self._reads_since = self._idle_since = self.loop.time()
        idle_s = self.loop.time() - self._idle_since if self.is_idle else 0.0
        left_s = self._limits.keep_alive_s - idle_s
        if left_s <= 0.01:
            self.transport.close()
        else:
            self._idle_timer = self.loop.call_later(left_s, self._close_if_idle)

    async def wait_writable(self) -> None:
        """Until the client has read most of what was sent; one that does not within `stall_s` is cut off, for it will not hear a reason."""
        timer = self.loop.call_later(self._limits.stall_s, self._cut_off)
        try:
            await self.flow.drain()
        finally:
            timer.cancel()

    def _cut_off(self) -> None:
        unread, path = self.transport.get_write_buffer_size(), self.scope["path"]
        log.warning("a client did not read the answer to %s for %g s and is cut off: %d bytes wait", path, self._limits.stall_s, unread)
        self.transport.abort()

    def linger(self) -> None:
        """Close soon: a client that is still sending could not read its answer if the connection were reset at once."""
        if self._linger_timer is None:
            self._linger_timer = self.loop.call_later(self._limits.linger_s, self.transport.close)

    def _refuse(self, status: int, text: str) -> None:
        """Answer what is no request, or takes too long to become one, and close; requests before it are answered first."""
        self._is_deaf, self._is_in_head = True, False
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self.cycle.keep_alive = False
            return
        if self.cycle is None or self.cycle.response_complete or not (self.cycle.response_started or self.pipeline):
            body = f"{status} {text}".encode()
            head = STATUS_LINE[status] + b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            self.transport.write(head % len(body) + body)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.give_up_client()
        self.linger()


def _escaped(data: bytes) -> bytes | None:
    """A request whose target has bytes beyond ASCII, with these as escapes: they mean the same. None for any other.

    Source: net/url (parse), which takes them as they are.
    """
    line = _REQUEST_LINE_WITH_ANY_BYTES.match(data)
    if line is None:
        return None
    target = b"".join(b"%%%02X" % byte if byte > 0x7F else bytes((byte,)) for byte in line[2])
    return line[1] + target + data[line.end(2) :]


class _Refused(Exception):
    """A head that is well-formed but not answered; with the status and its text."""


class Cycle:
    """One request and its answer: the `receive` and `send` of the application."""

    __slots__ = (
        "_awaits_continue", "_chunked", "_connection", "_head", "_is_stream", "_left_bytes", "body", "disconnected", "flow", "is_upgraded",
        "keep_alive", "message_event", "more_body", "response_complete", "response_started", "scope", "transport",
    )  # fmt: skip

    def __init__(self, connection: Connection, scope: dict[str, Any], *, keep_alive: bool, expects_continue: bool) -> None:
        self._connection = connection
        self.scope = scope
        self.transport: asyncio.Transport = connection.transport
        self.flow: FlowControl = connection.flow
        self.message_event = asyncio.Event()
        self.keep_alive = keep_alive
        self._awaits_continue = expects_continue
        self.disconnected = False
        self.body = bytearray()
        self.more_body = True
        self.response_started = False
        self.response_complete = False
        self.is_upgraded = False
        """What comes from now on is no HTTP."""
        self._head: bytes = b""
        """Written with the first part of the body."""
        self._chunked = False
        self._is_stream = False
        self._left_bytes = 0

    async def run_asgi(self, app: Any) -> None:
        """Run the application, and see to it that the client is not left waiting whatever becomes of it.

        What it raises is a fault in this server (a request's errors are answers, see `filters`): the event loop logs it with its traceback.
        """
        try:
            await app(self.scope, self.receive, self.send)
        finally:
            if not self.response_complete and not self.disconnected:
                self._give_up()

    async def receive(self) -> dict[str, Any]:
        if self._awaits_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._awaits_continue = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if (self.disconnected or self.response_complete) and not (self.is_upgraded and self.body):
            return _DISCONNECT
        message = {"type": "http.request", "body": bytes(self.body), "more_body": self.more_body}
        self.body = bytearray()
        return message

    async def send(self, message: dict[str, Any]) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self._connection.wait_writable()
        if self.disconnected:
            return
        if not self.response_started:
            self._start(message["status"], message.get("headers", ()))
            return
        if self.response_complete:
            raise RuntimeError("the answer is complete already")
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        if len(body) > _MOST_WRITTEN and not self._chunked:
            await self._write_large(body, is_last=is_last)
        else:
            self._write(body, is_last=is_last)

    async def _write_large(self, body: bytes, *, is_last: bool) -> None:
        """As fast as the client reads: TLS would copy and keep all of it."""
        size = len(body)
        for end in range(_MOST_WRITTEN, size + _MOST_WRITTEN, _MOST_WRITTEN):
            if self.disconnected:
                return
            self._write(body[end - _MOST_WRITTEN : end], is_last=is_last and end >= size)
            if self.flow.write_paused and end < size:
                await self._connection.wait_writable()

    def give_up_client(self) -> None:
        """For the application it has gone."""
        self.disconnected = True
        self.message_event.set()

    def end_stream(self) -> None:
        """The last chunk now, and a disconnect for the application. An answer of known length is simply cut."""
        if self.response_started and self._chunked and not self.disconnected:
            self.transport.write(self._head + b"0\r\n\r\n")
        self.disconnected = True
        self.response_complete = True
        self.message_event.set()
        self.flow.resume_writing()
        self.transport.close()

    def _start(self, status: int, headers: Any) -> None:
        self.response_started = True
        if status == 101:
            self._upgrade(headers)
            return
        parts = [STATUS_LINE[status], self._connection.date()]
        has_length = has_close = False
        if self.more_body and not self._is_worth_reading():
            self.keep_alive = False
        self._awaits_continue = False
        for name, value in headers:
            if b"\n" in value or b"\r" in value:
                raise RuntimeError(f"a line end in the value of header {name!r}")
            if name == b"content-length":
                has_length = True
                self._left_bytes = int(value)
            elif name == b"connection" and value == b"close":
                self.keep_alive, has_close = False, True
            parts += (name, b": ", value, b"\r\n")
        if not self.keep_alive and not has_close:
            parts.append(b"connection: close\r\n")
        if self.scope["method"] == "HEAD" or status in _NO_BODY_STATUS:
            self._left_bytes = 0
        elif not has_length:
            self._is_stream = True
            self._chunked = self.scope["http_version"] != "1.0"  # whose clients read to the end of the connection
            parts.append(b"transfer-encoding: chunked\r\n" if self._chunked else b"")
        parts.append(b"\r\n")
        self._head = b"".join(parts)
        if self._is_stream:
            self._connection.loop.call_soon(self._write_head)

    def _upgrade(self, headers: Any) -> None:
        """Hand the connection over, with all that comes by it. Source: RFC 9110, 7.8."""
        self.is_upgraded = self._is_stream = self.more_body = True
        self._awaits_continue = self.keep_alive = False
        self.transport.write(STATUS_LINE[101] + b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n")

    def _is_worth_reading(self) -> bool:
        """Whether the rest of an unwanted body is small and sure to come, so that the connection can be kept."""
        if self._awaits_continue:
            return False
        length = next((value for name, value in self.scope["headers"] if name == b"content-length"), b"")
        return length.isdigit() and int(length) <= _MOST_DISCARDED

    def _write_head(self) -> None:
        """A stream's client must hear that it was accepted, even if the first event comes much later."""
        if self._head and not self.disconnected:
            self.transport.write(self._head)
            self._head = b""

    def _write(self, body: bytes, *, is_last: bool) -> None:
        head, self._head = self._head, b""
        if self.scope["method"] == "HEAD":
            self.transport.write(head)
        elif self._chunked:
            chunk = b"%b%x\r\n%b\r\n" % (head, len(body), body) if body else head
            self.transport.write(chunk + b"0\r\n\r\n" if is_last else chunk)
        elif self._is_stream:
            self.transport.write(head + body)
        else:
            self._left_bytes -= len(body)
            if self._left_bytes < 0:
                raise RuntimeError("the answer is longer than its content-length")
            self.transport.write(head + body)
        if is_last:
            self._finish()

    def _finish(self) -> None:
        if self._left_bytes and self.scope["method"] != "HEAD":
            raise RuntimeError("the answer is shorter than its content-length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            if self.more_body:
                self._connection.linger()
            else:
                self.transport.close()
        self._connection.on_response_complete()

    def _give_up(self) -> None:
        """The application failed, was cancelled or ended without an answer: say so if that is still possible, and close."""
        log.error("no complete answer to %s %s", self.scope["method"], self.scope["path"])
        self.response_complete = True
        if not self.response_started:
            self.response_started = True
            self.transport.write(_NO_ANSWER)
        self.transport.close()
