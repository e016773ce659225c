"""Keeps Python's cyclic garbage collector from stopping a program for longer the more objects it holds.

What has survived a full collection is set aside (`gc.freeze`), so the next one looks at what is new only. A server's caches are trees:
reference counts free them wherever they stand. Cyclic garbage among what was set aside is found by thorough collections, which look at
everything again and so take as long as there is much, with 10,000 workspaces a second: one is made when more was set aside than what the
program says it holds explains, and else very rarely. What came all at once during a pause, a long list that was decoded, is set aside
unseen: with 10,000 workspaces a third of the CPU of a start went into looking at it.
Before: `cli.running`, once per process; `cli.kcp`, which says what a server holds; `client.transport`, around long answers.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

_OLDEST = 2
_THRESHOLDS = 5_000, 5, 4
"""Allocations, collections of the youngest, collections of the middle generation: 100,000 objects are looked at in one pause. With less
than half of that, what a burst leaves behind is set aside before it is garbage: a flood of large objects took 27 MiB more.
Source: gc.set_threshold."""
_BURST = 6 * _THRESHOLDS[0] // 5
"""Allocations that only a pause can have let pass."""
_THOROUGH_EVERY = 60
_AT_LEAST_EVERY = 1_200
_GROWTH = 1.25
"""Source: CPython's Modules/gcmodule.c, which looks at the oldest generation by this rule."""
_BLOCKS_EACH = 40
"""Blocks of memory that one more held thing may take, all indexes and mirrors together; measured: 23 for an object of a workspace."""


@contextmanager
def paused() -> Iterator[None]:
    """No collections while much is made at once, of which nothing can be garbage yet: decoding a long list takes half the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Collector:
    """A callback of `gc`."""

    def __init__(self, thorough_every: int = _THOROUGH_EVERY, at_least_every: int = _AT_LEAST_EVERY) -> None:
        self._thorough_every = thorough_every
        self._at_least_every = at_least_every
        self._full = 0
        """Collections since the last thorough one."""
        self._kept = self._held_then = 0
        """Blocks of memory in use after that, and how much was held. To count what was set aside takes longer the more there is."""
        self._held: Callable[[], int] = lambda: 0
        self._is_thorough = False
        self._thresholds = gc.get_threshold()

    @staticmethod
    def installed() -> Collector | None:
        """The one of this process."""
        owners = (getattr(callback, "__self__", None) for callback in gc.callbacks)
        return next((owner for owner in owners if isinstance(owner, Collector)), None)

    def install(self) -> None:
        """Set aside what there is by now, modules above all, and what survives from now on."""
        gc.freeze()
        self._kept = sys.getallocatedblocks()
        self._thresholds = gc.get_threshold()
        gc.set_threshold(*_THRESHOLDS)
        gc.callbacks.append(self._called)

    def remove(self) -> None:
        gc.callbacks.remove(self._called)
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()

    def weigh(self, held: Callable[[], int]) -> None:
        """From now on `held` tells how much the program keeps for good reason: growth by that is no sign of garbage."""
        self._held, self._held_then, self._kept = held, held(), sys.getallocatedblocks()

    def _called(self, phase: Literal["start", "stop"], info: Mapping[str, Any]) -> None:
        if phase == "start" and gc.get_count()[0] >= _BURST:
            gc.freeze()
        if info["generation"] != _OLDEST:
            return
        if phase == "stop":
            gc.freeze()
            if self._is_thorough:
                self._is_thorough, self._kept, self._held_then = False, sys.getallocatedblocks(), self._held()
            return
        self._full += 1
        if self._full >= self._thorough_every and self._is_worth_it():
            self._full, self._is_thorough = 0, True
            gc.unfreeze()

    def _is_worth_it(self) -> bool:
        reason = max(0, self._held() - self._held_then) * _BLOCKS_EACH
        return self._full >= self._at_least_every or sys.getallocatedblocks() >= _GROWTH * self._kept + reason
