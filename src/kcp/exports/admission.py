"""Admission of schemas, exports and bindings: what may be written, and who may bind what.

Source: kcp pkg/admission/{apiresourceschema,apibinding,apiexport}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Forbidden, Invalid
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes.crd_versions import Places, deprecation_faults, version_faults
from kcp.apis.kubernetes.crds import names_faults
from kcp.exports.names import (
    APIS_GROUP,
    BINDING_FINALIZER,
    BINDINGS,
    EXPORT_LABEL,
    ExportReference,
    export_label,
    group_resource_of_schema,
)
from kcp.registry.backend import Attributes, Scope, UserInfo


@dataclass(frozen=True, slots=True)
class ExportsAdmission:
    """One plugin for the group apis.kcp.io."""

    resolve: Callable[[str], ClusterName | None]
    may_bind: Callable[[UserInfo, ClusterName, str], Awaitable[bool]]
    """(user, cluster of the export, its name): verb `bind`."""

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
        scope, new = attributes.scope, attributes.new
        if scope.resource.gvr.group != APIS_GROUP or new is None or scope.subresource:
            return
        kind = scope.resource.gvr.resource
        if kind == "apiresourceschemas":
            _refuse(scope, new, _schema_faults(new, attributes.old))
        if kind == "apibindings":
            _refuse(scope, new, _binding_faults(new, attributes.old))
            if attributes.verb == "CREATE":
                await self._check_bind(attributes.user, scope, new)

    async def _check_bind(self, user: UserInfo, scope: Scope, binding: JSONObject) -> None:
        reference = ExportReference.of(binding)
        if reference is None:
            return
        cluster = self._export_cluster(scope, reference)
        if cluster is None or not await self.may_bind(user, cluster, reference.name):
            # Whether the workspace or the export exists is nobody's business who may not bind it.
            raise Forbidden(
                f'apibindings.{APIS_GROUP} "{meta.name(binding)}" is forbidden: unable to create APIBinding: no permission to bind '
                f"to export {reference.path or scope.cluster}:{reference.name}",
                resource=scope.resource.group_resource,
                name=meta.name(binding),
            )

    def _export_cluster(self, scope: Scope, reference: ExportReference | None) -> ClusterName | None:
        if reference is None:
            return None
        return self.resolve(reference.path) if reference.path else scope.cluster


def _labelled(binding: JSONObject, label: str) -> JSONObject:
    marked: JSONObject = meta.copy_json(binding)
    meta.set_label(marked, EXPORT_LABEL, label)
    return marked


def _refuse(scope: Scope, obj: JSONObject, faults: list[Cause]) -> None:
    if faults:
        raise Invalid.of(scope.resource.group_resource, scope.resource.kind, meta.name(obj), faults)


def _schema_faults(new: JSONObject, old: JSONObject | None) -> list[Cause]:
    spec = new.get("spec") or {}
    faults: list[Cause] = []
    if old is not None and old.get("spec") != spec:
        faults.append(Cause.invalid("spec", "", "is immutable: create an APIResourceSchema with another prefix instead"))
    plural, group = meta.nested(spec, "names", "plural", default=""), spec.get("group", "")
    named = group_resource_of_schema(meta.name(new))
    if (named.resource, named.group) != (plural, group):
        wanted = f"<prefix>.{plural}.{group or 'core'}"
        faults.append(Cause.invalid("metadata.name", meta.name(new), f"must match {wanted}"))
    storage = [v for v in spec.get("versions") or () if v.get("storage")]
    if len(storage) != 1:
        faults.append(Cause.invalid("spec.versions", len(storage), "must have exactly one version marked as storage version"))
    return [*faults, *(_version_faults(spec) if old is None else ())]


def _version_faults(spec: JSONObject) -> Iterator[Cause]:
    """Those of a CRD; only the place of a schema is another one. Source: kcp pkg/apis/apis/v1alpha1/validation.go."""
    yield from names_faults(spec.get("names") or {}, "spec.names")
    for index, version in enumerate(spec.get("versions") or ()):
        at = f"spec.versions[{index}]"
        yield from deprecation_faults(version, at)
        as_in_crd = {**version, "schema": {"openAPIV3Schema": version.get("schema")}}
        yield from version_faults(as_in_crd, replace(Places.of(at), schema=f"{at}.schema"))


def _binding_faults(new: JSONObject, old: JSONObject | None) -> list[Cause]:
    reference = ExportReference.of(new)
    if reference is None or not reference.name:
        return [Cause.required("spec.reference.export.name")]
    if old is not None and ExportReference.of(old) != reference:
        return [Cause.invalid("spec.reference", reference.name, "APIExport reference must not be changed")]
    return []
