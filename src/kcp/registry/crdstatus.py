"""What a CRD's status says: whether its names are free, whether it is served, and how it goes away. Pure functions.

Before: the CRD controller, which runs `reconcile_crd` for every changed CRD and for those whose names it may have freed.
Source: k8s.io/apiextensions-apiserver/pkg/controller/{status,establish,finalizer}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.structural import structural_violations
from kcp.apis.kubernetes.crds import APPROVED, has_good_authorities, is_protected_group

CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_NAMES = ("plural", "singular", "kind", "listKind")
_REASONS = {"plural": "PluralConflict", "singular": "SingularConflict", "shortNames": "ShortNamesConflict", "kind": "KindConflict",
            "listKind": "ListKindConflict"}  # fmt: skip


def reconcile_crd(crd: JSONObject, others: Iterable[JSONObject], now: str) -> JSONObject:
    """The CRD as it ought to be: accepted names, stored versions, and every condition that follows from its spec.

    Args: others the other CRDs of the same logical cluster. now RFC 3339. Returns a new object; equal to `crd` if nothing is to be done.
    """
    wanted: JSONObject = meta.copy_json(crd)
    spec, status = wanted["spec"], meta.ensure(wanted, "status")
    _store_versions(spec, status)
    conflict = _accept_names(spec, status, others)
    _report(wanted, conflict, now)
    for kind, found in (("NonStructuralSchema", structure(wanted)), (APPROVAL, approval(wanted))):
        if found is None:
            conditions.remove(wanted, kind)
        else:
            status_, reason, message = found
            conditions.set_condition(wanted, conditions.build(kind, status_, reason=reason, message=message, now=now))
    return wanted


def _store_versions(spec: JSONObject, status: JSONObject) -> None:
    stored = status.setdefault("storedVersions", [])
    for version in spec.get("versions") or ():
        if version.get("storage") and version["name"] not in stored:
            stored.append(version["name"])


def _accept_names(spec: JSONObject, status: JSONObject, others: Iterable[JSONObject]) -> tuple[str, str] | None:
    """Fill status.acceptedNames with whatever is free; (reason, message) of the last conflict found, as upstream reports it."""
    resources, kinds = _taken(spec.get("group", ""), others)
    wanted, accepted = spec["names"], status.setdefault("acceptedNames", {"plural": "", "kind": ""})
    conflict: tuple[str, str] | None = None
    for field in _NAMES:
        value = wanted.get(field) or ""
        taken = kinds if field in ("kind", "listKind") else resources
        if value and value in taken:
            conflict = (_REASONS[field], f'"{value}" is already in use')
        elif value:
            accepted[field] = value
        else:
            accepted.pop(field, None)
    clashing = [short for short in wanted.get("shortNames") or () if short in resources]
    if clashing:
        conflict = (_REASONS["shortNames"], ", ".join(f'"{short}" is already in use' for short in clashing))
    elif wanted.get("shortNames"):
        accepted["shortNames"] = list(wanted["shortNames"])
    else:
        accepted.pop("shortNames", None)
    if wanted.get("categories"):
        accepted["categories"] = list(wanted["categories"])
    else:
        accepted.pop("categories", None)
    return conflict


def _taken(group: str, others: Iterable[JSONObject]) -> tuple[set[str], set[str]]:
    """Resource names and kinds that the other CRDs of a group hold."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if meta.nested(other, "spec", "group") != group:
            continue
        held: Mapping[str, Any] = meta.nested(other, "status", "acceptedNames", default={})
        resources.update(name for name in (held.get("plural"), held.get("singular"), *(held.get("shortNames") or ())) if name)
        kinds.update(name for name in (held.get("kind"), held.get("listKind")) if name)
    return resources, kinds


def _report(crd: JSONObject, conflict: tuple[str, str] | None, now: str) -> None:
    def say(kind: str, status: str, reason: str, message: str) -> None:
        conditions.set_condition(crd, conditions.build(kind, status, reason=reason, message=message, now=now))

    if conflict is None:
        say("NamesAccepted", conditions.TRUE, "NoConflicts", "no conflicts found")
        if not conditions.is_true(crd, "Established"):
            if has_good_authorities(crd):
                say("Established", conditions.TRUE, "InitialNamesAccepted", "the initial names have been accepted")
            else:
                say("Established", conditions.FALSE, "InvalidCABundle", "The conversion webhook CABundle is invalid")
    else:
        say("NamesAccepted", conditions.FALSE, *conflict)
        if not conditions.is_true(crd, "Established"):
            say("Established", conditions.FALSE, "NotAccepted", "not all names are accepted")


APPROVAL = "KubernetesAPIApprovalPolicyConformant"


