"""Faults to put between a client and its server: for tests that a controller survives any crash point."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Literal

from kcp.client.transport import RawRequest, RawResponse, Transport, TransportError


class FailingTransport:
    """Passes everything on, but the n-th write fails: the request is lost before it arrives, or its answer on the way back.

    `n` = 0 lets everything pass and only counts. Run a reconciler once to learn the number of writes, then once for each of them.
    """

    def __init__(self, inner: Transport, n: int = 0, *, lost: Literal["request", "answer"] = "request") -> None:
        self._inner = inner
        self.n = n
        self.lost = lost
        self.writes = 0
        """Writes so far, the failed one included."""
        self.written: list[str] = []
        """`METHOD path` of each."""

    async def request(self, request: RawRequest) -> RawResponse:
        if request.method in {"GET", "HEAD"}:
            return await self._inner.request(request)
        self.writes += 1
        self.written.append(f"{request.method} {request.path}")
        if self.writes != self.n:
            return await self._inner.request(request)
        if self.lost == "answer":
            await self._inner.request(request)
        raise TransportError(f"write {self.n} was made to fail")

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        return self._inner.stream(request)

    async def close(self) -> None:
        await self._inner.close()
