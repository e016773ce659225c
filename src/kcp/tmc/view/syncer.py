"""`/services/syncer/<cluster>/<synctarget>/<uid>/clusters/…`: one SyncTarget's view of everything placed on it.

Objects carry this target's spec, this target's status, and a deletionTimestamp once this target should remove its copy. What the syncer
writes is kept per target in annotations of the object, so that several targets never overwrite each other.
Before: `virtual.framework`. After: `registry`.
Source: kcp release-0.11 pkg/virtual/syncer, pkg/virtual/syncer/transformations.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest, Conflict, Forbidden, NotFound
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import WILDCARD, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import json_patch
from kcp.apimachinery.selectors import LabelSelector
from kcp.apiserver.request import Request
from kcp.registry.backend import Backend, Scope, UserInfo
from kcp.registry.resource import Catalog, Resource
from kcp.tmc.model.kinds import CORE_SYNCED, NAMESPACES, NOT_SYNCED_DOWN, SyncTarget
from kcp.tmc.model.names import (
    DELETION_ANNOTATION,
    DRIFT_ANNOTATION,
    EPOCH_HEADER,
    OBSERVED_ANNOTATION,
    OVERRIDE_ANNOTATION,
    OVERRIDE_ERROR_ANNOTATION,
    SOFT_FINALIZERS_ANNOTATION,
    SPEC_DIFF_ANNOTATION,
    STATE_LABEL,
    STATE_SYNC,
    STATUS_ANNOTATION,
    SYNC_ERROR_ANNOTATION,
    SYNCER_FINALIZER,
    forget_target,
    is_foreign,
    is_leaving,
    sync_target_key,
)
from kcp.tmc.model.wishes import SYNC, Sync
from kcp.virtual.framework import View
from kcp.virtual.transform import TransformingBackend


@dataclass(frozen=True, slots=True)
class SyncerTransformation:
    """The view of target K, outward and inward. Pure but for the clock's stamp on a status report."""

    key: str
    clock: Clock

    def outward(self, scope: Scope, obj: JSONObject) -> JSONObject | None:
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
        if scope.resource.gvr.group_resource != NAMESPACES.group_resource:
            obj.pop("status", None)
            if status:
                obj["status"] = json.loads(status)
        self._hide_others(obj, annotations)
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
            status = json.dumps(view.get("status") or {}, separators=(",", ":"), sort_keys=True)
            if meta.annotations(live).get(STATUS_ANNOTATION + self.key) != status:
                meta.set_annotation(wanted, STATUS_ANNOTATION + self.key, status)
                meta.set_annotation(wanted, OBSERVED_ANNOTATION + self.key, rfc3339(self.clock.now()))
            return wanted
        for told in (SYNC_ERROR_ANNOTATION, DRIFT_ANNOTATION):
            meta.set_annotation(wanted, told + self.key, meta.annotations(view).get(told + self.key))
        self._finalizer(wanted, live, view)
        return wanted

    def _finalizer(self, wanted: JSONObject, live: JSONObject, view: JSONObject) -> None:
        """Take over the syncer's finalizer; without it (or the label, for namespaces) on a leaving object, forget this target."""
        own = SYNCER_FINALIZER + self.key
        held, keeps = own in meta.finalizers(live), own in meta.finalizers(view)
        if keeps and not held:
            meta.set_finalizers(wanted, [*meta.finalizers(live), own])
        if not keeps and held:
            meta.set_finalizers(wanted, [f for f in meta.finalizers(live) if f != own])
        released = (held and not keeps) or STATE_LABEL + self.key not in meta.labels(view)
        if released and is_leaving(live, self.key):
            forget_target(wanted, self.key)


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


