"""Recovery on a kcp server; imported only with `--tmc-recovery`.

Before: `server.tmc`. After: `tmc.recovery`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kcp.aio.metrics import Meter
from kcp.controller.controller import Controller
from kcp.controller.informer import Informer
from kcp.server.controllers import ControllerParts
from kcp.tmc.health.states import Check
from kcp.tmc.recovery.clusters import Authentication, Clusters, Connectivity, Resync
from kcp.tmc.recovery.controller import Strategy, build_recovery_controller
from kcp.tmc.recovery.generic import Generic
from kcp.tmc.recovery.migrations import ResumeOrUndo
from kcp.tmc.recovery.model import RECOVERIES, StrategyName
from kcp.tmc.recovery.objects import Conflict, Replacement
from kcp.tmc.recovery.trigger import Trigger, build_recovery_trigger


def build_recovery(
    parts: ControllerParts,
    targets: Informer,
    running: Callable[[], Iterable[Controller[Any]]],
    checks: Callable[[], Sequence[Check]],
    meter: Meter,
) -> tuple[Sequence[Controller[Any]], Trigger]:
    """The controllers, and what is told of each look at health. Args: running: the controllers of TMC. checks: how components are now."""
    recoveries, for_cluster, clock = parts.informers.informer(RECOVERIES), parts.for_cluster, parts.clock
    clusters = Clusters(for_cluster, clock)

    def resume() -> None:
        for controller in running():
            if controller.name == "tmc-migration":
                controller.hurry()

    strategies: Mapping[StrategyName, Strategy] = {
        StrategyName.CONNECTIVITY: Connectivity(clusters),
        StrategyName.AUTH: Authentication(clusters),
        StrategyName.CONFLICT: Conflict(for_cluster, meter),
        StrategyName.PLACEMENT: Replacement(for_cluster),
        StrategyName.SYNC: Resync(clusters),
        StrategyName.MIGRATION: ResumeOrUndo(for_cluster, resume),
        StrategyName.GENERIC: Generic(running, checks),
    }
    trigger = Trigger(targets.get, recoveries, for_cluster, clock)
    controller = build_recovery_controller(recoveries, strategies, for_cluster, clock=clock, meter=meter)
    return [controller, build_recovery_trigger(trigger, targets)], trigger
