"""What the disk itself takes to make a small write durable: the floor under every acknowledged write.

Before: `api.py`. After: the file system.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_FRAME_BYTES = 16_384 + 24
"""A page of the store and the header it has in the write-ahead log."""


def sync_delays(directory: Path, count: int = 200) -> tuple[list[float], list[float]]:
    """Seconds of a write of one frame with its fdatasync: at the end of a growing file, and over what a file held before."""
    path, frame = directory / "sync-probe", os.urandom(_FRAME_BYTES)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        growing = [_delay(descriptor, frame, number) for number in range(count)]
        return growing, [_delay(descriptor, frame, number) for number in range(count)]
    finally:
        os.close(descriptor)
        path.unlink()


def _delay(descriptor: int, frame: bytes, number: int) -> float:
    started = time.perf_counter()
    os.pwrite(descriptor, frame, number * _FRAME_BYTES)
    os.fdatasync(descriptor)
    return time.perf_counter() - started
