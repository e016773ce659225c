"""`/services/syncer/<cluster>/<synctarget>/<uid>/clusters/…`: one SyncTarget's view of everything placed on it.

Objects carry this target's spec, this target's status, and a deletionTimestamp once this target should remove its copy. What the syncer
writes is kept per target in annotations of the object, so that several targets never overwrite each other.
Before: `view.target`. After: `registry`.
Source: kcp release-0.11 pkg/virtual/syncer, pkg/virtual/syncer/transformations.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import WILDCARD, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import json_patch
from kcp.apimachinery.selectors import LabelSelector
from kcp.registry.backend import Backend, Scope
from kcp.registry.resource import Catalog, Resource
from kcp.tmc.model.kinds import CORE_SYNCED, NAMESPACES, NOT_SYNCED_DOWN
from kcp.tmc.model.names import (
    DELETION_ANNOTATION,
    DRIFT_ANNOTATION,
    MADE_ANNOTATION,
    OBSERVED_ANNOTATION,
    ORIGIN_CLUSTER_ANNOTATION,
    OVERRIDE_ANNOTATION,
    OVERRIDE_ERROR_ANNOTATION,
    PROJECTED_LABEL,
    PROJECTION_SOURCE_LABEL,
    SOFT_FINALIZERS_ANNOTATION,
    SPEC_DIFF_ANNOTATION,
    STATE_LABEL,
    STATE_SYNC,
    STATUS_ANNOTATION,
    SYNC_ERROR_ANNOTATION,
    SYNCER_FINALIZER,
    WORKSPACE_URL_ANNOTATION,
    forget_report,
    forget_target,
    is_foreign,
    is_leaving,
)
from kcp.tmc.model.wishes import SYNC, Sync
from kcp.tmc.projection.spec import Mark
from kcp.tmc.view.parts import is_news, is_wide, opened
from kcp.tmc.view.restored import Hold
from kcp.virtual.framework import View
from kcp.virtual.together import Together
from kcp.virtual.transform import Narrowing, TransformingBackend

_LONGEST_LABEL = 63
_VERBS = ("get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class SyncerTransformation:
    """The view of target K, outward and inward. Pure but for the clock's stamp on a status report."""

    key: str
    clock: Clock
    workspaces_url: str = ""
    """URL below which every workspace is found."""

    def outward(self, scope: Scope, obj: JSONObject) -> JSONObject | None:
        return self.shown(obj, keeps_status=scope.resource.gvr.group_resource == NAMESPACES.group_resource)

    def shown(self, obj: JSONObject, *, keeps_status: bool = False) -> JSONObject:
        """The object as this target sees it. `obj` is changed. Raises BadRequest: its spec diff does not fit."""
        annotations = dict(meta.annotations(obj))
        metadata = obj["metadata"]
        metadata.pop("managedFields", None)
        if diff := annotations.get(SPEC_DIFF_ANNOTATION + self.key):
            obj["spec"] = _patched(obj.get("spec") or {}, diff)
        if OVERRIDE_ERROR_ANNOTATION + self.key in annotations or not _override(obj, annotations.get(OVERRIDE_ANNOTATION + self.key)):
            meta.set_annotation(obj, SYNC, Sync.PAUSE)  # neither without its overrides nor with old ones
        stamp = annotations.get(DELETION_ANNOTATION + self.key) or meta.deletion_timestamp(obj)
        metadata = obj["metadata"]
        metadata.pop("deletionTimestamp", None)
        if stamp and not annotations.get(SOFT_FINALIZERS_ANNOTATION + self.key):
            metadata["deletionTimestamp"] = stamp
        status = annotations.get(STATUS_ANNOTATION + self.key)
        if not keeps_status:
            obj.pop("status", None)
            if status:
                obj["status"] = json.loads(status)
        if (mark := Mark.of(obj, self.key)) is not None:
            _stamp(obj, mark)
        self._hide_others(obj, annotations)
        meta.set_annotation(obj, SPEC_DIFF_ANNOTATION + self.key, None)  # it is applied above; nobody should do it once more
        meta.set_annotation(obj, WORKSPACE_URL_ANNOTATION, f"{self.workspaces_url}/{meta.cluster(obj)}")
        return obj

    def _hide_others(self, obj: JSONObject, annotations: dict[str, str]) -> None:
        """Other targets' state is none of this syncer's business; neither is who else holds the object."""
        for name in annotations:
            if is_foreign(name, self.key):
                meta.set_annotation(obj, name, None)
        for name in list(meta.labels(obj)):
            if name.startswith(STATE_LABEL) and name != STATE_LABEL + self.key:
                meta.set_label(obj, name, None)
        own = SYNCER_FINALIZER + self.key
        meta.set_finalizers(obj, [f for f in meta.finalizers(obj) if f == own])

    def inward(self, scope: Scope, live: JSONObject, view: JSONObject) -> JSONObject:
        wanted: JSONObject = meta.copy_json(live)
        if scope.subresource == "status":
            self._report(wanted, live, json.dumps(view.get("status") or {}, separators=(",", ":"), sort_keys=True))
            return wanted
        if told_status := meta.annotations(view).get(STATUS_ANNOTATION + self.key):
            self._report(wanted, live, told_status)  # a syncer of kcp 0.11 reports so under advanced scheduling
        for told in (SYNC_ERROR_ANNOTATION, DRIFT_ANNOTATION, MADE_ANNOTATION):
            meta.set_annotation(wanted, told + self.key, meta.annotations(view).get(told + self.key))
        if (first := meta.annotations(live).get(MADE_ANNOTATION + self.key)) and MADE_ANNOTATION + self.key in meta.annotations(view):
            meta.set_annotation(wanted, MADE_ANNOTATION + self.key, first)  # told again from a view that has not heard of it yet
        self._finalizer(wanted, live, view)
        return wanted

    def _report(self, wanted: JSONObject, live: JSONObject, status: str) -> None:
        if meta.annotations(live).get(STATUS_ANNOTATION + self.key) != status:
            meta.set_annotation(wanted, STATUS_ANNOTATION + self.key, status)
            meta.set_annotation(wanted, OBSERVED_ANNOTATION + self.key, rfc3339(self.clock.now()))

    def _finalizer(self, wanted: JSONObject, live: JSONObject, view: JSONObject) -> None:
        """Take over the syncer's finalizer; without it (or the label, for namespaces) on a leaving object, forget this target."""
        own = SYNCER_FINALIZER + self.key
        held, keeps = own in meta.finalizers(live), own in meta.finalizers(view)
        if keeps and not held:
            meta.set_finalizers(wanted, [*meta.finalizers(live), own])
        if not keeps and held:
            meta.set_finalizers(wanted, [f for f in meta.finalizers(live) if f != own])
            forget_report(wanted, self.key)  # of a copy that is gone, should the object be wanted here again
        released = (held and not keeps) or STATE_LABEL + self.key not in meta.labels(view)
        if released and is_leaving(live, self.key):
            forget_target(wanted, self.key)


