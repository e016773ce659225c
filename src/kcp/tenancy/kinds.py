"""Words of tenancy: the kinds, annotations, labels, phases, conditions and groups that its parts and its users share.

Source: kcp sdk/apis/{core,tenancy}/v1alpha1, pkg/authorization/bootstrap/policy.go.
"""

from __future__ import annotations

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject

LOGICAL_CLUSTERS = GVR("core.kcp.io", "v1alpha1", "logicalclusters")
SHARDS = GVR("core.kcp.io", "v1alpha1", "shards")
WORKSPACES = GVR("tenancy.kcp.io", "v1alpha1", "workspaces")
WORKSPACE_TYPES = GVR("tenancy.kcp.io", "v1alpha1", "workspacetypes")
WORKSPACE_AUTHENTICATION = GVR("tenancy.kcp.io", "v1alpha1", "workspaceauthenticationconfigurations")
API_BINDINGS = GVR("apis.kcp.io", "v1alpha2", "apibindings")
API_EXPORTS = GVR("apis.kcp.io", "v1alpha2", "apiexports")
NAMESPACES = GVR("", "v1", "namespaces")
CLUSTER_ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")
CLUSTER_ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")

LOGICAL_CLUSTER_NAME = "cluster"
"""The only legal name of a LogicalCluster: one per logical cluster."""

# Annotations
PATH = "kcp.io/path"
TYPE = "internal.tenancy.kcp.io/type"
SHARD = "core.kcp.io/shard"
"""Name of the shard, on Workspaces and LogicalClusters."""
SHARD_OF_WORKSPACE = "internal.tenancy.kcp.io/shard"
"""Its older form: see `scheduling.shard_hash`."""
CLUSTER_OF_WORKSPACE = "internal.tenancy.kcp.io/cluster"
OWNER = "experimental.tenancy.kcp.io/owner"
REQUIRED_GROUPS = "authorization.kcp.io/required-groups"
UNSCHEDULABLE = "experimental.core.kcp.io/unschedulable"
INACTIVE = ("core.kcp.io/inactive", "internal.kcp.io/inactive")
"""Either marks a logical cluster; kcp 0.31 knows the second."""
MAX_TOTAL_OBJECTS = "core.kcp.io/max-total-objects"
CREATE_ONLY = "bootstrap.kcp.io/create-only"
BATTERY = "bootstrap.kcp.io/battery"

# Labels
PHASE_LABEL = "tenancy.kcp.io/phase"
INITIALIZER_LABEL_PREFIX = "initializer.internal.kcp.io/"
TERMINATOR_LABEL_PREFIX = "terminator.internal.kcp.io/"

# Finalizers
LOGICAL_CLUSTER_FINALIZER = "core.kcp.io/logicalcluster"
"""On a Workspace: its logical cluster has to go first."""
DELETION_FINALIZER = "core.kcp.io/logicalcluster-deletion"
"""On a LogicalCluster: its content has to go first."""
TERMINATORS_FINALIZER = "kcp.io/has-terminators"
"""On a LogicalCluster: its terminators have to be done first."""

# Phases of LogicalCluster and Workspace
SCHEDULING, INITIALIZING, READY = "Scheduling", "Initializing", "Ready"
UNAVAILABLE, INACTIVE_PHASE, TERMINATING, DELETING = "Unavailable", "Inactive", "Terminating", "Deleting"

# Conditions
WORKSPACE_SCHEDULED = "WorkspaceScheduled"
WORKSPACE_INITIALIZED = "WorkspaceInitialized"
CONTENT_DELETED = "WorkspaceContentDeleted"
BINDINGS_INITIALIZED = "APIBindingsInitialized"
BINDINGS_RECONCILED = "APIBindingsReconciled"
VIRTUAL_WORKSPACE_URLS_READY = "VirtualWorkspaceURLsReady"

# Initializers
BINDINGS_INITIALIZER = "system:apibindings"
UNIVERSAL_INITIALIZER = "root:universal"

SYSTEM_ADMIN = ClusterName("system:admin")
"""Logical cluster of the server's administrators: what its RBAC grants holds everywhere, and its cluster roles can be bound everywhere."""

# Groups
MASTERS = "system:masters"
KCP_ADMIN = "system:kcp:admin"
BOOTSTRAPPER = "system:kcp:tenancy:workspace-bootstrapper"
LOGICAL_CLUSTER_ADMIN = "system:kcp:logical-cluster-admin"
EXTERNAL_LOGICAL_CLUSTER_ADMIN = "system:kcp:external-logical-cluster-admin"
WORKSPACE_ACCESS = "system:kcp:workspace:access"
METRICS_READER = "system:kcp:metrics-reader"
"""Role that, bound in `root`, lets read /metrics."""
AUTHENTICATED = "system:authenticated"
INITIALIZER_GROUP_PREFIX, TERMINATOR_GROUP_PREFIX = "system:kcp:initializer:", "system:kcp:terminator:"
"""Of requests that a virtual workspace has checked against the permissions of a workspace type; nobody brings them along."""


def is_inactive(logical_cluster: JSONObject) -> bool:
    """Whether somebody has marked it so."""
    annotations = meta.annotations(logical_cluster)
    return any(annotations.get(mark) == "true" for mark in INACTIVE)
