"""New copies before old ones: a cluster that is left keeps its copies until those that take over are healthy.

The namespace says since when it waits (`handover.tmc.kcp.io/<K>`); meanwhile the old cluster keeps what it runs, and the replicas are
divided over the others as if it had gone. The wait ends when everything that the old cluster runs, and of which one can say that it is
ready, is ready on the others, when the old cluster is wanted again, or after `movement.handOverSeconds`.
Before: `namespaces`, `resources`. After: `readiness`. Source for the idea: Karmada's GracefulEviction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kcp.aio.clock import parse_rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.informer import Informer
from kcp.tmc.model.kinds import DIVIDED
from kcp.tmc.model.moves import claim
from kcp.tmc.model.names import DEFAULT_HANDOVER_S, HANDOVER_ANNOTATION, HANDOVER_SECONDS_ANNOTATION, keys_with, synced_keys
from kcp.tmc.model.wishes import left_out
from kcp.tmc.placement.readiness import JUDGED, is_ready_on

LOOK_AGAIN_S = 1.0
"""Until what runs is known, after a start."""


@dataclass(slots=True)
class Workloads:
    """The objects of all workspaces that clusters may run: those that a hand-over waits for, and others that a migration may pin."""

    is_known: Callable[[], bool]
    """Whether all informers that there will be for now have been added."""
    _informers: list[tuple[GroupResource, Informer]] = field(default_factory=list)
    _listeners: list[Callable[[Informer], None]] = field(default_factory=list)

    def add(self, resource: GroupResource, informer: Informer) -> None:
        self._informers.append((resource, informer))
        for listener in self._listeners:
            listener(informer)

    def follow(self, listener: Callable[[Informer], None]) -> None:
        """Call `listener` with each informer, those to come included."""
        self._listeners.append(listener)
        for _, informer in self._informers:
            listener(informer)

    @property
    def has_synced(self) -> bool:
        return self.is_known() and all(informer.has_synced for _, informer in self._informers)

    def in_namespace(self, key: ObjectKey) -> list[tuple[GroupResource, JSONObject]]:
        """Those that can be ready. Args: key: of the namespace."""
        judged = ((resource, informer) for resource, informer in self._informers if resource in JUDGED)
        listed = ((resource, informer.list(cluster=key.cluster, namespace=key.name)) for resource, informer in judged)
        return [(resource, obj) for resource, objects in listed for obj in objects]

    def divided_in(self, key: ObjectKey) -> list[JSONObject]:
        """Those whose replicas are divided. Args: key: of the namespace."""
        found = (informer for resource, informer in self._informers if resource in DIVIDED)
        return [obj for informer in found for obj in informer.list(cluster=key.cluster, namespace=key.name)]

    def claims_in(self, key: ObjectKey) -> frozenset[str]:
        """All of them, as pins name them. Args: key: of the namespace."""
        found = ((resource, informer.keys(cluster=key.cluster, namespace=key.name)) for resource, informer in self._informers)
        return frozenset(claim(resource, held.name) for resource, keys in found for held in keys)


def has_taken_over(
    workloads: Sequence[tuple[GroupResource, JSONObject]], leaving: str, takers: Sequence[str], name_of: Callable[[str], str],
    is_meant: Callable[[JSONObject, str], bool] = lambda _obj, _key: True,
) -> bool:  # fmt: skip
    """Whether everything that target `leaving` runs is ready on the others.

    Args: takers: K of the others. name_of: K → SyncTarget. is_meant: (workload, K) → whether it is placed there.
    """
    held = [(resource, obj) for resource, obj in workloads if leaving in synced_keys(obj) and not meta.deletion_timestamp(obj)]
    due = ((resource, obj, key) for resource, obj in held for key in takers if is_meant(obj, key) and not left_out(obj, name_of(key)))
    return all(is_ready_on(resource, obj, key) for resource, obj, key in due)


def handing_over(namespace: JSONObject) -> dict[str, str]:
    """K → RFC 3339 time since when the namespace waits to leave that target."""
    return keys_with(meta.annotations(namespace), HANDOVER_ANNOTATION)


def limit_of(namespace: JSONObject) -> float:
    """Seconds that copies of a namespace may wait for others, as its Placements say."""
    try:
        return float(meta.annotations(namespace)[HANDOVER_SECONDS_ANNOTATION])
    except (KeyError, ValueError):
        return DEFAULT_HANDOVER_S


def left_s(namespace: JSONObject, key: str, now: datetime, limit_s: float) -> float:
    """Seconds that the hand-over may still take; it has not begun where nothing says so."""
    since = handing_over(namespace).get(key)
    try:
        return limit_s if since is None else limit_s - (now - parse_rfc3339(since)).total_seconds()
    except ValueError:
        return 0.0
