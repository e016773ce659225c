"""Spec down: every object placed on this cluster exists there as its workspace wants it, and is removed when it should go.

Order of writes: finalizer upstream, then namespace and object downstream; on removal the object downstream, then the finalizer. So whatever
moment the syncer dies at, what it made can be found and removed again.
Source: kcp release-0.11 pkg/syncer/spec/spec_process.go.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Conflict, NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.transport import TransportError
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.tmc.errors import ErrorType, TMCError, classify
from kcp.tmc.model.names import DOWNSTREAM_CLUSTER_LABEL, SYNC_ERROR_ANNOTATION, SYNCER_FIELD_MANAGER, SYNCER_FINALIZER
from kcp.tmc.syncer.downstream import is_applied, to_downstream
from kcp.tmc.syncer.parts import Parts, Turns
from kcp.tmc.syncer.record import DOWN
from kcp.tmc.syncer.write import retries, write_view

log = logging.getLogger(__name__)

RETRY_TERMINAL_S = 30.0
"""An error that trying again does not mend is still looked at again: the cause may be mended in the cluster."""


@dataclass(frozen=True, slots=True)
class SpecReconciler:
    """For one resource."""

    gvr: GVR
    parts: Parts
    upstream_get: Callable[[ObjectKey], JSONObject | None]
    downstream_get: Callable[[ObjectKey], JSONObject | None]

    async def reconcile(self, key: ObjectKey) -> Result:
        view = self.upstream_get(key)
        if view is None:
            return await self._gone_upstream(key)
        if meta.deletion_timestamp(view):
            return await self._withdraw(key, view)
        if refusal := self.parts.config.filters.refusal(view):
            await self._report(key, view, TMCError(ErrorType.PLACEMENT_POLICY, refusal, self.parts.identity.name, "select"))
            return Result()
        return await self._apply(key, view)

    async def _apply(self, key: ObjectKey, view: JSONObject) -> Result:
        view = await self._hold(key, view)
        target = self.parts.namespaces.downstream_key(self.gvr.group_resource, key)
        desired = to_downstream(view, self.gvr.group_resource, key=self.parts.identity.key, namespace=target.namespace)
        actual = self.downstream_get(target)
        if actual is not None and is_applied(actual, desired) and not self._reported_error(view):
            return Result()
        try:
            self._refuse_foreign(actual, target)
            await self._put(key, desired)
        except (StatusError, TransportError, TMCError) as error:
            return await self._failed(key, view, classify(error, cluster=self.parts.identity.name, operation="apply"))
        await self._report(key, view, None)
        return Result()

    async def _put(self, key: ObjectKey, desired: JSONObject) -> None:
        """Server-side apply, after the namespace; which may have been removed behind our back."""
        await self.parts.namespaces.ensure(key.cluster, key.namespace)
        resource = self.parts.downstream.resource(self.gvr)
        try:
            await resource.apply(desired, field_manager=SYNCER_FIELD_MANAGER, force=True)
        except NotFound:
            await self.parts.namespaces.ensure_anew(key.cluster, key.namespace)
            await resource.apply(desired, field_manager=SYNCER_FIELD_MANAGER, force=True)

    async def _hold(self, key: ObjectKey, view: JSONObject) -> JSONObject:
        """Put this syncer's finalizer on the object before anything is made downstream."""
        own = SYNCER_FINALIZER + self.parts.identity.key
        if own in meta.finalizers(view):
            return view
        wanted: JSONObject = meta.copy_json(view)
        meta.set_finalizers(wanted, [*meta.finalizers(view), own])
        return await write_view(self.parts.upstream(key.cluster).resource(self.gvr), view, wanted)

    async def _withdraw(self, key: ObjectKey, view: JSONObject) -> Result:
        """Delete the copy; once it is gone, let go of the object upstream."""
        try:
            if not await self._delete_downstream(key):
                return Result()  # its deletion downstream brings us back here
        except (StatusError, TransportError) as error:
            return await self._failed(key, view, classify(error, cluster=self.parts.identity.name, operation="delete"))
        own = SYNCER_FINALIZER + self.parts.identity.key
        wanted: JSONObject = meta.copy_json(view)
        meta.set_finalizers(wanted, [f for f in meta.finalizers(view) if f != own])
        if own not in meta.finalizers(view):
            # Never held, so nothing to remove it from: dropping the state label is what says that this target is done.
            meta.set_label(wanted, self.parts.identity.state_label, None)
        try:
            await write_view(self.parts.upstream(key.cluster).resource(self.gvr), view, wanted)
        except NotFound:
            pass  # it was the last finalizer, or somebody was quicker: gone is what was wanted
        return Result()

    async def _gone_upstream(self, key: ObjectKey) -> Result:
        """The view no longer shows the object. Only a live answer, never the cache alone, may remove what runs."""
        if self.downstream_get(self.parts.namespaces.downstream_key(self.gvr.group_resource, key)) is None:
            return Result()
        try:
            await self.parts.upstream(key.cluster).resource(self.gvr).get(key.name, namespace=key.namespace)
        except NotFound as error:
            if error.is_of(self.gvr.group_resource, key.name):  # and not the SyncTarget: whoever deletes that leaves what runs
                await self._delete_downstream(key)
        return Result()

    async def _delete_downstream(self, key: ObjectKey) -> bool:
        """Whether the copy is gone. Objects that are not ours are left alone and count as gone."""
        target = self.parts.namespaces.downstream_key(self.gvr.group_resource, key)
        resource = self.parts.downstream.resource(self.gvr)
        try:
            actual = await resource.get(target.name, namespace=target.namespace)
            if meta.labels(actual).get(DOWNSTREAM_CLUSTER_LABEL) != self.parts.identity.key:
                return True
            if not meta.deletion_timestamp(actual):
                await resource.delete(target.name, namespace=target.namespace, uid=meta.uid(actual), propagation="Background")
                actual = await resource.get(target.name, namespace=target.namespace)
        except NotFound as error:
            if not error.is_of(self.gvr.group_resource, target.name):
                raise  # the cluster does not serve the resource at the moment: that says nothing about the copy
            return True
        return False

    def _refuse_foreign(self, actual: JSONObject | None, target: ObjectKey) -> None:
        owner = meta.labels(actual).get(DOWNSTREAM_CLUSTER_LABEL) if actual is not None else self.parts.identity.key
        if owner and owner != self.parts.identity.key:
            raise Conflict(f'{self.gvr.resource} "{target.namespace}/{target.name}" belongs to another SyncTarget (key {owner})')

    async def _failed(self, key: ObjectKey, view: JSONObject, error: TMCError) -> Result:
        """Tell the user on their object, then try again: at once with back-off where that helps, else later."""
        self.parts.record.observe_error(error, str(self.gvr.group_resource))
        log.warning("%s %s on %s: %s", self.gvr.resource, key, self.parts.identity.name, error)
        await self._report(key, view, error)
        if error.retryable:
            raise error
        return Result(requeue_after_s=RETRY_TERMINAL_S)

    def _reported_error(self, view: JSONObject) -> str | None:
        return meta.annotations(view).get(SYNC_ERROR_ANNOTATION + self.parts.identity.key)

    async def _report(self, key: ObjectKey, view: JSONObject, error: TMCError | None) -> None:
        text = json.dumps(error.to_object(), separators=(",", ":"), sort_keys=True) if error is not None else None
        if self._reported_error(view) == text:
            return
        wanted: JSONObject = meta.copy_json(view)
        meta.set_annotation(wanted, SYNC_ERROR_ANNOTATION + self.parts.identity.key, text)
        await write_view(self.parts.upstream(key.cluster).resource(self.gvr), view, wanted)


def build_spec_controller(reconciler: SpecReconciler, upstream: Informer, downstream: Informer, turns: Turns) -> Controller:
    def of_copy(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> list[ObjectKey]:
        found = reconciler.parts.namespaces.upstream_key(reconciler.gvr.group_resource, key)
        return [found] if found is not None else []

    parts, resource = reconciler.parts, str(reconciler.gvr.group_resource)
    controller = Controller(
        f"syncer-spec-{resource}", turns(reconciler.reconcile), clock=parts.clock, workers=parts.config.workers,
        rate_limiter=retries(parts.clock), observe=parts.record.hook(resource, DOWN),
    )  # fmt: skip
    controller.watch(upstream)
    controller.watch(downstream, of_copy)
    return controller
