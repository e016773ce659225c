"""Watches are read only as fast as what they bring is worked off: back-pressure from queues to the server.

A watch that nobody reads costs the server what it costs with any slow client: it buffers within its bounds, then ends the watch, and the
informer lists again. So nothing is lost, and what waits here is bounded.
Before: whoever runs controllers whose work may be slower than what comes. After: `informer`, which asks before each event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Floodgate:
    """Closed while more than `most` keys stand in the queues, until no more than `few` do. Keys of the background do not count."""

    most: int
    few: int
    depths: Callable[[], Iterable[int]]
    """How many keys stand in each queue."""
    changed: Callable[[int], None] = lambda _: None
    """Told how many stand there when it closes, and 0 when it opens."""
    closed: int = 0
    """How often it was."""
    _credit: int = 0
    """Events that may pass before the queues have to be counted again; each adds its key to two of them at most."""
    _open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._open.set()

    @property
    def is_closed(self) -> bool:
        return not self._open.is_set()

    def may_pass(self) -> bool:
        """Asked for each event."""
        if self._credit > 0:
            self._credit -= 1
            return True
        if self.is_closed:
            return False
        depth = sum(self.depths())
        if depth <= self.most:
            self._credit = (self.most - depth) // 2
            return True
        self.closed += 1
        self._open.clear()
        self.changed(depth)
        return False

    async def wait(self) -> None:
        await self._open.wait()

    def look(self) -> None:
        """A key was worked off."""
        if self.is_closed and sum(self.depths()) <= self.few:
            self._credit = 0
            self._open.set()
            self.changed(0)
