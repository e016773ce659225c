"""Keeps the labels of granted claims true: on every write by admission, on what is there already by a controller.

observe (a binding whose claims are not applied yet) → list what the workspace serves → commit labels on difference → condition
PermissionClaimsApplied. Admission labels whatever is written from the moment the binding's status says what is granted.
Before: `server.security` (plugin), `server.controllers`. After: `claimindex`.
Source: kcp pkg/admission/permissionclaims, pkg/reconciler/apis/permissionclaimlabel.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import MethodNotAllowed, NotFound
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.client.rest import Client, ResourceClient
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.exports.claimindex import ClaimIndex, claim_labels
from kcp.exports.claims import claim_label
from kcp.exports.grants import CLAIMS_CHANGED, CLAIMS_WITHDRAWN
from kcp.exports.names import (
    BINDING_FINALIZER,
    BINDINGS,
    EXPORT_LABEL,
    PERMISSION_CLAIMS_APPLIED,
    ExportReference,
)
from kcp.registry.backend import Attributes
from kcp.registry.resource import Origin


class ClaimLabels:
    """The admission plugin: what is written carries the labels of the claims that select it."""

    def __init__(self, index: ClaimIndex) -> None:
        self._index = index

    def plugin(self) -> Plugin:
        return Plugin(name="PermissionClaims", mutate=self.mutate)

    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        new, scope = attributes.new, attributes.scope
        if new is None:
            return None
        held = claim_labels(new)
        gr = scope.resource.group_resource
        is_own = scope.resource.origin is Origin.CRD  # the workspace's: what is claimed is what others define
        quiet = is_own or (self._index.is_quiet(scope.cluster) and gr != BINDINGS.group_resource)
        wanted = {} if quiet else self._index.wanted_labels(scope.cluster, gr, new)
        return new if held == wanted else relabelled(new, wanted)


def relabelled(obj: JSONObject, wanted: dict[str, str]) -> JSONObject:
    """A copy with these claim labels and no others."""
    changed: JSONObject = {**obj, "metadata": dict(obj["metadata"])}
    changed["metadata"]["labels"] = dict(meta.labels(obj))
    for label in claim_labels(obj).keys() | wanted.keys():
        meta.set_label(changed, label, wanted.get(label))
    if not changed["metadata"].get("labels"):
        changed["metadata"].pop("labels", None)
    return changed


class ServedResource(Protocol):
    """A resource of a workspace, as the catalog describes it."""

    @property
    def gvr(self) -> GVR: ...
    @property
    def verbs(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class LabelReconciler:
    """Labels what a workspace holds already, once for each change of what its binding grants."""

    get: Callable[[ObjectKey], JSONObject | None]
    index: ClaimIndex
    list_resources: Callable[[ClusterName], Awaitable[Iterable[ServedResource]]]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        binding = self.get(key)
        if binding is None or not _is_due(binding):
            return Result()
        reference = ExportReference.of(binding)
        assert reference is not None, "what is due has been bound"
        label = claim_label(ClusterName(binding["status"]["apiExportClusterName"]), reference.name)
        await self._relabel(key.cluster, label)
        wanted: JSONObject = meta.copy_json(binding)
        now = rfc3339(self.clock.now())
        conditions.set_condition(wanted, conditions.build(PERMISSION_CLAIMS_APPLIED, conditions.TRUE, now=now))
        await commit(self.for_cluster(key.cluster).resource(BINDINGS), binding, wanted)
        return Result()

    async def _relabel(self, cluster: ClusterName, label: str) -> None:
        """Every object that carries this export's label or should, of every resource it is granted or was."""
        client = self.for_cluster(cluster)
        seen: set[GroupResource] = set()
        for served in await self.list_resources(cluster):
            gr = served.gvr.group_resource
            if gr in seen or "list" not in served.verbs or "patch" not in served.verbs:
                continue
            seen.add(gr)
            claimed = bool(self.index.granted(cluster, label, gr))
            await self._relabel_resource(client.resource(served.gvr), cluster, gr, "" if claimed else label)

    async def _relabel_resource(self, resource: ResourceClient, cluster: ClusterName, gr: GroupResource, label_selector: str) -> None:
        try:
            found = (await resource.list(label_selector=label_selector)).items
        except (NotFound, MethodNotAllowed):
            return  # no longer served
        for obj in found:
            wanted = self.index.wanted_labels(cluster, gr, obj)
            if wanted != claim_labels(obj):
                await _written(resource, obj, relabelled(obj, wanted))


async def _written(resource: ResourceClient, old: JSONObject, new: JSONObject) -> None:
    try:
        await commit(resource, old, new)
    except NotFound:
        pass  # deleted meanwhile: nothing to label


def _is_due(binding: JSONObject) -> bool:
    """Claims were granted, changed or, with the binding, withdrawn, and the objects do not show it yet."""
    if not meta.nested(binding, "status", "apiExportClusterName", default="") or EXPORT_LABEL not in meta.labels(binding):
        return False
    if meta.deletion_timestamp(binding) and BINDING_FINALIZER not in meta.finalizers(binding):
        return False
    condition = conditions.get(binding, PERMISSION_CLAIMS_APPLIED)
    return condition is not None and condition.get("reason") in (CLAIMS_CHANGED, CLAIMS_WITHDRAWN)


def build_claim_label_controller(
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    index: ClaimIndex,
    list_resources: Callable[[ClusterName], Awaitable[Iterable[ServedResource]]],
    clock: Clock,
) -> Controller:
    bindings = informers.informer(BINDINGS)
    reconciler = LabelReconciler(bindings.get, index, list_resources, for_cluster, clock)
    controller = Controller("permissionclaimlabel", reconciler.reconcile, clock=clock, workers=2)
    controller.watch(bindings)
    return controller
