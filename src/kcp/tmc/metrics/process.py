"""What a process of TMC uses. Before: the server, the syncer. After: `aio.usage`."""

from __future__ import annotations

from kcp.aio.clock import Clock
from kcp.aio.metrics import Meter
from kcp.aio.usage import Load, resident_bytes, running_tasks
from kcp.tmc.metrics import families


def show_process(meter: Meter, clock: Clock) -> None:
    load = Load(clock)
    meter.show(families.TASKS, lambda: [((), float(running_tasks()))])
    meter.show(families.MEMORY, lambda: [((), resident_bytes())])
    meter.show(families.CPU, lambda: [((), load.percent())])
