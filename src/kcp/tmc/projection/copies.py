"""What projections have selected, over all resources that are synced: found by the marks on objects, counted for metrics.

Before: `server.tmc` adds each resource; `controller` counts a projection's copies. After: informers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kcp.aio.metrics import Labels, Meter
from kcp.apimachinery import meta
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.informer import Informer
from kcp.tmc.metrics.families import PROJECTED_RESOURCES
from kcp.tmc.model.names import PROJECTED_ANNOTATION
from kcp.tmc.projection.spec import marks

BY_PROJECTION = "tmc-projection"
"""Of synced objects: `str(key)` of a ResourceProjection → those that it wants to have copies; and all that any wants."""
_ALL = "*"


def index_by_projection(obj: Mapping[str, Any]) -> Iterable[str]:
    if not any(name.startswith(PROJECTED_ANNOTATION) for name in meta.annotations(obj)):
        return ()
    cluster = meta.cluster(obj)
    return {_ALL, *(str(ObjectKey(cluster, "", name)) for mark in marks(obj).values() for name in mark.by)}


@dataclass(slots=True)
class Copies:
    """What projections have selected, of all resources that are synced."""

    _followed: list[tuple[str, Informer]] = field(default_factory=list)
    _heard: list[Callable[[Informer], None]] = field(default_factory=list)

    def add(self, resource: str, objects: Informer) -> None:
        """Args: objects: with index BY_PROJECTION."""
        self._followed.append((resource, objects))
        for hear in self._heard:
            hear(objects)

    def follow(self, hear: Callable[[Informer], None]) -> None:
        """Call `hear` with every informer there is, and will be."""
        self._heard.append(hear)
        for _, objects in self._followed:
            hear(objects)

    def of(self, key: ObjectKey) -> Iterable[tuple[str, JSONObject]]:
        return ((resource, obj) for resource, objects in self._followed for obj in objects.by_index(BY_PROJECTION, str(key)))

    def show(self, meter: Meter) -> None:
        def read() -> Iterable[tuple[Labels, float]]:
            return [((resource,), len(objects.index_keys(BY_PROJECTION, _ALL))) for resource, objects in self._followed]

        meter.show(PROJECTED_RESOURCES, read)
