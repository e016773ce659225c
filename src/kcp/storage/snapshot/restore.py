"""Stores made from a snapshot: every object at the revision that it had, so that what clients remember of versions goes on to be true.

Before: `cli.snapshot`. After: `storage.snapshot.file`, `storage.sqlitefile`, `storage.etcd`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kcp.storage.interface import KeyValue, Revision, StoreError
from kcp.storage.keyspace import ROOT_PREFIX, TICK
from kcp.storage.snapshot.file import Header, Summary
from kcp.storage.sqlitefile import SQLiteConfig, open_writer

if TYPE_CHECKING:
    from kcp.storage.etcd.store import EtcdStore

Progress = Callable[[int], None]


class Content(Protocol):
    """What is restored: a snapshot (`file.Reader`), or one with the changes since (`changes.Caught`)."""

    @property
    def summary(self) -> Summary | None:
        """Once `records` has come to its end."""

    @property
    def header(self) -> Header: ...

    def records(self) -> Iterator[KeyValue]: ...


_ROWS = 1_000
_FILLERS = 256
"""Writes that fill the revisions between two objects, under way at once."""


def to_sqlite(reader: Content, path: Path, progress: Progress = lambda objects: None) -> Summary:
    """A new database at `path`, there only when it is whole.

    Raises: StoreError if a database is there already, or the snapshot is damaged.
    """
    if path.exists():
        raise StoreError(f"{path} exists: move it away first; a snapshot is never restored over a database")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    try:
        db = open_writer(part, SQLiteConfig())
        try:
            _fill(db, reader, progress)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("PRAGMA journal_mode = DELETE")
        finally:
            db.close()
        part.replace(path)
    finally:
        for leftover in (part, part.with_name(part.name + "-wal"), part.with_name(part.name + "-shm")):
            leftover.unlink(missing_ok=True)
    assert reader.summary is not None
    return reader.summary


def _fill(db: sqlite3.Connection, reader: Content, progress: Progress) -> None:
    done = 0
    db.execute("BEGIN IMMEDIATE")
    for rows in _chunks(reader.records(), _ROWS):
        db.executemany(
            "INSERT INTO log (id, key, created, prev, value) VALUES (?, ?, ?, 0, ?)",
            [(kv.mod_revision, kv.key, kv.create_revision, kv.value) for kv in rows],
        )
        done += len(rows)
        progress(done)
    db.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (reader.header.revision,))
    db.execute("COMMIT")


async def to_etcd(reader: Content, store: EtcdStore, progress: Progress = lambda revision: None) -> Summary:
    """Fill an empty etcd: write by write, with writes of no meaning in between, until each object is at its revision.

    `progress` is told revisions: etcd gives each write the next one, so that many revisions take long, however few objects there are.
    Raises: StoreError if the etcd holds objects of ours, is beyond the first object's revision, or the snapshot is damaged; what was
    written by then stays, and is refused as not empty the next time.
    """
    at = await store.current_revision()
    if any(kv.key != TICK for kv in (await store.list(ROOT_PREFIX, limit=2)).items):
        raise StoreError("etcd holds objects under this prefix already: restore into an empty one, or choose another --etcd-prefix")
    for kv in reader.records():
        if kv.mod_revision <= at:
            raise StoreError(
                f"etcd is at revision {at} already, and an object of the snapshot at {kv.mod_revision}: restore into a fresh etcd"
            )
        at = await _fill_up_to(store, Revision(kv.mod_revision - 1), at, progress)
        at = await store.create(kv.key, kv.value)
        if at != kv.mod_revision:
            raise StoreError("somebody else writes to this etcd: restore into one that nobody uses")
        progress(at)
    at = await _fill_up_to(store, Revision(reader.header.revision), at, progress)
    await store.compact(at)
    assert reader.summary is not None
    return reader.summary


async def _fill_up_to(store: EtcdStore, wanted: Revision, at: Revision, progress: Progress) -> Revision:
    while at < wanted:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_FILLERS, wanted - at)):
                group.create_task(store.touch(TICK))
        at = Revision(min(at + _FILLERS, wanted))
        progress(at)
    return at


def _chunks(records: Iterable[KeyValue], size: int) -> Iterator[list[KeyValue]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, size)):
        yield chunk
