"""Faults to put between a client and its server: for tests that a controller survives any crash point."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal

from kcp.client.transport import RawRequest, RawResponse, Transport, TransportError, upgrade
from kcp.streams.ways import Duplex


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

    def upgrade(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, Duplex]]:
        return upgrade(self._inner, request)

    async def close(self) -> None:
        await self._inner.close()


class BreakableTransport:
    """Passes everything on until it is cut; a cut breaks the streams that are open and refuses everything until it is mended.

    A silent cut is a partition without any sign of it: requests wait and open streams fall still, until it is mended.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._cut = asyncio.Event()
        self._mended = asyncio.Event()
        self._mended.set()
        self.streams = 0
        """Streams opened so far."""
        self.requests: list[RawRequest] = []

    def cut(self, *, silently: bool = False) -> None:
        if silently:
            self._mended.clear()
        else:
            self._cut.set()

    def mend(self) -> None:
        self._cut = asyncio.Event()
        self._mended.set()

    async def request(self, request: RawRequest) -> RawResponse:
        await self._mended.wait()
        if self._cut.is_set():
            raise TransportError("the connection is cut")
        self.requests.append(request)
        return await self._inner.request(request)

    @asynccontextmanager
    async def stream(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, AsyncIterator[bytes]]]:
        await self._mended.wait()
        cut = self._cut
        if cut.is_set():
            raise TransportError("the connection is cut")
        self.streams += 1
        self.requests.append(request)
        async with self._inner.stream(request) as (response, chunks):
            yield response, _until(cut, self._mended, chunks)

    async def close(self) -> None:
        await self._inner.close()


async def _until(cut: asyncio.Event, mended: asyncio.Event, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async def take() -> bytes | None:
        chunk = await anext(chunks, None)
        await mended.wait()
        return chunk

    while True:
        reading, cutting = asyncio.ensure_future(take()), asyncio.ensure_future(cut.wait())
        try:
            await asyncio.wait((reading, cutting), return_when=asyncio.FIRST_COMPLETED)
            if cut.is_set():
                raise TransportError("the connection was cut")
            chunk = reading.result()
        finally:
            for task in (reading, cutting):
                task.cancel()
            await asyncio.wait((reading, cutting))
        if chunk is None:
            return
        yield chunk
