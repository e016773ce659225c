"""Events on users' objects: what a cluster could not do and why, that it can again, and what was changed there behind the user's back.

Before: annotations that syncers write through the syncer view. After: Events in the object's namespace, for `kubectl describe`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.keys import CLUSTER_ANNOTATION, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.events import NORMAL, WARNING, EventRecorder
from kcp.controller.informer import Informer
from kcp.tmc.errors import told
from kcp.tmc.model.names import DRIFT_ANNOTATION, OVERRIDE_ERROR_ANNOTATION, SYNC_ERROR_ANNOTATION

SYNC_FAILED, SYNCED, DRIFT_CORRECTED = "SyncFailed", "Synced", "DriftCorrected"
_TOLD = (SYNC_ERROR_ANNOTATION, OVERRIDE_ERROR_ANNOTATION, DRIFT_ANNOTATION)


class Remark(NamedTuple):
    """One Event to write."""

    api_version: str
    kind: str
    cluster: str
    namespace: str
    name: str
    uid: str
    type: str
    reason: str
    message: str

    def about(self) -> JSONObject:
        """As much of the object as an Event needs."""
        metadata = {"name": self.name, "namespace": self.namespace, "uid": self.uid, "annotations": {CLUSTER_ANNOTATION: self.cluster}}
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata}


def remarks(old: JSONObject | None, new: JSONObject) -> Iterator[Remark]:
    """What is to be told about a change of an object."""
    before, after = _told(old), _told(new)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            for kind, reason, message in _sentence(name, before.get(name), after.get(name)):
                yield Remark(
                    new.get("apiVersion", ""), new.get("kind", ""), str(meta.cluster(new)), meta.namespace(new), meta.name(new),
                    meta.uid(new), kind, reason, message,
                )  # fmt: skip


def _told(obj: JSONObject | None) -> dict[str, str]:
    return {name: text for name, text in meta.annotations(obj).items() if name.startswith(_TOLD)} if obj is not None else {}


def _sentence(annotation: str, before: str | None, after: str | None) -> Iterator[tuple[str, str, str]]:
    value = _json(after or before)
    cluster = value.get("cluster") or "a cluster"
    if annotation.startswith(DRIFT_ANNOTATION):
        if after:
            who = f" by {value['by']}" if value.get("by") else ""
            yield WARNING, DRIFT_CORRECTED, f"{cluster}: {', '.join(value.get('fields') or ())} changed in the cluster{who}; put right"
    elif after:
        yield WARNING, SYNC_FAILED, f"{cluster}: {told(value)}"
    else:
        yield NORMAL, SYNCED, f"{cluster}: synced again"


def _json(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class Remarks:
    """Watches the objects of every synced resource, and writes what is to be told about them."""

    def __init__(self, for_cluster: Callable[[ClusterName], Client], *, clock: Clock) -> None:
        self._recorder = EventRecorder(for_cluster, component="tmc-syncer", clock=clock)
        self.controller: Controller[Remark] = Controller("tmc-remarks", self._write, clock=clock, workers=2)

    def follow(self, objects: Informer) -> None:
        def changed(_key: object, old: JSONObject | None, new: JSONObject | None) -> None:
            if new is not None and (old is not None or objects.has_synced):  # what stood there at the start was told before
                for remark in remarks(old, new):
                    self.controller.enqueue(remark)

        objects.add_handler(changed)

    async def _write(self, remark: Remark) -> Result:
        await self._recorder.record(remark.about(), kind=remark.type, reason=remark.reason, message=remark.message)
        return Result()
