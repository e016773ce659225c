"""The threads behind the SQLite store: one that writes, one that checkpoints the WAL.

Group commit: while a batch syncs, the next one gathers; a batch is one statement, hence one fsync and one release of the interpreter lock.
The event loop decides what is written (compare, revision), the writer only appends. If a batch fails, everything queued behind it was
decided on a state that never came to be: the writer throws it back, and the store decides again.
Before: `sqlite`. After: `sqlitefile`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Literal, TypeVar

from kcp.storage.sqlitefile import LogRow, SQLiteConfig, checkpoint, rollback

T = TypeVar("T")
log = logging.getLogger(__name__)

_BATCH_ROWS = 512
_BATCH_BYTES = 8 << 20
_STATEMENT_ROWS = 64
_WAL_LIMIT_FACTOR = 4
"""At that many times `checkpoint_pages` in the WAL, the writer itself finishes the checkpoint so that the WAL starts over."""


class Write:
    """One write on its way: first what is asked, then what was decided."""

    __slots__ = ("done", "expected", "is_alone", "key", "row", "value")

    def __init__(self, key: bytes, value: bytes | None, expected: int | None, done: asyncio.Future[int]) -> None:
        self.key = key
        self.value = value
        """None: delete."""
        self.expected = expected
        """Mod revision that the key must have; 0: no live value; None: any live value."""
        self.done = done
        """The revision once durable; 0 if `expected` was not met."""
        self.row: LogRow | None = None
        """The row to append; None for a refusal that only waits for the writes it was decided on."""
        self.is_alone = False
        """Committed in a batch of its own, after the batch it was in found no room."""

    @property
    def size(self) -> int:
        return len(self.value) if self.value is not None else 0


class Batch:
    """Writes handed over together, decided in the same epoch."""

    __slots__ = ("epoch", "is_alone", "writes")

    def __init__(self, epoch: int, writes: list[Write]) -> None:
        self.epoch = epoch
        self.writes = writes
        self.is_alone = len(writes) == 1 and writes[0].is_alone


class _Job:
    """Something else to do on the writing connection, between two batches."""

    __slots__ = ("future", "run")

    def __init__(self, run: Callable[[sqlite3.Connection], Any], future: asyncio.Future[Any] | None) -> None:
        self.run = run
        self.future = future


class LogWriter:
    """The thread that owns the writing connection."""

    def __init__(
        self,
        db: sqlite3.Connection,
        config: SQLiteConfig,
        *,
        on_committed: Callable[[Sequence[Write]], None],
        on_failed: Callable[[Sequence[Write], sqlite3.Error], None],
        nudge_checkpoint: Callable[[], None],
    ) -> None:
        """Both callbacks run in the event loop, in commit order; after `on_failed` everything queued in that epoch is thrown away."""
        self._db = db
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._on_committed, self._on_failed, self._nudge_checkpoint = on_committed, on_failed, nudge_checkpoint
        self._queue: SimpleQueue[Batch | _Job | None] = SimpleQueue()
        self._dead_epoch = -1
        self._pages = 0
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="kcp-store-writer", daemon=True)
        self._thread.start()

    def submit(self, batch: Batch) -> None:
        self._queue.put(batch)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the writing connection between two batches."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Job(work, future))
        return await future

    def run_soon(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        """The same without waiting for it; from any thread."""
        self._queue.put(_Job(work, None))

    async def stop(self) -> None:
        """Finish what is queued and end the thread."""
        self._queue.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()

    def _run(self) -> None:
        following: Batch | _Job | None = self._queue.get()
        while following is not None:
            if isinstance(following, _Job):
                self._do(following)
                following = self._queue.get()
            else:
                following = self._commit_with_followers(following)
        self._loop.call_soon_threadsafe(self._ended.set_result, None)

    def _do(self, job: _Job) -> None:
        try:
            result = job.run(self._db)
        except sqlite3.Error as e:
            if job.future is None:
                log.warning("maintenance of the database failed: %s", e)
            else:
                self._loop.call_soon_threadsafe(_settle, job.future, None, e)
        else:
            if job.future is not None:
                self._loop.call_soon_threadsafe(_settle, job.future, result, None)

    def _commit_with_followers(self, first: Batch) -> Batch | _Job | None:
        """Commit `first` and the batches queued behind it, up to a limit; returns what comes next in the queue."""
        writes: list[Write] = []
        size, following = 0, first
        while True:
            epoch = following.epoch
            if epoch > self._dead_epoch:
                writes += following.writes
                size += sum(write.size for write in following.writes)
            if following.is_alone or len(writes) >= _BATCH_ROWS or size >= _BATCH_BYTES or self._queue.empty():
                self._commit(epoch, writes)
                return self._queue.get()
            queued = self._queue.get()
            if not isinstance(queued, Batch) or queued.is_alone:
                self._commit(epoch, writes)
                return queued
            following = queued

    def _commit(self, epoch: int, writes: list[Write]) -> None:
        if not writes:
            return
        rows = [write.row for write in writes if write.row is not None]
        try:
            self._append(rows)
        except sqlite3.Error as e:
            self._dead_epoch = epoch
            rollback(self._db)
            self._loop.call_soon_threadsafe(self._on_failed, writes, e)
        else:
            self._loop.call_soon_threadsafe(self._on_committed, writes)
            self._count_pages(rows)

    def _append(self, rows: Sequence[LogRow]) -> None:
        if len(rows) <= _STATEMENT_ROWS:
            if rows:
                self._insert(rows)
            return
        self._db.execute("BEGIN IMMEDIATE")
        for start in range(0, len(rows), _STATEMENT_ROWS):
            self._insert(rows[start : start + _STATEMENT_ROWS])
        self._db.execute("COMMIT")

    def _insert(self, rows: Sequence[LogRow]) -> None:
        """One statement for all rows: a release of the interpreter lock per row would cost more than the row."""
        values = [value for row in rows for value in row]
        self._db.execute(_insert_statement(len(rows)), values)

    def _count_pages(self, rows: Sequence[LogRow]) -> None:
        written = sum(len(row[1]) + len(row[4] or b"") for row in rows)
        self._pages += 1 + written // self._config.page_bytes
        if self._pages >= self._config.checkpoint_pages:
            self._pages = 0
            self._nudge_checkpoint()


_STATEMENTS: dict[int, str] = {}


def _insert_statement(rows: int) -> str:
    if rows not in _STATEMENTS:
        _STATEMENTS[rows] = "INSERT INTO log (id, key, created, prev, value) VALUES " + ",".join(["(?,?,?,?,?)"] * rows)
    return _STATEMENTS[rows]


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class Checkpointer:
    """The thread that moves pages from the WAL into the database, so that no commit has to."""

    def __init__(self, db: sqlite3.Connection, config: SQLiteConfig, *, finish: Callable[[], None]) -> None:
        """`finish` asks the writer to checkpoint between two batches; needed when writes never pause and the WAL could not start over."""
        self._db = db
        self._limit = config.checkpoint_pages * _WAL_LIMIT_FACTOR
        self._finish = finish
        self._queue: SimpleQueue[Literal["checkpoint", "stop"]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="kcp-store-checkpoint", daemon=True)
        self._thread.start()

    def nudge(self) -> None:
        """Checkpoint soon; from any thread."""
        self._queue.put("checkpoint")

    def stop_nowait(self) -> None:
        self._queue.put("stop")

    def join(self) -> None:
        self._thread.join()

    def _run(self) -> None:
        while self._queue.get() != "stop":
            try:
                if checkpoint(self._db) > self._limit:
                    self._finish()
            except sqlite3.Error as e:
                log.warning("the WAL could not be checkpointed, it keeps growing until the next try: %s", e)
