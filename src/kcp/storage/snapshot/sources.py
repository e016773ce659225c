"""Where snapshots, and the changes after them, are taken from: a database file, whose server may be running, or an etcd.

Writes go on meanwhile.

Before: `shipping`, `cli.snapshot`. After: `storage.snapshot.file`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kcp.storage.interface import Compacted, KeyValue, Revision, Store, StoreError
from kcp.storage.keyspace import ROOT_PREFIX, TICK
from kcp.storage.snapshot.file import DELETION, UPDATE

_ROWS = 2_000
_LIVE = (
    "SELECT log.key, log.value, log.created, log.id FROM log JOIN (SELECT max(id) AS newest FROM log GROUP BY key) ON log.id = newest "
    "WHERE log.value IS NOT NULL ORDER BY log.id"
)


class SQLiteSource:
    """A read transaction on a database: one state of it, however long the reading takes. Source: https://www.sqlite.org/isolation.html."""

    def __init__(self, path: Path) -> None:
        """Raises: StoreError if there is no such database."""
        if not path.is_file():
            raise StoreError(f"there is no database at {path}")
        try:
            self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA query_only = ON")
            self._db.execute("BEGIN")
            last, compacted = self._db.execute("SELECT max(id), (SELECT value FROM meta WHERE name = 'compacted') FROM log").fetchone()
        except sqlite3.Error as e:
            raise StoreError(f"cannot read the database {path}: {e}") from None
        self.revision = Revision(max(last or 1, compacted or 1))

    async def pages(self) -> AsyncIterator[Sequence[KeyValue]]:
        """Every live object, in the order of revisions."""
        with closing(await asyncio.to_thread(self._db.execute, _LIVE)) as rows:
            while found := await asyncio.to_thread(rows.fetchmany, _ROWS):
                yield [KeyValue(key, value, Revision(created), Revision(at)) for key, value, created, at in found]

    async def close(self) -> None:
        self._db.close()


class StoreSource:
    """Any store, listed at one revision."""

    def __init__(self, store: Store, revision: Revision) -> None:
        self._store = store
        self.revision = revision

    async def pages(self) -> AsyncIterator[Sequence[KeyValue]]:
        """Every live object, in the order of revisions: all of them are held for that, since a store lists by key.

        Raises: Compacted if the history up to the revision was forgotten meanwhile.
        """
        found: list[KeyValue] = []
        after = b""
        while True:
            page = await self._store.list(ROOT_PREFIX, after=after, limit=_ROWS, revision=self.revision)
            found += [kv for kv in page.items if kv.key != TICK]
            if not page.remaining:
                break
            after = page.items[-1].key
        found.sort(key=lambda kv: kv.mod_revision)
        for start in range(0, len(found), _ROWS):
            yield found[start : start + _ROWS]

    async def close(self) -> None:
        await self._store.close()


@dataclass(frozen=True, slots=True)
class Changes:
    """Writes, in their order, and the revision up to which they are all."""

    records: Sequence[KeyValue]
    """As in a file of changes."""
    revision: Revision


class Source(Protocol):
    """One state of a store."""

    revision: Revision

    def pages(self) -> AsyncIterator[Sequence[KeyValue]]: ...

    async def close(self) -> None: ...


class Origin(Protocol):
    """A store that snapshots and changes are taken from again and again."""

    @property
    def where(self) -> str:
        """For people."""

    async def state(self) -> Source:
        """As it is now. Close it. Raises: StoreError."""

    async def changes(self, after: Revision) -> Changes:
        """What was written after a revision; not all of it where it is very much. Raises: Compacted, StoreError."""


_CHANGED = "SELECT id, key, created, value FROM log WHERE id > ? ORDER BY id LIMIT ?"


class SQLiteOrigin:
    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def where(self) -> str:
        return str(self._path)

    async def state(self) -> SQLiteSource:
        return await asyncio.to_thread(SQLiteSource, self._path)

    async def changes(self, after: Revision) -> Changes:
        return await asyncio.to_thread(self._changes, after)

    def _changes(self, after: Revision) -> Changes:
        try:
            with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, isolation_level=None)) as db:
                db.execute("BEGIN")
                (compacted,) = db.execute("SELECT value FROM meta WHERE name = 'compacted'").fetchone() or (0,)
                if compacted > after:
                    raise Compacted(Revision(compacted))
                rows = db.execute(_CHANGED, (after, _ROWS)).fetchall()
        except sqlite3.Error as e:
            raise StoreError(f"cannot read the database {self._path}: {e}") from None
        records = [
            KeyValue(key, value or b"", DELETION if value is None else Revision(created), Revision(at)) for at, key, created, value in rows
        ]
        return Changes(records, Revision(rows[-1][0]) if rows else after)


class StoreOrigin:
    """Any store; who made it closes it."""

    def __init__(self, store: Store, where: str) -> None:
        self._store = store
        self.where = where

    async def state(self) -> StoreSource:
        return _Borrowed(self._store, await self._store.current_revision())

    async def changes(self, after: Revision) -> Changes:
        until = await self._store.current_revision()
        records: list[KeyValue] = []
        if until <= after:
            return Changes(records, after)
        async with aclosing(self._store.watch(ROOT_PREFIX, after, prev_values=False)) as batches:
            async for batch in batches:
                for event in batch:
                    if event.is_progress or event.key == TICK:
                        continue
                    created = DELETION if event.is_delete else event.revision if event.is_create else UPDATE
                    records.append(KeyValue(event.key, event.value or b"", created, event.revision))
                if batch[-1].revision >= until:
                    return Changes(records, batch[-1].revision)
        raise StoreError("the watch ended")


class _Borrowed(StoreSource):
    async def close(self) -> None:
        """The store stays open for the next one."""
