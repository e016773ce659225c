"""Running a long-lived program: an event loop, signals that stop it once, and errors that say what to do."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from kcp.aio.collector import Collector
from kcp.apimachinery.errors import StatusError
from kcp.cli.flags import fail
from kcp.client.transport import TransportError


def run_until_stopped(main: Callable[[], Coroutine[Any, Any, None]], *, expected: tuple[type[Exception], ...] = ()) -> None:
    """Run `main()` until it returns, or until SIGINT or SIGTERM cancels it.

    Args: expected: errors whose message is for the user; anything else keeps its traceback.
    """
    import uvloop

    Collector().install()
    raise_file_limit()
    foreseen: tuple[type[Exception], ...] = (StatusError, TransportError, *expected)
    try:
        uvloop.run(_stoppable(main))
    except* foreseen as group:
        fail("; ".join(str(error) for error in _leaves(group)))


def raise_file_limit() -> None:
    """Allow as many open files as an ordinary user may have: every watch is a connection, and the usual 1,024 serve some 25 clusters.

    Source: Go's os/rlimit.go: programs in Go do the same when they start.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def on_hangup(act: Callable[[], None]) -> Iterator[None]:
    """Call `act` for SIGHUP, as daemons do; but in a terminal that signal ends the program, for then the terminal was closed."""
    if sys.stdin is not None and sys.stdin.isatty():
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, act)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@contextmanager
def files_of(flag: str) -> Iterator[None]:
    """Errors of files and directories name the flag that chose their place, and what to do.

    Args: flag: with its value, as typed.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise  # it says already what to do
        where = f"{error.filename}: " if error.filename else ""
        raise OSError(f"cannot use {flag}: {where}{error.strerror}; make room or give access there, or choose another place") from error


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


async def _stoppable(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = asyncio.current_task()
    assert task is not None, "uvloop.run always runs a task"
    loop = asyncio.get_running_loop()
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:
            stopping = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        await main()
    except asyncio.CancelledError:
        if not stopping:
            raise
