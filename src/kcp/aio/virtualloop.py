"""An event loop whose time jumps: nobody waits, and what would take a day takes as long as the work in it.

`loop.time()` all but stands still while any task can run, and moves to the next timer when none can. So `asyncio.sleep`,
`asyncio.timeout` and a `LoopClock` over it all speak of the same virtual time, in an order that depends on nothing outside.
No sockets and no threads: what answers from outside the loop has no place in virtual time.
Before: `replay`. After: asyncio. The idea is that of FoundationDB's simulation and of tokio's paused time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

ROUND_S = 1e-6
"""What one round of the loop takes: whoever waits for less than a float can add to the time gets on all the same."""


class Deadlock(RuntimeError):
    """Every task waits for another: no timer is left that would wake one."""


class _Jump(selectors.SelectSelector):
    """Waiting for input, when there is none to come: time passes instead."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("all tasks wait for each other, and no timer is set")
        self.elapsed_s += max(timeout, ROUND_S)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. Use `run`."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self._clock_resolution = 1e-9  # timers a nanosecond apart are apart

    def time(self) -> float:
        return self._jump.elapsed_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override] # never answers
        raise RuntimeError(f"{func} would run in a thread, whose time is real: virtual time needs stores in memory")


def run(main: Coroutine[Any, Any, T]) -> T:
    """The result of `main` under virtual time. Raises what it raises; Deadlock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
