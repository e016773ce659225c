"""Deleting everything inside a namespace, once through: how far it got and what is left.

Before: `namespace`. Source: kubernetes pkg/controller/namespace/deletion/namespaced_resources_deleter.go; KEP-5080 (Pods first).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Conflict, MethodNotAllowed, NotFound, StatusError
from kcp.apimachinery.gvk import GroupResource
from kcp.client.rest import APIResource, Client, ObjectList, ResourceClient


@dataclass(slots=True)
class Leftovers:
    """What one pass left behind."""

    instances: dict[str, int] = field(default_factory=dict)
    """Objects by `resource.group`."""
    finalizers: dict[str, int] = field(default_factory=dict)
    """Objects by finalizer that they wait for."""
    failures: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not self.instances and not self.failures

    def note(self, resource: APIResource, remaining: ObjectList) -> None:
        if not remaining.items:
            return
        self.instances[f"{resource.gvr.resource}.{resource.gvr.group}"] = len(remaining.items)
        for obj in remaining.items:
            for finalizer in meta.finalizers(obj):
                self.finalizers[finalizer] = self.finalizers.get(finalizer, 0) + 1


async def delete_content(client: Client, resources: Iterable[APIResource], namespace: str) -> Leftovers:
    """Ask for the deletion of every object in `namespace`: Pods, and when they are gone the rest; a failing resource stops no other."""
    left = Leftovers()
    pods, others = _in_order(resources)
    for group in (pods, others):
        for resource in group:
            try:
                left.note(resource, await _delete_all(client, resource, namespace))
            except StatusError as error:
                left.failures.append(f"{resource.gvr.group_resource}: {error}")
        if not left.is_clean:
            break
    return left


def _in_order(resources: Iterable[APIResource]) -> tuple[Sequence[APIResource], Sequence[APIResource]]:
    """Pods, and the other deletable resources by name; of several versions the preferred one."""
    chosen: dict[GroupResource, APIResource] = {}
    for resource in resources:
        if not resource.namespaced or "list" not in resource.verbs or not {"delete", "deletecollection"} & set(resource.verbs):
            continue
        held = chosen.get(resource.gvr.group_resource)
        if held is None or (resource.preferred and not held.preferred):
            chosen[resource.gvr.group_resource] = resource
    pods = GroupResource("", "pods")
    return [r for name, r in chosen.items() if name == pods], [chosen[name] for name in sorted(chosen) if name != pods]


async def _delete_all(client: Client, resource: APIResource, namespace: str) -> ObjectList:
    """Objects of one resource that are still there afterwards."""
    objects = client.resource(resource.gvr, metadata_only=True)
    try:
        found = await objects.list(namespace=namespace)
        if not found.items:
            return found
        if not all(meta.deletion_timestamp(obj) for obj in found.items):
            await _delete(objects, resource, found, namespace)
        return await objects.list(namespace=namespace)
    except NotFound:
        return ObjectList([], "")  # the resource itself is gone, and its objects with it


async def _delete(objects: ResourceClient, resource: APIResource, found: ObjectList, namespace: str) -> None:
    if "deletecollection" in resource.verbs:
        try:
            await objects.delete_collection(namespace=namespace, propagation="Background")
            return
        except MethodNotAllowed:
            pass  # discovery says more than the server does: delete one by one
    for obj in found.items:
        if meta.deletion_timestamp(obj):
            continue
        try:
            await objects.delete(meta.name(obj), namespace=namespace, propagation="Background", uid=meta.uid(obj))
        except (NotFound, Conflict):
            continue  # gone meanwhile
