"""A store in memory, for tests and simulated clusters: the whole interface, deterministic, nothing survives the process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime

from kcp.storage.feed import Feed
from kcp.storage.interface import (
    LATEST,
    Compacted,
    Event,
    FutureRevision,
    KeyExists,
    KeyValue,
    Page,
    Revision,
    RevisionMismatch,
    StoreClosed,
)
from kcp.storage.keyindex import FIRST_REVISION, KeyIndex

_READ_ROWS = 1_000
"""Log rows that a watcher reads per step while it catches up."""


def revision_of(now: datetime) -> int:
    """A first revision that no earlier store of the same address has reached.

    A server that forgot everything is met by clients that remember: with revisions of its own past they are told to list again, instead of
    going on in a history that is not theirs.
    """
    return int(now.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class _Row:
    key: bytes
    value: bytes | None
    created: int
    previous: int
    """Revision of the value before; 0 for a creation."""


class MemoryStore:
    """A `Store` whose log is a dict of rows by revision. Every write is done, and published, before the call first yields."""

    def __init__(self, *, first_revision: int = FIRST_REVISION) -> None:
        """Args: first_revision: of the empty store; everything before it counts as compacted. See `revision_of`."""
        self._index = KeyIndex() if first_revision <= FIRST_REVISION else KeyIndex.load((), first_revision)
        self._rows: dict[int, _Row] = {}
        self._feed = Feed(Revision(self._index.revision))
        self._bytes = 0
        self._closed = False

    async def create(self, key: bytes, value: bytes) -> Revision:
        self._check_open()
        if current := self._index.current(key):
            raise KeyExists(key, Revision(current))
        return self._append(key, value)

    async def update(self, key: bytes, value: bytes, expected: Revision) -> Revision:
        self._check_open()
        current = self._index.current(key)
        if not current or current != expected:
            raise RevisionMismatch(key, self._value(key, current))
        return self._append(key, value)

    async def delete(self, key: bytes, expected: Revision | None = None) -> Revision:
        self._check_open()
        current = self._index.current(key)
        if not current or expected not in (None, current):
            raise RevisionMismatch(key, self._value(key, current))
        return self._append(key, None)

    def _append(self, key: bytes, value: bytes | None) -> Revision:
        previous, created = self._index.current(key), self._index.created(key)
        revision = Revision(self._index.revision + 1)
        self._rows[revision] = _Row(key, value, created or revision, previous)
        self._bytes += len(value or b"")
        self._index.apply(key, revision, is_delete=value is None)
        self._feed.publish([self._event(revision)])
        return revision

    def _event(self, revision: int) -> Event:
        row = self._rows[revision]
        before = self._rows[row.previous].value if row.previous else None
        return Event(row.key, row.value, before, Revision(revision))

    def _value(self, key: bytes, revision: int) -> KeyValue | None:
        row = self._rows.get(revision)
        if row is None or row.value is None:
            return None
        return KeyValue(key, row.value, Revision(row.created), Revision(revision))

    async def get(self, key: bytes) -> KeyValue | None:
        self._check_open()
        return self._value(key, self._index.current(key))

    async def list(self, prefix: bytes, *, after: bytes = b"", limit: int = 0, revision: Revision = LATEST) -> Page:
        self._check_open()
        found = self._index.scan(prefix, after, limit, revision)
        items = [kv for key, at in found.keys if (kv := self._value(key, at)) is not None]
        return Page(items, found.revision, found.remaining)

    def watch(self, prefix: bytes, after: Revision, *, prev_values: bool = True) -> AsyncGenerator[Sequence[Event], None]:
        async def read_log(position: Revision) -> tuple[Sequence[Event], Revision]:
            if position < self._index.compacted:
                raise Compacted(Revision(self._index.compacted))
            until = Revision(min(position + _READ_ROWS, self._index.revision))
            events = [self._event(at) for at in range(position + 1, until + 1) if at in self._rows]
            return [event for event in events if event.key.startswith(prefix)], until

        return self._feed.watch(prefix, after, read_log)

    async def current_revision(self) -> Revision:
        self._check_open()
        return Revision(self._index.revision)

    def current_revision_nowait(self) -> Revision | None:
        return Revision(self._index.revision)

    async def compact(self, revision: Revision) -> None:
        self._check_open()
        if revision > self._index.revision:
            raise FutureRevision(Revision(self._index.revision))
        if revision <= self._index.compacted:
            return
        for dropped in self._index.compact(revision):
            self._bytes -= len(self._rows.pop(dropped).value or b"")

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._feed.close(StoreClosed("the store is closed"))

    def statistics(self) -> dict[str, int]:
        return {
            "revision": self._index.revision,
            "compacted": self._index.compacted,
            "keys": len(self._index),
            "watchers": len(self._feed),
            "bytes": self._bytes,
        }

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the store is closed")
