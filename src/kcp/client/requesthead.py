"""The head of a request of HTTP/1.1, as it is sent.

Before: `http`, `upgrade`. After: nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode

from kcp.client.transport import RawRequest, TransportError

BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
"""Methods whose requests say nothing of a body unless there is one. Source: net/http/transfer.go, shouldSendContentLength."""


def target_of(request: RawRequest) -> str:
    """Path and query."""
    return f"{request.path}?{urlencode(request.query)}" if request.query else request.path


def head(method: str, target: str, host: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The head of a request. Raises TransportError for what would be read as something else than it is.

    >>> head("GET", "/", "x", [("a", "b")])
    b'GET / HTTP/1.1\\r\\nhost: x\\r\\na: b\\r\\n\\r\\n'
    """
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}", *(f"{name}: {value}" for name, value in headers), "", ""]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise TransportError("the request has a line break or a NUL in its address or in a header: it is not sent")
    return text.encode("utf-8", "surrogateescape")
