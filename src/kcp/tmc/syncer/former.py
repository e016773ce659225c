"""What a former SyncTarget of the same name left in the cluster.

A SyncTarget that is deleted leaves its copies running. Made anew, it has another uid and so other downstream namespaces: the same objects
are placed there once more, and would run twice. A former namespace goes once its successor holds objects.
Before: `engine`. After: the physical cluster.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.tmc.model.kinds import NAMESPACES, SYNC_TARGETS
from kcp.tmc.model.names import NAMESPACE_LOCATOR_ANNOTATION, NamespaceLocator
from kcp.tmc.syncer.held import AGAIN_S
from kcp.tmc.syncer.identity import Identity
from kcp.tmc.syncer.write import retries

BY_ORIGIN = "tmc-origin"
"""Index of downstream namespaces: the workspace namespace that they stand for."""

LOOK_AGAIN_S = 2.0


def locator_of(namespace: Mapping[str, Any]) -> NamespaceLocator | None:
    """None for a namespace that is nobody's copy."""
    text = meta.annotations(namespace).get(NAMESPACE_LOCATOR_ANNOTATION, "")
    try:
        return NamespaceLocator.from_json(text) if text else None
    except ValueError:
        return None


def index_by_origin(namespace: Mapping[str, Any]) -> Iterable[str]:
    locator = locator_of(namespace)
    return [str(_origin(locator))] if locator is not None else []


def _origin(locator: NamespaceLocator) -> ObjectKey:
    return ObjectKey(locator.cluster, "", locator.namespace)


@dataclass(frozen=True, slots=True)
class FormerReconciler:
    """Keys are those of downstream namespaces."""

    identity: Identity
    get: Callable[[ObjectKey], JSONObject | None]
    holds_objects: Callable[[str], bool]
    """Whether this downstream namespace has an object of ours."""
    workspace: Client
    """Of the SyncTarget."""
    downstream: Client
    may_delete: Callable[[], Awaitable[bool]]
    """Whether the control plane is none that was restored from a backup, and may not know what is in there."""

    async def reconcile(self, key: ObjectKey) -> Result:
        namespace = self.get(key)
        locator = locator_of(namespace) if namespace is not None else None
        if namespace is None or locator is None or not self.is_former(locator) or meta.deletion_timestamp(namespace):
            return Result()
        if not self.holds_objects(self.identity.locator(locator.cluster, locator.namespace).downstream_namespace):
            return Result(requeue_after_s=LOOK_AGAIN_S)
        target = await self.workspace.resource(SYNC_TARGETS).get(self.identity.name)
        if meta.uid(target) != self.identity.uid:
            return Result()  # this syncer is itself a former one
        if not await self.may_delete():
            return Result(requeue_after_s=AGAIN_S)
        try:
            await self.downstream.resource(NAMESPACES).delete(key.name, uid=meta.uid(namespace))
        except NotFound:
            pass  # somebody was quicker
        return Result()

    def is_former(self, locator: NamespaceLocator) -> bool:
        mine = (locator.target_cluster, locator.target_name) == (self.identity.cluster, self.identity.name)
        return mine and locator.target_uid != self.identity.uid


def build_former_controller(reconciler: FormerReconciler, downstream: Informer, *, clock: Clock) -> Controller:
    """Args: downstream: namespaces with index BY_ORIGIN."""

    def of_origin(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        locator = locator_of(new) if new is not None else None
        found = downstream.by_index(BY_ORIGIN, str(_origin(locator))) if locator is not None else ()
        return [ObjectKey(ClusterName(""), "", meta.name(ns)) for ns in found if meta.name(ns) != key.name] + [key]

    controller = Controller("syncer-former", reconciler.reconcile, clock=clock, workers=1, rate_limiter=retries(clock, reconciler.identity))
    controller.watch(downstream, of_origin)
    return controller
