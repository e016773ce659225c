"""/livez and /readyz asked all the time from a process of its own: how long the event loop lets one wait.

Before: `workspaces.py`.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from measure.plain import Plain

_PERIOD_S = 0.02


class Prober:
    """Asks every 20 ms, each path by turns, over one connection."""

    def __init__(self, url: str) -> None:
        self._answers, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(target=_ask, args=(url, theirs), daemon=True)
        self._process.start()

    def stop(self) -> list[float]:
        """Seconds of every answer. Raises SystemExit if one was not 200."""
        self._answers.send(None)
        delays: list[float] | str = self._answers.recv()
        self._process.join(10)
        if isinstance(delays, str):
            raise SystemExit(delays)
        return delays


def _ask(url: str, parent: Connection) -> None:
    delays: list[float] = []
    client = Plain(url, "")
    fault = ""
    while not parent.poll(_PERIOD_S):
        path = ("/livez", "/readyz")[len(delays) % 2]
        begun = time.perf_counter()
        status, body = client.call("GET", path)
        delays.append(time.perf_counter() - begun)
        if status != 200:
            fault = f"{path}: {status} {body[:200]!r}"
            break
    parent.recv()
    parent.send(fault or delays)


@contextmanager
def probed(url: str, into: list[float]) -> Iterator[None]:
    """Add the delays of everything asked during the block."""
    prober = Prober(url)
    try:
        yield
    finally:
        into += prober.stop()
