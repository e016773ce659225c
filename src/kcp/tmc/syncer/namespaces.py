"""Namespaces downstream: made when the first object needs one, removed when its workspace namespace has left and it is empty of ours.

A downstream namespace carries its locator, so the way back from a downstream object to its workspace needs no memory.
Source: kcp release-0.11 pkg/syncer/spec (ensureDownstreamNamespaceExists), pkg/syncer/namespace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, Conflict, NotFound
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.tmc.model.kinds import NAMESPACES
from kcp.tmc.model.names import NAMESPACE_LOCATOR_ANNOTATION, SYNCER_FIELD_MANAGER, NamespaceLocator
from kcp.tmc.syncer.downstream import downstream_name, namespace_object, upstream_name
from kcp.tmc.syncer.held import HeldDeletions, restoration
from kcp.tmc.syncer.identity import Identity
from kcp.tmc.syncer.write import retries, write_view


@dataclass(slots=True)
class NamespaceKeeper:
    """Knows which downstream namespace stands for which namespace of a workspace."""

    identity: Identity
    downstream: Client
    get: Callable[[ObjectKey], JSONObject | None]
    """A downstream namespace from the informer; it is not changed."""
    _made: dict[str, str] = field(default_factory=dict)
    """Downstream namespaces that were made or checked → locator; only saves requests, the cluster has the truth."""

    async def ensure(self, cluster: ClusterName, namespace: str) -> str:
        """Name of the downstream namespace, which exists afterwards. Raises Conflict if the name is taken by another locator."""
        locator = self.identity.locator(cluster, namespace)
        name = locator.downstream_namespace
        held = self.get(ObjectKey(ClusterName(""), "", name))
        if held is None and name not in self._made:
            held = await self._create(locator)
        if held is not None:
            self._remember(held, locator)
        return name

    async def ensure_anew(self, cluster: ClusterName, namespace: str) -> None:
        """The same when the cluster says that the namespace is not there, whatever is remembered of it: somebody removed it."""
        locator = self.identity.locator(cluster, namespace)
        self._remember(await self._create(locator), locator)

    def _remember(self, namespace: JSONObject, locator: NamespaceLocator) -> None:
        self._check(namespace, locator)
        self._made[meta.name(namespace)] = locator.to_json()

    async def _create(self, locator: NamespaceLocator) -> JSONObject:
        namespaces = self.downstream.resource(NAMESPACES)
        try:
            return await namespaces.create(namespace_object(locator, self.identity.key), field_manager=SYNCER_FIELD_MANAGER)
        except AlreadyExists:
            return await namespaces.get(locator.downstream_namespace)

    @staticmethod
    def _check(namespace: JSONObject, locator: NamespaceLocator) -> None:
        found = meta.annotations(namespace).get(NAMESPACE_LOCATOR_ANNOTATION, "")
        if found != locator.to_json():
            raise Conflict(
                f'namespace "{meta.name(namespace)}" exists in cluster "{locator.target_name}" for another locator: {found or "none"}'
            )

    def locator(self, namespace: str) -> NamespaceLocator | None:
        """What a downstream namespace stands for; None if it is not one of ours, or of a former SyncTarget of our name."""
        obj = self.get(ObjectKey(ClusterName(""), "", namespace))
        text = meta.annotations(obj).get(NAMESPACE_LOCATOR_ANNOTATION, "") if obj is not None else self._made.get(namespace, "")
        try:
            locator = NamespaceLocator.from_json(text) if text else None
        except ValueError:
            return None
        mine = locator is not None and locator == self.identity.locator(locator.cluster, locator.namespace)
        return locator if mine else None

    def upstream_key(self, resource: GroupResource, key: ObjectKey) -> ObjectKey | None:
        """The workspace object that a downstream object is a copy of."""
        locator = self.locator(key.namespace)
        return ObjectKey(locator.cluster, locator.namespace, upstream_name(resource, key.name)) if locator else None

    def downstream_key(self, resource: GroupResource, key: ObjectKey) -> ObjectKey:
        """Inverse of `upstream_key`."""
        locator = self.identity.locator(key.cluster, key.namespace)
        return ObjectKey(ClusterName(""), locator.downstream_namespace, downstream_name(resource, key.name))

    def forget(self, namespace: str) -> None:
        self._made.pop(namespace, None)


@dataclass(frozen=True, slots=True)
class NamespaceReconciler:
    """Removes a downstream namespace once its workspace namespace has left this target and holds nothing of it any more."""

    identity: Identity
    keeper: NamespaceKeeper
    upstream_get: Callable[[ObjectKey], JSONObject | None]
    upstream: Callable[[ClusterName], Client]
    downstream: Client
    is_used: Callable[[ObjectKey], bool]
    """Whether any object of ours is in this downstream namespace, or any object placed here is in this workspace namespace."""
    clean_delay_s: float
    held: HeldDeletions

    async def reconcile(self, key: ObjectKey) -> Result:
        view = self.upstream_get(key)
        if view is not None and not meta.deletion_timestamp(view):
            self.held.release(f"{NAMESPACES.group_resource} {key}")
            return Result()
        locator = self.identity.locator(key.cluster, key.name)
        if self.is_used(ObjectKey(key.cluster, key.name, "")) or self.is_used(ObjectKey(ClusterName(""), locator.downstream_namespace, "")):
            return Result(requeue_after_s=self.clean_delay_s)
        if view is None and not await self._absent(key):
            return Result(requeue_after_s=self.clean_delay_s)
        await self._delete(locator)
        if view is not None:
            wanted: JSONObject = meta.copy_json(view)
            meta.set_label(wanted, self.identity.state_label, None)
            try:
                await write_view(self.upstream(key.cluster).resource(NAMESPACES), view, wanted)
            except NotFound:
                pass  # the namespace went while we were at it
        return Result()

    async def _absent(self, key: ObjectKey) -> bool:
        """A live answer: the cache alone may be behind."""
        what = f"{NAMESPACES.group_resource} {key}"
        try:
            await self.upstream(key.cluster).resource(NAMESPACES).get(key.name)
        except Conflict as error:
            if not (restore := restoration(error)):
                raise
            self.held.hold(what, restore)
            return False
        except NotFound as error:
            self.held.release(what)
            return error.is_of(NAMESPACES.group_resource, key.name)
        return False

    async def _delete(self, locator: NamespaceLocator) -> None:
        name = locator.downstream_namespace
        held = self.keeper.get(ObjectKey(ClusterName(""), "", name))
        if held is None or meta.annotations(held).get(NAMESPACE_LOCATOR_ANNOTATION) != locator.to_json():
            return
        try:
            await self.downstream.resource(NAMESPACES).delete(name, uid=meta.uid(held))
        except NotFound:
            pass  # gone already
        self.keeper.forget(name)


def build_namespace_controller(reconciler: NamespaceReconciler, upstream: Informer, downstream: Informer, *, clock: Clock) -> Controller:
    def of_downstream(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        locator = reconciler.keeper.locator(key.name)
        return [ObjectKey(locator.cluster, "", locator.namespace)] if locator is not None else []

    controller = Controller(
        "syncer-namespace", reconciler.reconcile, clock=clock, workers=1, rate_limiter=retries(clock, reconciler.identity)
    )
    controller.watch(upstream)
    controller.watch(downstream, of_downstream)
    return controller
