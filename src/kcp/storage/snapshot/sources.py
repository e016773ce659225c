"""Where a snapshot is taken from: a database file, whose server may be running, or an etcd. Writes go on meanwhile.

Before: `cli.snapshot`. After: `storage.snapshot.file`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

from kcp.storage.interface import KeyValue, Revision, Store, StoreError
from kcp.storage.keyspace import ROOT_PREFIX, TICK

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
