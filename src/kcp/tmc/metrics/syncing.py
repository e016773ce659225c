"""How many objects are meant for which cluster and how they fare there, kept in step with the informers of synced resources.

Before: `server.tmc`, once for each resource. After: `families`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kcp.aio.metrics import Labels, Meter, Tally
from kcp.apimachinery import meta
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.informer import Informer
from kcp.tmc.metrics import families
from kcp.tmc.model.names import OVERRIDE_ERROR_ANNOTATION, SYNC_ERROR_ANNOTATION, SYNCER_FINALIZER, is_leaving, synced_keys


@dataclass(slots=True)
class SyncTally:
    """Over all resources."""

    name_of: Callable[[str], str]
    """K → name of the SyncTarget, "" if there is none."""
    _objects: Tally[tuple[str, ObjectKey]] = field(default_factory=Tally)

    def show(self, meter: Meter) -> None:
        meter.show(families.SYNC_RESOURCES, self._named)
        meter.show(families.CLUSTER_RESOURCES, lambda: (((name, gvk, ns), count) for (name, ns, gvk, _), count in self._named()))

    def follow(self, gvk: str, objects: Informer) -> None:
        def changed(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:  # noqa: ARG001
            where = () if new is None else (((k, key.namespace, gvk, status_at(new, k))) for k in synced_keys(new))
            self._objects.put((gvk, key), *where)

        objects.add_handler(changed)

    def _named(self) -> Iterator[tuple[Labels, float]]:
        """Names are looked up at the scrape: a target's objects may be known before it is."""
        names: dict[str, str] = {}
        for (key, *where), count in self._objects.read():
            name = names.get(key)
            if name is None:
                name = names[key] = self.name_of(key)
            if name:
                yield (name, *where), count


def status_at(obj: JSONObject, key: str) -> str:
    """How an object fares on target K: Failed, Deleting, Synced, or Pending while its syncer has not taken it up."""
    held = meta.annotations(obj)
    if SYNC_ERROR_ANNOTATION + key in held or OVERRIDE_ERROR_ANNOTATION + key in held:
        return "Failed"
    if is_leaving(obj, key):
        return "Deleting"
    return "Synced" if SYNCER_FINALIZER + key in meta.finalizers(obj) else "Pending"
