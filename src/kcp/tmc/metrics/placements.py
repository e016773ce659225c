"""What is measured of placement: how many Placements are how, kept in step with their informer; and each decision, told by its controller.

Before: `server.tmc`, `placement.controller`. After: `families`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kcp.aio.clock import Clock
from kcp.aio.metrics import Labels, Meter, Tally
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.controller import Controller
from kcp.controller.informer import Informer
from kcp.tmc.errors import ErrorType, classify
from kcp.tmc.metrics import families
from kcp.tmc.model.kinds import SCHEDULED
from kcp.tmc.model.names import chosen_keys


def show_placements(meter: Meter, placements: Informer) -> None:
    """How they stand."""
    phases: Tally[ObjectKey] = Tally()
    widths: Tally[tuple[ObjectKey, int]] = Tally()
    chosen: Tally[ObjectKey] = Tally()
    wanting: Tally[ObjectKey] = Tally()

    def changed(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        for number in range(len(chosen_keys(old)) if old is not None else 0):
            widths.put((key, number))
        if new is None:
            for tally in (phases, chosen, wanting):
                tally.put(key)
            return
        keys = chosen_keys(new)
        phases.put(key, (str(key.cluster), "", str(meta.nested(new, "status", "phase", default="Pending") or "Pending")))
        for number in range(len(keys)):
            widths.put((key, number), (str(key.cluster), "", key.name))
        chosen.put(key, *((k,) for k in keys))
        scheduled = conditions.get(new, SCHEDULED) or {}
        wanting.put(key, *([(str(scheduled.get("reason") or "Unknown"),)] if scheduled.get("status") == conditions.FALSE else ()))

    placements.add_handler(changed)
    meter.show(families.PLACEMENTS, phases.read)
    meter.show(families.PLACEMENT_CLUSTERS, widths.read)
    meter.show(families.PLACEMENT_CLUSTERS_SELECTED, lambda: [((), float(len(chosen.read())))])
    meter.show(families.PLACEMENT_CONSTRAINTS_VIOLATED, wanting.read)
    meter.show(families.PLACEMENT_SUCCESS_RATE, lambda: _share(phases, wanting))


def _share(every: Tally[ObjectKey], wanting: Tally[ObjectKey]) -> list[tuple[Labels, float]]:
    """Of nothing there is no share."""
    total = sum(count for _, count in every.read())
    return [((), 1 - sum(count for _, count in wanting.read()) / total)] if total else []


def show_placement_queue(meter: Meter, controller: Controller) -> None:
    meter.show(families.PLACEMENT_QUEUE_SIZE, lambda: [((), float(controller.statistics()["depth"]))])


@dataclass(frozen=True, slots=True)
class DecisionMeasures:
    """Told of each decision."""

    clock: Clock
    meter: Meter = field(default_factory=lambda: Meter(is_on=False))

    def began(self) -> Callable[[ClusterName, str, bool], None]:
        """Gives what is to be called at its end: workspace, strategy, and whether all clusters that were asked for are there."""
        started = self.clock.monotonic()

        def ended(cluster: ClusterName, strategy: str, is_satisfied: bool) -> None:  # noqa: FBT001 - the outcome itself
            status = "success" if is_satisfied else "error"
            self.meter.observe(families.PLACEMENT_DURATION, self.clock.monotonic() - started, str(cluster), "schedule", status)
            self.meter.count(families.PLACEMENT_REQUESTS, strategy, status)

        return ended

    def wanting(self, cluster: ClusterName, error: ErrorType, target: str = "") -> None:
        """Args: target: the one cluster that is to blame; "" where several are."""
        self.meter.count(families.PLACEMENT_ERRORS, str(cluster), str(error), target)

    def retried(self, cluster: ClusterName, error: Exception) -> None:
        """A decision could not be carried out and is taken again."""
        self.meter.count(families.PLACEMENT_RETRIES, str(cluster), str(classify(error).type))
