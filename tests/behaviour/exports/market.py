"""A provider that exports widgets and claims what its consumers grant, and the consumers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client, ResourceClient
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS
from kcp.registry.backend import UserInfo
from kcp.server.compose import SYSTEM, KcpServer
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for

WIDGETS = GVR("example.com", "v1", "widgets")
CONFIG_MAPS = GVR("", "v1", "configmaps")
ROLES, ROLE_BINDINGS = (GVR("rbac.authorization.k8s.io", "v1", name) for name in ("clusterroles", "clusterrolebindings"))
PROVIDER = UserInfo("provider", ("system:authenticated",))
CONFIG_MAP_CLAIM = {"group": "", "resource": "configmaps", "verbs": ["*"]}


def named(gvr: GVR, kind: str, name: str, spec: JSONObject | None = None, **top: Any) -> JSONObject:
    return {"apiVersion": gvr.api_version, "kind": kind, "metadata": {"name": name}, **({"spec": spec} if spec is not None else {}), **top}


def config_map(name: str, **labels: str) -> JSONObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **({"labels": labels} if labels else {})}}


def accepted(claim: JSONObject, selector: JSONObject | None = None, state: str = "Accepted") -> JSONObject:
    return {**claim, "selector": selector or {"matchAll": True}, "state": state}


def is_settled(binding: JSONObject) -> bool:
    """Bound, and every object labelled for the claims."""
    return conditions.is_true(binding, "Ready") and conditions.is_true(binding, "PermissionClaimsApplied")


@dataclass
class Market:
    server: KcpServer
    provider_name: str = ""
    """The provider's logical cluster."""

    async def open(self) -> None:
        """Make the provider's workspace, its schema, and its user, who may do everything there and nothing elsewhere."""
        provider = await self.workspace("provider")
        self.provider_name = meta.cluster(await provider.resource(GVR("core.kcp.io", "v1alpha1", "logicalclusters")).get("cluster"))
        openapi = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}}}
        version = {"name": "v1", "served": True, "storage": True, "schema": openapi, "subresources": {"status": {}}}
        names = {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
        spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
        await provider.resource(SCHEMAS).create(named(SCHEMAS, "APIResourceSchema", "v1.widgets.example.com", spec))
        await self.grant("provider", PROVIDER.name, [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])

    async def grant(self, workspace: str, user: str, rules: Sequence[JSONObject]) -> None:
        """Let a user into a workspace, with these rules."""
        client = self.at(workspace)
        every = [*rules, {"nonResourceURLs": ["/"], "verbs": ["access"]}]
        name = user.replace(":", "-").replace(".", "-")
        await client.resource(ROLES).create(named(ROLES, "ClusterRole", name, rules=every))
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        await client.resource(ROLE_BINDINGS).create(named(ROLE_BINDINGS, "ClusterRoleBinding", name, roleRef=role, subjects=[subject]))

    def at(self, workspace: str, user: UserInfo | None = None) -> Client:
        return self.as_user(user or SYSTEM).cluster(f"root:{workspace}")

    def as_user(self, user: UserInfo) -> Client:
        return Client(AsgiTransport(self.server.app, user), clock=self.server.clock, user_agent="test")

    async def workspace(self, name: str, kind: str = "universal") -> Client:
        """A workspace below root. Args: kind: its type, of root."""
        workspaces = self.as_user(SYSTEM).cluster("root").resource(kinds.WORKSPACES)
        await workspaces.create(named(kinds.WORKSPACES, "Workspace", name, {"type": {"name": kind, "path": "root"}}))
        await wait_for(workspaces, name, lambda w: meta.nested(w, "status", "phase") == "Ready", timeout_s=10.0, what=name)
        return self.at(name)

    async def export(self, name: str = "widgets", *, claims: Sequence[JSONObject] = (), **spec: Any) -> JSONObject:
        """Publish an export of widgets."""
        resources = [{"group": "example.com", "name": "widgets", "schema": "v1.widgets.example.com"}]
        exports = self.at("provider").resource(EXPORTS)
        wanted = {"resources": resources, **({"permissionClaims": list(claims)} if claims else {}), **spec}
        await exports.create(named(EXPORTS, "APIExport", name, wanted))
        return await self.until(exports, name, lambda e: bool(meta.nested(e, "status", "identityHash")), "identity")

    async def bind(self, workspace: str, *claims: JSONObject, export: str = "widgets") -> JSONObject:
        """Bind the export of widgets in a workspace."""
        spec = {"reference": {"export": {"path": "root:provider", "name": export}}, "permissionClaims": list(claims)}
        bindings = self.at(workspace).resource(BINDINGS)
        await bindings.create(named(BINDINGS, "APIBinding", export, spec))
        return await self.until(bindings, export, is_settled, "the binding")

    async def until(self, resource: ResourceClient, name: str, is_right: Callable[[JSONObject], bool], what: str) -> JSONObject:
        return await wait_for(resource, name, is_right, timeout_s=10.0, what=what)

    async def gone(self, resource: ResourceClient, name: str) -> None:
        async with asyncio.timeout(10.0):
            while True:
                try:
                    await resource.get(name)
                except NotFound:
                    return
                await self.server.clock.sleep(0.02)

    def view(self, workspace: str = "*", *, user: UserInfo = PROVIDER, export: str = "widgets") -> Client:
        """The virtual workspace of the export, at one consumer or at all."""
        path = workspace if workspace == "*" else f"root:{workspace}"
        return self.as_user(user).at(f"/services/apiexport/{self.provider_name}/{export}/clusters/{path}")

    def as_provider_of(self, cluster: str, *, export: str = "widgets") -> Client:
        """The virtual workspace of the export at one consumer, by the name of its logical cluster."""
        return self.as_user(PROVIDER).at(f"/services/apiexport/{self.provider_name}/{export}/clusters/{cluster}")


def with_groups(user: UserInfo, *groups: str) -> UserInfo:
    return replace(user, groups=(*user.groups, *groups))
