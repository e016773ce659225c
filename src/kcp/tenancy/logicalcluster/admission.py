"""What may be written to a LogicalCluster: one per cluster, deleted through its Workspace, initializers only ever removed.

Part of the server's admission chain (`registry.backend.Admission`).
Source: kcp pkg/admission/logicalcluster, pkg/admission/logicalclusterfinalizer.
"""

from __future__ import annotations

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Attributes, Scope, UserInfo
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.lifecycle import with_labels

_ORDER = {
    "": 0, kinds.SCHEDULING: 0, kinds.INITIALIZING: 1, kinds.READY: 2, kinds.INACTIVE_PHASE: 2, kinds.TERMINATING: 3, kinds.DELETING: 4,
}  # fmt: skip

_LATER_FIELDS = ("terminators", "createdBy")
"""Of the spec, which never change: kcp 0.11 knows neither, kcp 0.31 not the second."""


class LogicalClusterAdmission:
    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        scope, new = attributes.scope, attributes.new
        if not _is_logical_cluster(scope) or new is None:
            return new
        if attributes.verb == "UPDATE" and scope.subresource == "status" and meta.nested(new, "status", "phase", default=""):
            return with_labels(new)  # else a second write would have to follow each change of phase
        if attributes.verb != "CREATE":
            return _with_later_fields(new, attributes.old) if not scope.subresource else new
        if kinds.DELETION_FINALIZER in meta.finalizers(new):
            return new
        protected: JSONObject = meta.copy_json(new)
        meta.set_finalizers(protected, [*meta.finalizers(new), kinds.DELETION_FINALIZER])
        return protected

    async def validate(self, attributes: Attributes) -> None:
        scope = attributes.scope
        if not _is_logical_cluster(scope):
            return
        if attributes.verb == "DELETE":
            _check_delete(attributes)
        elif attributes.verb == "CREATE" and attributes.new is not None:
            if meta.name(attributes.new) != kinds.LOGICAL_CLUSTER_NAME:
                raise _forbidden(scope, f'LogicalCluster must be named "{kinds.LOGICAL_CLUSTER_NAME}"')
            if not _may_administer(attributes.user):
                raise _forbidden(scope, "a LogicalCluster is created through a Workspace in the parent workspace")
        elif attributes.verb == "UPDATE" and attributes.new is not None and attributes.old is not None:
            _check_update(attributes, attributes.old, attributes.new)


def _with_later_fields(new: JSONObject, old: JSONObject | None) -> JSONObject:
    """What clients made for earlier releases leave out of an update, since they know no such field, stays as it was."""
    held = (old or {}).get("spec") or {}
    missing = {field: held[field] for field in _LATER_FIELDS if field in held and field not in (new.get("spec") or {})}
    return {**new, "spec": {**(new.get("spec") or {}), **missing}} if missing else new


def _is_logical_cluster(scope: Scope) -> bool:
    return scope.resource.group_resource == kinds.LOGICAL_CLUSTERS.group_resource


def _may_administer(user: UserInfo) -> bool:
    administrators = (kinds.MASTERS, kinds.LOGICAL_CLUSTER_ADMIN, kinds.EXTERNAL_LOGICAL_CLUSTER_ADMIN)
    return not set(administrators).isdisjoint(user.groups)


def _check_delete(attributes: Attributes) -> None:
    deletable = attributes.old is not None and meta.nested(attributes.old, "spec", "directlyDeletable", default=False)
    if not deletable and not _may_administer(attributes.user):
        raise _forbidden(attributes.scope, "LogicalCluster cannot be deleted directly: delete its Workspace in the parent workspace")


def _check_update(attributes: Attributes, old: JSONObject, new: JSONObject) -> None:
    scope = attributes.scope
    before, after = (meta.nested(obj, "status", "phase", default="") for obj in (old, new))
    if before in _ORDER and after in _ORDER and _ORDER[after] < _ORDER[before]:
        raise _forbidden(scope, f"cannot transition from {before} to {after or 'no phase'}")
    if _may_administer(attributes.user):
        return
    for field in ("owner", "initializers", "terminators", "createdBy"):
        if meta.nested(old, "spec", field) != meta.nested(new, "spec", field):
            raise _forbidden(scope, f"spec.{field} is immutable")
    for field in ("initializers", "terminators"):
        added = set(meta.nested(new, "status", field, default=())) - set(meta.nested(old, "status", field, default=()))
        if added:
            raise _forbidden(scope, f"status.{field}: only removing is allowed, not adding {', '.join(sorted(added))}")


def _forbidden(scope: Scope, text: str) -> Forbidden:
    resource = scope.resource.group_resource
    name = scope.name or kinds.LOGICAL_CLUSTER_NAME
    return Forbidden(f'{resource} "{name}" is forbidden: {text}', resource=resource, name=name)
