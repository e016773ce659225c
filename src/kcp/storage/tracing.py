"""A store whose writes are noted as part of the trace that they belong to.

Before: `server.compose`, where tracing is on. After: whatever store it is put before.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kcp.storage.around import StoreAround
from kcp.storage.interface import LATEST, Event, KeyValue, Notes, Page, Revision, Store
from kcp.tracing.revisions import Revisions


@runtime_checkable
class Shared(Protocol):
    """A store that other servers write to as well, and that carries notes between them."""

    notes: Notes | None


def share(store: Store, revisions: Revisions) -> None:
    """Let the servers of a shared store know of each other's traces."""
    while isinstance(store, StoreAround):
        store = store.inner
    if isinstance(store, Shared):
        store.notes = revisions


@dataclass(frozen=True, slots=True)
class TracedStore:
    """Implements Store."""

    inner: Store
    revisions: Revisions

    async def create(self, key: bytes, value: bytes) -> Revision:
        return self._noted(await self.inner.create(key, value))

    async def update(self, key: bytes, value: bytes, expected: Revision) -> Revision:
        return self._noted(await self.inner.update(key, value, expected))

    async def delete(self, key: bytes, expected: Revision | None = None) -> Revision:
        return self._noted(await self.inner.delete(key, expected))

    def _noted(self, revision: Revision) -> Revision:
        self.revisions.note(revision)
        return revision

    async def get(self, key: bytes) -> KeyValue | None:
        return await self.inner.get(key)

    async def list(self, prefix: bytes, *, after: bytes = b"", limit: int = 0, revision: Revision = LATEST) -> Page:
        return await self.inner.list(prefix, after=after, limit=limit, revision=revision)

    def watch(self, prefix: bytes, after: Revision, *, prev_values: bool = True) -> AsyncGenerator[Sequence[Event], None]:
        return self.inner.watch(prefix, after, prev_values=prev_values)

    async def current_revision(self) -> Revision:
        return await self.inner.current_revision()

    def current_revision_nowait(self) -> Revision | None:
        return self.inner.current_revision_nowait()

    async def compact(self, revision: Revision) -> None:
        await self.inner.compact(revision)

    async def close(self) -> None:
        await self.inner.close()

    def statistics(self) -> dict[str, int]:
        return self.inner.statistics()
