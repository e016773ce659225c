"""ClusterRoles and bindings: kcp's own, which hold in every workspace without being stored, and those that stand in `root`.

Before: `server.compose` adds `kcp_policy()` to `apiserver.authz.rbac.StaticPolicy`; `bootstrap.content` stores `root_policy()`.
Source: kcp pkg/authorization/bootstrap/policy.go, config/root/clusterrole*.yaml.
"""

from __future__ import annotations

from collections.abc import Sequence

from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authz.bootstrap import cluster_role, cluster_role_binding, rule, url_rule
from kcp.tenancy import kinds

_READ = ("get", "list", "watch")
_EXPORTS = ("tenancy", "topology", "shards")
_BINDING_PREFIX = "apis.kcp.io:binding:"
"""Of groups as a maximal permission policy sees them, see `exports.authz`."""
_TMC_EXPORTS = ("scheduling", "workload", "apiresource")


def kcp_policy() -> list[JSONObject]:
    """What kcp keeps in `system:admin`."""
    lca, external = kinds.LOGICAL_CLUSTER_ADMIN, kinds.EXTERNAL_LOGICAL_CLUSTER_ADMIN
    everything = [rule("*", "*", "*"), url_rule("*", "*")]
    clusters = "logicalclusters logicalclusters/status"
    return [
        cluster_role(
            "system:kcp:tenancy:reader",
            [rule("tenancy.kcp.io", "workspaces workspacetypes", _READ), rule("core.kcp.io", "logicalclusters", _READ)],
        ),
        cluster_role(kinds.WORKSPACE_ACCESS, [url_rule(("/",), ("access",))]),
        cluster_role(kinds.METRICS_READER, [url_rule(("/metrics",), ("get",))]),
        cluster_role(kinds.BOOTSTRAPPER, everything),
        cluster_role(lca, [rule("core.kcp.io", clusters, "*"), rule("tenancy.kcp.io", "workspaces", ("delete", "update", "get"))]),
        cluster_role(
            external,
            [
                rule("core.kcp.io", clusters, ("delete", "update", "get")),
                rule("tenancy.kcp.io", "workspaces", ("delete", "update", "get")),
                rule("", "serviceaccounts secrets", ("get",)),
                rule("apis.kcp.io", "apiexportendpointslices/status", ("update", "patch", "get")),
                rule("apis.kcp.io", "apiexportendpointslices", _READ),
                url_rule(("/",), ("access",)),
            ],
        ),
        cluster_role_binding("system:kcp:admin:cluster-admin", groups=(kinds.KCP_ADMIN,), role="cluster-admin"),
        cluster_role_binding(kinds.BOOTSTRAPPER, groups=(kinds.BOOTSTRAPPER, f"apis.kcp.io:binding:{kinds.BOOTSTRAPPER}")),
        cluster_role_binding(lca, groups=(lca,)),
        cluster_role_binding(external, groups=(external,)),
    ]


def root_policy(*, tmc: bool, home_creators: Sequence[str] = (kinds.AUTHENTICATED,)) -> list[JSONObject]:
    """What users may do in `root`: enter it, read the tree, use the built-in types, bind the built-in APIs, have a home workspace."""
    everyone = (kinds.AUTHENTICATED,)
    use_types = {**rule("tenancy.kcp.io", "workspacetypes", ("use",)), "resourceNames": ["universal", "organization", "team"]}
    home = {**rule("tenancy.kcp.io", "workspaces", ("get", "create")), "resourceNames": ["~"]}
    # As the flag says at each start, unlike the others.
    homes = cluster_role_binding("system:kcp:home-workspace-create", groups=tuple(home_creators))
    homes["metadata"] = {"name": homes["metadata"]["name"]}
    return [homes] + [
        _stored(obj)
        for obj in (
            cluster_role("system:kcp:universal-workspacetype-use", [use_types]),
            cluster_role_binding("system:kcp:universal-workspacetype-use", groups=everyone),
            cluster_role("system:kcp:home-workspace-create", [home]),
            *(obj for name in (*_EXPORTS, *(_TMC_EXPORTS if tmc else ())) for obj in _bind(name)),
            *_limits("tenancy", "workspaces workspacetypes workspaceauthenticationconfigurations"),
            *(_limits("apiresource", "apiresourceimports negotiatedapiresources") if tmc else ()),
            *_administrators_limits(("tenancy", *(("apiresource",) if tmc else ()))),
            cluster_role("system:kcp:metrics-reader", [url_rule(("/metrics",))]),
            cluster_role_binding("system:kcp:tenancy:authenticated:access", groups=everyone, role=kinds.WORKSPACE_ACCESS),
            cluster_role_binding("system:kcp:authenticated:tenancy:reader", groups=everyone, role="system:kcp:tenancy:reader"),
        )
    ]


def _bind(name: str) -> tuple[JSONObject, JSONObject]:
    """Everybody may bind this export."""
    export = "shards.core.kcp.io" if name == "shards" else f"{name}.kcp.io"
    role, verbs = f"system:kcp:apiexport:{name}:bind", ("get", "bind") if name == "shards" else ("bind",)
    allowed = {**rule("apis.kcp.io", "apiexports", verbs), "resourceNames": [export]}
    binding = cluster_role_binding(f"system:kcp:authenticated:apiexport:{name}:bind", groups=(kinds.AUTHENTICATED,), role=role)
    return cluster_role(role, [allowed]), binding


def _limits(export: str, resources: str) -> tuple[JSONObject, ...]:
    """The maximal permission policy of an export of kcp's own: statuses are the system's, whatever a workspace's RBAC says."""
    role, group = _maximal(export), f"{export}.kcp.io"
    statuses = " ".join(f"{resource}/status" for resource in resources.split())
    return (
        cluster_role(role, [rule(group, resources, ("*",)), rule(group, statuses, _READ)]),
        cluster_role_binding(_of_everybody(role), groups=(f"{_BINDING_PREFIX}{kinds.AUTHENTICATED}",), role=role),
    )


def _administrators_limits(exports: Sequence[str]) -> tuple[JSONObject, ...]:
    """What the same allow administrators: everything."""
    role = _maximal("kcp-admin")
    return (
        cluster_role(role, [rule(f"{export}.kcp.io", "*", ("*",)) for export in exports]),
        cluster_role_binding(_of_everybody(role), groups=(f"{_BINDING_PREFIX}{kinds.KCP_ADMIN}",), role=role),
    )


def _maximal(name: str) -> str:
    return f"system:kcp:apiexport:{name}:maximal-permission-policy"


def _of_everybody(role: str) -> str:
    return role.replace("system:kcp:", "system:kcp:authenticated:", 1)


def _stored(obj: JSONObject) -> JSONObject:
    """An administrator may change these; a restart does not undo that."""
    obj["metadata"] = {"name": obj["metadata"]["name"], "annotations": {kinds.CREATE_ONLY: "true"}}
    return obj
