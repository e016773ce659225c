"""Up from the cluster: objects that its workspaces should see are shown there, kept as they are, and gone when they are gone.

Which: those that bear the label `state.workload.kcp.io/<key>: Upsync`, and volumes that a claim of a synced namespace is bound to. The
order of writes, object, status, and last the version that is shown, makes sure that whatever moment the syncer dies at, the rest is made
good.
Before: `engine`. After: the upsyncer's view, `tmc.view.upsyncer`.
Source: kcp release-0.11 pkg/syncer/upsync/{upsync_reconcile,upsync_controller}.go.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Invalid, NotFound
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, ResourceClient
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.controller.informer import Informer
from kcp.tmc.model.names import (
    DOWNSTREAM_CLUSTER_LABEL,
    NAMESPACE_LOCATOR_ANNOTATION,
    STATE_LABEL,
    STATE_UPSYNC,
    SYNCER_FIELD_MANAGER,
    SYNCER_FINALIZER,
    UPSYNCED_VERSION_ANNOTATION,
)
from kcp.tmc.syncer.former import locator_of
from kcp.tmc.syncer.parts import Parts, Turns
from kcp.tmc.syncer.record import UP
from kcp.tmc.syncer.write import retries

log = logging.getLogger(__name__)

PODS, VOLUMES = GroupResource("", "pods"), GroupResource("", "persistentvolumes")
_DROPPED = ("uid", "resourceVersion", "generation", "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences",
            "creationTimestamp", "selfLink")  # fmt: skip


@dataclass(frozen=True, slots=True)
class UpsyncReconciler:
    """For one resource; keys are upstream keys."""

    gvr: GVR
    namespaced: bool
    parts: Parts
    upstream: Callable[[ClusterName], Client]
    """The upsyncer's view of a workspace."""
    downstream_get: Callable[[ObjectKey], JSONObject | None]
    shown_get: Callable[[ObjectKey], JSONObject | None]
    """What workspaces show; its metadata is enough."""

    async def reconcile(self, key: ObjectKey) -> Result:
        below, shown = self._below(key), self.shown_get(key)
        copy = self.downstream_get(below)
        if copy is None or self.place_of(copy) != key:
            if shown is not None and await self._is_gone(below, key):
                await self._take_back(key, shown)
            return Result()
        version, leaves = meta.resource_version(copy), bool(meta.deletion_timestamp(copy))
        if shown is None:
            if not leaves:
                await self._show(key, copy)
        elif meta.annotations(shown).get(UPSYNCED_VERSION_ANNOTATION) != version:
            await self._update(key, copy, shown)
        if shown is not None and leaves and not meta.deletion_timestamp(shown):
            await self._delete(key, shown)  # it stays for its finalizer until the copy is gone
        return Result()

    def place_of(self, copy: JSONObject) -> ObjectKey | None:
        """Where in the workspaces an object of the cluster is to be shown; None: nowhere."""
        claim = meta.nested(copy, "spec", "claimRef", "namespace", default="") if self.gvr.group_resource == VOLUMES else ""
        if meta.labels(copy).get(self.parts.identity.state_label) != STATE_UPSYNC and not claim:
            return None
        if self.namespaced:
            return self.parts.namespaces.upstream_key(self.gvr.group_resource, meta.key(copy))
        locator = locator_of(copy) or (self.parts.namespaces.locator(claim) if claim else None)
        if locator is None or locator != self.parts.identity.locator(locator.cluster, locator.namespace):
            return None
        return ObjectKey(locator.cluster, "", meta.name(copy))

    def _below(self, key: ObjectKey) -> ObjectKey:
        if self.namespaced:
            return self.parts.namespaces.downstream_key(self.gvr.group_resource, key)
        return ObjectKey(ClusterName(""), "", key.name)

    def _resource(self, key: ObjectKey) -> ResourceClient:
        return self.upstream(key.cluster).resource(self.gvr)

    async def _show(self, key: ObjectKey, copy: JSONObject) -> None:
        wanted = self.prepared(key, copy)
        made = await self._resource(key).create(wanted, field_manager=SYNCER_FIELD_MANAGER)
        await self._write_status(key, wanted, made)
        stamp = {"metadata": {"annotations": {UPSYNCED_VERSION_ANNOTATION: meta.resource_version(copy)}}}
        await self._resource(key).patch(key.name, stamp, namespace=key.namespace, field_manager=SYNCER_FIELD_MANAGER)

    async def _update(self, key: ObjectKey, copy: JSONObject, shown: JSONObject) -> None:
        wanted, resource = self.prepared(key, copy), self._resource(key)
        try:
            held = await resource.get(key.name, namespace=key.namespace)
            held = await self._write_status(key, wanted, held)
            meta.set_annotation(wanted, UPSYNCED_VERSION_ANNOTATION, meta.resource_version(copy))
            wanted["metadata"]["resourceVersion"] = meta.resource_version(held)
            await resource.update(wanted, field_manager=SYNCER_FIELD_MANAGER)
        except NotFound as error:
            if not error.is_of(self.gvr.group_resource, key.name):
                raise
        except Invalid:
            log.info("%s %s cannot become what it is in %s; it is made anew", self.gvr.resource, key, self.parts.identity.name)
            await self._take_back(key, shown)  # its going brings us back here

    async def _write_status(self, key: ObjectKey, wanted: JSONObject, held: JSONObject) -> JSONObject:
        if not wanted.get("status") or wanted["status"] == held.get("status"):
            return held
        reported = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": meta.resource_version(held)}}
        return await self._resource(key).update(reported, subresource="status", field_manager=SYNCER_FIELD_MANAGER)

    async def _is_gone(self, below: ObjectKey, key: ObjectKey) -> bool:
        """A live answer: the cache alone may be behind."""
        try:
            live = await self.parts.downstream.resource(self.gvr).get(below.name, namespace=below.namespace)
        except NotFound as error:
            return error.is_of(self.gvr.group_resource, below.name)
        return self.place_of(live) != key

    async def _take_back(self, key: ObjectKey, shown: JSONObject) -> None:
        try:
            if meta.finalizers(shown):
                patch = {"metadata": {"finalizers": None, "uid": meta.uid(shown)}}
                await self._resource(key).patch(key.name, patch, namespace=key.namespace, field_manager=SYNCER_FIELD_MANAGER)
            await self._delete(key, shown)
        except NotFound as error:
            if not error.is_of(self.gvr.group_resource, key.name):
                raise

    async def _delete(self, key: ObjectKey, shown: JSONObject) -> None:
        try:
            await self._resource(key).delete(key.name, namespace=key.namespace, uid=meta.uid(shown))
        except NotFound as error:
            if not error.is_of(self.gvr.group_resource, key.name):
                raise

    def prepared(self, key: ObjectKey, copy: JSONObject) -> JSONObject:
        """What the workspace shows of an object of the cluster, before the object's own transformation. `copy` is not changed."""
        identity = self.parts.identity
        metadata = {field: value for field, value in meta.metadata(copy).items() if field not in _DROPPED}
        wanted: JSONObject = {**copy, "metadata": {**metadata, "finalizers": [SYNCER_FINALIZER + identity.key]}}
        if key.namespace:
            wanted["metadata"]["namespace"] = key.namespace
        wanted["metadata"]["labels"] = {**metadata.get("labels", {}), identity.state_label: STATE_UPSYNC}
        wanted["metadata"]["annotations"] = dict(metadata.get("annotations") or {})
        meta.set_label(wanted, DOWNSTREAM_CLUSTER_LABEL, None)
        meta.set_annotation(wanted, NAMESPACE_LOCATOR_ANNOTATION, None)
        if self.gvr.group_resource == PODS:
            # No pod may be created with those of a debugger.
            wanted["spec"] = {field: value for field, value in copy["spec"].items() if field != "ephemeralContainers"}
        if self.gvr.group_resource == VOLUMES and (claim := meta.nested(copy, "spec", "claimRef")):
            locator = self.parts.namespaces.locator(claim.get("namespace", ""))
            if locator is not None:
                named = {field: value for field, value in claim.items() if field not in ("uid", "resourceVersion")}
                wanted["spec"] = {**copy["spec"], "claimRef": {**named, "namespace": locator.namespace}}
        return wanted


