"""The garbage collector: deletes dependents whose owners are gone, and carries out foreground and orphaning deletion.

One collector for all resources and logical clusters. Nothing is deleted because it is missing from a mirror: an owner counts as absent only
when the server itself says that the object with that uid does not exist. Before: `server.compose`, simulated clusters. After: `ownergraph`.
Source: kubernetes pkg/controller/garbagecollector/garbagecollector.go; https://kubernetes.io/docs/concepts/architecture/garbage-collection/.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from enum import Enum

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVK, GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import APIResource, Client, ResourceClient
from kcp.controller.builtin.kinds import ForCluster, Monitored
from kcp.controller.builtin.ownergraph import Node, OwnerGraph, plain
from kcp.controller.controller import Controller, Result
from kcp.controller.events import WARNING, EventRecorder

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_ABSENT_REMEMBERED = 500
_NOT_READY_S = 0.25
_UNSEEN_S, _UNRESOLVED_S = 5.0, 15.0


class Owner(Enum):
    """What became of an owner."""

    SOLID = "is there"
    UNSEEN = "is there, says the server, but not mirrored yet: that it goes may never be heard"
    WAITING = "is being deleted and waits for its dependents"
    ABSENT = "is gone for certain"
    INVALID = "is of a namespaced kind, which a cluster-scoped object cannot refer to"
    UNKNOWN = "cannot be looked up: its kind is not served, or not in this way"


_STANDING = frozenset((Owner.SOLID, Owner.UNSEEN, Owner.INVALID, Owner.UNKNOWN))


def build_garbage_collector(
    client: Client, *, for_cluster: ForCluster, resources: Monitored, clock: Clock, workers: int = 8, poll_s: float = 1.0
) -> Controller[Node]:
    """Args: client: to mirror everything through: of one cluster, or of `*`. resources: what there is, asked for every `poll_s`.

    The controller runs its own informers, for resources come and go.
    """
    collector = GarbageCollector(client, for_cluster, resources, clock=clock, poll_s=poll_s)
    controller: Controller[Node] = Controller("garbagecollector", collector.reconcile, clock=clock, workers=workers)
    collector.enqueue_with(controller)
    controller.add_background(collector.graph.run)
    return controller


class GarbageCollector:
    """Decides for one object at a time whether anything still holds it."""

    def __init__(self, client: Client, for_cluster: ForCluster, resources: Monitored, *, clock: Clock, poll_s: float) -> None:
        self.graph = OwnerGraph(client, resources, clock=clock, on_change=self._changed, poll_s=poll_s)
        self._for_cluster = for_cluster
        self._events = EventRecorder(for_cluster, component="garbage-collector-controller", clock=clock)
        self._absent: OrderedDict[tuple[str, ...], None] = OrderedDict()
        """Owners known to be gone. A uid is never used twice, so this is true for ever; bounded."""
        self._controller: Controller[Node]

    def enqueue_with(self, controller: Controller[Node]) -> None:
        """Where to put the nodes that need a look."""
        self._controller = controller

    async def reconcile(self, node: Node) -> Result:
        if not self.graph.is_complete:
            return Result(requeue_after_s=_NOT_READY_S)  # a dependent may be in what is not listed yet
        obj = self.graph.get(node)
        if obj is None:
            return Result()
        try:
            if meta.deletion_timestamp(obj):
                await self._carry_on_deletion(node, obj)
                return Result()
            return await self._collect(node, obj)
        except NotFound as error:
            if error.name != node.key.name:
                raise
            return Result()  # gone meanwhile; the mirror will say so

    # What to look at

    def _changed(self, node: Node, old: JSONObject | None, new: JSONObject | None) -> None:
        if old is not None and new is not None and _relevant(old) == _relevant(new):
            return
        if old is not None:
            self._wake_owners(node, old)
            if new is None or meta.uid(old) != meta.uid(new):
                self._enqueue(self.graph.dependents(meta.uid(old)))
        if new is not None and (meta.owner_references(new) or _waits_for(new, FOREGROUND) or _waits_for(new, ORPHAN)):
            self._enqueue((node,))

    def _wake_owners(self, node: Node, dependent: JSONObject) -> None:
        """Owners that wait for their dependents look again when one changes."""
        for ref in meta.owner_references(dependent):
            for resource in self.graph.resources_of(_owner_kind(ref)):
                owner = _owner_node(node, ref, resource)
                held = self.graph.get(owner)
                if held is not None and _waits_for(held, FOREGROUND):
                    self._enqueue((owner,))

    def _enqueue(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self._controller.enqueue(node)

    # Objects being deleted

    async def _carry_on_deletion(self, node: Node, obj: JSONObject) -> None:
        if _waits_for(obj, ORPHAN):
            await self._orphan_dependents(meta.uid(obj))
            await self._remove_finalizer(node, obj, ORPHAN)
        elif _waits_for(obj, FOREGROUND):
            dependents = self.graph.dependents(meta.uid(obj))
            if any(self._blocks(dependent, meta.uid(obj)) for dependent in dependents):
                self._enqueue(dependents)
            else:
                await self._remove_finalizer(node, obj, FOREGROUND)

    def _blocks(self, dependent: Node, owner_uid: str) -> bool:
        refs = meta.owner_references(self.graph.get(dependent) or {})
        return any(ref.get("uid") == owner_uid and ref.get("blockOwnerDeletion") for ref in refs)

    async def _orphan_dependents(self, owner_uid: str) -> None:
        for dependent in self.graph.dependents(owner_uid):
            obj = self.graph.get(dependent)
            if obj is None:
                continue
            kept = [ref for ref in meta.owner_references(obj) if ref.get("uid") != owner_uid]
            try:
                await self._patch(dependent, obj, ownerReferences=kept)
            except NotFound as error:
                if error.name != dependent.key.name:
                    raise

    async def _remove_finalizer(self, node: Node, obj: JSONObject, finalizer: str) -> None:
        await self._patch(node, obj, finalizers=[f for f in meta.finalizers(obj) if f != finalizer])

    # Objects that may have lost their owners

    async def _collect(self, node: Node, obj: JSONObject) -> Result:
        refs = meta.owner_references(obj)
        states = [await self._owner_state(node, obj, ref) for ref in refs]
        standing = [ref for ref, state in zip(refs, states, strict=True) if state in _STANDING]
        if refs and not standing:
            await self._delete(node, obj, is_awaited=Owner.WAITING in states)
        elif len(standing) < len(refs):
            await self._patch(node, obj, ownerReferences=standing)
        if Owner.UNSEEN in states:  # source: garbagecollector.go, attemptToDeleteWorker (items that are not observed)
            return Result(requeue_after_s=_UNSEEN_S)
        return Result(requeue_after_s=_UNRESOLVED_S if Owner.UNKNOWN in states else None)

    async def _delete(self, node: Node, obj: JSONObject, *, is_awaited: bool) -> None:
        """Delete, unless it moved since it was looked at (Conflict). An awaited object with dependents goes in the foreground as well."""
        dependents = self.graph.dependents(meta.uid(obj)) if is_awaited else []
        if any(_waits_for(self.graph.get(dependent) or {}, FOREGROUND) for dependent in dependents):
            unblocked = [{**ref, "blockOwnerDeletion": False} for ref in meta.owner_references(obj)]
            obj = await self._patch(node, obj, ownerReferences=unblocked)  # a circle of owners would wait for itself for ever
        await self._resource(node).delete(
            node.key.name, namespace=node.key.namespace, uid=meta.uid(obj), resource_version=meta.resource_version(obj),
            propagation="Foreground" if dependents else _propagation(obj),
        )  # fmt: skip

    async def _owner_state(self, node: Node, obj: JSONObject, ref: JSONObject) -> Owner:
        if self.graph.is_deleted(str(ref.get("uid"))):
            return Owner.ABSENT
        resources = self.graph.resources_of(_owner_kind(ref))
        for resource in resources:
            if resource.namespaced and not node.key.namespace:
                await self._report_invalid(node, obj, ref)
                return Owner.INVALID
            held = self.graph.get(_owner_node(node, ref, resource))
            if held is not None and meta.uid(held) == ref.get("uid"):
                return _state_of(held)
        states = [await self._ask(node, obj, ref, resource) for resource in resources]
        for state in (Owner.UNSEEN, Owner.WAITING, Owner.UNKNOWN):
            if state in states:
                return state
        return Owner.ABSENT if states else Owner.UNKNOWN

    async def _ask(self, node: Node, obj: JSONObject, ref: JSONObject, resource: APIResource) -> Owner:
        """What the server itself says about an owner that the mirror does not have."""
        owner = _owner_node(node, ref, resource)
        known = (owner.key.cluster, owner.key.namespace, str(owner.gvr), owner.key.name, str(ref.get("uid")))
        if known in self._absent:
            return Owner.ABSENT
        version = GVK.of(str(ref.get("apiVersion")), "").version
        gvr = GVR(owner.gvr.group, version, plain(owner.gvr).resource)
        try:
            live = (
                await self._for_cluster(owner.key.cluster)
                .resource(gvr, metadata_only=True)
                .get(owner.key.name, namespace=owner.key.namespace)
            )
        except NotFound as error:
            if error.name != owner.key.name:
                return Owner.UNKNOWN  # it is the resource that is not found: says nothing about the object
        else:
            if meta.uid(live) == ref.get("uid"):
                return Owner.WAITING if _waits_for(live, FOREGROUND) else Owner.UNSEEN
        elsewhere = self.graph.find_uid(resource, owner.key.cluster, str(ref.get("uid")))
        if elsewhere is not None and elsewhere.namespace != owner.key.namespace:
            await self._report_invalid(node, obj, ref)
        self._absent[known] = None
        if len(self._absent) > _ABSENT_REMEMBERED:
            self._absent.popitem(last=False)
        return Owner.ABSENT

    async def _report_invalid(self, node: Node, obj: JSONObject, ref: JSONObject) -> None:
        resource = self.graph.resource(node.gvr)
        about = {"apiVersion": node.gvr.api_version, "kind": resource.kind if resource else "", **obj}
        namespace = node.key.namespace
        shown = f"[{ref.get('apiVersion')}/{ref.get('kind')}, namespace: {namespace}, name: {ref.get('name')}, uid: {ref.get('uid')}]"
        message = f'ownerRef {shown} does not exist in namespace "{namespace}"'
        await self._events.record(about, kind=WARNING, reason="OwnerRefInvalidNamespace", message=message)

    # Writing

    def _resource(self, node: Node) -> ResourceClient:
        return self._for_cluster(node.key.cluster).resource(node.plain_gvr)

    async def _patch(self, node: Node, obj: JSONObject, **fields: object) -> JSONObject:
        """Replace metadata fields, unless the object moved since it was looked at (Conflict)."""
        metadata = {**fields, "uid": meta.uid(obj), "resourceVersion": meta.resource_version(obj)}
        return await self._resource(node).patch(node.key.name, {"metadata": metadata}, namespace=node.key.namespace)


def _relevant(obj: JSONObject) -> tuple[object, ...]:
    return (meta.uid(obj), meta.deletion_timestamp(obj), meta.finalizers(obj), meta.owner_references(obj))


def _waits_for(obj: JSONObject, finalizer: str) -> bool:
    return bool(meta.deletion_timestamp(obj)) and finalizer in meta.finalizers(obj)


def _state_of(owner: JSONObject) -> Owner:
    return Owner.WAITING if _waits_for(owner, FOREGROUND) else Owner.SOLID


def _propagation(obj: JSONObject) -> str:
    """A finalizer put on before the deletion says how it is wanted."""
    finalizers = meta.finalizers(obj)
    return "Orphan" if ORPHAN in finalizers else "Foreground" if FOREGROUND in finalizers else "Background"


def _owner_kind(ref: JSONObject) -> GVK:
    return GVK.of(str(ref.get("apiVersion") or ""), str(ref.get("kind") or ""))


def _owner_node(dependent: Node, ref: JSONObject, resource: APIResource) -> Node:
    """Where the owner would be: in the dependent's own cluster, and in its namespace if it has one."""
    namespace = dependent.key.namespace if resource.namespaced else ""
    return Node(resource.gvr, ObjectKey(dependent.key.cluster, namespace, str(ref.get("name") or "")))
