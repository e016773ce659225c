"""The embedded store: one SQLite file, durable before it acknowledges, many writers sharing each fsync.

Life of a write: the event loop compares and assigns the revision against the index and the writes in flight, then hands the row over; the
writer thread appends and syncs; back in the loop the commit callback updates the index, publishes to watchers, acknowledges. The
callback belongs to the store, not to the task that wrote: cancelling that task at any point loses no event and leaves no hole.
Before: `registry`, `watchcache`. After: `sqlitewriter`, `sqlitefile`, `keyindex`, `feed`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

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
    StoreError,
    StoreFull,
)
from kcp.storage.keyindex import KeyIndex, prefix_end
from kcp.storage.sqlitefile import (
    FileLock,
    SQLiteConfig,
    checkpoint,
    connect,
    drop_rows,
    load_index,
    open_writer,
    read_log,
    read_value,
    read_values,
    vacuum_some,
)
from kcp.storage.sqlitewriter import Batch, Checkpointer, LogWriter, Write

T = TypeVar("T")

_READ_ROWS = 500
"""Log rows that a watcher reads per step while it catches up."""

_COMPACT_REVISIONS = 1_000
"""Revisions compacted per transaction, so that writes in between wait for milliseconds only."""

_vacuum = partial(vacuum_some, pages=64)
"""One step of giving free pages back, short enough to stand between two batches."""

_ANY_VALUE = b""
_MAX_KEY = b"\xff" * 16


class SQLiteStore:
    """A `Store` in one file. Make it with `open`; one process at a time."""

    def __init__(self, path: Path, config: SQLiteConfig, lock: FileLock, db: sqlite3.Connection, index: KeyIndex) -> None:
        """For `open` only."""
        self._path, self._config, self._lock, self._db, self._index = path, config, lock, db, index
        self._feed = Feed(Revision(index.revision))
        self._closed: StoreError | None = None
        self._in_flight: dict[bytes, tuple[int, int, int]] = {}
        """Keys with writes not yet durable: mod revision (0: deleted) and revision of creation after the last of them, and its revision."""
        self._next = index.revision + 1
        self._epoch = 0
        self._gathering: list[Write] = []
        self._queued: deque[Write] = deque()
        """Handed to the writer thread, not yet durable, in order."""
        self._reading = threading.local()
        self._read_connections: list[sqlite3.Connection] = []
        self._readers = ThreadPoolExecutor(config.readers, thread_name_prefix="kcp-store-reader")
        self._checkpoint_db = connect(path, config)
        self._checkpointer = Checkpointer(self._checkpoint_db, config, finish=lambda: self._writer.run_soon(checkpoint))
        self._writer = LogWriter(
            db, config, on_committed=self._on_committed, on_failed=self._on_failed, nudge_checkpoint=self._checkpointer.nudge
        )

    @classmethod
    async def open(cls, path: Path, config: SQLiteConfig | None = None) -> Self:
        """Open the database at `path`, making it if it is not there.

        Raises: StoreError if another process has it open, or it is damaged or not ours.
        """
        config = config or SQLiteConfig()
        return cls(path, config, *await asyncio.to_thread(_open_file, path, config))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # --- writes ---

    async def create(self, key: bytes, value: bytes) -> Revision:
        if revision := await self._write(key, value, 0):
            return revision
        raise KeyExists(key, Revision(self._index.current(key)))

    async def update(self, key: bytes, value: bytes, expected: Revision) -> Revision:
        if expected > 0 and (revision := await self._write(key, value, expected)):
            return revision
        raise RevisionMismatch(key, await self.get(key))

    async def delete(self, key: bytes, expected: Revision | None = None) -> Revision:
        if expected != 0 and (revision := await self._write(key, None, expected)):
            return revision
        raise RevisionMismatch(key, await self.get(key))

    async def _write(self, key: bytes, value: bytes | None, expected: int | None) -> Revision:
        """The revision once durable, 0 if the key is not as expected."""
        self._check_open()
        write = Write(key, value, expected, asyncio.get_running_loop().create_future())
        self._decide(write)
        return Revision(await write.done)

    def _decide(self, write: Write) -> None:
        """Compare and assign the revision, or refuse. A refusal because of a write in flight waits until that one is durable."""
        key, expected = write.key, write.expected
        in_flight = self._in_flight.get(key)
        head, created, _ = in_flight or (self._index.current(key), self._index.created(key), 0)
        if head == expected or (expected is None and head):
            revision = self._next
            self._next += 1
            write.row = (revision, key, created if head else revision, head, write.value)
            self._in_flight[key] = (0, 0, revision) if write.value is None else (revision, write.row[2], revision)
        elif in_flight is None:
            if not write.done.done():
                write.done.set_result(0)
            return
        else:
            write.row = None
        if not self._gathering:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._gathering.append(write)

    def _hand_over(self) -> None:
        """Give the writes of this round of the event loop to the writer, as one batch but for those that go alone."""
        writes, self._gathering = self._gathering, []
        self._queued.extend(writes)
        together: list[Write] = []
        for write in writes:
            if not write.is_alone:
                together.append(write)
                continue
            if together:
                self._writer.submit(Batch(self._epoch, together))
                together = []
            self._writer.submit(Batch(self._epoch, [write]))
        if together:
            self._writer.submit(Batch(self._epoch, together))

    def _on_committed(self, writes: Sequence[Write]) -> None:
        events: list[Event] = []
        index, in_flight = self._index, self._in_flight
        for write in writes:
            self._queued.popleft()
            if write.row is None:
                continue
            revision, key, _, previous, value = write.row
            index.apply(key, revision, is_delete=value is None)
            events.append(Event(key, value, _ANY_VALUE if previous else None, Revision(revision)))
            if in_flight[key][2] == revision:
                del in_flight[key]
        if events:
            self._feed.publish(events)  # before the acknowledgements: a writer that goes on finds the watch cache up to date
        for write in writes:
            if not write.done.done():
                write.done.set_result(0 if write.row is None else write.row[0])

    def _on_failed(self, writes: Sequence[Write], error: sqlite3.Error) -> None:
        """Refuse the writes of the batch that failed, and decide again on those that were queued behind it.

        A batch without room is tried again write by write, so that one large value does not refuse the small ones beside it; once one of
        them has failed alone, those at least as large that wait for their try fail with it.
        """
        for _ in writes:
            self._queued.popleft()
        again = [*self._queued, *self._gathering]
        self._queued.clear()
        self._gathering = []
        self._in_flight.clear()
        self._next = self._index.revision + 1
        self._epoch += 1
        refused = list(writes)
        if _is_full(error) and len(writes) > 1:
            for write in writes:
                write.is_alone = True
            refused, again = [], [*writes, *again]
        elif _is_full(error):
            refused += [write for write in again if write.is_alone and write.size >= writes[0].size]
            again = [write for write in again if not (write.is_alone and write.size >= writes[0].size)]
        self._refuse(refused, self._write_error(error))
        if self._closed is not None:
            self._refuse(again, self._closed)
            return
        for write in again:
            self._decide(write)

    def _refuse(self, writes: Sequence[Write], error: StoreError) -> None:
        for write in writes:
            if not write.done.done():
                write.done.set_exception(error)

    def _write_error(self, error: sqlite3.Error) -> StoreError:
        if _is_full(error):
            return StoreFull(f"no room in {self._path} or on its disk: nothing was written")
        return StoreError(f"cannot write to {self._path}: {error}")

    # --- reads ---

    async def get(self, key: bytes) -> KeyValue | None:
        while True:
            self._check_open()
            revision = self._index.current(key)
            if not revision:
                return None
            row = await self._read(read_value, revision)
            if row is not None:  # else superseded and compacted in the meantime
                return KeyValue(key, row[1], Revision(row[0]), Revision(revision))

    async def list(self, prefix: bytes, *, after: bytes = b"", limit: int = 0, revision: Revision = LATEST) -> Page:
        while True:
            self._check_open()
            found = self._index.scan(prefix, after, limit, revision)
            rows = await self._read(read_values, [at for _, at in found.keys]) if found.keys else {}
            if len(rows) == len(found.keys):  # else some were superseded and compacted in the meantime
                items = [KeyValue(key, rows[at][1], Revision(rows[at][0]), Revision(at)) for key, at in found.keys]
                return Page(items, found.revision, found.remaining)

    def watch(self, prefix: bytes, after: Revision, *, prev_values: bool = True) -> AsyncGenerator[Sequence[Event], None]:
        span = (prefix, prefix_end(prefix) or _MAX_KEY)

        async def read_backlog(position: Revision) -> tuple[Sequence[Event], Revision]:
            self._check_not_compacted(position)
            until = self._index.revision
            rows = await self._read(read_log, position, until, span, _READ_ROWS)
            events: Sequence[Event] = [Event(key, value, _ANY_VALUE if prev else None, Revision(id_)) for id_, key, value, prev in rows]
            if prev_values:
                events = await self._with_previous(events)
            self._check_not_compacted(position)
            return events, Revision(rows[-1][0] if len(rows) == _READ_ROWS else until)

        return self._feed.watch(prefix, after, read_backlog, self._with_previous if prev_values else None)

    async def _with_previous(self, events: Sequence[Event]) -> Sequence[Event]:
        """The same events with what each of them replaced."""
        before = {e.revision: self._index.at(e.key, e.revision - 1) for e in events if e.prev_value is not None}
        rows = await self._read(read_values, list(before.values())) if before else {}
        if len(rows) < len(before):
            raise Compacted(Revision(self._index.compacted))
        return [e if e.prev_value is None else Event(e.key, e.value, rows[before[e.revision]][1], e.revision) for e in events]

    async def current_revision(self) -> Revision:
        self._check_open()
        return Revision(self._index.revision)

    def current_revision_nowait(self) -> Revision | None:
        return Revision(self._index.revision)

    async def _read(self, query: Callable[..., T], *args: object) -> T:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._on_reader, query, args)

    def _on_reader(self, query: Callable[..., T], args: tuple[object, ...]) -> T:
        db: sqlite3.Connection | None = getattr(self._reading, "db", None)
        if db is None:
            db = self._reading.db = connect(self._path, self._config)
            self._read_connections.append(db)
        try:
            return query(db, *args)
        except sqlite3.Error as e:
            raise StoreError(f"cannot read from {self._path}: {e}") from e

    # --- the rest ---

    async def compact(self, revision: Revision) -> None:
        self._check_open()
        if revision > self._index.revision:
            raise FutureRevision(Revision(self._index.revision))
        while self._index.compacted < revision:
            self._check_open()
            step = min(max(self._index.compacted, 1) + _COMPACT_REVISIONS, revision)
            dropped = self._index.compact(step)
            try:
                await self._writer.run(partial(drop_rows, revisions=dropped, compacted=step))
            except sqlite3.Error as e:
                raise self._write_error(e) from e
        free_pages = 1
        while free_pages and self._closed is None:
            free_pages = await self._writer.run(_vacuum)
        self._checkpointer.nudge()

    async def close(self) -> None:
        if self._closed is not None:
            return
        self._closed = StoreClosed(f"the store {self._path} is closed")
        self._hand_over()
        await self._writer.stop()
        self._feed.close(self._closed)
        self._checkpointer.stop_nowait()
        await asyncio.to_thread(self._release)

    def _release(self) -> None:
        self._checkpointer.join()
        self._readers.shutdown()
        for db in (*self._read_connections, self._checkpoint_db, self._db):
            db.close()
        self._lock.release()

    def statistics(self) -> dict[str, int]:
        wal = self._path.with_name(f"{self._path.name}-wal")
        return {
            "revision": self._index.revision,
            "compacted": self._index.compacted,
            "keys": len(self._index),
            "watchers": len(self._feed),
            "queued_writes": len(self._queued) + len(self._gathering),
            "bytes": sum(file.stat().st_size for file in (self._path, wal) if file.exists()),
        }

    def _check_open(self) -> None:
        if self._closed is not None:
            raise self._closed

    def _check_not_compacted(self, position: Revision) -> None:
        self._check_open()
        if position < self._index.compacted:
            raise Compacted(Revision(self._index.compacted))


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL


def _open_file(path: Path, config: SQLiteConfig) -> tuple[FileLock, sqlite3.Connection, KeyIndex]:
    lock = FileLock(path)
    try:
        db = open_writer(path, config)
        try:
            return lock, db, load_index(db, path)
        except StoreError:
            db.close()
            raise
    except StoreError:
        lock.release()
        raise