def build_upsync_controller(reconciler: UpsyncReconciler, downstream: Informer, shown: Informer, turns: Turns) -> Controller:
    def of_copy(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> list[ObjectKey]:
        places = (reconciler.place_of(obj) for obj in (old, new) if obj is not None)
        return [place for place in places if place is not None]

    parts, resource = reconciler.parts, str(reconciler.gvr.group_resource)
    controller = Controller(
        f"syncer-upsync-{resource}", turns(reconciler.reconcile), clock=parts.clock, workers=parts.config.workers,
        rate_limiter=retries(parts.clock, parts.identity), observe=parts.record.hook(resource, UP),
    )  # fmt: skip
    controller.watch(downstream, of_copy)
    controller.watch(shown)
    return controller


def upsyncing(view: JSONObject, key: str) -> JSONObject:
    """A workload whose pods are shown in its workspace by target K. `view` is not changed."""
    wanted: JSONObject = meta.copy_json(view)
    template = wanted["spec"]["template"]
    template.setdefault("metadata", {})
    meta.set_label(template, STATE_LABEL + key, STATE_UPSYNC)
    meta.set_label(template, DOWNSTREAM_CLUSTER_LABEL, key)
    return wanted


@dataclass(slots=True)
class Upsyncing:
    """Starts a controller for every resource that is to be shown, as soon as both sides serve it."""

    parts: Parts
    view: Client
    """The upsyncer's view, all workspaces in one."""
    shown: InformerFactory
    """Of that view."""
    downstream: InformerFactory
    turns: Turns
    run: Callable[[Controller], None]
    _started: set[GVR] = field(default_factory=set)

    async def follow(self, served: Collection[GVR]) -> None:
        """Args: served: by the cluster. Raises: StatusError, TransportError."""
        for found in await self.view.discover():
            gvr = found.gvr
            wanted = {gvr.resource, str(gvr.group_resource)} & set(self.parts.config.upsync)
            if wanted and gvr in served and gvr not in self._started and "watch" in found.verbs:
                self._started.add(gvr)
                self._start(gvr, namespaced=found.namespaced)

    def _start(self, gvr: GVR, *, namespaced: bool) -> None:
        selector = "" if gvr.group_resource == VOLUMES else f"{self.parts.identity.state_label}={STATE_UPSYNC}"
        copies = self.downstream.informer(gvr, label_selector=selector)
        shown = self.shown.informer(gvr, metadata_only=True)
        reconciler = UpsyncReconciler(gvr, namespaced, self.parts, self.view.cluster, copies.get, shown.get)
        controller = build_upsync_controller(reconciler, copies, shown, self.turns)
        self.run(controller)
        self.parts.record.add_controller(str(gvr.group_resource), controller)
        log.info("showing %s of %s in workspaces", gvr, self.parts.identity.name)
