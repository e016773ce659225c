"""What `kubectl get` shows of the clusters: which they are, how many replicas on each, how fresh that is, and why.

Placements show it always. Deployments keep the columns that every Kubernetes has, and show it with `-o wide`, so that whoever reads the
plain table finds what they expect. Cells are computed when somebody asks: a table costs nothing while nobody looks.
Before: the catalog, which hands out the columns; `server.tmc`, which connects the informers. After: informers.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from kcp.aio.clock import parse_rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.table import NAME, Column, Getter, age, human_duration
from kcp.tmc.model.indexes import BY_KEY
from kcp.tmc.model.kinds import DIVIDED, PLACEMENTS, READY, SYNCED, Placement, SyncTarget
from kcp.tmc.model.names import (
    OBSERVED_ANNOTATION,
    STATUS_ANNOTATION,
    UNSYNCED_NAMESPACES,
    chosen_keys,
    is_leaving,
    synced_keys,
)
from kcp.tmc.placement.shares import share_of

if TYPE_CHECKING:
    from kcp.controller.informer import Informer
    from kcp.registry.resource import Resource

NONE, UNKNOWN = "<none>", "?"
WORKSPACES_REMEMBERED = 64
"""Whose Deployments were summed last; of the others nothing is kept."""
LONGEST_REASON = 80


class Copy(NamedTuple):
    """One cluster's part of a Deployment."""

    key: str
    """K."""
    wanted: int
    ready: int | None
    """None: not reported."""
    observed: str
    """RFC 3339; "" if never."""


@dataclass(slots=True)
class FleetColumns:
    """Knows nothing until it is connected; then cells are as true as the informers."""

    _targets: Informer | None = None
    _namespaces: Informer | None = None
    _workloads: list[Informer] = field(default_factory=list)
    _seen: dict[ObjectKey, tuple[str, SyncTarget]] = field(default_factory=dict)
    """Views of SyncTargets with the version they were made of."""
    _sums: OrderedDict[ClusterName, dict[ObjectKey, tuple[str, tuple[Copy, ...]]]] = field(default_factory=OrderedDict)

    def connect(self, targets: Informer, namespaces: Informer) -> None:
        """Args: targets: with index BY_KEY."""
        self._targets, self._namespaces = targets, namespaces

    def follow(self, workloads: Informer) -> None:
        """Args: workloads: of a resource whose replicas are divided."""
        self._workloads.append(workloads)

    def columns_of(self, resource: Resource) -> tuple[Column, ...]:
        """Its own columns, but for those of Placements, and with those of Deployments' clusters."""
        gr = resource.gvr.group_resource
        if gr == PLACEMENTS.group_resource:
            return self._of_placements()
        return (*resource.columns, *self._of_workloads()) if gr in DIVIDED else resource.columns

    def _of_workloads(self) -> tuple[Column, ...]:
        def wide(name: str, text: str, getter: Getter) -> Column:
            return Column(name, description=text, priority=1, getter=getter)

        return (
            wide("Clusters", "Ready and desired replicas on each cluster; ? where its word is not to be had",
                 lambda obj, _now: self._shown(copies_of(obj))),
            wide("Unknown", "Replicas on clusters that are silent", lambda obj, _now: self._unknown(copies_of(obj))),
            wide("Observed", "Age of the oldest word of a cluster", lambda obj, now: self._oldest(copies_of(obj), now)),
            wide("Synced", "Whether every cluster runs the present state", lambda obj, _now: _condition(obj, SYNCED, "status") or NONE),
            wide("Reason", "What keeps it from that", lambda obj, _now: _trouble(obj) or NONE),
        )  # fmt: skip

    def _of_placements(self) -> tuple[Column, ...]:
        def shown(name: str, text: str, getter: Getter, priority: int = 0) -> Column:
            return Column(name, description=text, priority=priority, getter=getter)

        return (
            NAME,
            shown("Phase", "Pending, Unbound or Bound", lambda obj, _now: meta.nested(obj, "status", "phase", default="")),
            shown("Ready", "Whether as many clusters are chosen as are wanted", lambda obj, _now: _condition(obj, READY, "status")),
            shown("Clusters", "Ready and desired replicas of the Deployments on each chosen cluster; ? where its word is not to be had",
                  lambda obj, _now: self._shown(self._copies_under(obj))),
            shown("Observed", "Age of the oldest word of a cluster", lambda obj, now: self._oldest(self._copies_under(obj), now)),
            shown("Reason", "Why not ready, or else which clusters were not taken, and why", lambda obj, _now: _why(obj)),
            Column("Age", getter=age),
            shown("Strategy", "spec.strategy", lambda obj, _now: meta.nested(obj, "spec", "strategy", default=""), priority=1),
            shown("Message", "The whole decision in words", lambda obj, _now: _condition(obj, READY, "message"), priority=1),
        )  # fmt: skip

    # --- cells ---

    def _shown(self, copies: Sequence[Copy]) -> str:
        """`east 3/3, west ?/2`, in the order of names."""
        told = []
        for copy in copies:
            target = self._target(copy.key)
            name = target.name if target is not None else copy.key
            known = target is not None and target.ready and copy.ready is not None
            told.append(f"{name} {copy.ready if known else UNKNOWN}/{copy.wanted}")
        return ", ".join(sorted(told)) or NONE

    def _unknown(self, copies: Sequence[Copy]) -> str:
        return str(sum(c.wanted for c in copies if (target := self._target(c.key)) is None or not target.ready))

    def _oldest(self, copies: Sequence[Copy], now: datetime) -> str:
        """A cluster that is ready was heard of with its last heartbeat: what it reported before is its word still."""
        if not copies:
            return NONE
        ages = [self._age_s(copy, now) for copy in copies]
        known = [found for found in ages if found is not None]
        return human_duration(timedelta(seconds=max(known))) if len(known) == len(ages) else "never"

    def _age_s(self, copy: Copy, now: datetime) -> float | None:
        target = self._target(copy.key)
        heard = [target.heartbeat] if target is not None and target.ready and target.heartbeat is not None else []
        try:
            heard += [parse_rfc3339(copy.observed)] if copy.observed else []
        except ValueError:
            pass  # somebody wrote the annotation by hand
        return max((now - max(heard)).total_seconds(), 0.0) if heard and copy.ready is not None else None

    def _target(self, key: str) -> SyncTarget | None:
        if self._targets is None:
            return None
        where = next(iter(self._targets.index_keys(BY_KEY, key)), None)
        version = self._targets.version_of(where) if where is not None else None
        if where is None or version is None:
            return None
        held = self._seen.get(where)
        if held is None or held[0] != version:
            obj = self._targets.get(where)
            assert obj is not None, "it has a version"
            held = self._seen[where] = version, SyncTarget.of(obj)
        return held[1]

    # --- sums over a Placement's namespaces ---

    def _copies_under(self, placement: JSONObject) -> list[Copy]:
        """One for each chosen cluster."""
        keys = chosen_keys(placement)
        sums = {key: Copy(key, 0, 0, "") for key in keys}
        for copy in self._copies_in(placement) if keys else ():
            if (held := sums.get(copy.key)) is not None:
                ready = None if held.ready is None or copy.ready is None else held.ready + copy.ready
                observed = min(held.observed or copy.observed, copy.observed)
                sums[copy.key] = Copy(copy.key, held.wanted + copy.wanted, ready, observed)
        return list(sums.values())

    def _copies_in(self, placement: JSONObject) -> Iterator[Copy]:
        cluster, view = meta.cluster(placement), Placement.of(placement, ())
        held = self._read(cluster)
        chosen = {
            meta.name(ns)
            for ns in (self._namespaces.list(cluster=cluster) if self._namespaces is not None else ())
            if meta.name(ns) not in UNSYNCED_NAMESPACES and view.selects(ns)
        }
        for key, (_, copies) in held.items():
            if key.namespace in chosen and (view.source is None or view.source.id == f"Deployment.apps/{key.name}"):
                yield from copies

    def _read(self, cluster: ClusterName) -> dict[ObjectKey, tuple[str, tuple[Copy, ...]]]:
        """All Deployments of a workspace; decoded once for each of their versions."""
        before = self._sums.pop(cluster, {})
        found: dict[ObjectKey, tuple[str, tuple[Copy, ...]]] = {}
        for informer in self._workloads:
            for key in informer.keys(cluster=cluster):
                version = informer.version_of(key) or ""
                held = before.get(key)
                if held is None or held[0] != version:
                    held = version, tuple(copies_of(informer.get(key) or {}))
                found[key] = held
        self._sums[cluster] = found
        while len(self._sums) > WORKSPACES_REMEMBERED:
            self._sums.popitem(last=False)
        return found


