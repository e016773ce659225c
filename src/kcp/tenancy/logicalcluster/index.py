"""Paths to logical clusters and back: the answer to "which cluster is /clusters/root:org:team?", on every request's way.

Fed by the informers of Workspaces and LogicalClusters over all clusters (`follow`), or by whoever sees their events. Lookups are
synchronous, walk one dictionary step per path segment and remember whole paths until the tree changes.
Implements `apiserver.filters.ClusterResolver`.
Before: apiserver/filters. After: the request's `info.cluster`.
Source: kcp pkg/index/index.go, pkg/proxy/index/index_controller.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from kcp.apimachinery import meta
from kcp.apimachinery.keys import ROOT, WILDCARD, ClusterName, ClusterPath, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tenancy.kinds import MAX_TOTAL_OBJECTS, PATH, READY, REQUIRED_GROUPS, TYPE, is_inactive
from kcp.tenancy.logicalcluster.names import home_cluster_name, looks_generated

_REMEMBERED_PATHS = 20_000
_WORKSPACE_URL = re.compile(r"/clusters/[^/]+/?\Z")

Handler = Callable[[ObjectKey, JSONObject | None, JSONObject | None], None]


class EventSource(Protocol):
    """What the index needs of an informer."""

    def add_handler(self, handler: Handler, /) -> object: ...


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """What requests want to know of a logical cluster without decoding it each time."""

    name: ClusterName
    path: str
    type: str
    """`root:organization`; "" if unknown."""
    phase: str
    required_groups: str
    inactive: bool
    owner_cluster: ClusterName
    """Cluster of the owner Workspace; "" for a cluster without one, such as root."""
    owner_name: str
    deleting: bool
    max_objects: int | None = None
    """Limit on all objects together, 0 for none; None: not said."""
    initializers: tuple[str, ...] = ()
    """Whom it waits for now."""
    terminators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mounted:
    """A workspace without a logical cluster: what is asked of it is asked at a URL."""

    parent: ClusterName
    name: str
    url: str
    is_ready: bool

    def below(self, names: Sequence[str]) -> Mounted | None:
        """The same for a workspace below the mounted one, which is found where that one is; None if that one is no workspace."""
        if not names:
            return self
        if not _WORKSPACE_URL.search(self.url):
            return None
        return replace(self, url=":".join((self.url.rstrip("/"), *names)))


class WorkspaceIndex:
    """(parent cluster, workspace name) → cluster, and cluster → what is known about it."""

    def __init__(self) -> None:
        self._children: dict[ClusterName, dict[str, ClusterName]] = {}
        self._parents: dict[ClusterName, tuple[ClusterName, str]] = {}
        self._records: dict[ClusterName, ClusterRecord] = {}
        self._paths: dict[str, ClusterName] = {}
        self._mounts: dict[tuple[ClusterName, str], Mounted] = {}
        self._expected: set[ClusterName] = set()
        self._told_of_closing: list[Callable[[ClusterName], None]] = []

    def follow(self, workspaces: EventSource, logical_clusters: EventSource) -> None:
        """Keep the index in step with two informers over all clusters."""
        workspaces.add_handler(self.on_workspace)
        logical_clusters.add_handler(self.on_logical_cluster)

    def on_workspace(self, key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> None:
        """Level-based: only what `new` says counts."""
        self._note_mount(key, new)
        cluster = ClusterName(meta.nested(new, "spec", "cluster", default="")) if new is not None else ClusterName("")
        held = self._children.get(key.cluster, {}).get(key.name)
        if held == (cluster or None):
            return
        self._paths.clear()
        if held is not None:
            self._forget_child(key.cluster, key.name, held)
        if cluster:
            self._children.setdefault(key.cluster, {})[key.name] = cluster
            self._parents[cluster] = (key.cluster, key.name)

    def _note_mount(self, key: ObjectKey, workspace: JSONObject | None) -> None:
        if workspace is None or meta.nested(workspace, "spec", "mount") is None:
            self._mounts.pop((key.cluster, key.name), None)
            return
        url, is_ready = meta.nested(workspace, "spec", "URL", default=""), meta.nested(workspace, "status", "phase") == READY
        self._mounts[key.cluster, key.name] = Mounted(key.cluster, key.name, url, is_ready and bool(url))

    def mount_at(self, path: str) -> Mounted | None:
        """The mount that a path leads to, or through: what is below a mounted workspace is asked of where it is.

        Behind the URL of anything else than a workspace there are no further ones.
        """
        if not self._mounts or not ClusterPath(path).is_valid:
            return None
        names = path.split(":")
        for at in range(1, len(names)):
            cluster = self.resolve(":".join(names[:at]))
            found = self._mounts.get((cluster, names[at])) if cluster is not None else None
            if found is not None:
                return found.below(names[at + 1 :])
        return None

    def _forget_child(self, parent: ClusterName, name: str, cluster: ClusterName) -> None:
        siblings = self._children[parent]
        del siblings[name]
        if not siblings:
            del self._children[parent]
        if self._parents.get(cluster) == (parent, name):
            del self._parents[cluster]

    def on_logical_cluster(self, key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> None:
        if new is None:
            self._records.pop(key.cluster, None)
            self._paths.clear()
        else:
            held, now = self._records.get(key.cluster), _record(key.cluster, new)
            self._records[key.cluster] = now
            self._expected.discard(key.cluster)
            if now.inactive and not (held is not None and held.inactive):
                for told in self._told_of_closing:
                    told(key.cluster)

    def on_closing(self, told: Callable[[ClusterName], None]) -> None:
        """Call `told` within each change by which a logical cluster becomes inactive."""
        self._told_of_closing.append(told)

    def expect(self, cluster: ClusterName) -> None:
        """Resolve this name from now on: its LogicalCluster is about to be written. Only for names that do not look generated."""
        if cluster not in self._records:
            self._expected.add(cluster)

    def resolve(self, path: str) -> ClusterName | None:
        """The logical cluster a path, name or `<name>:child…` stands for; None if there is none.

        A name that has the form of a generated one is answered although no LogicalCluster is known (yet): the authorizer looks at the
        object itself, and the scheduler has to write it first.
        """
        known = self._paths.get(path)
        if known is not None:
            return known
        found = self._walk(path)
        if found is not None and ":" in path and len(self._paths) < _REMEMBERED_PATHS:
            self._paths[path] = found
        return found

    def _walk(self, path: str) -> ClusterName | None:
        if path == WILDCARD:
            return WILDCARD
        if not ClusterPath(path).is_valid:
            return None
        segments = path.split(":")
        if segments[0] == "system":
            return ClusterName(path) if len(segments) == 2 else None
        if segments[0] == "user" and len(segments) > 1:
            start: ClusterName | None = self._known(home_cluster_name(segments[1]))
            segments = segments[1:]
        else:
            start = self._known(segments[0])
        return self._descend(start, segments[1:])

    def _known(self, name: str) -> ClusterName | None:
        cluster = ClusterName(name)
        known = cluster in self._records or cluster in self._parents or cluster in self._expected
        return cluster if known or cluster == ROOT or looks_generated(name) else None

    def _descend(self, cluster: ClusterName | None, names: Iterable[str]) -> ClusterName | None:
        for name in names:
            if cluster is None:
                return None
            cluster = self._children.get(cluster, {}).get(name)
        return cluster

    def path_of(self, cluster: ClusterName) -> str:
        """The canonical path for display; the name itself where no path is known.

        >>> WorkspaceIndex().path_of(ROOT)
        'root'
        """
        record = self._records.get(cluster)
        if record is not None and record.path:
            return record.path
        names: list[str] = []
        here = cluster
        while here in self._parents and len(names) < 64:
            here, name = self._parents[here]
            names.append(name)
        return ":".join([here, *reversed(names)])

    def record(self, cluster: ClusterName) -> ClusterRecord | None:
        """What the LogicalCluster says; None while it is unknown."""
        return self._records.get(cluster)

    def parent_of(self, cluster: ClusterName) -> ClusterName | None:
        """The cluster that holds this one's Workspace."""
        if cluster in self._parents:
            return self._parents[cluster][0]
        record = self._records.get(cluster)
        return record.owner_cluster if record is not None and record.owner_cluster else None

    def ancestors(self, cluster: ClusterName) -> list[ClusterName]:
        """From the parent up to the root."""
        found: list[ClusterName] = []
        here = self.parent_of(cluster)
        while here is not None and here not in found:
            found.append(here)
            here = self.parent_of(here)
        return found

    def count(self) -> int:
        """How many logical clusters there are."""
        return len(self._records)

    def clusters(self) -> list[ClusterName]:
        return sorted(self._records)

    def statistics(self) -> dict[str, int]:
        return {"clusters": len(self._records), "workspaces": len(self._parents), "paths": len(self._paths)}


def _record(cluster: ClusterName, obj: JSONObject) -> ClusterRecord:
    annotations = meta.annotations(obj)
    return ClusterRecord(
        name=cluster,
        path=annotations.get(PATH, ""),
        type=annotations.get(TYPE, ""),
        phase=meta.nested(obj, "status", "phase", default=""),
        required_groups=annotations.get(REQUIRED_GROUPS, ""),
        inactive=is_inactive(obj),
        owner_cluster=ClusterName(meta.nested(obj, "spec", "owner", "cluster", default="")),
        owner_name=meta.nested(obj, "spec", "owner", "name", default=""),
        deleting=bool(meta.deletion_timestamp(obj)),
        max_objects=_number(annotations.get(MAX_TOTAL_OBJECTS, "")),
        initializers=tuple(meta.nested(obj, "status", "initializers", default=())),
        terminators=tuple(meta.nested(obj, "status", "terminators", default=())),
    )


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
