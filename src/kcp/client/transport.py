"""The one seam between a client and a server: a request with a body, or a stream of bytes.

Implementations: `client.http.HttpTransport` (sockets, TLS, kubeconfig) and `client.inprocess.AsgiTransport` (calls an ASGI app directly).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import orjson

from kcp.aio.collector import paused
from kcp.apimachinery.meta import JSONObject
from kcp.streams.ways import Duplex

_LONG_ANSWER = 1 << 16


class TransportError(Exception):
    """The server could not be reached, or the connection broke; the request may or may not have been carried out.

    `where` names the server, and the message says what to do about it where that is known.
    """

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(message)
        self.where = where


class UntrustedServer(TransportError):
    """The server's certificate is not one that the kubeconfig trusts: trying again does not help before one of them changes."""


@dataclass(frozen=True, slots=True)
class RawResponse:
    status: int
    headers: Mapping[str, str]
    """Header names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class RawRequest:
    method: str
    path: str
    """Absolute path on the server, starting with `/`, already percent-encoded; with `?` and a query where a name in it comes repeatedly."""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    repeated: Sequence[tuple[str, str]] = ()
    """Further headers, for those that come more than once."""


class Transport(Protocol):
    """Sends requests; raises TransportError only, never a Status (that is `client.rest`'s work)."""

    async def request(self, request: RawRequest) -> RawResponse: ...

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        """Open a response whose body arrives over time. If the status is not 200, the body is filled and the iterator empty."""

    async def close(self) -> None: ...


@runtime_checkable
class UpgradingTransport(Transport, Protocol):
    """A transport that can also give a connection away to another protocol."""

    def upgrade(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, Duplex]]:
        """Ask for another protocol by the request's own headers. If the status is not 101, the body is filled, and the connection over."""


def upgrade(transport: Transport, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, Duplex]]:
    """`transport.upgrade`. Raises TransportError where the transport cannot do that."""
    if not isinstance(transport, UpgradingTransport):
        raise TransportError("connections to this server cannot change their protocol")
    return transport.upgrade(request)


def decode_object(response: RawResponse) -> JSONObject:
    """The JSON object of an answer. Raises TransportError if it is none: what answers is not a Kubernetes API."""
    try:
        if len(response.body) < _LONG_ANSWER:
            document = orjson.loads(response.body)
        else:
            with paused():
                document = orjson.loads(response.body)
    except orjson.JSONDecodeError as error:
        raise TransportError(f"the answer is not JSON: {response.body[:200]!r}") from error
    if not isinstance(document, dict):
        raise TransportError(f"the answer is not a JSON object: {response.body[:200]!r}")
    return document