def structure(crd: JSONObject) -> tuple[str, str, str] | None:
    """(status, reason, message) of NonStructuralSchema; None for a CRD whose schemas are structural.

    Source: k8s.io/apiextensions-apiserver/pkg/controller/nonstructuralschema/nonstructuralschema_controller.go.
    """
    spec = crd["spec"]
    faults: list[Cause] = []
    if spec.get("preserveUnknownFields"):
        faults.append(Cause.invalid("spec.preserveUnknownFields", value=True, detail="must be false"))
    for index, version in enumerate(spec.get("versions") or ()):
        schema = meta.nested(version, "schema", "openAPIV3Schema")
        if isinstance(schema, dict):
            faults += structural_violations(schema, f"spec.versions[{index}].schema.openAPIV3Schema")
    if not faults:
        return None
    texts = [str(fault) for fault in faults]
    return conditions.TRUE, "Violations", texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def approval(crd: JSONObject) -> tuple[str, str, str] | None:
    """(status, reason, message) of KubernetesAPIApprovalPolicyConformant; None for groups that are not Kubernetes' own.

    Source: k8s.io/apiextensions-apiserver/pkg/controller/apiapproval/apiapproval_controller.go, pkg/apihelpers/helpers.go (KEP-1111).
    """
    if not is_protected_group(crd["spec"].get("group") or ""):
        return None
    value = meta.annotations(crd).get(APPROVED, "")
    see = "see https://github.com/kubernetes/enhancements/pull/1111"
    if not value:
        return conditions.FALSE, "MissingAnnotation", f'protected groups must have approval annotation "{APPROVED}", {see}'
    if value.startswith("unapproved"):
        return conditions.FALSE, "UnapprovedAnnotation", f'not approved: "{value}"'
    if value.startswith(("https://", "http://")):
        return conditions.TRUE, "ApprovedAnnotation", f"approved in {value}"
    wanted = 'with either a URL or a reason starting with "unapproved"'
    return conditions.FALSE, "InvalidAnnotation", f'protected groups must have approval annotation "{APPROVED}" {wanted}, {see}'


def await_cleanup(crd: JSONObject) -> None:
    """What the first delete does to a CRD: it stays until its objects are gone. Changes `crd`, whose deletionTimestamp is set.

    Source: k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition/etcd.go (Delete).
    """
    if CLEANUP_FINALIZER not in meta.finalizers(crd):
        meta.set_finalizers(crd, [*meta.finalizers(crd), CLEANUP_FINALIZER])
    message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    _terminating(crd, conditions.TRUE, "InstanceDeletionPending", message, meta.deletion_timestamp(crd))


def is_terminating(crd: JSONObject) -> bool:
    """Deleted, but its objects may still be there: the controller has to remove them, then call `cleaned`."""
    return bool(meta.deletion_timestamp(crd)) and CLEANUP_FINALIZER in meta.finalizers(crd)


def deleting(crd: JSONObject, now: str) -> JSONObject:
    """The CRD while its objects are being deleted."""
    return _with_terminating(crd, conditions.TRUE, "InstanceDeletionInProgress", "CustomResource deletion is in progress", now)


def stuck(crd: JSONObject, now: str, why: str) -> JSONObject:
    """The CRD whose objects cannot be deleted."""
    return _with_terminating(crd, conditions.TRUE, "InstanceDeletionFailed", why, now)


def emptied(crd: JSONObject, now: str) -> JSONObject:
    """The CRD when no object is left."""
    if not conditions.is_true(crd, "Established"):
        return _with_terminating(crd, conditions.FALSE, "NeverEstablished", "resource was never established", now)
    return _with_terminating(crd, conditions.FALSE, "InstanceDeletionCompleted", "removed all instances", now)


def _with_terminating(crd: JSONObject, status: str, reason: str, message: str, now: str) -> JSONObject:
    wanted: JSONObject = meta.copy_json(crd)
    _terminating(wanted, status, reason, message, now)
    return wanted


def _terminating(crd: JSONObject, status: str, reason: str, message: str, now: str) -> None:
    conditions.set_condition(crd, conditions.build("Terminating", status, reason=reason, message=message, now=now))


def cleaned(crd: JSONObject) -> JSONObject:
    """The CRD with nothing left to guard: it may go."""
    wanted: JSONObject = meta.copy_json(crd)
    meta.set_finalizers(wanted, [f for f in meta.finalizers(wanted) if f != CLEANUP_FINALIZER])
    return wanted


def instances(crd: JSONObject) -> Iterator[GVR]:
    """Where the objects of a CRD can be listed and deleted, the best first: any served version reaches all of them.

    As they are stored, nothing has to be converted; a CRD without served versions is served so while it is being deleted.
    """
    versions = meta.nested(crd, "spec", "versions", default=())
    served = [version for version in versions if version.get("served")] or versions
    for version in sorted(served, key=lambda v: not v.get("storage")):
        if version.get("storage") or version.get("served"):
            yield GVR(crd["spec"]["group"], version["name"], crd["spec"]["names"]["plural"])
