"""Names, labels, annotations and conditions of API exports and bindings, and how an identity is made.

Source: kcp sdk/apis/apis/{v1alpha1,v1alpha2}, pkg/reconciler/apis/{apiexport,apibinding}.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName, base62_sha224
from kcp.apimachinery.meta import JSONObject

APIS_GROUP = "apis.kcp.io"
EXPORTS = GVR(APIS_GROUP, "v1alpha2", "apiexports")
BINDINGS = GVR(APIS_GROUP, "v1alpha2", "apibindings")
SCHEMAS = GVR(APIS_GROUP, "v1alpha1", "apiresourceschemas")

BINDING_FINALIZER = "apis.kcp.io/apibinding-finalizer"
EXPORT_LABEL = "internal.apis.kcp.io/export"
"""On APIBindings: base-62 SHA-224 of "<export cluster>:<export name>"."""
EXTRA_ANNOTATION_PREFIX = "extra.apis.kcp.io/"
"""Annotations of an export under this prefix are copied to its bindings."""
IDENTITY_NAMESPACE = "kcp-system"
IDENTITY_SECRET_KEY = "key"

IDENTITY_VALID = "IdentityValid"
API_EXPORT_VALID = "APIExportValid"
INITIAL_BINDING_COMPLETED = "InitialBindingCompleted"
BINDING_UP_TO_DATE = "BindingUpToDate"
BINDING_RESOURCE_DELETE_SUCCESS = "BindingResourceDeleteSuccess"
PERMISSION_CLAIMS_VALID = "PermissionClaimsValid"
PERMISSION_CLAIMS_APPLIED = "PermissionClaimsApplied"
VIRTUAL_WORKSPACE_URLS_READY = "VirtualWorkspaceURLsReady"
PHASE_BINDING, PHASE_BOUND = "Binding", "Bound"


def identity_hash(key: bytes) -> str:
    """Identity of an export from its secret key: the hex SHA-256.

    >>> identity_hash(b"a")[:12]
    'ca978112ca1b'
    """
    return hashlib.sha256(key).hexdigest()


@lru_cache(maxsize=1024)
def export_label(cluster: ClusterName, name: str) -> str:
    return base62_sha224(f"{cluster}:{name}")


def endpoint_url(server: str, cluster: ClusterName, export: str) -> str:
    """Where a provider reaches the consumers of its export: the virtual workspace `apiexport`."""
    return f"{server}/services/apiexport/{cluster}/{export}"


@dataclass(frozen=True, slots=True)
class VirtualStorage:
    """`storage.virtual` of an export's resource: what is shown in place of objects of the consumers' own, to be read only."""

    group: str
    kind: str
    name: str
    """Of the endpoint slice, in the export's workspace."""
    identity: str


@dataclass(frozen=True, slots=True)
class ExportedResource:
    """One entry of an export: a group-resource and the name of the APIResourceSchema that describes it now."""

    group_resource: GroupResource
    schema: str
    virtual: VirtualStorage | None = None
    """None: consumers have objects of their own."""


def exported_resources(export: JSONObject) -> Iterator[ExportedResource]:
    """What an export offers, from `spec.resources` (v1alpha2) or `spec.latestResourceSchemas` (v1alpha1)."""
    resources = meta.nested(export, "spec", "resources", default=())
    for entry in resources:
        yield ExportedResource(GroupResource(entry.get("group", ""), entry["name"]), entry["schema"], _virtual_storage(entry))
    if not resources:
        for name in meta.nested(export, "spec", "latestResourceSchemas", default=()):
            yield ExportedResource(group_resource_of_schema(name), name)


def _virtual_storage(entry: JSONObject) -> VirtualStorage | None:
    virtual = (entry.get("storage") or {}).get("virtual")
    if not virtual:
        return None
    reference = virtual["reference"]
    return VirtualStorage(reference.get("apiGroup") or "", reference["kind"], reference["name"], virtual.get("identityHash") or "")


def group_resource_of_schema(name: str) -> GroupResource:
    """The group-resource in a schema's name `<prefix>.<plural>.<group>`.

    >>> str(group_resource_of_schema("v1.services.core")), str(group_resource_of_schema("today.widgets.example.io"))
    ('services', 'widgets.example.io')
    """
    _, _, rest = name.partition(".")
    plural, _, group = rest.partition(".")
    return GroupResource("" if group == "core" else group, plural)


@dataclass(frozen=True, slots=True)
class ExportReference:
    """`spec.reference.export` of a binding."""

    path: str
    """Workspace path or cluster name; "" is the binding's own workspace."""
    name: str

    @classmethod
    def of(cls, binding: JSONObject) -> ExportReference | None:
        reference = meta.nested(binding, "spec", "reference", "export", default=None)
        return cls(reference.get("path", ""), reference.get("name", "")) if reference else None

    @classmethod
    def of_slice(cls, endpoint_slice: JSONObject) -> ExportReference | None:
        """`spec.export` of an APIExportEndpointSlice."""
        reference = meta.nested(endpoint_slice, "spec", "export", default=None)
        return cls(reference.get("path", ""), reference.get("name", "")) if reference else None
