"""A transport that answers what a test says, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from kcp.client.transport import RawRequest, RawResponse


def answer(document: Any, status: int = 200, **headers: str) -> RawResponse:
    return RawResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, orjson.dumps(document))


class Scripted:
    """Answers come from a function, or one after the other from a list."""

    def __init__(self, answers: Callable[[RawRequest], RawResponse] | Iterable[RawResponse], chunks: Iterable[bytes] = ()) -> None:
        if callable(answers):
            self._next = answers
        else:
            iterator = iter(answers)
            self._next = lambda request: next(iterator)  # noqa: ARG005
        self._chunks = list(chunks)
        self.requests: list[RawRequest] = []
        self.closed = False

    async def request(self, request: RawRequest) -> RawResponse:
        self.requests.append(request)
        return self._next(request)

    @asynccontextmanager
    async def stream(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, AsyncIterator[bytes]]]:
        self.requests.append(request)
        yield self._next(request), self._stream()

    async def _stream(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk

    async def close(self) -> None:
        self.closed = True
