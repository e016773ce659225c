"""TLS between a socket's bytes and HTTP's: what comes in is decrypted, what goes out encrypted, and nothing here waits.

OpenSSL's records over memory instead of an event loop's own TLS: that costs a third of a request (docs/adr/0014), and it can begin on a
connection that another protocol has opened, as a proxy's. Before: `connection`. After: `ssl`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress

_RECORD_BYTES = 16 * 1024
"""The most that one record of TLS holds, and so that one read gives. Source: RFC 8446 section 5.1."""


class TLSLayer:
    """One connection's, on the client's side."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str, send: Callable[[bytes], object]) -> None:
        """Args: send: to the socket."""
        self._incoming, self._outgoing, self._send = ssl.MemoryBIO(), ssl.MemoryBIO(), send
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self.is_open = False
        """Whether the handshake is done."""

    def handshake(self, data: bytes = b"") -> None:
        """Begin, or go on with what has come. Raises ssl.SSLError."""
        self._incoming.write(data)
        try:
            self._tls.do_handshake()
            self.is_open = True
        except ssl.SSLWantReadError:
            pass  # the server's turn
        finally:
            self._flush()  # also of an alert that says what is wrong

    def decrypted(self, data: bytes) -> Iterator[bytes]:
        """What came, record by record; b"" for the peer's announcement that this was all. Raises ssl.SSLError."""
        self._incoming.write(data)
        try:
            while self._incoming.pending or self._tls.pending():
                plain = self._tls.read(_RECORD_BYTES)
                yield plain
                if not plain:
                    return
        except ssl.SSLWantReadError:
            pass  # the rest of a record is still to come
        finally:
            self._flush()

    def write(self, data: bytes) -> None:
        """Raises ssl.SSLError."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        self._flush()

    def end(self) -> None:
        """Announce that nothing more comes."""
        with suppress(ssl.SSLError):  # the peer's own announcement is not waited for
            self._tls.unwrap()
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._send(self._outgoing.read())
