"""The APIs that kcp itself publishes: schemas, exports and bindings of `root`, and the export `kubernetes` of `root:compute`, as data.

A schema's name carries a digest of its content, so a new release publishes a new schema and the export moves on to it.
Before: `server.compose`, which hands them to the bootstrap. Source: kcp config/root-phase0, config/rootcompute.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.exports.names import APIS_GROUP, BINDINGS, EXPORTS, SCHEMAS

CORE_EXPORTS: Mapping[str, tuple[str, ...]] = {
    "tenancy.kcp.io": (
        "workspaces.tenancy.kcp.io",
        "workspacetypes.tenancy.kcp.io",
        "workspaceauthenticationconfigurations.tenancy.kcp.io",
    ),
    "topology.kcp.io": ("partitions.topology.kcp.io", "partitionsets.topology.kcp.io"),
    "shards.core.kcp.io": ("shards.core.kcp.io",),
}
"""Export name → CRD names."""

CACHE_CRDS = (
    "clustercachedresources.cache.kcp.io",
    "clustercachedresourceendpointslices.cache.kcp.io",
    "cachedresources.cache.kcp.io",
    "cachedresourceendpointslices.cache.kcp.io",
)
"""Served in every workspace too, where the gate CacheAPIs is open; `root` exports them as kcp's does."""

TMC_EXPORTS: Mapping[str, tuple[str, ...]] = {
    "scheduling.kcp.io": ("locations.scheduling.kcp.io", "placementpolicies.scheduling.kcp.io", "placements.scheduling.kcp.io"),
    "workload.kcp.io": (
        "resourceexports.workload.kcp.io",
        "resourceimports.workload.kcp.io",
        "synctargetheartbeats.workload.kcp.io",
        "synctargets.workload.kcp.io",
    ),
    "tmc.kcp.io": (
        "aggregatedviews.tmc.kcp.io",
        "componenthealths.tmc.kcp.io",
        "migrations.tmc.kcp.io",
        "overridepolicies.tmc.kcp.io",
        "placementdecisions.tmc.kcp.io",
        "resourceprojections.tmc.kcp.io",
        "recoveries.tmc.kcp.io",
        "statusrules.tmc.kcp.io",
    ),
    "apiresource.kcp.io": ("apiresourceimports.apiresource.kcp.io", "negotiatedapiresources.apiresource.kcp.io"),
}

SYSTEM_CRDS = (
    "logicalclusters.core.kcp.io",
    "apiresourceschemas.apis.kcp.io",
    "apiexports.apis.kcp.io",
    "apibindings.apis.kcp.io",
    "apiexportendpointslices.apis.kcp.io",
    "apiconversions.apis.kcp.io",
)
"""Served in every workspace without a binding."""

POLICIES_CRD = "permissionclaimpolicies.admin.kcp.io"
"""Served to administrators of the installation only."""

_LIMITED = ("tenancy.kcp.io", "apiresource.kcp.io")
"""Exports whose consumers need the permissions that `root` gives too, see `tenancy.bootstrap.policy`."""
COMPUTE_EXPORT = "kubernetes"
_CLUSTER_ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")
_CLUSTER_ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")


def schema_of_crd(crd: JSONObject) -> JSONObject:
    """The APIResourceSchema with the content of a CustomResourceDefinition, as `kubectl kcp crd snapshot` makes it."""
    spec = crd["spec"]
    versions = [
        {**{k: v for k, v in version.items() if k != "schema"}, "schema": version["schema"]["openAPIV3Schema"]}
        for version in spec["versions"]
    ]
    wanted: JSONObject = {"group": spec["group"], "names": spec["names"], "scope": spec["scope"], "versions": versions}
    digest = hashlib.sha256(orjson.dumps(wanted, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]
    return {
        "apiVersion": SCHEMAS.api_version,
        "kind": "APIResourceSchema",
        "metadata": {"name": f"v{digest}.{spec['names']['plural']}.{spec['group'] or 'core'}"},
        "spec": wanted,
    }


def export_of(name: str, schemas: Sequence[JSONObject], *, annotations: Mapping[str, str] | None = None) -> JSONObject:
    """An APIExport of these schemas."""
    resources = [
        {"name": s["spec"]["names"]["plural"], "group": s["spec"].get("group", ""), "schema": meta.name(s), "storage": {"crd": {}}}
        for s in schemas
    ]
    metadata: JSONObject = {"name": name} | ({"annotations": dict(annotations)} if annotations else {})
    return {"apiVersion": EXPORTS.api_version, "kind": "APIExport", "metadata": metadata, "spec": {"resources": resources}}


def binding_of(name: str, *, path: str, export: str) -> JSONObject:
    reference = {"export": {"path": path, "name": export}}
    return {"apiVersion": BINDINGS.api_version, "kind": "APIBinding", "metadata": {"name": name}, "spec": {"reference": reference}}


def root_apis(crds: Mapping[str, JSONObject], *, tmc: bool, cache_apis: bool = False) -> list[tuple[GVR, JSONObject]]:
    """What `root` publishes and binds itself, in the order of creation. Args: crds: by name, such as `workspaces.tenancy.kcp.io`."""
    wanted = {**CORE_EXPORTS, **(TMC_EXPORTS if tmc else {}), **({"cache.kcp.io": CACHE_CRDS} if cache_apis else {})}
    schemas: list[tuple[GVR, JSONObject]] = []
    exports: list[tuple[GVR, JSONObject]] = []
    bindings: list[tuple[GVR, JSONObject]] = []
    for name, members in wanted.items():
        made = [schema_of_crd(crds[member]) for member in members]
        schemas += [(SCHEMAS, schema) for schema in made]
        export = export_of(name, made)
        if name in _LIMITED:
            export["spec"]["maximalPermissionPolicy"] = {"local": {}}
        exports.append((EXPORTS, export))
        bindings.append((BINDINGS, binding_of(name, path="root", export=name)))
    return [*schemas, *exports, *bindings]


def compute_apis(schemas: Iterable[JSONObject]) -> list[tuple[GVR, JSONObject]]:
    """Content of root:compute: the Kubernetes workload APIs, marked for TMC, that everybody may bind."""
    made = list(schemas)
    export = export_of(COMPUTE_EXPORT, made, annotations={"extra.apis.kcp.io/compute.workload.kcp.io": "true"})
    role_name = "system:kcp:apiexport:kubernetes:bind"
    role: JSONObject = {
        "apiVersion": _CLUSTER_ROLES.api_version,
        "kind": "ClusterRole",
        "metadata": {"name": role_name},
        "rules": [{"apiGroups": [APIS_GROUP], "resources": ["apiexports"], "resourceNames": [COMPUTE_EXPORT], "verbs": ["bind"]}],
    }
    binding: JSONObject = {
        "apiVersion": _CLUSTER_ROLE_BINDINGS.api_version,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": role_name},
        "roleRef": {"apiGroup": _CLUSTER_ROLES.group, "kind": "ClusterRole", "name": role_name},
        "subjects": [{"apiGroup": _CLUSTER_ROLES.group, "kind": "Group", "name": "system:authenticated"}],
    }
    return [*((SCHEMAS, s) for s in made), (EXPORTS, export), (_CLUSTER_ROLES, role), (_CLUSTER_ROLE_BINDINGS, binding)]
