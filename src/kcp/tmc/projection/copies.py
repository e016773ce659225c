"""What projections have selected, over all resources that are synced: found by the marks on objects, counted for metrics.

Before: `server.tmc` adds each resource; `controller` counts a projection's copies. After: informers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kcp.aio.metrics import Labels, Meter
from kcp.apimachinery import meta
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.informer import Informer
from kcp.tmc.metrics.families import PROJECTED_RESOURCES, PROJECTIONS
from kcp.tmc.model.names import MADE_ANNOTATION, OVERRIDE_ERROR_ANNOTATION, PROJECTED_ANNOTATION, SYNC_ERROR_ANNOTATION
from kcp.tmc.projection.spec import marks

BY_PROJECTION = "tmc-projection"
"""Of synced objects: `str(key)` of a ResourceProjection → those that it wants to have copies; and all that any wants."""
_ALL = "*"
WORKSPACE = "kcp"
"""Source of what is the workspace's own: a series for each workspace would be too many."""


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
    _shown: tuple[Meter, Callable[[str], str]] | None = None
    """Where copies are counted."""

    def add(self, resource: str, objects: Informer) -> None:
        """Args: objects: with index BY_PROJECTION."""
        self._followed.append((resource, objects))
        self._count(resource, objects)
        for hear in self._heard:
            hear(objects)

    def follow(self, hear: Callable[[Informer], None]) -> None:
        """Call `hear` with every informer there is, and will be."""
        self._heard.append(hear)
        for _, objects in self._followed:
            hear(objects)

    def of(self, key: ObjectKey) -> Iterable[tuple[str, JSONObject]]:
        return ((resource, obj) for resource, objects in self._followed for obj in objects.by_index(BY_PROJECTION, str(key)))

    def show(self, meter: Meter, name_of: Callable[[str], str]) -> None:
        """Args: name_of: K → name of its SyncTarget."""

        def read() -> Iterable[tuple[Labels, float]]:
            return [((resource,), len(objects.index_keys(BY_PROJECTION, _ALL))) for resource, objects in self._followed]

        meter.show(PROJECTED_RESOURCES, read)
        self._shown = meter, name_of
        for resource, objects in self._followed:
            self._count(resource, objects)

    def _count(self, resource: str, objects: Informer) -> None:
        """Copies that were made, and those that failed, as their syncers and the control plane tell of them."""
        if self._shown is None:
            return
        meter, name_of = self._shown

        def changed(_key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
            for target, origin, status in outcomes(old, new):
                meter.count(PROJECTIONS, origin, name_of(target), resource, status)

        objects.add_handler(changed)


def outcomes(old: JSONObject | None, new: JSONObject | None) -> Iterator[tuple[str, str, str]]:
    """(K, where the object is from, success or failure) of every copy that was made or failed between two looks; none at the first look."""
    if old is None or new is None or not any(name.startswith(PROJECTED_ANNOTATION) for name in meta.annotations(new)):
        return
    before, now = meta.annotations(old), meta.annotations(new)
    for key, mark in marks(new).items():
        origin = WORKSPACE if mark.origin == meta.cluster(new) else mark.origin
        if MADE_ANNOTATION + key in now and MADE_ANNOTATION + key not in before:
            yield key, origin, "success"
        if any(fault + key in now and fault + key not in before for fault in (OVERRIDE_ERROR_ANNOTATION, SYNC_ERROR_ANNOTATION)):
            yield key, origin, "failure"
