"""What this process uses of its machine, from the system's own account. Before: metrics. After: the operating system."""

from __future__ import annotations

import asyncio
import os
import resource
from dataclasses import dataclass, field
from pathlib import Path

from kcp.aio.clock import Clock

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SHORTEST_S = 1.0


def processor_s() -> float:
    """Processor time used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident_bytes() -> float:
    """Source: proc(5), /proc/self/statm."""
    return float(int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES)


def running_tasks() -> int:
    """Of the event loop that asks."""
    return len(asyncio.all_tasks())


@dataclass(slots=True)
class Load:
    """Processor time as percent of one core, since the last reading that is at least a second old."""

    clock: Clock
    _at_s: float = field(default=0.0)
    _used_s: float = field(default=0.0)
    _percent: float = field(default=0.0)

    def __post_init__(self) -> None:
        self._at_s, self._used_s = self.clock.monotonic(), processor_s()

    def percent(self) -> float:
        now, used = self.clock.monotonic(), processor_s()
        if now - self._at_s >= _SHORTEST_S:
            self._percent = 100 * (used - self._used_s) / (now - self._at_s)
            self._at_s, self._used_s = now, used
        return self._percent