def copies_of(obj: JSONObject) -> list[Copy]:
    """What each cluster is asked to run of a Deployment, and what it says; without those that are being left."""
    marks = meta.annotations(obj)
    total = meta.nested(obj, "spec", "replicas", default=1)
    found = []
    for key in synced_keys(obj):
        if is_leaving(obj, key):
            continue
        share = share_of(obj, key)
        ready = _ready(marks.get(STATUS_ANNOTATION + key))
        found.append(Copy(key, total if share is None else share, ready, marks.get(OBSERVED_ANNOTATION + key, "")))
    return found


def _ready(text: str | None) -> int | None:
    try:
        return int(json.loads(text).get("readyReplicas") or 0) if text else None
    except (ValueError, AttributeError, TypeError):
        return None


def _condition(obj: JSONObject, kind: str, part: str) -> str:
    return str((conditions.get(obj, kind) or {}).get(part) or "")


def _trouble(obj: JSONObject) -> str:
    return "" if conditions.is_true(obj, SYNCED) else _short(_condition(obj, SYNCED, "message"))


def _why(placement: JSONObject) -> str:
    """`NotReady: us-1; EnoughClustersChosen: eu-3, eu-4`, after what is wrong with the whole."""
    groups: dict[str, list[str]] = {}
    for told in meta.nested(placement, "status", "decisions", default=()):
        if not told.get("chosen"):
            groups.setdefault(told.get("reason", ""), []).append(told.get("syncTarget", ""))
    fault = "" if conditions.is_true(placement, READY) else _condition(placement, READY, "reason")
    return _short("; ".join(_parts(fault, groups))) or NONE


def _parts(fault: str, groups: dict[str, list[str]]) -> Iterable[str]:
    if fault:
        yield fault
    for reason, names in groups.items():
        yield f"{reason}: {', '.join(names)}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
