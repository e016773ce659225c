"""Controller of cached resources: identity, whether the resource can be cached, how many objects there are.

observe (object, its resource, its Secret, the count) → conditions and status → commit. Objects are read where they are, so there is nothing
to start and nothing to purge: no finalizer, and `cache` is what `local` is.
Before: `server.controllers`. After: `exports.identities`, `counting`.
Source: kcp pkg/reconciler/cache/clustercachedresources; of 0.31: pkg/reconciler/cache/cachedresources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.exports.cached.admission import unfit
from kcp.exports.cached.counting import Counting
from kcp.exports.cached.index import selector_of
from kcp.exports.cached.names import (
    KIND_ANNOTATION,
    REPLICATION_STARTED,
    RESOURCE_VALID,
    SCOPE_ANNOTATION,
    CachedKinds,
    cached_gvr,
)
from kcp.exports.identities import SECRETS, Identities, identity_secret
from kcp.exports.names import BINDINGS, IDENTITY_VALID
from kcp.registry.resource import Resource, Source

_CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
_BY_SECRET = "identity secret"


@dataclass(frozen=True, slots=True)
class CachedReconciler:
    kinds: CachedKinds
    get: Callable[[ObjectKey], JSONObject | None]
    resolve: Callable[[ClusterName, GVR], Resource | None]
    """The catalog's."""
    counting: Counting
    identities: Identities
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        held = self.get(key)
        if held is None or meta.deletion_timestamp(held):
            return Result()
        client, now = self.for_cluster(key.cluster), rfc3339(self.clock.now())
        wanted = meta.copy_json(held)
        meta.ensure(wanted, "status").setdefault("phase", "Initializing")
        resource = self.resolve(key.cluster, cached_gvr(held))
        reason, message = _verdict(resource, held)
        failure = None
        if resource is not None and not reason:
            meta.set_annotation(wanted, KIND_ANNOTATION, resource.kind)
            meta.set_annotation(wanted, SCOPE_ANNOTATION, "Cluster")
            failure = await self.identities.settle(client, wanted, now)
            names = frozenset(held["spec"].get("names") or ())
            number = await self.counting.count(Source(resource, key.cluster, selector_of(held), names))
            wanted["status"]["resourceCounts"] = {"cache": number, "local": number}
            if conditions.is_true(wanted, IDENTITY_VALID):
                wanted["status"]["phase"] = "Ready"
                conditions.set_condition(wanted, conditions.build(REPLICATION_STARTED, conditions.TRUE, now=now))
        status = conditions.FALSE if reason else conditions.TRUE
        verdict = conditions.build(RESOURCE_VALID, status, reason=reason, message=message, severity="Error", now=now)
        conditions.set_condition(wanted, verdict)
        await commit_both(client.resource(self.kinds.resources), held, wanted)
        if failure is not None:
            raise failure
        return Result()


def _verdict(resource: Resource | None, cached: JSONObject) -> tuple[str, str]:
    """Reason and message of what keeps a resource from being cached; empty if nothing does."""
    gvr = cached_gvr(cached)
    if resource is None:
        return "NoResources", f"{gvr.group_resource} is not served as {gvr.api_version} in this workspace: create its definition or bind it"
    if resource.namespaced:
        return "ResourceNotClusterScoped", f"Resource {gvr.group_resource} is not cluster-scoped"
    fault = unfit(resource)
    return ("NoResources", f"Resource {gvr.group_resource} {fault}") if fault else ("", "")


def build_cached_resource_controller(
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    kinds: CachedKinds,
    resolve: Callable[[ClusterName, GVR], Resource | None],
    counting: Counting,
    new_key: Callable[[], str],
    clock: Clock,
) -> Controller:
    cached = informers.informer(kinds.resources, indexers={_BY_SECRET: identity_secret})
    secrets = informers.informer(SECRETS, metadata_only=True)

    def of_secret(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return cached.index_keys(_BY_SECRET, str(key))

    def in_workspace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """What a workspace serves has changed."""
        return cached.keys(cluster=key.cluster)

    reconciler = CachedReconciler(kinds, cached.get, resolve, counting, Identities(new_key), for_cluster, clock)
    controller = Controller(kinds.kind.lower(), reconciler.reconcile, clock=clock, workers=2)

    def recount(cluster: ClusterName) -> None:
        for key in cached.keys(cluster=cluster):
            controller.enqueue(key)

    counting.told = recount
    controller.watch(cached)
    controller.watch(secrets, of_secret)
    controller.watch(informers.informer(_CRDS), in_workspace)
    controller.watch(informers.informer(BINDINGS), in_workspace)
    return controller
