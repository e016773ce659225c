"""Empties a LogicalCluster that is being deleted, then lets it go.

Everything the cluster serves is deleted, in stages: ordinary objects first (child workspaces among them, and namespaces, which empty
themselves), then the APIBindings that served them, RBAC last, because controllers that finish objects may need it. What is left, and
which finalizers hold it, is said in condition WorkspaceContentDeleted.
Before: informer events of LogicalClusters, Workspaces, APIBindings and Namespaces. After: the API of the cluster itself.
Source: kcp pkg/reconciler/core/logicalclusterdeletion/deletion/logicalcluster_resource_deletor.go.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import MethodNotAllowed, NotFound
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, ResourceClient
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tenancy import kinds
from kcp.tenancy.fresh import FreshReads
from kcp.tenancy.logicalcluster.lifecycle import YOUTH_S, pending_terminators, with_labels

log = logging.getLogger(__name__)

_RBAC = "rbac.authorization.k8s.io"
_SHORTEST_WAIT_S = 0.2
_LONGEST_WAIT_S = 15.0


class ServedResource(Protocol):
    """A resource of a cluster, as the catalog or discovery describes it."""

    @property
    def gvr(self) -> GVR: ...
    @property
    def namespaced(self) -> bool: ...
    @property
    def verbs(self) -> Sequence[str]: ...


ListResources = Callable[[ClusterName], Awaitable[Iterable[ServedResource]]]
"""Of what a cluster serves, that of which it holds objects, every write counted that was answered before."""


@dataclass
class Remaining:
    """What could not be deleted yet."""

    objects: Counter[str] = field(default_factory=Counter)
    finalizers: Counter[str] = field(default_factory=Counter)

    def add(self, resource: GroupResource, objects: Iterable[JSONObject]) -> None:
        for obj in objects:
            self.objects[str(resource)] += 1
            self.finalizers.update(meta.finalizers(obj))

    def __bool__(self) -> bool:
        return bool(self.objects)

    def message(self) -> str:
        """One line with counts, largest names first in alphabetical order, so that it is stable.

        >>> Remaining(Counter({"configmaps": 2}), Counter({"example.com/hold": 1})).message()
        'Some resources are remaining: configmaps has 2 resource instances; held by finalizers: example.com/hold in 1 instances'
        """
        text = "Some resources are remaining: " + ", ".join(f"{r} has {n} resource instances" for r, n in sorted(self.objects.items()))
        if self.finalizers:
            text += "; held by finalizers: " + ", ".join(f"{f} in {n} instances" for f, n in sorted(self.finalizers.items()))
        return text


class Stage(IntEnum):
    """What goes after what. Objects in namespaces go with these; here only those are deleted whose namespace is gone."""

    CLUSTER = 0
    NAMESPACED = 1
    BINDINGS = 2
    RBAC = 3

    @classmethod
    def of(cls, resource: ServedResource) -> Stage:
        if resource.gvr.group == _RBAC:
            return cls.RBAC
        if resource.gvr.group_resource == kinds.API_BINDINGS.group_resource:
            return cls.BINDINGS
        return cls.NAMESPACED if resource.namespaced else cls.CLUSTER


def deletable(resources: Iterable[ServedResource]) -> list[ServedResource]:
    """Those that can be emptied, each once, in the order in which that is done."""
    chosen: dict[GroupResource, ServedResource] = {}
    for resource in resources:
        is_deletable = "list" in resource.verbs and "delete" in resource.verbs
        if is_deletable and resource.gvr.group_resource != kinds.LOGICAL_CLUSTERS.group_resource:
            chosen.setdefault(resource.gvr.group_resource, resource)
    # Namespaces first: nothing is made again in one that is on its way out.
    names = sorted(chosen, key=lambda name: (Stage.of(chosen[name]), name != kinds.NAMESPACES.group_resource, name))
    return [chosen[name] for name in names]


@dataclass
class ContentDeleter:
    """Deletes everything in one logical cluster, as far as it goes in one run."""

    client: Client
    list_held: ListResources

    async def delete(self, cluster: ClusterName) -> list[ServedResource]:
        """Delete one stage; the next begins when the one before is empty. Calling it again continues.

        Returns: what still has objects, up to this stage; in namespaces too, which empty themselves meanwhile.
        """
        held = deletable(await self.list_held(cluster))
        while held:
            stage = Stage.of(held[0])
            for resource in held:
                if Stage.of(resource) == stage:
                    await self._delete_all(cluster, resource)
            held = deletable(await self.list_held(cluster))
            if held and Stage.of(held[0]) <= stage:
                return [resource for resource in held if Stage.of(resource) <= max(stage, Stage.NAMESPACED)]
        return []

    async def look_at(self, cluster: ClusterName, resources: Iterable[ServedResource]) -> Remaining:
        """What there is of these."""
        remaining = Remaining()
        for resource in resources:
            with suppress(NotFound, MethodNotAllowed):
                objects = self.client.cluster(cluster).resource(resource.gvr)
                remaining.add(resource.gvr.group_resource, (await objects.list()).items)
        return remaining

    async def _delete_all(self, cluster: ClusterName, resource: ServedResource) -> None:
        objects = self.client.cluster(cluster).resource(resource.gvr)
        try:
            if live := [o for o in (await objects.list()).items if not meta.deletion_timestamp(o)]:
                await self._delete_live(objects, resource, live)
        except (NotFound, MethodNotAllowed):
            return  # no longer served: the binding or definition behind it has gone, and its objects with it

    async def _delete_live(self, objects: ResourceClient, resource: ServedResource, live: Sequence[JSONObject]) -> None:
        if "deletecollection" in resource.verbs:
            for namespace in sorted({meta.namespace(o) for o in live}):
                await objects.delete_collection(namespace=namespace, propagation="Background")
            return
        for obj in live:
            try:
                await objects.delete(meta.name(obj), namespace=meta.namespace(obj), uid=meta.uid(obj), propagation="Background")
            except NotFound:
                continue


@dataclass
class DeletionReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    content: ContentDeleter
    delete_owner: Callable[[JSONObject], Awaitable[None]]
    commit: Callable[[JSONObject, JSONObject], Awaitable[JSONObject]]
    clock: Clock
    begun_s: dict[ObjectKey, float] = field(default_factory=dict)
    """When each was first looked at. Of many that are deleted at once the last wait for minutes, and are no slower for that."""

    async def reconcile(self, key: ObjectKey) -> Result:
        cluster = self.get(key)
        if cluster is None or not meta.deletion_timestamp(cluster) or kinds.DELETION_FINALIZER not in meta.finalizers(cluster):
            self.begun_s.pop(key, None)
            return Result()
        await self.delete_owner(cluster)
        if pending_terminators(cluster):
            return Result()  # they come first; the removal of the last one wakes this
        taken_s = self.clock.monotonic() - self.begun_s.setdefault(key, self.clock.monotonic())
        held = await self.content.delete(key.cluster)
        if held:
            if taken_s >= YOUTH_S:  # normally all is gone before anybody could read what remains
                await self._report(cluster, await self.content.look_at(key.cluster, held))
            # Most leftovers are gone at once, a stuck one is not hammered.
            return Result(requeue_after_s=min(max(taken_s / 5, _SHORTEST_WAIT_S), _LONGEST_WAIT_S))
        wanted = meta.copy_json(cluster)
        meta.set_finalizers(wanted, (f for f in meta.finalizers(cluster) if f != kinds.DELETION_FINALIZER))
        await self.commit(cluster, wanted)
        self.begun_s.pop(key, None)
        log.info("content of logical cluster is deleted", extra={"key": str(key)})
        return Result()

    async def _report(self, cluster: JSONObject, remaining: Remaining) -> None:
        if remaining:
            cluster = await self.commit(cluster, self._reported(cluster, remaining))
            await self.commit(cluster, with_labels(cluster))

    def _reported(self, cluster: JSONObject, remaining: Remaining) -> JSONObject:
        wanted: JSONObject = meta.copy_json(cluster)
        reason = "SomeFinalizersRemain" if remaining.finalizers else "SomeResourcesRemain"
        condition = conditions.build(
            kinds.CONTENT_DELETED, conditions.FALSE, reason=reason, message=remaining.message(), severity="Info",
            now=rfc3339(self.clock.now()),
        )  # fmt: skip
        conditions.set_condition(wanted, condition)
        wanted["status"]["phase"] = kinds.DELETING
        return wanted


def build_deletion(
    client: Client, informers: InformerFactory, clock: Clock, *, list_held: ListResources, clusters: FreshReads | None = None
) -> Controller:
    """The controller that empties deleted LogicalClusters."""
    clusters = clusters or FreshReads(informers.informer(kinds.LOGICAL_CLUSTERS), client)

    async def delete_owner(cluster: JSONObject) -> None:
        """A cluster that users may delete directly takes its Workspace along; else the Workspace came first."""
        owner = meta.nested(cluster, "spec", "owner", default={})
        if not meta.nested(cluster, "spec", "directlyDeletable") or owner.get("resource") != kinds.WORKSPACES.resource:
            return
        try:
            await client.cluster(owner["cluster"]).resource(kinds.WORKSPACES).delete(owner["name"], uid=owner.get("uid", ""))
        except NotFound:
            return

    def deleted_content(key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """Something has gone for good: its cluster may be empty now."""
        owner = ObjectKey(key.cluster, "", kinds.LOGICAL_CLUSTER_NAME)
        if new is None and (cluster := clusters.get(owner)) is not None and meta.deletion_timestamp(cluster):
            yield owner

    reconciler = DeletionReconciler(clusters.get, ContentDeleter(client, list_held), delete_owner, clusters.commit, clock)
    controller = Controller("logicalcluster-deletion", reconciler.reconcile, clock=clock)
    controller.watch(informers.informer(kinds.LOGICAL_CLUSTERS))
    for gvr in (kinds.WORKSPACES, kinds.API_BINDINGS, kinds.NAMESPACES):
        controller.watch(informers.informer(gvr), deleted_content)
    return controller
