"""Schemas that outlive their deletion: what workspaces have bound goes on being served when the provider deletes it.

kcp keeps the definition of every bound API in `system:bound-crds`. Here, a schema is copied there when it is deleted while it is in use,
before it goes, and the copy goes with the last binding. Before: `server.compose` (plugin), `server.controllers`. After: `source`.
Source: kcp pkg/reconciler/apis/{apibinding,crdcleanup}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import CLUSTER_ANNOTATION, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.exports.boundresources import BoundResource, bound_resources
from kcp.exports.names import BINDINGS, SCHEMAS
from kcp.registry.backend import Attributes

BOUND_CRDS = ClusterName("system:bound-crds")
SCHEMA_CLUSTER, SCHEMA_NAME = "apis.kcp.io/schema-cluster", "apis.kcp.io/schema-name"
SCHEMA_UID = "apis.kcp.io/schema-uid"


def kept_name(uid: str, gr: GroupResource) -> str:
    """
    >>> kept_name("0-1", GroupResource("", "services"))
    'u0-1.services.core'
    """
    return f"u{uid}.{gr.resource}.{gr.group or 'core'}"


def copy_of(schema: JSONObject) -> JSONObject:
    """The schema as it is kept."""
    gr = GroupResource(schema["spec"].get("group") or "", schema["spec"]["names"]["plural"])
    notes = {key: value for key, value in meta.annotations(schema).items() if key != CLUSTER_ANNOTATION}
    notes |= {SCHEMA_CLUSTER: meta.cluster(schema), SCHEMA_NAME: meta.name(schema), SCHEMA_UID: meta.uid(schema)}
    metadata = {"name": kept_name(meta.uid(schema), gr), "annotations": notes}
    return {"apiVersion": SCHEMAS.api_version, "kind": "APIResourceSchema", "metadata": metadata, "spec": schema["spec"]}


class SchemaKeeper:
    """The admission plugin: no schema that is in use goes before its copy is there."""

    def __init__(self, is_bound: Callable[[str], bool], client: Client) -> None:
        """Args: is_bound: uid of a schema → whether any binding serves it."""
        self._is_bound = is_bound
        self._schemas = client.cluster(BOUND_CRDS).resource(SCHEMAS)

    def plugin(self) -> Plugin:
        return Plugin(name="BoundSchemas", validate=self.validate, verbs=("DELETE",), resources=frozenset((SCHEMAS.group_resource,)))

    async def validate(self, attributes: Attributes) -> None:
        schema = attributes.old
        if schema is None or attributes.dry_run or attributes.scope.cluster == BOUND_CRDS or not self._is_bound(meta.uid(schema)):
            return
        try:
            await self._schemas.create(copy_of({**schema, "metadata": _at(schema, attributes.scope.cluster)}))
        except AlreadyExists:
            pass  # an earlier attempt to delete it


def _at(schema: JSONObject, cluster: ClusterName) -> JSONObject:
    """Metadata that say where the schema is, as clients are shown it."""
    held = schema["metadata"]
    return {**held, "annotations": {**(held.get("annotations") or {}), CLUSTER_ANNOTATION: cluster}}


@dataclass(frozen=True, slots=True)
class KeptSchemaReconciler:
    """Deletes copies that nothing is bound to any more."""

    get: Callable[[ObjectKey], JSONObject | None]
    is_bound: Callable[[str], bool]
    for_cluster: Callable[[ClusterName], Client]

    async def reconcile(self, key: ObjectKey) -> Result:
        kept = self.get(key) if key.cluster == BOUND_CRDS else None
        if kept is not None and not self.is_bound(meta.annotations(kept).get(SCHEMA_UID, "")):
            try:
                await self.for_cluster(key.cluster).resource(SCHEMAS).delete(key.name, uid=meta.uid(kept))
            except NotFound:
                pass  # somebody else was quicker
        return Result()


def build_kept_schema_controller(
    informers: InformerFactory, for_cluster: Callable[[ClusterName], Client], *, is_bound: Callable[[str], bool], clock: Clock
) -> Controller:
    """Args: is_bound: uid of a schema → whether any binding serves it; it knows of every binding that was ever answered."""
    schemas, bindings = informers.informer(SCHEMAS, metadata_only=True), informers.informer(BINDINGS)

    def released(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """Copies of what a binding has bound no more."""
        gone = set(_bound(old)) - set(_bound(new))
        names = sorted(kept_name(bound.schema_uid, bound.group_resource) for bound in gone)
        return [held for name in names if schemas.get(held := ObjectKey(BOUND_CRDS, "", name)) is not None]

    controller = Controller("boundschemas", KeptSchemaReconciler(schemas.get, is_bound, for_cluster).reconcile, clock=clock)
    controller.watch(schemas)
    controller.watch(bindings, released)
    return controller


def _bound(binding: Mapping[str, Any] | None) -> Iterable[BoundResource]:
    return bound_resources(dict(binding)) if binding is not None else ()
