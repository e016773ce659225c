"""Long-lived tasks with an owner: started in order, stopped in reverse order, their failures reach someone.

The one place in the project that creates tasks outside a TaskGroup.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from types import TracebackType
from typing import Any, Self

from kcp.aio.logcontext import WORK
from kcp.aio.tracecontext import CURRENT

log = logging.getLogger(__name__)


class Supervisor:
    """Owns background tasks. A task that raises ends the supervisor: `wait_failed()` returns its error.

    Use as an async context manager; leaving it cancels the tasks in reverse order of start and waits for each.
    """

    def __init__(self, name: str = "server") -> None:
        self.name = name
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[BaseException] | None = None

    async def __aenter__(self) -> Self:
        self._failed = asyncio.get_running_loop().create_future()
        return self

    def spawn(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run `coroutine` until it ends or the supervisor stops."""
        context = copy_context()
        for ended in (CURRENT, WORK):
            context.run(ended.set, None)  # it lives on after the work that started it
        task = asyncio.get_running_loop().create_task(coroutine, name=name, context=context)
        self._tasks.append(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task in self._tasks:
            self._tasks.remove(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("task %s of %s failed", task.get_name(), self.name, exc_info=error)
            if self._failed is not None and not self._failed.done():
                self._failed.set_result(error)

    async def wait_failed(self) -> BaseException:
        """Wait until some task has failed, and return its error."""
        assert self._failed is not None, "enter the supervisor first"
        return await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """Cancel the tasks, last started first, and wait for each to end."""
        for task in reversed(list(self._tasks)):
            task.cancel()
            await asyncio.wait([task])

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()
        if self._failed is not None and not self._failed.done():
            self._failed.cancel()

    def statistics(self) -> dict[str, int]:
        return {"tasks": len(self._tasks)}


async def retry_forever(step: Callable[[], Coroutine[Any, Any, None]], *, sleep: Callable[[float], Coroutine[Any, Any, None]],
                        what: str, max_delay_s: float = 30.0) -> None:  # fmt: skip
    """Run `step` again after each failure with exponential back-off, logging each; ends when it returns or is cancelled."""
    delay_s = 0.2
    while True:
        try:
            await step()
            return
        except Exception as error:  # noqa: BLE001 - the task supervisor is one of the four places
            log.warning("%s failed, again in %.1f s: %s", what, delay_s, error)
            await sleep(delay_s)
            delay_s = min(delay_s * 2, max_delay_s)
