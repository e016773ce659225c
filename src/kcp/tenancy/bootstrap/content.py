"""What stands in `root` from the first start on: data, built from the options. Pure.

Called by `bootstrap.run`. Source: kcp config/root-phase0, config/root, config/rootcompute, pkg/server (Shard registration).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.tenancy import kinds
from kcp.tenancy.bootstrap.policy import root_policy
from kcp.tenancy.workspacetype.defaults import TypeOptions, default_types

WORKSPACE_TYPES_BATTERY = "workspace-types"
COMPUTE_BATTERY = "root-compute-workspace"
METRICS_BATTERY = "metrics-viewer"
_SERVICE_ACCOUNTS, _SECRETS = (GVR("", "v1", name) for name in ("serviceaccounts", "secrets"))


@dataclass(frozen=True, slots=True)
class Piece:
    """One object to be there, and the resource it is of."""

    gvr: GVR
    obj: JSONObject


@dataclass(frozen=True, kw_only=True, slots=True)
class BootstrapOptions:
    tmc: bool = False
    compute_binding: bool = True
    """With TMC: new universal workspaces bind `kubernetes` of root:compute."""
    batteries: frozenset[str] = frozenset({WORKSPACE_TYPES_BATTERY, COMPUTE_BATTERY})
    shard_name: str = "root"
    shard_base_url: str = "https://localhost:6443"
    shard_external_url: str = ""
    """Default: the base URL."""
    shard_virtual_workspace_url: str = ""
    """Default: the base URL."""
    home_creator_groups: Sequence[str] = (kinds.AUTHENTICATED,)
    """Who may have a home workspace made."""
    root_apis: Sequence[Piece] = field(default_factory=tuple)
    """APIResourceSchemas, APIExports and APIBindings of `root`, in the order of creation."""
    compute_apis: Sequence[Piece] = field(default_factory=tuple)
    """Content of root:compute: its schemas, the APIExport `kubernetes` and the right to bind it."""

    @property
    def has_compute(self) -> bool:
        return self.tmc and COMPUTE_BATTERY in self.batteries


def root_foundation(options: BootstrapOptions) -> list[Piece]:
    """What needs no API but those every workspace has."""
    gvr_of = {"ClusterRole": kinds.CLUSTER_ROLES, "ClusterRoleBinding": kinds.CLUSTER_ROLE_BINDINGS}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "annotations": {kinds.CREATE_ONLY: "true"}}}
    policy = [Piece(gvr_of[obj["kind"]], obj) for obj in root_policy(tmc=options.tmc, home_creators=options.home_creator_groups)]
    return [Piece(kinds.NAMESPACES, namespace), *policy]


def metrics_viewer() -> list[Piece]:
    """Who may read /metrics: a ServiceAccount with a token in a Secret, and the user of the same name as the role."""
    noted = {"annotations": {kinds.BATTERY: METRICS_BATTERY}}
    account: JSONObject = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "metrics", "namespace": "default", **noted}}
    secret: JSONObject = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {
            "name": "metrics",
            "namespace": "default",
            "annotations": {**noted["annotations"], "kubernetes.io/service-account.name": "metrics"},
        },
    }
    rbac = kinds.CLUSTER_ROLE_BINDINGS.group
    binding: JSONObject = {
        "apiVersion": kinds.CLUSTER_ROLE_BINDINGS.api_version,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": METRICS_BATTERY, **noted},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": kinds.METRICS_READER},
        "subjects": [
            {"kind": "ServiceAccount", "name": "metrics", "namespace": "default"},
            {"apiGroup": rbac, "kind": "User", "name": METRICS_BATTERY},
        ],
    }
    return [Piece(_SERVICE_ACCOUNTS, account), Piece(_SECRETS, secret), Piece(kinds.CLUSTER_ROLE_BINDINGS, binding)]


def root_cluster() -> Piece:
    """The LogicalCluster of `root`, the only one without a Workspace."""
    metadata = {
        "name": kinds.LOGICAL_CLUSTER_NAME,
        "annotations": {kinds.PATH: "root", kinds.TYPE: "root:root", kinds.CREATE_ONLY: "true"},
        "labels": {kinds.PHASE_LABEL: kinds.READY},
    }
    return Piece(
        kinds.LOGICAL_CLUSTERS,
        {"apiVersion": kinds.LOGICAL_CLUSTERS.api_version, "kind": "LogicalCluster", "metadata": metadata, "spec": {}},
    )


def root_tenancy(options: BootstrapOptions) -> list[Piece]:
    """What needs the tenancy and shards APIs to be bound in `root`."""
    with_types = WORKSPACE_TYPES_BATTERY in options.batteries
    types = default_types(
        TypeOptions(
            tmc=options.tmc,
            compute_binding=options.compute_binding and options.has_compute,
            default_child_of_root="organization" if with_types else "universal",
        )
    )
    chosen = [t for t in types if with_types or t["metadata"]["name"] in ("root", "universal", "home")]
    metrics = metrics_viewer() if METRICS_BATTERY in options.batteries else []
    return [Piece(kinds.SHARDS, shard(options)), *(Piece(kinds.WORKSPACE_TYPES, t) for t in chosen), *metrics]


def shard(options: BootstrapOptions) -> JSONObject:
    base = options.shard_base_url
    return {
        "apiVersion": kinds.SHARDS.api_version,
        "kind": "Shard",
        "metadata": {"name": options.shard_name, "labels": {"name": options.shard_name}},
        "spec": {
            "baseURL": base,
            "externalURL": options.shard_external_url or base,
            "virtualWorkspaceURL": options.shard_virtual_workspace_url or base,
        },
    }


def compute_workspace() -> Piece:
    obj: JSONObject = {
        "apiVersion": kinds.WORKSPACES.api_version,
        "kind": "Workspace",
        "metadata": {"name": "compute", "annotations": {kinds.CREATE_ONLY: "true", kinds.BATTERY: COMPUTE_BATTERY}},
        "spec": {"type": {"name": "universal", "path": "root"}},
    }
    return Piece(kinds.WORKSPACES, obj)
