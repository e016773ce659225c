"""One write for all who wait to write the same object: for a hundred writers who would else redo each other's work, or wait for each other.

Writing is compare-and-retry: of a hundred who write at once one succeeds, and ninety-nine begin anew. Those who ask here are served in the
order of asking, and whoever's turn it is writes for all that have come meanwhile and write in the same way. It is no protection: others
may write the object without asking here.
Before: `transform`. After: `registry.update`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from inspect import isawaitable

from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Mutate, WriteOptions, Written

_MOST = 32
"""Changes in one write: each is a few copies of the object, and nobody else is served while they are made."""

Update = Callable[[Mutate, WriteOptions], Awaitable[Written]]


@dataclass(slots=True, eq=False)
class _Change:
    """What one of them wants, and what came of it."""

    mutate: Mutate
    options: WriteOptions
    written: Written | None = None
    error: StatusError | None = None

    @property
    def is_done(self) -> bool:
        return self.written is not None or self.error is not None

    def goes_with(self, other: _Change) -> bool:
        """Whether the two may be one write: nothing but who asks may differ. Admission is told of the first one's user."""
        mine, theirs = self.options, other.options
        return not mine.dry_run and replace(mine, user=theirs.user, notes=theirs.notes) == theirs


@dataclass(slots=True)
class _Line:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: list[_Change] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Together:
    """Remembers only keys that somebody writes, or waits for."""

    _lines: dict[Hashable, _Line] = field(default_factory=dict)

    async def write(self, key: Hashable, mutate: Mutate, options: WriteOptions, update: Update) -> Written:
        """`update(mutate, options)`, or the write of others in which this change is.

        Args: update: the same for all with this key. mutate: may be called for what others have changed and not yet written.
        Raises: what `mutate` raises for its own change, and what `update` raises for it alone.
        """
        line = self._lines.setdefault(key, _Line())
        mine = _Change(mutate, options)
        line.waiting.append(mine)
        try:
            async with line.lock:
                if not mine.is_done:
                    others = [change for change in line.waiting if change is not mine and not change.is_done and change.goes_with(mine)]
                    await _write([mine, *others[: _MOST - 1]], update)
        finally:
            line.waiting.remove(mine)
            if not line.waiting:
                self._lines.pop(key, None)
        if mine.error is not None:
            raise mine.error
        assert mine.written is not None, "either is set by then"
        return mine.written

    def __len__(self) -> int:
        return len(self._lines)


async def _write(changes: Sequence[_Change], update: Update) -> None:
    """All at once; where that is refused, each alone, so that nobody is refused for another's change."""
    refused: dict[_Change, StatusError] = {}

    async def all_of_them(live: JSONObject | None) -> JSONObject:
        refused.clear()
        reached = live
        for change in changes:
            try:
                wanted = change.mutate(reached)
                reached = await wanted if isawaitable(wanted) else wanted
            except StatusError as error:
                refused[change] = error
        if len(refused) == len(changes):
            raise refused[changes[0]]
        assert reached is not None, "somebody made it"
        return reached

    try:
        written = await update(all_of_them, changes[0].options)
    except StatusError as error:
        if len(changes) == 1:
            changes[0].error = error
            return
        for change in changes:
            await _write([change], update)
        return
    for change in changes:
        change.error = refused.get(change)
        change.written = written if change.error is None else None
