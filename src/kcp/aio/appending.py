"""Writing to disk from the event loop without ever waiting for the disk there: one thread writes what has come in meanwhile, at once.

Before: `apiserver.audit.logfile`. After: whatever function writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


class Appender:
    """Hands pieces to `write`, in order, in one thread; while it writes, the next pieces gather and go together."""

    def __init__(self, write: Callable[[Sequence[bytes]], None], *, name: str) -> None:
        """Args: write: raises OSError. name: of the thread."""
        self._write = write
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._pieces: list[bytes] = []
        self._gathering: asyncio.Future[OSError | None] | None = None
        self._is_writing = False

    def post(self, piece: bytes) -> asyncio.Future[OSError | None]:
        """Shared with others: shield it before waiting. Its result is what went wrong, None if it is written."""
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().create_future()
        self._pieces.append(piece)
        gathering = self._gathering
        if not self._is_writing:
            self._begin()
        return gathering

    def _begin(self) -> None:
        pieces, written = self._pieces, self._gathering
        assert written is not None
        self._pieces, self._gathering, self._is_writing = [], None, True

        def done(job: asyncio.Future[None]) -> None:
            self._is_writing = False
            error = job.exception()
            if error is not None and not isinstance(error, OSError):
                written.set_exception(error)
            elif not written.done():
                written.set_result(error)
            if self._pieces:
                self._begin()

        asyncio.get_running_loop().run_in_executor(self._thread, self._write, pieces).add_done_callback(done)

    async def close(self) -> None:
        """Everything posted is written, or has failed."""
        while self._is_writing or self._pieces:
            last = self._gathering or self.post(b"")
            await asyncio.shield(last)
        self._thread.shutdown()
