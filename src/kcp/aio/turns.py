"""One at a time, when the event loop has little else to do: for work that there is much of and that nobody waits for.

A task that never has to wait for anything keeps all others waiting; many such tasks that yield after each step still make every turn of the
loop as long as all their steps together. Those that ask for a turn here get a turn of the loop each, and while its turns are long, because
others have much to do, only every so many.
Before: `controller.workqueue`, for objects that were there before anything happened; `controller.informer`, for lists nobody waits for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from weakref import WeakKeyDictionary

_LONG_TURN_S = 0.001
_PASSED_BY = 16
"""So many long turns of the loop go by, at most."""


class _Line:
    """Who waits for a turn of one loop; first come first served."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turned_s = 0.0
        self._passed = 0

    async def take(self, loop: asyncio.AbstractEventLoop) -> None:
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            self._look_again(loop)
        await turn

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._turned_s = loop.time()
        loop.call_soon(self._give, loop)

    def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        """Once in each turn of the loop, for as long as somebody waits."""
        if loop.time() - self._turned_s >= _LONG_TURN_S and self._passed < _PASSED_BY:
            self._passed += 1
        else:
            self._passed = 0
            self._let_one_in()
        if self._waiting:
            self._look_again(loop)

    def _let_one_in(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


_lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()
"""A property of each loop, as the loop itself is; nothing of it outlives the loop."""


async def take_turn() -> None:
    """Wait for a turn of the event loop that nobody else got from here."""
    loop = asyncio.get_running_loop()
    line = _lines.get(loop)
    if line is None:
        line = _lines[loop] = _Line()
    await line.take(loop)
