"""`/services/upsyncer/<cluster>/<synctarget>/<uid>/clusters/…`: what one SyncTarget's cluster shows of itself in workspaces.

Objects that bear the label `state.workload.kcp.io/<key>: Upsync`, made, changed and removed by the target's syncer, of the resources that
the target's exports offer; and only where the workspace has placed something on the target.
Before: `view.target`. After: `registry`.
Source: kcp release-0.11 pkg/virtual/syncer/upsyncer/{storage_wrapper,transformer}.go.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from inspect import isawaitable

from kcp.apimachinery import meta
from kcp.apimachinery.apply.versions import Show
from kcp.apimachinery.errors import BadRequest, Cause, Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import json_patch
from kcp.apimachinery.selectors import LabelSelector
from kcp.registry.backend import (
    Backend,
    Deleted,
    DeleteOptions,
    Item,
    ListQuery,
    ListResult,
    Mutate,
    Scope,
    UserInfo,
    WatchEvent,
    WatchQuery,
    WriteOptions,
    Written,
)
from kcp.registry.resource import Resource
from kcp.registry.strategy import Strategy
from kcp.tmc.model.names import STATE_LABEL, STATE_UPSYNC, SYNCER_FINALIZER, UPSYNC_DIFF_ANNOTATION, is_foreign
from kcp.virtual.framework import View

UPSYNCER = UserInfo("system:kcp:upsyncer", ("system:masters", "system:authenticated"))
"""As whom upsynced objects are written in workspaces, where their users may only read them."""
_FIXED = ("/metadata", "/apiversion", "/kind")


def _picturing(strategy: Strategy) -> Strategy:
    """What a cluster has accepted is not judged again, nor begun: a pod gets its node by an update, its status when the syncer says.

    Source: kcp 0.11, whose exported pods and volumes are checked by their schemas alone.
    """
    return replace(strategy, prepare_create=_without_status, validate=_no_faults, validate_status=_no_faults)


def _without_status(new: JSONObject, now: str) -> None:  # noqa: ARG001 - a hook
    new.pop("status", None)


def _no_faults(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:  # noqa: ARG001 - a hook
    return ()


class UpsyncerCatalog:
    """The resources of the exports that the SyncTarget supports."""

    def __init__(self, exported: Sequence[Resource]) -> None:
        self._exported = {resource.gvr: replace(resource, strategy=_picturing(resource.strategy)) for resource in exported}

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        return self._exported.get(gvr)

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        return [self._exported[gvr] for gvr in sorted(self._exported)]

    def version(self, cluster: ClusterName) -> str:
        return ",".join(f"{gvr}/{resource.identity}/{resource.schema_id}" for gvr, resource in sorted(self._exported.items()))


@dataclass(frozen=True, slots=True)
class UpsyncerBackend:
    """Implements Backend for the objects of one target."""

    inner: Backend
    key: str
    selector: LabelSelector
    is_placed: Callable[[ClusterName, str, str], bool]
    """(workspace, namespace or "", K): has the namespace, or for "" any of the workspace, been placed on the target?"""

    async def get(self, scope: Scope, *, resource_version: str = "") -> Item:
        item = await self.inner.get(scope, resource_version=resource_version)
        if not self.selector.matches(item.labels):
            raise NotFound.of(scope.resource.group_resource, scope.name)
        return item

    async def list(self, scope: Scope, query: ListQuery) -> ListResult:
        return await self.inner.list(scope, replace(query, labels=self._narrowed(query.labels)))

    def watch(self, scope: Scope, query: WatchQuery) -> AsyncIterator[Sequence[WatchEvent]]:
        return self.inner.watch(scope, replace(query, labels=self._narrowed(query.labels)))

    async def create(self, scope: Scope, obj: JSONObject, options: WriteOptions) -> Written:
        self._refuse_unlabelled(obj)
        if not self.is_placed(scope.cluster, scope.namespace, self.key):
            what = f'namespace "{scope.namespace}"' if scope.namespace else "nothing of this workspace"
            raise Forbidden(f"{what} is {'not ' if scope.namespace else ''}placed on this SyncTarget: it can show nothing there")
        return await self.inner.create(scope, self._shown(obj), replace(options, user=UPSYNCER))

    async def update(self, scope: Scope, mutate: Mutate, options: WriteOptions) -> Written:
        async def own(live: JSONObject | None) -> JSONObject:
            if live is None or not self.selector.matches(meta.labels(live)):
                raise NotFound.of(scope.resource.group_resource, scope.name)
            wanted = mutate(live)
            changed = await wanted if isawaitable(wanted) else wanted
            self._refuse_unlabelled(changed)
            return with_marks_of_others(self._shown(changed), live, self.key)

        return await self.inner.update(scope, own, replace(options, user=UPSYNCER, create_if_missing=False))

    def elsewhere(self, resource: Resource) -> Show | None:
        return self.inner.elsewhere(resource)

    async def delete(self, scope: Scope, options: DeleteOptions) -> Deleted:
        """At once, but for its finalizers: whoever runs it has stopped it already."""
        found = await self.get(scope)
        uid = options.uid or meta.uid(found.decode())
        return await self.inner.delete(scope, replace(options, user=UPSYNCER, uid=uid, grace_period_s=0))

    async def delete_collection(self, scope: Scope, query: ListQuery, options: DeleteOptions) -> ListResult:
        narrowed = replace(query, labels=self._narrowed(query.labels))
        return await self.inner.delete_collection(scope, narrowed, replace(options, user=UPSYNCER, grace_period_s=0))

    def _narrowed(self, wanted: LabelSelector | None) -> LabelSelector:
        return self.selector if wanted is None else wanted.joined(self.selector)

    def _refuse_unlabelled(self, obj: JSONObject) -> None:
        if not self.selector.matches(meta.labels(obj)):
            raise BadRequest(f"an upsynced object bears the label {STATE_LABEL}{self.key}={STATE_UPSYNC}; labels: {dict(meta.labels(obj))}")

    def _shown(self, obj: JSONObject) -> JSONObject:
        """What the workspace gets: the object with its own transformation. Raises BadRequest for one that does not fit or goes too far."""
        text = meta.annotations(obj).get(UPSYNC_DIFF_ANNOTATION + self.key)
        if not text:
            return obj
        if any(part in text.lower() for part in _FIXED):
            raise BadRequest("metadata, apiVersion or kind cannot be modified by a transformation")
        try:
            shown: JSONObject = json_patch.apply(obj, json.loads(text))
        except ValueError as error:
            raise BadRequest(f"the annotation {UPSYNC_DIFF_ANNOTATION}{self.key} cannot be applied: {error}") from error
        meta.set_annotation(shown, UPSYNC_DIFF_ANNOTATION + self.key, None)
        return shown


def with_marks_of_others(wanted: JSONObject, live: JSONObject, key: str) -> JSONObject:
    """What other targets keep on an object that is projected to them is none of this syncer's to take away. `wanted` may be changed."""
    held = {label: value for label, value in meta.labels(live).items() if label.startswith(STATE_LABEL) and label != STATE_LABEL + key}
    marks = {name: value for name, value in meta.annotations(live).items() if is_foreign(name, key)}
    finalizers = [f for f in meta.finalizers(live) if f.startswith(SYNCER_FINALIZER) and f != SYNCER_FINALIZER + key]
    for label, value in held.items():
        meta.set_label(wanted, label, value)
    for name, value in marks.items():
        meta.set_annotation(wanted, name, value)
    if lost := [f for f in finalizers if f not in meta.finalizers(wanted)]:
        meta.set_finalizers(wanted, [*meta.finalizers(wanted), *lost])
    return wanted


@dataclass(frozen=True, slots=True)
class UpsyncerViews:
    """Builds the view of one SyncTarget, see `view.target`."""

    backend: Backend
    is_placed: Callable[[ClusterName, str, str], bool]

    def build(self, key: str, exported: Sequence[Resource]) -> View:
        """Args: key: K of the target. exported: resources of the exports it supports."""
        selector = LabelSelector.parse(f"{STATE_LABEL}{key}={STATE_UPSYNC}")
        return View(UpsyncerCatalog(exported), UpsyncerBackend(self.backend, key, selector, self.is_placed))
