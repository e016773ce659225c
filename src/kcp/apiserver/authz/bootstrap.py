"""Upstream's default ClusterRoles and ClusterRoleBindings, as objects.

They hold in every logical cluster through `rbac.StaticPolicy` and are stored in none (kcp keeps them once, in `system:admin`);
a server with one logical cluster may also store them, so that `kubectl get clusterroles` lists them.
Source: k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from kcp.apimachinery.meta import JSONObject

_API = "rbac.authorization.k8s.io/v1"
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_ANNOTATIONS = {"rbac.authorization.kubernetes.io/autoupdate": "true"}

_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_HEALTH = ("/healthz", "/livez", "/readyz")
_VERSION = ("/version", "/version/")

_WORKLOADS: tuple[tuple[str, str], ...] = (
    ("apps", "daemonsets deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("batch", "cronjobs jobs"),
    ("extensions", "daemonsets deployments deployments/scale ingresses networkpolicies replicasets replicasets/scale"),
    ("policy", "poddisruptionbudgets"),
    ("networking.k8s.io", "ingresses networkpolicies"),
)  # fmt: skip
_WORKLOAD_STATUS: tuple[tuple[str, str], ...] = (
    ("apps", "controllerrevisions daemonsets/status deployments/status replicasets/status statefulsets/status"),
    ("autoscaling", "horizontalpodautoscalers/status"),
    ("batch", "cronjobs/status jobs/status"),
    ("extensions", "daemonsets/status deployments/status ingresses/status replicasets/status"),
    ("policy", "poddisruptionbudgets/status"),
    ("networking.k8s.io", "ingresses/status"),
    ("discovery.k8s.io", "endpointslices"),
)
_CORE_WRITABLE = "configmaps endpoints persistentvolumeclaims replicationcontrollers replicationcontrollers/scale serviceaccounts services"
_CORE_STATUS = (
    "bindings events limitranges namespaces namespaces/status persistentvolumeclaims/status pods pods/log pods/status "
    "replicationcontrollers/status resourcequotas resourcequotas/status services/status"
)
_CONNECT = "pods/attach pods/exec pods/portforward pods/proxy services/proxy"


def rule(group: str, resources: str, verbs: Sequence[str]) -> JSONObject:
    """A PolicyRule; `resources` are separated by blanks."""
    return {"apiGroups": [group], "resources": resources.split(), "verbs": list(verbs)}


def url_rule(urls: Sequence[str], verbs: Sequence[str] = ("get",)) -> JSONObject:
    return {"nonResourceURLs": list(urls), "verbs": list(verbs)}


def cluster_role(name: str, rules: Sequence[JSONObject], *, aggregate_to: str = "", aggregates: str = "") -> JSONObject:
    """A ClusterRole that is part of `aggregate_to` (admin, edit, view), or takes the roles that aggregate to `aggregates`."""
    labels = {**_LABELS, f"{_AGGREGATE}{aggregate_to}": "true"} if aggregate_to else dict(_LABELS)
    role: JSONObject = {"apiVersion": _API, "kind": "ClusterRole"}
    role["metadata"] = {"name": name, "labels": labels, "annotations": dict(_ANNOTATIONS)}
    if aggregates:
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {f"{_AGGREGATE}{aggregates}": "true"}}]}
    role["rules"] = list(rules)
    return role


def cluster_role_binding(name: str, *, groups: Sequence[str] = (), users: Sequence[str] = (), role: str = "") -> JSONObject:
    """Binds ClusterRole `role` (default: the one of the same name)."""
    api_group = "rbac.authorization.k8s.io"
    subjects = [{"kind": "Group", "apiGroup": api_group, "name": group} for group in groups]
    subjects += [{"kind": "User", "apiGroup": api_group, "name": user} for user in users]
    return {
        "apiVersion": _API,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": dict(_LABELS), "annotations": dict(_ANNOTATIONS)},
        "roleRef": {"apiGroup": api_group, "kind": "ClusterRole", "name": role or name},
        "subjects": subjects,
    }


def cluster_roles() -> list[JSONObject]:
    return [
        cluster_role("cluster-admin", [rule("*", "*", "*"), url_rule("*", "*")]),
        cluster_role("admin", [], aggregates="admin"),
        cluster_role("edit", [], aggregate_to="admin", aggregates="edit"),
        cluster_role("view", [], aggregate_to="edit", aggregates="view"),
        cluster_role("system:aggregate-to-admin", _admin_rules(), aggregate_to="admin"),
        cluster_role("system:aggregate-to-edit", _edit_rules(), aggregate_to="edit"),
        cluster_role("system:aggregate-to-view", _view_rules(), aggregate_to="view"),
        cluster_role("system:discovery", [url_rule((*_HEALTH, *_VERSION, "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"))]),
        cluster_role("system:public-info-viewer", [url_rule((*_HEALTH, *_VERSION))]),
        cluster_role("system:basic-user", _basic_user_rules()),
        cluster_role("system:monitoring", [url_rule((*_HEALTH, *(f"{p}/*" for p in _HEALTH), "/metrics", "/metrics/slis"))]),
        cluster_role("system:auth-delegator", _delegator_rules()),
        cluster_role("system:service-account-issuer-discovery", [url_rule(("/.well-known/openid-configuration", "/openid/v1/jwks"))]),
    ]


def cluster_role_bindings() -> list[JSONObject]:
    everyone = ("system:authenticated", "system:unauthenticated")
    return [
        cluster_role_binding("cluster-admin", groups=("system:masters",)),
        cluster_role_binding("system:discovery", groups=everyone[:1]),
        cluster_role_binding("system:basic-user", groups=everyone[:1]),
        cluster_role_binding("system:public-info-viewer", groups=everyone),
        cluster_role_binding("system:monitoring", groups=("system:monitoring",)),
        cluster_role_binding("system:service-account-issuer-discovery", groups=("system:serviceaccounts",)),
    ]


def bootstrap_policy() -> list[JSONObject]:
    """Every default role and binding."""
    return [*cluster_roles(), *cluster_role_bindings()]


def _view_rules() -> list[JSONObject]:
    core = [rule("", f"{_CORE_WRITABLE} {_CORE_STATUS}", _READ)]
    return core + [rule(group, resources, _READ) for group, resources in (*_WORKLOADS, *_WORKLOAD_STATUS)]


def _edit_rules() -> list[JSONObject]:
    return [
        rule("", f"{_CONNECT} secrets", _READ),
        rule("", f"pods events secrets {_CONNECT} {_CORE_WRITABLE.replace('endpoints ', '')}", _WRITE),
        rule("", "pods/eviction serviceaccounts/token", ("create",)),
        rule("", "serviceaccounts", ("impersonate",)),
        rule("apps", "deployments/rollback", _WRITE),
        rule("coordination.k8s.io", "leases", (*_READ, *_WRITE)),
        *(rule(group, resources, _WRITE) for group, resources in _WORKLOADS),
    ]


def _admin_rules() -> list[JSONObject]:
    return [
        rule("authorization.k8s.io", "localsubjectaccessreviews", ("create",)),
        rule("rbac.authorization.k8s.io", "rolebindings roles", (*_READ, *_WRITE)),
    ]


def _basic_user_rules() -> list[JSONObject]:
    return [
        rule("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", ("create",)),
        rule("authentication.k8s.io", "selfsubjectreviews", ("create",)),
    ]


def _delegator_rules() -> list[JSONObject]:
    return [
        rule("authentication.k8s.io", "tokenreviews", ("create",)),
        rule("authorization.k8s.io", "subjectaccessreviews", ("create",)),
    ]
