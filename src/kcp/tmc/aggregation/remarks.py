"""Events on users' objects: what a cluster could not do and why, that it can again, and what was changed there behind the user's back.

Before: annotations that syncers write through the syncer view. After: Events in the object's namespace, for `kubectl describe`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
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
from kcp.tmc.model.names import (
    DRIFT_ANNOTATION,
    OVERRIDE_ANNOTATION,
    OVERRIDE_ERROR_ANNOTATION,
    SYNC_ERROR_ANNOTATION,
    SYNCER_FINALIZER,
    keys_with,
)  # fmt: skip

SYNC_FAILED, SYNCED, DRIFT_CORRECTED, TRANSFORMED = "SyncFailed", "Synced", "DriftCorrected", "Transformed"
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


def remark(obj: JSONObject, kind: str, reason: str, message: str) -> Remark:
    """Args: kind: NORMAL or WARNING."""
    return Remark(
        obj.get("apiVersion", ""), obj.get("kind", ""), str(meta.cluster(obj)), meta.namespace(obj), meta.name(obj), meta.uid(obj),
        kind, reason, message,
    )  # fmt: skip


def remarks(old: JSONObject | None, new: JSONObject, name_of: Callable[[str], str] = lambda key: key) -> Iterator[Remark]:
    """What is to be told about a change of a synced object. Args: name_of: K → name of the cluster."""
    before, after = _told(old), _told(new)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            for kind, reason, message in _sentence(name, before.get(name), after.get(name)):
                yield remark(new, kind, reason, message)
    for key in sorted(_taken(new) - _taken(old)):
        yield remark(new, NORMAL, SYNCED, f"{name_of(key) or 'a cluster'}: taken up by its syncer")
    changed = keys_with(meta.annotations(new), OVERRIDE_ANNOTATION)
    held = keys_with(meta.annotations(old), OVERRIDE_ANNOTATION) if old is not None else {}
    for key in sorted(key for key, patch in changed.items() if held.get(key) != patch):
        yield remark(new, NORMAL, TRANSFORMED, f"{name_of(key) or 'a cluster'}: gets it as OverridePolicies change it")


def _taken(obj: JSONObject | None) -> set[str]:
    """K of the targets whose syncers hold the object."""
    return {f.removeprefix(SYNCER_FINALIZER) for f in meta.finalizers(obj) if f.startswith(SYNCER_FINALIZER)} if obj is not None else set()


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


Tell = Callable[[JSONObject | None, JSONObject], Iterable[Remark]]
"""What is to be told about a change of an object, from what it was and what it is."""

_BURST, _A_SECOND = 200.0, 10.0
"""Events of type Normal, of all workspaces together: a thousand objects that arrive at once are no news a thousand times."""


@dataclass(slots=True)
class Allowance:
    """So many at once, and so many a second."""

    clock: Clock
    burst: float = _BURST
    a_second: float = _A_SECOND
    refused: int = 0
    _left: float = field(init=False)
    _at_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._at_s = self.burst, self.clock.monotonic()

    def take(self) -> bool:
        now = self.clock.monotonic()
        self._left, self._at_s = min(self.burst, self._left + (now - self._at_s) * self.a_second), now
        if self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        return True


class Remarks:
    """Watches objects, and writes what is to be told about them; one that is told already is counted up."""

    def __init__(self, for_cluster: Callable[[ClusterName], Client], *, clock: Clock) -> None:
        self._recorder = EventRecorder(for_cluster, component="tmc", clock=clock)
        self._allowance = Allowance(clock)
        self.controller: Controller[Remark] = Controller("tmc-remarks", self._write, clock=clock, workers=2)

    def follow(self, objects: Informer, tell: Tell) -> None:
        def changed(_key: object, old: JSONObject | None, new: JSONObject | None) -> None:
            if new is not None and (old is not None or objects.has_synced):  # what stood there at the start was told before
                for remark in tell(old, new):
                    if remark.type == WARNING or self._allowance.take():
                        self.controller.enqueue(remark)

        objects.add_handler(changed)

    async def _write(self, remark: Remark) -> Result:
        await self._recorder.record(remark.about(), kind=remark.type, reason=remark.reason, message=remark.message)
        return Result()
