"""What is particular to one kind in the otherwise generic write path: preparation, checks and how it goes away.

A `Strategy` belongs to a `Resource` and is shared by all workspaces. Hooks are plain functions over decoded objects in the version of the
request; they change only the object they are told to prepare.
Before: `writes`, `deletion`. Source: k8s.io/apiserver/pkg/registry/rest/{create,update,delete}.go and the strategies under
k8s.io/kubernetes/pkg/registry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject, ensure, nested
from kcp.registry.resource import Origin, Resource

FieldPath: TypeAlias = tuple[str, ...]


def _prepare_nothing(new: JSONObject, old_or_now: Any) -> None:
    """Most kinds need no preparation."""


def _no_defaults(new: JSONObject) -> None:
    """Most kinds' statuses have none."""


def _no_change(obj: JSONObject) -> None:
    """Most kinds stay as they are while they wait to be removed."""


def _no_faults(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    return ()


def _no_warnings(new: JSONObject, old: JSONObject | None) -> Sequence[str]:
    return ()


def _no_grace(obj: JSONObject, asked_s: int | None) -> int:
    return 0


def _not_held(obj: JSONObject) -> bool:
    return False


STATUS_ONLY: Mapping[str, tuple[FieldPath, ...]] = MappingProxyType({"status": (("status",),)})

_METADATA: tuple[FieldPath, ...] = (
    ("metadata", "annotations"),
    ("metadata", "finalizers"),
    ("metadata", "labels"),
    ("metadata", "ownerReferences"),
)
WITH_METADATA: tuple[FieldPath, ...] = (("status",), *_METADATA)
"""Of most built-in kinds the status strategy puts back the spec and nothing else, so that metadata may change along with the status."""
_STATUS_ALONE = frozenset(
    GroupResource(group, resource)
    for group, resource in (
        ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("apiregistration.k8s.io", "apiservices"),
        ("flowcontrol.apiserver.k8s.io", "flowschemas"),
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
        ("networking.k8s.io", "servicecidrs"),
        ("resource.k8s.io", "resourceclaims"),
        ("storage.k8s.io", "volumeattachments"),
    )
)
_STATUS_PARTS: Mapping[GroupResource, tuple[FieldPath, ...]] = {
    GroupResource("apps", "deployments"): tuple(part for part in WITH_METADATA if part[-1] != "labels"),
    GroupResource("", "pods"): tuple(part for part in WITH_METADATA if part[-1] != "ownerReferences"),
}


def status_parts(kind: GroupResource) -> tuple[FieldPath, ...]:
    """What an update of a built-in kind's status may change.

    Source: the status strategies under k8s.io/kubernetes/pkg/registry; those of `_STATUS_ALONE` call metav1.ResetObjectMetaForStatus.
    """
    return (("status",),) if kind in _STATUS_ALONE else _STATUS_PARTS.get(kind, WITH_METADATA)


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """The hooks of one kind. `Strategy()` suits an ordinary built-in kind, `CUSTOM` one from a CRD or an APIExport."""

    default: Callable[[JSONObject], None] = _no_defaults
    """Fill in what a built-in kind means by what is left out: before admission, which sees it, and after."""
    prepare_create: Callable[[JSONObject, str], None] = _prepare_nothing
    """(new, now as RFC 3339): fill in what the server decides; after admission and schema defaults, before validation."""
    prepare_update: Callable[[JSONObject, JSONObject], None] = _prepare_nothing
    """(new, old): put back what the main endpoint may not change."""
    prepare_status: Callable[[JSONObject], None] = _no_defaults
    """Fill in what an update of the status leaves out."""
    validate: Callable[[JSONObject, JSONObject | None], Sequence[Cause]] = _no_faults
    """(new, old or None for a creation): faults beyond the schema."""
    validate_status: Callable[[JSONObject, JSONObject], Sequence[Cause]] = _no_faults
    """(new, old): faults of an update of the status."""
    warnings: Callable[[JSONObject, JSONObject | None], Sequence[str]] = _no_warnings
    """(new, old or None for a creation): texts for `Warning` headers."""
    name_faults: Callable[[str], list[str]] = names.dns1123_subdomain
    allow_create_on_update: bool = False
    """A PUT of an absent name creates it."""
    is_born_with_status: bool = False
    """A creation may carry the status, as a kubelet's of its node does."""
    allow_unconditional_update: bool = True
    """A PUT without metadata.resourceVersion overwrites; else it is Invalid."""
    generation: bool | None = None
    """Whether metadata.generation counts spec changes; None: as upstream does for this kind, see `tracks_generation`."""
    grace_s: Callable[[JSONObject, int | None], int] = _no_grace
    """(object, seconds asked for or None): how long it stays after the first delete; 0 removes it at once."""
    default_propagation: Literal["", "Background", "Foreground", "Orphan"] = ""
    """Of a DELETE that says nothing, where not in the background. Source: each strategy.go's DefaultGarbageCollectionPolicy."""
    prepare_delete: Callable[[JSONObject], None] = _no_change
    """Changes an object that stays for now when deleted, beside its deletionTimestamp."""
    returns_deleted: bool = False
    """A DELETE that removes the object answers the object, not a Status. Source: ReturnDeletedObject of registry.Store."""
    held_by_spec: Callable[[JSONObject], bool] = _not_held
    """Whether something beside metadata.finalizers keeps a deleted object, such as spec.finalizers of a namespace."""
    subresource_parts: Mapping[str, tuple[FieldPath, ...]] = field(default_factory=lambda: STATUS_ONLY)
    """What an update through a subresource may change, as field paths; all else is kept from the stored object."""


_BUILTIN_WITH_GENERATION = frozenset(
    GroupResource(group, resource)
    for group, resources in {
        "": ("pods", "podtemplates", "replicationcontrollers"),
        "admissionregistration.k8s.io": (
            "mutatingwebhookconfigurations", "validatingwebhookconfigurations",
            "validatingadmissionpolicies", "validatingadmissionpolicybindings",
            "mutatingadmissionpolicies", "mutatingadmissionpolicybindings",
        ),
        "apiextensions.k8s.io": ("customresourcedefinitions",),
        "apps": ("daemonsets", "deployments", "replicasets", "statefulsets"),
        "batch": ("cronjobs", "jobs"),
        "flowcontrol.apiserver.k8s.io": ("flowschemas", "prioritylevelconfigurations"),
        "networking.k8s.io": ("ingresses", "ingressclasses", "networkpolicies"),
        "policy": ("poddisruptionbudgets",),
    }.items()
    for resource in resources
)  # fmt: skip


def counts_generation(kind: GroupResource) -> bool:
    """Whether upstream counts spec changes of this built-in kind."""
    return kind in _BUILTIN_WITH_GENERATION


_RETURNED = frozenset(
    GroupResource(group, resource)
    for group, resources in {
        "": ("persistentvolumeclaims", "persistentvolumes", "pods", "podtemplates", "resourcequotas", "serviceaccounts", "services"),
        "resource.k8s.io": ("deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"),
        "storage.k8s.io": ("csidrivers", "csinodes", "storageclasses", "volumeattachments", "volumeattributesclasses"),
    }.items()
    for resource in resources
)


def returns_deleted(kind: GroupResource) -> bool:
    """Whether upstream answers the deletion of this built-in kind with the object. Source: api/openapi-spec/swagger.json."""
    return kind in _RETURNED


def tracks_generation(resource: Resource) -> bool:
    """Whether the server counts spec changes of this kind: all custom resources, and the built-in kinds that upstream counts."""
    wanted = resource.strategy.generation
    if wanted is not None:
        return wanted
    return resource.origin is not Origin.BUILTIN or counts_generation(resource.group_resource)


BUILTIN = Strategy()

CUSTOM = Strategy(allow_unconditional_update=False)
"""Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/strategy.go."""

RBAC = Strategy(name_faults=names.path_segment, allow_create_on_update=True)


def _new_namespace(new: JSONObject, now: str) -> None:
    finalizers = ensure(new, "spec").setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")
    new["status"] = {"phase": "Active"}


def _keep_namespace_finalizers(new: JSONObject, old: JSONObject) -> None:
    held = nested(old, "spec", "finalizers")
    if held is not None:
        ensure(new, "spec")["finalizers"] = held
    else:
        ensure(new, "spec").pop("finalizers", None)


def _terminate_namespace(obj: JSONObject) -> None:
    ensure(obj, "status")["phase"] = "Terminating"


NAMESPACE = Strategy(
    prepare_create=_new_namespace,
    prepare_update=_keep_namespace_finalizers,
    name_faults=names.dns1123_label,
    prepare_delete=_terminate_namespace,
    held_by_spec=lambda obj: bool(nested(obj, "spec", "finalizers")),
    subresource_parts=MappingProxyType({"status": (("status",),), "finalize": (("spec", "finalizers"), *_METADATA)}),
)
"""A deleted namespace stays, Terminating, until its content is gone and the `finalize` subresource takes spec.finalizers away.

Source: k8s.io/kubernetes/pkg/registry/core/namespace/{strategy.go,storage/storage.go}.
"""


def _new_pod(new: JSONObject, now: str) -> None:
    new["status"] = {"phase": "Pending", "qosClass": _qos_class(new)}


def _qos_class(pod: JSONObject) -> str:
    """Source: k8s.io/kubernetes/pkg/apis/core/v1/helper/qos/qos.go."""
    containers = [*(nested(pod, "spec", "containers") or ()), *(nested(pod, "spec", "initContainers") or ())]
    resources = [c.get("resources") or {} for c in containers]
    amounts = [{k: (r.get(part) or {}).get(k) for k in ("cpu", "memory")} for r in resources for part in ("requests", "limits")]
    if not any(value for amount in amounts for value in amount.values()):
        return "BestEffort"
    limits = amounts[1::2]
    requests = [{k: v or limit[k] for k, v in amount.items()} for amount, limit in zip(amounts[::2], limits, strict=True)]
    if all(all(limit.values()) for limit in limits) and requests == limits:
        return "Guaranteed"
    return "Burstable"


def _pod_grace_s(pod: JSONObject, asked_s: int | None) -> int:
    """Source: k8s.io/kubernetes/pkg/registry/core/pod/strategy.go, CheckGracefulDelete."""
    period_s = asked_s if asked_s is not None else nested(pod, "spec", "terminationGracePeriodSeconds", default=30)
    if not nested(pod, "spec", "nodeName") or nested(pod, "status", "phase") in ("Failed", "Succeeded"):
        return 0
    return 1 if period_s < 0 else int(period_s)


ORPHANING = Strategy(default_propagation="Orphan")
"""ReplicationControllers and Jobs: as before there was a garbage collector, their pods stay where nobody says otherwise."""

POD = Strategy(
    prepare_create=_new_pod,
    grace_s=_pod_grace_s,
    subresource_parts=MappingProxyType(
        {"status": (("status",),), "ephemeralcontainers": (("spec", "ephemeralContainers"),), "resize": (("spec", "containers"),)}
    ),
)
"""A pod on a node stays for its grace period and is removed when its node deletes it again with grace 0."""


def _keep_request(new: JSONObject, old: JSONObject) -> None:
    new["spec"] = old["spec"]


CERTIFICATE_REQUEST = Strategy(
    prepare_update=_keep_request,
    name_faults=names.path_segment,
    subresource_parts=MappingProxyType({"status": (("status",),), "approval": (("status", "conditions"), *_METADATA)}),
)
"""What is asked for never changes; approval and signing go through subresources of their own.

Source: k8s.io/kubernetes/pkg/registry/certificates/certificates/strategy.go.
"""
