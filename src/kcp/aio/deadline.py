"""A time limit on an injected clock; `asyncio.timeout` knows only real time.

Before: leader election, and whoever must give up under virtual time as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from kcp.aio.clock import Clock

T = TypeVar("T")


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Raises what it raises, or TimeoutError after `seconds`, when it is cancelled and has ended."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(work)
            alarm = group.create_task(clock.sleep(seconds))
            done, _ = await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
            alarm.cancel()
            task.cancel()
    except BaseExceptionGroup as failed:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise asyncio.CancelledError from failed  # what the work says on its way out must not hide that we are told to end
        raise failed.exceptions[0] from None
    if task not in done:
        raise TimeoutError(f"not done within {seconds:g} s")
    return task.result()
