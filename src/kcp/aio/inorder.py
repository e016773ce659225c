"""Work on the same thing, one after the other in the order of asking: for many writers of one object who would else redo each other's work.

Writing is compare-and-retry: of a hundred who write at once one succeeds, and ninety-nine begin anew. Those who ask here for their turn
write once each, and nobody is passed over. It is no protection: others may write without a turn.
Before: `virtual.transform`. After: nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Line:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    asked: int = 0
    """How many hold or wait."""


@dataclass(frozen=True, slots=True)
class InOrder:
    """Remembers only keys that somebody works on, or waits for."""

    _lines: dict[Hashable, _Line] = field(default_factory=dict)

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[None]:
        line = self._lines.setdefault(key, _Line())
        line.asked += 1
        try:
            async with line.lock:
                yield
        finally:
            line.asked -= 1
            if not line.asked:
                del self._lines[key]

    def __len__(self) -> int:
        return len(self._lines)
