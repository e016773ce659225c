"""The namespace controller: empties a namespace that is being deleted, says in its conditions how far it is, then lets it go.

One controller for all logical clusters. Before: `server.compose`, simulated clusters. After: `content`.
Source: kubernetes pkg/controller/namespace/namespace_controller.go and deletion/{namespaced_resources_deleter,status_condition_utils}.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound, StatusError
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import ResourceClient
from kcp.client.transport import TransportError
from kcp.controller.builtin.content import Leftovers, delete_content
from kcp.controller.builtin.kinds import NAMESPACES, ForCluster, ListResources
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.controller.informer import Informer

FINALIZER = "kubernetes"
_SOONEST_S, _LATEST_S = 0.2, 15.0


def build_namespace_controller(
    informers: InformerFactory, *, for_cluster: ForCluster, list_resources: ListResources, clock: Clock, workers: int = 8
) -> Controller:
    """Args: informers: of one cluster, or of `*`. list_resources: what may have objects in a namespace."""
    namespaces = informers.informer(NAMESPACES)
    reconciler = NamespaceReconciler(namespaces, for_cluster, list_resources, clock)
    controller: Controller = Controller("namespace", reconciler.reconcile, clock=clock, workers=workers)
    controller.watch(namespaces)
    return controller


@dataclass
class NamespaceReconciler:
    namespaces: Informer
    for_cluster: ForCluster
    list_resources: ListResources
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        cached = self.namespaces.get(key)
        if cached is None or not _is_ours(cached):
            return Result()
        client = self.for_cluster(key.cluster)
        resource = client.resource(NAMESPACES)
        try:
            # Content is deleted only for what the server itself says is being deleted, never on the word of a mirror.
            namespace = await resource.get(key.name)
            if meta.uid(namespace) != meta.uid(cached) or not _is_ours(namespace):
                return Result()
            try:
                resources = await self.list_resources(key.cluster)
            except (StatusError, TransportError) as error:
                await self._report(resource, namespace, Leftovers(), discovery_failure=str(error))
                raise
            left = await delete_content(client, resources, key.name)
            if not left.is_clean or _is_held_by_others(namespace):
                namespace = await self._report(resource, namespace, left)
            if not left.is_clean:
                return Result(requeue_after_s=self._next_look_s(namespace))
            await _finalize(resource, namespace)
        except NotFound:
            return Result()
        return Result()

    async def _report(self, resource: ResourceClient, namespace: JSONObject, left: Leftovers, *, discovery_failure: str = "") -> JSONObject:
        wanted = meta.copy_json(namespace)
        meta.ensure(wanted, "status")["phase"] = "Terminating"
        now = rfc3339(self.clock.now())
        for condition in _conditions(left, discovery_failure, now):
            conditions.set_condition(wanted, condition)
        return await commit(resource, namespace, wanted)

    def _next_look_s(self, namespace: Mapping[str, object]) -> float:
        """Soon at first, later the longer it takes: content that waits for something has been waiting for a while."""
        age_s = (self.clock.now() - parse_rfc3339(meta.deletion_timestamp(namespace))).total_seconds()
        return min(max(age_s / 4, _SOONEST_S), _LATEST_S)


def _is_ours(namespace: Mapping[str, object]) -> bool:
    """Whether it is being deleted and still waits for this controller."""
    return bool(meta.deletion_timestamp(namespace)) and FINALIZER in meta.nested(namespace, "spec", "finalizers", default=())


def _is_held_by_others(namespace: Mapping[str, object]) -> bool:
    """Whether it stays when this controller lets it go. If not, nobody could read in it that its content is deleted."""
    return bool(meta.finalizers(namespace)) or len(meta.nested(namespace, "spec", "finalizers", default=())) > 1


async def _finalize(resource: ResourceClient, namespace: JSONObject) -> None:
    done = meta.copy_json(namespace)
    done["spec"]["finalizers"] = [f for f in done["spec"]["finalizers"] if f != FINALIZER]
    await resource.update(done, subresource="finalize")


def _conditions(left: Leftovers, discovery_failure: str, now: str) -> list[JSONObject]:
    """The five conditions; True is bad. Those of steps not reached are not touched."""
    found = [
        _condition(
            "NamespaceDeletionDiscoveryFailure", discovery_failure and f"Discovery failed for some groups: {discovery_failure}",
            "DiscoveryFailed", "ResourcesDiscovered", "All resources successfully discovered", now,
        )
    ]  # fmt: skip
    if discovery_failure:
        return found
    failures = f"Failed to delete all resource types, {len(left.failures)} remaining: {', '.join(left.failures)}" if left.failures else ""
    instances = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(left.instances.items()))
    finalizers = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(left.finalizers.items()))
    return [
        *found,
        _condition(
            "NamespaceDeletionGroupVersionParsingFailure", "",
            "GroupVersionParsingFailed", "ParsedGroupVersions", "All legacy kube types successfully parsed", now,
        ),
        _condition(
            "NamespaceDeletionContentFailure", failures,
            "ContentDeletionFailed", "ContentDeleted", "All content successfully deleted, may be waiting on finalization", now,
        ),
        _condition(
            "NamespaceContentRemaining", instances and f"Some resources are remaining: {instances}",
            "SomeResourcesRemain", "ContentRemoved", "All content successfully removed", now,
        ),
        _condition(
            "NamespaceFinalizersRemaining", finalizers and f"Some content in the namespace has finalizers remaining: {finalizers}",
            "SomeFinalizersRemain", "ContentHasNoFinalizers", "All content-preserving finalizers finished", now,
        ),
    ]  # fmt: skip


def _condition(kind: str, bad: str, bad_reason: str, good_reason: str, good: str, now: str) -> JSONObject:
    if bad:
        return conditions.build(kind, conditions.TRUE, reason=bad_reason, message=bad, now=now)
    return conditions.build(kind, conditions.FALSE, reason=good_reason, message=good, now=now)