class SyncerCatalog:
    """What a syncer may see: namespaces, the core kinds, and the resources of the exports its SyncTarget supports."""

    def __init__(self, inner: Catalog, exported: Sequence[tuple[GVR, str]]) -> None:
        self._inner = inner
        self._identities = {(gvr.group_resource, gvr.version): identity for gvr, identity in exported}

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        if gvr == NAMESPACES or gvr in CORE_SYNCED:
            return self._inner.resolve(WILDCARD, gvr)
        identity = self._identities.get((gvr.group_resource, gvr.version))
        if identity is None or gvr.group_resource in NOT_SYNCED_DOWN:
            return None
        return self._inner.resolve(WILDCARD, GVR(gvr.group, gvr.version, f"{gvr.resource}:{identity}"))

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        names = [NAMESPACES, *CORE_SYNCED, *(GVR(gr.group, version, gr.resource) for gr, version in sorted(self._identities))]
        return [r for r in (self.resolve(cluster, gvr) for gvr in names) if r is not None]

    def version(self, cluster: ClusterName) -> str:
        return ",".join(f"{gr}/{version}/{identity}" for (gr, version), identity in sorted(self._identities.items()))


def _refuse_passed(request: Request, lease: Mapping[str, Any], name: str) -> None:
    """Raises Conflict for a syncer whose epoch has passed: another one serves the target, and this one's word is old."""
    shown, epoch = request.headers.get(EPOCH_HEADER, ""), int(lease.get("epoch") or 0)
    if shown.isdigit() and int(shown) < epoch:
        raise Conflict(
            f'SyncTarget "{name}" is served by {lease.get("holder") or "another syncer"} in epoch {epoch}; epoch {shown} has passed'
        )


@dataclass(frozen=True, slots=True)
class _Held:
    """The view of one SyncTarget and what it was made of."""

    uid: str
    version: object
    lease: Mapping[str, Any]
    """`status.syncerLease` of the SyncTarget."""
    view: View


@dataclass(frozen=True, slots=True)
class SyncerView:
    """The virtual workspace `syncer`."""

    catalog: Catalog
    backend: Backend
    clock: Clock
    target: Callable[[ObjectKey], JSONObject | None]
    exported: Callable[[ClusterName, str, str], Sequence[tuple[GVR, str]]]
    """(cluster of the SyncTarget, export path, export name) → resources and their identity."""
    may_sync: Callable[[UserInfo, ClusterName, str], object]
    """Awaitable answer: has this user verb `sync` on this SyncTarget?"""
    resolve: Callable[[str], ClusterName | None]
    version: Callable[[ObjectKey], object]
    """Not as before when `target` of this key, or `exported`, may answer otherwise; None: there is no such target."""
    name: str = "syncer"
    parameters: int = 3
    _held: dict[ObjectKey, _Held] = field(default_factory=dict)

    async def view(self, parameters: Sequence[str], request: Request) -> View:
        workspace, name, uid = parameters
        cluster = self.resolve(workspace)
        allowed = cluster is not None and await self.may_sync(request.user, cluster, name)  # type: ignore[misc]
        if cluster is None or not allowed:
            raise Forbidden(
                f'synctargets.workload.kcp.io "{name}" is forbidden: User "{request.user.name}" cannot sync it in workspace "{workspace}"'
            )
        key = ObjectKey(cluster, "", name)
        version = self.version(key)
        held = self._held.get(key)
        if held is None or held.version != version:
            held = self._hold(key, version)
        if held.uid != uid:
            raise NotFound(
                f'SyncTarget "{name}" in workspace "{workspace}" has uid {held.uid}, not {uid}: it was made anew; '
                f"start the syncer with --sync-target-uid={held.uid}"
            )
        _refuse_passed(request, held.lease, name)
        return held.view

    def _hold(self, key: ObjectKey, version: object) -> _Held:
        obj = self.target(key)
        if obj is None:
            self._held.pop(key, None)
            raise NotFound.of(GroupResource("workload.kcp.io", "synctargets"), key.name)
        target = SyncTarget.of(obj)
        exported = [pair for path, export in target.supported_exports for pair in self.exported(key.cluster, path, export)]
        name = sync_target_key(key.cluster, key.name)
        selector = LabelSelector.parse(f"{STATE_LABEL}{name}={STATE_SYNC}")
        backend = TransformingBackend(self.backend, selector, SyncerTransformation(name, self.clock))
        lease = meta.nested(obj, "status", "syncerLease", default={})
        held = self._held[key] = _Held(meta.uid(obj), version, lease, View(SyncerCatalog(self.catalog, exported), backend))
        return held
