"""Admission of schemas, exports and bindings: what may be written, and who may bind what.

Source: kcp pkg/admission/{apiresourceschema,apibinding,apiexport}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Invalid, first_causes
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.exports.claimpolicies import ClaimPolicies
from kcp.exports.claims import CLAIMABLE, ClaimKey
from kcp.exports.namelocks import NameLocks
from kcp.exports.names import APIS_GROUP, BINDING_FINALIZER, BINDINGS, EXPORT_LABEL, ExportReference, export_label
from kcp.exports.validation import (
    binding_faults,
    binding_rule_faults,
    export_faults,
    export_rule_faults,
    joined,
    narrowed_faults,
    schema_faults,
    schema_rule_faults,
    slice_rule_faults,
)
from kcp.registry.backend import Attributes, Scope, UserInfo

_CRDS = GroupResource("apiextensions.k8s.io", "customresourcedefinitions")


@dataclass(frozen=True, slots=True)
class ExportsAdmission:
    """One plugin for the group apis.kcp.io."""

    resolve: Callable[[str], ClusterName | None]
    may_bind: Callable[[UserInfo, ClusterName, str], Awaitable[bool]]
    """(user, cluster of the export, its name): verb `bind`."""
    policies: ClaimPolicies
    is_replicated: Callable[[ClaimKey], bool] = lambda claim: False
    """Whether what is claimed is one copy for all consumers."""
    is_released: Callable[[UserInfo, ClusterName], bool] = lambda user, cluster: False
    """Whether this user makes the schemas of a release in this cluster, which tests have checked."""
    is_export: Callable[[ObjectKey], bool] = lambda key: True

    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        """A binding has its export's label, whoever writes it; a new one the finalizer, which its controller would else add by a write."""
        scope, new = attributes.scope, attributes.new
        if new is None or scope.resource.group_resource != BINDINGS.group_resource or scope.subresource:
            return new
        reference = ExportReference.of(new)
        cluster = self._export_cluster(scope, reference)
        if reference is None or cluster is None:
            return new
        label = export_label(cluster, reference.name)
        if attributes.verb != "CREATE":
            return new if meta.labels(new).get(EXPORT_LABEL) == label else _labelled(new, label)
        marked: JSONObject = _labelled(new, label)
        if BINDING_FINALIZER not in meta.finalizers(new):
            meta.set_finalizers(marked, [*meta.finalizers(new), BINDING_FINALIZER])
        return marked

    async def validate(self, attributes: Attributes) -> None:
        """Raises Invalid or Forbidden."""
        scope, new, old = attributes.scope, attributes.new, attributes.old
        gvr = scope.resource.gvr
        if gvr.group != APIS_GROUP or new is None:
            return
        if gvr.resource == "apibindings":
            _refuse_invalid(attributes, binding_rule_faults(new, old, gvr.version))
            _refuse_all(attributes, binding_faults(new, old))
            _refuse_first(attributes, narrowed_faults(new, self.is_replicated))
            if attributes.verb == "CREATE":
                await self._check_bind(attributes, ExportReference.of(new))
        elif scope.subresource:
            return
        elif gvr.resource == "apiresourceschemas":
            if self.is_released(attributes.user, scope.cluster):
                return
            _refuse_invalid(attributes, schema_rule_faults(new, old))
            _refuse_all(attributes, schema_faults(new, old))
        elif gvr.resource == "apiexportendpointslices":
            _refuse_invalid(attributes, slice_rule_faults(new, old))
            if attributes.verb == "CREATE":
                reference = ExportReference.of_slice(new)
                await self._check_bind(attributes, reference)
                self._check_export(attributes, reference)
        elif gvr.resource == "apiexports":
            _refuse_invalid(attributes, export_rule_faults(new, gvr.version))
            _refuse_first(attributes, export_faults(new, gvr.version))
            _refuse_first(attributes, self.policies.faults(new, old, attributes.user, CLAIMABLE))

    async def _check_bind(self, attributes: Attributes, reference: ExportReference | None) -> None:
        """Raises Forbidden. Whether the workspace or the export exists is nobody's business who may not bind it."""
        if reference is None:
            return
        cluster = self._export_cluster(attributes.scope, reference)
        if cluster is None or not await self.may_bind(attributes.user, cluster, reference.name):
            where = f"{reference.path or attributes.scope.cluster}:{reference.name}"
            raise forbidden(attributes, f"unable to create {attributes.scope.resource.kind}: no permission to bind to export {where}")

    def _check_export(self, attributes: Attributes, reference: ExportReference | None) -> None:
        """Of another workspace only what exists: one's own may come after what refers to it, in one file too.

        Raises Forbidden.  Source: kcp pkg/admission/apiexportendpointslice.
        """
        cluster = self._export_cluster(attributes.scope, reference)
        if reference is not None and reference.path and cluster and not self.is_export(ObjectKey(cluster, "", reference.name)):
            where = f"APIExport {reference.path}:{reference.name}"
            raise forbidden(attributes, f"unable to create {attributes.scope.resource.kind}: {where} not found: create it first")

    def _export_cluster(self, scope: Scope, reference: ExportReference | None) -> ClusterName | None:
        if reference is None:
            return None
        return self.resolve(reference.path) if reference.path else scope.cluster


class BoundNames:
    """Keeps CustomResourceDefinitions from what their workspace binds. Source: kcp pkg/admission/crdnooverlappinggvr."""

    def __init__(self, binding_of: Callable[[ClusterName, GroupResource], str], locks: NameLocks) -> None:
        """Args: binding_of: (workspace, resource) → the binding behind it, "" for none."""
        self._binding_of = binding_of
        self._locks = locks

    def plugin(self) -> Plugin:
        return Plugin(name="CRDNoOverlappingGVR", validate=self.validate, verbs=("CREATE",), resources=frozenset((_CRDS,)))

    async def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden."""
        spec = (attributes.new or {}).get("spec") or {}
        wanted = GroupResource(spec.get("group") or "", meta.nested(spec, "names", "plural", default=""))
        cluster = attributes.scope.cluster
        if binding := self._binding_of(cluster, wanted) or self._locks.binding_of(cluster, wanted):
            raise forbidden(attributes, f'cannot create because resource is bound by APIBinding "{binding}"')
        if attributes.dry_run:
            return
        self._locks.admit(cluster, wanted)
        if self._locks.shared is None:
            return
        if binding := await self._locks.shared.admit(cluster, wanted) or self._binding_of(cluster, wanted):
            self._locks.stored(cluster, f"{wanted.resource}.{wanted.group}")
            raise forbidden(attributes, f'cannot create because resource is bound by APIBinding "{binding}"')


def _labelled(binding: JSONObject, label: str) -> JSONObject:
    marked: JSONObject = meta.copy_json(binding)
    meta.set_label(marked, EXPORT_LABEL, label)
    return marked


def _refuse_invalid(attributes: Attributes, faults: Iterable[Cause]) -> None:
    """Raises Invalid: what rules in kcp's CRDs refuse."""
    if found := first_causes(faults):
        resource = attributes.scope.resource
        raise Invalid.of(resource.group_resource, resource.kind, meta.name(attributes.new or {}), found)


def _refuse_all(attributes: Attributes, faults: Iterable[Cause]) -> None:
    """Raises Forbidden that lists all faults."""
    if found := first_causes(faults):
        raise forbidden(attributes, joined(found), found)


def _refuse_first(attributes: Attributes, faults: Iterable[Cause]) -> None:
    if (fault := next(iter(faults), None)) is not None:
        raise forbidden(attributes, str(fault), [fault])
