"""The database file of the SQLite store: its lock, its schema, its settings, and the statements that read the log.

The log table is the truth: one row per write, its id is the revision, without gaps above the compaction mark. There is no index on the
key: the key index is rebuilt in memory at open, which makes writes about twice as fast.
Before: `sqlite`, `sqlitewriter`.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from kcp.storage.interface import StoreError
from kcp.storage.keyindex import KeyIndex

_APPLICATION_ID = 0x6B63700A
_SCHEMA_VERSION = 1
_SCHEMA = (
    "CREATE TABLE log (id INTEGER PRIMARY KEY, key BLOB NOT NULL, created INTEGER NOT NULL, prev INTEGER NOT NULL, value BLOB)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('compacted', 0)",
)

LogRow: TypeAlias = tuple[int, bytes, int, int, bytes | None]
"""Revision, key, revision of creation, previous revision (0 for a creation), value (None for a deletion)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SQLiteConfig:
    """Settings of the SQLite store."""

    page_bytes: int = 16_384
    """Page size of a new database; large pages hold several objects each and make commits cheaper."""
    cache_kib: int = 4_096
    """Page cache per connection (one writer, one checkpointer, `readers` readers)."""
    readers: int = 2
    """Threads, each with a connection of its own, that read."""
    checkpoint_pages: int = 1_000
    """Pages written to the WAL between two checkpoints."""
    is_fsynced: bool = True
    """Whether a write waits for the disk. If not, it outlives its process, but not its machine."""
    max_bytes: int = 0
    """Quota: at this size of the database file writes answer StoreFull; 0 for none."""


class FileLock:
    """An advisory lock beside the database, held as long as the process lives; it tells who holds it."""

    def __init__(self, path: Path) -> None:
        """Take the lock of the database at `path`.

        Raises: StoreError naming the path and the pid of the owner.
        """
        lock_path = path.with_name(path.name + ".lock")
        try:
            self._fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise StoreError(f"cannot open the database {path}: {e.strerror}") from e
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            owner = os.read(self._fd, 32).decode().strip() or "unknown"
            os.close(self._fd)
            raise StoreError(f"the database {path} is in use by another running server (pid {owner})") from e
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def connect(path: Path, config: SQLiteConfig) -> sqlite3.Connection:
    """A connection in autocommit mode, for use by one thread at a time."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    db.execute(f"PRAGMA page_size = {config.page_bytes}")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute(f"PRAGMA cache_size = -{config.cache_kib}")
    db.execute(f"PRAGMA synchronous = {'FULL' if config.is_fsynced else 'OFF'}")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute("PRAGMA busy_timeout = 10000")
    db.execute("PRAGMA temp_store = MEMORY")
    return db


def open_writer(path: Path, config: SQLiteConfig) -> sqlite3.Connection:
    """The connection that writes; makes the schema in a new file.

    Raises: StoreError for a file that is not a database of ours, or of a newer version.
    """
    db = None
    try:
        db = connect(path, config)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA journal_size_limit = 67108864")
        _migrate(db, path)
        if config.max_bytes:
            page_bytes = db.execute("PRAGMA page_size").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {max(config.max_bytes // page_bytes, 1)}")
        return db
    except (sqlite3.Error, StoreError) as e:
        if db is not None:
            db.close()
        raise e if isinstance(e, StoreError) else StoreError(f"cannot open the database {path}: {e}") from e


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == _SCHEMA_VERSION:
        return
    if version > _SCHEMA_VERSION:
        raise StoreError(f"the database {path} was written by a newer version (schema {version}, this program knows {_SCHEMA_VERSION})")
    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreError(f"{path} is a SQLite database, but not one of this server's")
    db.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    db.execute("COMMIT")


def load_index(db: sqlite3.Connection, path: Path) -> KeyIndex:
    """Read the whole log's keys.

    Raises: StoreError if the log has a hole.
    """
    compacted: int = db.execute("SELECT value FROM meta WHERE name = 'compacted'").fetchone()[0]
    try:
        with closing(db.execute("SELECT id, key, created, value IS NULL FROM log ORDER BY id")) as rows:
            return KeyIndex.load(_batched(rows), compacted)
    except (ValueError, sqlite3.Error) as e:
        raise StoreError(f"the database {path} is damaged: {e}") from e


def _batched(cursor: sqlite3.Cursor) -> Iterator[Any]:
    while rows := cursor.fetchmany(5_000):
        yield from rows


def read_value(db: sqlite3.Connection, revision: int) -> tuple[int, bytes] | None:
    """Revision of creation and value of one row."""
    row: tuple[int, bytes] | None = db.execute("SELECT created, value FROM log WHERE id = ?", (revision,)).fetchone()
    return row


def read_values(db: sqlite3.Connection, revisions: Sequence[int]) -> dict[int, tuple[int, bytes]]:
    """The same for many rows; those that are gone are missing from the answer."""
    query = "SELECT id, created, value FROM log WHERE id IN (SELECT value FROM json_each(?))"
    return {row[0]: (row[1], row[2]) for row in db.execute(query, (json.dumps(list(revisions)),)).fetchall()}


def read_log(db: sqlite3.Connection, after: int, until: int, span: tuple[bytes, bytes], limit: int) -> list[tuple[Any, ...]]:
    """Rows (revision, key, value, previous revision) after `after` up to `until` with span[0] <= key < span[1], in order."""
    query = "SELECT id, key, value, prev FROM log WHERE id > ? AND id <= ? AND key >= ? AND key < ? ORDER BY id LIMIT ?"
    return db.execute(query, (after, until, *span, limit)).fetchall()


def drop_rows(db: sqlite3.Connection, revisions: Sequence[int], compacted: int) -> None:
    """Delete rows and move the compaction mark, atomically."""
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute("DELETE FROM log WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(revisions)),))
        db.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (compacted,))
        db.execute("COMMIT")
    except sqlite3.Error:
        rollback(db)
        raise


def vacuum_some(db: sqlite3.Connection, pages: int) -> int:
    """Return up to `pages` free pages to the file system; how many more should go. A quarter of the file stays free for new rows."""
    free: int = db.execute("PRAGMA freelist_count").fetchone()[0]
    total: int = db.execute("PRAGMA page_count").fetchone()[0]
    surplus = max(free - total // 4, 0)
    if surplus:
        db.executescript(f"PRAGMA incremental_vacuum({min(pages, surplus)})")  # `execute` would stop after one page
    return max(surplus - pages, 0)


def rollback(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        db.execute("ROLLBACK")


def checkpoint(db: sqlite3.Connection) -> int:
    """Copy what can be copied from the WAL without disturbing anybody; the pages that the WAL holds."""
    _, in_wal, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(in_wal)
