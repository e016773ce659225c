"""Spec down: every object placed on this cluster exists there as its workspace wants it, and is removed when it should go.

Order of writes: finalizer upstream, then namespace and object downstream; on removal the object downstream, then the finalizer. So whatever
moment the syncer dies at, what it made can be found and removed again.
Source: kcp release-0.11 pkg/syncer/spec/spec_process.go.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from kcp.aio.clock import rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Conflict, NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.transport import TransportError
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.tmc.errors import ErrorType, TMCError, classify
from kcp.tmc.model import wishes
from kcp.tmc.model.names import (
    DOWNSTREAM_CLUSTER_LABEL,
    DRIFT_ANNOTATION,
    MADE_ANNOTATION,
    PROJECTED_ANNOTATION,
    SYNC_ERROR_ANNOTATION,
    SYNCER_FINALIZER,
)
from kcp.tmc.syncer import news
from kcp.tmc.syncer.access import TEMPLATED
from kcp.tmc.syncer.attempts import Attempts
from kcp.tmc.syncer.downstream import APPLIED_ANNOTATION, is_applied
from kcp.tmc.syncer.drift import DELETED, Drift, account, changes, contest, drifted_fields, last_writer
from kcp.tmc.syncer.fence import lift
from kcp.tmc.syncer.held import AGAIN_S, restoration
from kcp.tmc.syncer.parts import Parts, Turns
from kcp.tmc.syncer.put import Put, Putter, projected_from
from kcp.tmc.syncer.record import DOWN
from kcp.tmc.syncer.rendering import Rendering
from kcp.tmc.syncer.sent import Sent
from kcp.tmc.syncer.write import retries, write_view

log = logging.getLogger(__name__)

RETRY_TERMINAL_S = 30.0
"""An error that trying again does not mend is still looked at again: the cause may be mended in the cluster."""


class Gathering(NamedTuple):
    """A change that waits for others to go down with it."""

    version: str
    """Of what would be applied."""
    due_s: float
    """On the monotonic clock."""


@dataclass(frozen=True, slots=True)
class SpecReconciler:
    """For one resource."""

    gvr: GVR
    parts: Parts
    upstream_get: Callable[[ObjectKey], JSONObject | None]
    downstream_get: Callable[[ObjectKey], JSONObject | None]
    _attempts: Attempts = field(default_factory=Attempts)
    _gathering: dict[ObjectKey, Gathering] = field(default_factory=dict)
    """Objects whose changes wait for more; after a restart they wait once more."""
    sent: Sent = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sent", Sent(self.parts.clock))

    async def reconcile(self, key: ObjectKey) -> Result:
        view = self.upstream_get(key)
        if view is None:
            self._gathering.pop(key, None)
            self._attempts.forget(key)
            return await self._gone_upstream(key)
        if self.parts.held.count:
            self.parts.held.release(f"{self.gvr.group_resource} {key}")
        if meta.deletion_timestamp(view):
            self._gathering.pop(key, None)
            return await self._withdraw(key, view)
        if refusal := self.parts.config.filters.refusal(view):
            await self._report(key, view, self._error(ErrorType.PLACEMENT_POLICY, refusal))
            return Result()
        if wishes.sync_of(view) is wishes.Sync.PAUSE:
            await self._report(key, view, self._standing(view))
            return Result()
        return await self._apply(key, view)

    async def _apply(self, key: ObjectKey, view: JSONObject) -> Result:
        if self.gvr in self.parts.unserved:
            gone = NotFound(f"the cluster does not serve {self.gvr.group_resource} in version {self.gvr.version} any more")
            return await self._failed(key, view, gone)
        target = self.parts.namespaces.downstream_key(self.gvr.group_resource, key)
        try:
            desired = await self._desired(view)
        except TMCError as error:
            return await self._failed(key, view, error)
        actual = self.downstream_get(target)
        if actual is not None and is_applied(actual, desired):
            self._gathering.pop(key, None)
            self._attempts.forget(key)
            await self._report(key, view, self._standing(view), is_made=True)
            return Result()
        if (actual is not None and meta.deletion_timestamp(actual)) or self._attempts.are_spent(key, view, desired):
            return Result()  # once the copy is gone, or the object has changed, that brings us back here
        if self.sent.is_to_be_shown(key, desired):
            return Result()
        if wait_s := self._wait_s(key, view, desired):
            return Result(requeue_after_s=wait_s)
        view = await self._hold(key, view)
        if fight := contest(view, self.parts.identity.key, self.parts.identity.name, self.parts.clock.now()):
            return await self._failed(key, view, fight)
        return await self._put(key, view, desired, actual)

    async def _put(self, key: ObjectKey, view: JSONObject, desired: JSONObject, actual: JSONObject | None) -> Result:
        """Make or change the copy, and tell of what was put right by that."""
        if wishes.exclusive_of(view) is not None and not await self._is_still_ours(key):
            return Result()
        try:
            drift = Drift(drifted_fields(actual, desired)) if actual is not None else Drift([])
            if actual is not None and drift.fields:
                live = await self._live(actual)
                if live is None or not drifted_fields(live, desired):
                    return Result()  # seen late: what it is now is on its way to us
                drift = Drift(drift.fields, last_writer(live), changes(live, desired, drift.fields))
                if (left := wishes.conflict_of(view)) is not wishes.Conflict.USE_SOURCE:
                    return await self._left_alone(key, view, drift, left)
            async with self.parts.breakers.of("apply").guard(self._subject(key)):
                if actual is not None:
                    await lift(self.parts.downstream, self.gvr, actual)
                put = await Putter(self.gvr, self.parts).put(key, view, desired, actual)
        except (StatusError, TransportError, TMCError) as error:
            return await self._failed(key, view, error, desired)
        if put is Put.CREATED and view.get("status") and not wishes.may_recreate(view):
            drift = Drift([DELETED])
        if origin := projected_from(view):
            self.parts.record.observe_projection(str(self.gvr.group_resource), origin, failed=False)
        if put is not Put.REMOVED:
            self.sent.taken(key, desired)
            account = self._account(view, drift) if drift.fields else None
            await self._report(key, view, self._standing(view), account, is_made=True)
        return Result()

    async def _left_alone(self, key: ObjectKey, view: JSONObject, drift: Drift, resolution: wishes.Conflict) -> Result:
        """A copy that was changed in the cluster stays as it is there."""
        if resolution is wishes.Conflict.USE_TARGET:
            await self._report(key, view, self._standing(view), is_made=True)
            return Result()
        message = f"{drift.by or 'somebody'} changed {', '.join(drift.fields)} of the copy"
        advice = f"it stays so ({wishes.CONFLICT_RESOLUTION}): change it back in the cluster, or the object in the workspace"
        raise TMCError(ErrorType.SYNC_CONFLICT, message, self.parts.identity.name, "apply", advice=advice)

    async def _desired(self, view: JSONObject) -> JSONObject:
        parts = self.parts
        if self.gvr.group_resource in TEMPLATED:
            await parts.tokens.wait_known()
        rendering = Rendering(parts.identity, self._transformed, parts.tokens.of, "pods" in parts.config.upsync)
        return rendering.of(view, self.gvr.group_resource)

    def _transformed(self, view: JSONObject) -> JSONObject:
        record, resource = self.parts.record, str(self.gvr.group_resource)
        try:
            found = self.parts.transformations.apply(view)
        except TMCError:
            record.observe_transformation(resource, failed=True)
            raise
        if found is not view:
            record.observe_transformation(resource, failed=False)
        return found

    def _wait_s(self, key: ObjectKey, view: JSONObject, desired: JSONObject) -> float:
        """How long this change is still to wait for others, as the object's sync policy says."""
        window_s, now_s = wishes.delay_s(view), self.parts.clock.monotonic()
        version = meta.annotations(desired).get(APPLIED_ANNOTATION, "")
        held = self._gathering.get(key)
        if not window_s or (held is not None and held.version == version and now_s >= held.due_s):
            self._gathering.pop(key, None)
            return 0.0
        if held is None or (held.version != version and wishes.starts_anew(view)):
            held = Gathering(version, now_s + window_s)
        self._gathering[key] = Gathering(version, held.due_s)
        return max(held.due_s - now_s, 0.001)

    async def _is_still_ours(self, key: ObjectKey) -> bool:
        """Of an exclusive object, as the view says now: it may have begun elsewhere while we heard nothing."""
        try:
            live = await self.parts.upstream(key.cluster).resource(self.gvr).get(key.name, namespace=key.namespace)
        except NotFound:
            return False
        return not meta.deletion_timestamp(live)

    async def _live(self, actual: JSONObject) -> JSONObject | None:
        """A copy with its managers, as it is now: who changed it must be asked before it is put right, which takes the fields from them."""
        try:
            return await self.parts.downstream.resource(self.gvr).get(meta.name(actual), namespace=meta.namespace(actual))
        except NotFound:
            return None

    def _account(self, view: JSONObject, drift: Drift) -> str:
        """What was put right, for the user's object."""
        identity = self.parts.identity
        self.parts.record.observe_drift(str(self.gvr.group_resource))
        who = drift.by or "somebody"
        log.warning("%s %s on %s: %s changed by %s, put right", self.gvr.resource, meta.key(view), identity.name, drift.fields, who)
        return account(view, identity.key, identity.name, drift, self.parts.clock.now())

    def _standing(self, view: JSONObject) -> TMCError | None:
        """What is wrong with the object however well it is synced."""
        found = wishes.problems(view)
        return self._error(ErrorType.CONFIGURATION, "; ".join(found)) if found else None

    def _error(self, kind: ErrorType, message: str) -> TMCError:
        return TMCError(kind, message, self.parts.identity.name, "select")

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
            async with self.parts.breakers.of("delete").guard(self._subject(key)):
                is_gone = await self._delete_downstream(key)
            if not is_gone:
                return Result()  # its deletion downstream brings us back here
        except (StatusError, TransportError, TMCError) as error:
            return await self._failed(key, view, error)
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
        what = f"{self.gvr.group_resource} {key}"
        if self.downstream_get(self.parts.namespaces.downstream_key(self.gvr.group_resource, key)) is None:
            self.parts.held.release(what)
            return Result()
        try:
            await self.parts.upstream(key.cluster).resource(self.gvr).get(key.name, namespace=key.namespace)
            self.parts.held.release(what)
        except Conflict as error:
            if not (restore := restoration(error)):
                raise
            self.parts.held.hold(what, restore)
            return Result(requeue_after_s=AGAIN_S)
        except NotFound as error:
            self.parts.held.release(what)
            if error.is_of(self.gvr.group_resource, key.name):  # and not the SyncTarget: whoever deletes that leaves what runs
                return await self._delete_left_over(key)
        return Result()

    async def _delete_left_over(self, key: ObjectKey) -> Result:
        """A copy of what is no more: there is no object left to tell its user on."""
        try:
            async with self.parts.breakers.of("delete").guard(self._subject(key)):
                await self._delete_downstream(key)
        except TMCError as refused:
            return Result(requeue_after_s=refused.retry_after_s or RETRY_TERMINAL_S)
        return Result()

    def _subject(self, key: ObjectKey) -> str:
        return f"{self.gvr.group_resource} {key}"

    async def _delete_downstream(self, key: ObjectKey) -> bool:
        """Whether the copy is gone. Objects that are not ours are left alone and count as gone."""
        target = self.parts.namespaces.downstream_key(self.gvr.group_resource, key)
        resource = self.parts.downstream.resource(self.gvr)
        try:
            actual = await resource.get(target.name, namespace=target.namespace)
            if meta.labels(actual).get(DOWNSTREAM_CLUSTER_LABEL) != self.parts.identity.key:
                return True
            if not meta.deletion_timestamp(actual):
                # An exclusive copy is gone when its Pods are: somebody waits for that to begin.
                propagation = "Foreground" if wishes.EXCLUSIVE in meta.labels(actual) else "Background"
                await resource.delete(target.name, namespace=target.namespace, uid=meta.uid(actual), propagation=propagation)
                actual = await resource.get(target.name, namespace=target.namespace)
        except NotFound as error:
            if not error.is_of(self.gvr.group_resource, target.name):
                raise  # the cluster does not serve the resource at the moment: that says nothing about the copy
            return True
        return False

    async def _failed(self, key: ObjectKey, view: JSONObject, raised: Exception, desired: JSONObject | None = None) -> Result:
        """Tell the user on their object, then try again: at once with back-off where that helps, else later.

        Args: desired: what could not be applied, where that is what failed.
        """
        operation = "delete" if meta.deletion_timestamp(view) else "apply"
        error = classify(
            raised, cluster=self.parts.identity.name, operation=operation, resource=self.gvr.group_resource,
            subject=f"{key.namespace}/{key.name}".lstrip("/"),
        )  # fmt: skip
        self.parts.record.observe_error(error, str(self.gvr.group_resource))
        if origin := projected_from(view):
            self.parts.record.observe_projection(str(self.gvr.group_resource), origin, failed=True)
        level = logging.DEBUG if error.retry_after_s else logging.WARNING  # its breaker, or the cluster, has said so already
        log.log(level, "%s %s on %s: %s", self.gvr.resource, key, self.parts.identity.name, error)
        if desired is not None and not self._attempts.failed(key, view, desired):
            advice = f"it is not tried again until the object changes ({wishes.MAX_RETRIES}, {wishes.ERROR_POLICY})"
            await self._report(key, view, replace(error, retryable=False, advice=advice))
            return Result()
        await self._report(key, view, error)
        if error.retryable:
            raise error
        return Result(requeue_after_s=error.retry_after_s or RETRY_TERMINAL_S)

    def _reported_error(self, view: JSONObject) -> str | None:
        return meta.annotations(view).get(SYNC_ERROR_ANNOTATION + self.parts.identity.key)

    async def _report(
        self, key: ObjectKey, view: JSONObject, error: TMCError | None, drift: str | None = None, *, is_made: bool = False
    ) -> None:
        """Say on the user's object how it fares here.

        Args: drift: the account of a correction, if there was one. is_made: the copy is there; who projected it wants to know.
        """
        own = self.parts.identity.key
        is_news = is_made and PROJECTED_ANNOTATION + own in meta.annotations(view) and MADE_ANNOTATION + own not in meta.annotations(view)
        text = json.dumps(error.to_object(), separators=(",", ":"), sort_keys=True) if error is not None else None
        if self._reported_error(view) == text and drift is None and not is_news:
            return
        wanted: JSONObject = meta.copy_json(view)
        meta.set_annotation(wanted, SYNC_ERROR_ANNOTATION + own, text)
        if drift is not None:
            meta.set_annotation(wanted, DRIFT_ANNOTATION + own, drift)
        if is_news:
            meta.set_annotation(wanted, MADE_ANNOTATION + own, rfc3339(self.parts.clock.now()))
        await write_view(self.parts.upstream(key.cluster).resource(self.gvr), view, wanted)


def build_spec_controller(reconciler: SpecReconciler, upstream: Informer, downstream: Informer, turns: Turns) -> Controller:
    finalizer = SYNCER_FINALIZER + reconciler.parts.identity.key

    def of_view(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> list[ObjectKey]:
        return [key] if news.of_spec(old, new, finalizer) else []

    def of_copy(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> list[ObjectKey]:
        found = reconciler.parts.namespaces.upstream_key(reconciler.gvr.group_resource, key)
        if found is None:
            return []
        reconciler.sent.shown(found, new)
        return [found] if news.of_spec(old, new) else []

    parts, resource = reconciler.parts, str(reconciler.gvr.group_resource)
    controller = Controller(
        f"syncer-spec-{resource}", turns(reconciler.reconcile), clock=parts.clock, workers=parts.config.workers,
        rate_limiter=retries(parts.clock, parts.identity), observe=parts.record.hook(resource, DOWN),
    )  # fmt: skip
    controller.watch(upstream, of_view)
    controller.watch(downstream, of_copy)
    return controller
