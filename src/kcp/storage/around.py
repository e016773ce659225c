"""A store around another one: what measures, encrypts or breaks it says only what it does differently.

Before: `measures`, `encryption.store`, `sim.faults`. After: `interface`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from kcp.storage.interface import LATEST, Event, KeyValue, Page, Revision, Store


class StoreAround:
    """Passes everything on to `_inner`."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    @property
    def inner(self) -> Store:
        return self._inner

    async def create(self, key: bytes, value: bytes) -> Revision:
        return await self._inner.create(key, value)

    async def update(self, key: bytes, value: bytes, expected: Revision) -> Revision:
        return await self._inner.update(key, value, expected)

    async def delete(self, key: bytes, expected: Revision | None = None) -> Revision:
        return await self._inner.delete(key, expected)

    async def get(self, key: bytes) -> KeyValue | None:
        return await self._inner.get(key)

    async def list(self, prefix: bytes, *, after: bytes = b"", limit: int = 0, revision: Revision = LATEST) -> Page:
        return await self._inner.list(prefix, after=after, limit=limit, revision=revision)

    def watch(self, prefix: bytes, after: Revision, *, prev_values: bool = True) -> AsyncGenerator[Sequence[Event], None]:
        return self._inner.watch(prefix, after, prev_values=prev_values)

    async def current_revision(self) -> Revision:
        return await self._inner.current_revision()

    def current_revision_nowait(self) -> Revision | None:
        return self._inner.current_revision_nowait()

    async def compact(self, revision: Revision) -> None:
        await self._inner.compact(revision)

    async def close(self) -> None:
        await self._inner.close()

    def statistics(self) -> dict[str, int]:
        return self._inner.statistics()