def _stamp(obj: JSONObject, mark: Mark) -> None:
    """A projected copy says so in its cluster. Source: tmc reference §4 (stamps on copies)."""
    meta.set_label(obj, PROJECTED_LABEL, "true")
    if len(mark.origin) <= _LONGEST_LABEL:
        meta.set_label(obj, PROJECTION_SOURCE_LABEL, mark.origin)
    meta.set_annotation(obj, ORIGIN_CLUSTER_ANNOTATION, mark.origin)


def _override(obj: JSONObject, patch: str | None) -> bool:
    """Apply what OverridePolicies make of an object. False if it does not fit: the object changed since, and a new one is on its way."""
    if not patch:
        return True
    try:
        changed = json_patch.apply(obj, json.loads(patch))
    except ValueError:
        return False
    obj.clear()
    obj.update(changed)
    return True


def _patched(spec: JSONObject, diff: str) -> JSONObject:
    try:
        patched: JSONObject = json_patch.apply(spec, json.loads(diff))
    except ValueError as error:
        raise BadRequest(f"the spec diff of this target cannot be applied: {error}") from error
    return patched


@lru_cache(maxsize=256)
def _viewed(resource: Resource) -> Resource:
    """As discovery tells it: a syncer neither makes nor deletes objects here. Source: kcp 0.11 pkg/virtual/syncer/builder/build.go."""
    return replace(resource, verbs=_VERBS, subresources=frozenset())


class SyncerCatalog:
    """What a syncer may see: namespaces, the core kinds, and the resources of the exports its SyncTarget supports."""

    def __init__(self, inner: Catalog, exported: Sequence[Resource]) -> None:
        self._inner = inner
        self._exported = {resource.gvr: resource for resource in exported if resource.group_resource not in NOT_SYNCED_DOWN}

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        if gvr == NAMESPACES or gvr in CORE_SYNCED:
            found = self._inner.resolve(WILDCARD, gvr)
        else:
            found = self._exported.get(gvr)
        return _viewed(found) if found is not None else None

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        names = [NAMESPACES, *CORE_SYNCED, *sorted(self._exported)]
        return [r for r in (self.resolve(cluster, gvr) for gvr in names) if r is not None]

    def version(self, cluster: ClusterName) -> str:
        return ",".join(f"{gvr}/{resource.identity}/{resource.schema_id}" for gvr, resource in sorted(self._exported.items()))


@dataclass(frozen=True, slots=True)
class SyncerViews:
    """Builds the view of one SyncTarget, see `view.target`."""

    catalog: Catalog
    backend: Backend
    clock: Clock
    server_url: Callable[[], str]
    """Where workspaces are reached, without a trailing slash."""
    hold: Hold | None = None
    """Of a control plane that was restored from a backup."""
    _together: Together = field(default_factory=Together)
    """Of all views: an object that is on a hundred clusters has a hundred writers."""

    def build(self, key: str, exported: Sequence[Resource]) -> View:
        """Args: key: K of the target. exported: resources of the exports it supports."""
        selector = LabelSelector.parse(f"{STATE_LABEL}{key}={STATE_SYNC}")
        transformation = SyncerTransformation(key, self.clock, f"{self.server_url()}/clusters")
        narrowing = Narrowing(partial(opened, key=key), partial(is_news, key=key), is_wide, self.clock)
        backend = TransformingBackend(self.backend, selector, transformation, together=self._together, narrowing=narrowing)
        if self.hold is not None:
            backend = replace(backend, absent=partial(self.hold.absent, key))
        return View(SyncerCatalog(self.catalog, exported), backend)
