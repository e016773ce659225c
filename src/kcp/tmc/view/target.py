"""Which SyncTarget a request to `/services/<view>/<cluster>/<synctarget>/<uid>/clusters/…` is about, and whether it comes from its syncer.

The two virtual workspaces of a SyncTarget, `view.syncer` and `view.upsyncer`, have this in common.
Before: `virtual.framework`. After: what builds the view.
Source: kcp release-0.11 pkg/virtual/syncer/builder/template.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Conflict, Forbidden, NotFound
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.request import Request
from kcp.registry.backend import UserInfo
from kcp.registry.resource import Resource
from kcp.tmc.model.kinds import SYNC_TARGETS, SyncTarget
from kcp.tmc.model.names import EPOCH_HEADER, sync_target_key
from kcp.virtual.framework import View


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
class TargetView:
    """One virtual workspace of every SyncTarget."""

    name: str
    build: Callable[[str, Sequence[Resource]], View]
    """(K of the target, resources of the exports it supports) → its view."""
    target: Callable[[ObjectKey], JSONObject | None]
    exported: Callable[[ClusterName, str, str], Sequence[Resource]]
    """(cluster of the SyncTarget, export path, export name) → its resources."""
    may_sync: Callable[[UserInfo, ClusterName, str], object]
    """Awaitable answer: has this user verb `sync` on this SyncTarget?"""
    resolve: Callable[[str], ClusterName | None]
    version: Callable[[ObjectKey], object]
    """Not as before when `target` of this key, or `exported`, may answer otherwise; None: there is no such target."""
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
            raise NotFound.of(SYNC_TARGETS.group_resource, key.name)
        target = SyncTarget.of(obj)
        offered = ((path, name, r) for path, name in target.supported_exports for r in self.exported(key.cluster, path, name))
        exported = [resource for path, name, resource in offered if target.supports(path, name, resource.group_resource)]
        lease = meta.nested(obj, "status", "syncerLease", default={})
        view = self.build(sync_target_key(key.cluster, key.name), exported)
        held = self._held[key] = _Held(meta.uid(obj), version, lease, view)
        return held
