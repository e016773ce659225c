"""New copies before old ones: a cluster that is left keeps its copies until those that take over are healthy.

The namespace says since when it waits (`handover.tmc.kcp.io/<K>`); meanwhile the old cluster keeps what it runs, and the replicas are
divided over the others as if it had gone. The wait ends when every Deployment that the old cluster runs has all its replicas ready on the
others, when the old cluster is wanted again, or after `movement.handOverSeconds`.
Before: `namespaces`, `resources`. After: nothing. Source for the idea: Karmada's GracefulEviction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kcp.aio.clock import parse_rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.informer import Informer
from kcp.tmc.model.names import HANDOVER_ANNOTATION, STATUS_ANNOTATION, keys_with, synced_keys
from kcp.tmc.model.wishes import left_out
from kcp.tmc.placement.shares import share_of

LOOK_AGAIN_S = 1.0
"""Until what runs is known, after a start."""


@dataclass(slots=True)
class Workloads:
    """The objects whose replicas are divided, of all workspaces: what a hand-over waits for."""

    is_known: Callable[[], bool]
    """Whether all informers that there will be for now have been added."""
    _informers: list[Informer] = field(default_factory=list)
    _listeners: list[Callable[[Informer], None]] = field(default_factory=list)

    def add(self, informer: Informer) -> None:
        self._informers.append(informer)
        for listener in self._listeners:
            listener(informer)

    def follow(self, listener: Callable[[Informer], None]) -> None:
        """Call `listener` with each informer, those to come included."""
        self._listeners.append(listener)
        for informer in self._informers:
            listener(informer)

    @property
    def has_synced(self) -> bool:
        return self.is_known() and all(informer.has_synced for informer in self._informers)

    def in_namespace(self, key: ObjectKey) -> list[JSONObject]:
        """Args: key: of the namespace."""
        return [obj for informer in self._informers for obj in informer.list(cluster=key.cluster, namespace=key.name)]


def has_taken_over(workloads: Sequence[JSONObject], leaving: str, takers: Sequence[str], name_of: Callable[[str], str]) -> bool:
    """Whether everything that target `leaving` runs is ready on the others. Args: takers: K of the others. name_of: K → SyncTarget."""
    held = [obj for obj in workloads if leaving in synced_keys(obj) and not meta.deletion_timestamp(obj)]
    return all(_is_ready(obj, key) for obj in held for key in takers if not left_out(obj, name_of(key)))


def _is_ready(obj: JSONObject, key: str) -> bool:
    wanted = share_of(obj, key)
    if wanted is None or key not in synced_keys(obj):
        return False
    try:
        status = json.loads(meta.annotations(obj).get(STATUS_ANNOTATION + key, "{}"))
    except ValueError:
        return False
    return wanted == 0 or (isinstance(status, dict) and int(status.get("readyReplicas") or 0) >= wanted)


def handing_over(namespace: JSONObject) -> dict[str, str]:
    """K → RFC 3339 time since when the namespace waits to leave that target."""
    return keys_with(meta.annotations(namespace), HANDOVER_ANNOTATION)


def left_s(namespace: JSONObject, key: str, now: datetime, limit_s: float) -> float:
    """Seconds that the hand-over may still take; it has not begun where nothing says so."""
    since = handing_over(namespace).get(key)
    try:
        return limit_s if since is None else limit_s - (now - parse_rfc3339(since)).total_seconds()
    except ValueError:
        return 0.0
