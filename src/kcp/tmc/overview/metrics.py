"""What is measured of views, under the names of `metrics.families`.

Before: `server.overviews`, `backend`, `resourceview`. After: the meter, which is asked at a scrape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from kcp.aio.metrics import Labels, Meter
from kcp.apimachinery import meta
from kcp.controller.informer import Informer
from kcp.tmc.metrics import families
from kcp.tmc.overview.views import OneView


def show_views(meter: Meter, informer: Callable[[], Informer], held: Callable[[], Iterable[OneView]]) -> None:
    """AggregatedViews by phase, and the objects in them; nothing of it where there are none."""

    def phases() -> Iterable[tuple[Labels, float]]:
        every = informer().list()
        found = Counter((str(meta.cluster(obj)), meta.nested(obj, "status", "phase", default="Pending")) for obj in every)
        return [(labels, float(count)) for labels, count in found.items()]

    def objects() -> Iterable[tuple[Labels, float]]:
        found: Counter[str] = Counter()
        for view in (view for one in held() for view in one.opened.values()):
            found[str(view.about.kind.resource)] += len(view.cache)
        return [((resource,), float(count)) for resource, count in found.items()]

    meter.show(families.VIRTUAL_WORKSPACES, phases)
    meter.show(families.AGGREGATED_RESOURCES, objects)
