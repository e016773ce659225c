"""Workspace `root:town` with workspace types in it; ADA creates workspaces of them, BOB prepares and clears them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client, ResourceClient
from kcp.registry.backend import UserInfo
from kcp.server.compose import KcpServer
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for

CONFIG_MAPS = GVR("", "v1", "configmaps")
ADA = UserInfo("ada", ("dev", "system:authenticated"), extra={"floor": ("1",)})
BOB = UserInfo("bob", ("system:authenticated",))
EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]


def config_map(name: str) -> JSONObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}


def phase(obj: JSONObject) -> str:
    return str(meta.nested(obj, "status", "phase", default=""))


@dataclass
class Town:
    server: KcpServer
    name: str = ""
    """Logical cluster of the town."""

    async def open(self) -> None:
        root = self.server.client.cluster("root").resource(kinds.WORKSPACES)
        spec = {"type": {"name": "universal", "path": "root"}}
        await root.create({"apiVersion": kinds.WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": "town"}, "spec": spec})
        made = await self.until(root, "town", lambda w: phase(w) == "Ready", "the town")
        self.name = made["spec"]["cluster"]
        await self.grant(ADA, EVERYTHING)
        await self.grant(BOB, [])

    def at(self, path: str = "root:town", user: UserInfo | None = None) -> Client:
        return (self.server.client if user is None else self.as_user(user)).cluster(path)

    def as_user(self, user: UserInfo) -> Client:
        return Client(AsgiTransport(self.server.app, user), clock=self.server.clock, user_agent="test")

    def service(self, kind: str, type_: str, cluster: str = "*", *, user: UserInfo = BOB) -> Client:
        """`/services/<kind>workspaces/<town>:<type>/clusters/<cluster>`"""
        return self.as_user(user).at(f"/services/{kind}workspaces/{self.name}:{type_}/clusters/{cluster}")

    async def grant(self, user: UserInfo, rules: Sequence[JSONObject], name: str = "") -> None:
        """Let a user into the town, with these rules."""
        every = [*rules, {"nonResourceURLs": ["/"], "verbs": ["access"]}]
        role, name = kinds.CLUSTER_ROLES, name or user.name
        await (
            self.at()
            .resource(role)
            .create({"apiVersion": role.api_version, "kind": "ClusterRole", "metadata": {"name": name}, "rules": every})
        )
        subject = {"apiGroup": role.group, "kind": "User", "name": user.name}
        bound = {"apiGroup": role.group, "kind": "ClusterRole", "name": name}
        await self.at().resource(kinds.CLUSTER_ROLE_BINDINGS).create(
            {
                "apiVersion": role.api_version, "kind": "ClusterRoleBinding", "metadata": {"name": name}, "roleRef": bound,
                "subjects": [subject],
            }
        )  # fmt: skip

    async def allow(self, verb: str, *types: str) -> None:
        """Let BOB `initialize` or `terminate` workspaces of these types."""
        rule = {"apiGroups": ["tenancy.kcp.io"], "resources": ["workspacetypes"], "resourceNames": list(types), "verbs": [verb]}
        await self.grant(BOB, [rule], name=f"{verb}-{'-'.join(types)}")

    async def type(self, name: str, **spec: Any) -> JSONObject:
        kind = kinds.WORKSPACE_TYPES
        types = self.at().resource(kind)
        await types.create({"apiVersion": kind.api_version, "kind": "WorkspaceType", "metadata": {"name": name}, "spec": spec})
        return await self.until(types, name, lambda t: conditions.is_true(t, "Ready"), f"type {name}")

    async def workspace(self, name: str, type_: str, *, until: str = "Ready", user: UserInfo = ADA) -> JSONObject:
        """A workspace in the town, once it has this phase."""
        workspaces = self.at(user=user).resource(kinds.WORKSPACES)
        spec = {"type": {"name": type_, "path": "root:town"}}
        await workspaces.create({"apiVersion": kinds.WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}, "spec": spec})
        return await self.until(workspaces, name, lambda w: phase(w) == until and w["spec"].get("cluster"), f"workspace {name}")

    async def until(self, resource: ResourceClient, name: str, is_right: Callable[[JSONObject], Any], what: str) -> JSONObject:
        return await wait_for(resource, name, lambda obj: bool(is_right(obj)), timeout_s=10.0, what=what)

    async def gone(self, resource: ResourceClient, name: str) -> None:
        if not (await resource.list(field_selector=f"metadata.name={name}")).items:
            return
        try:
            await self.until(resource, name, lambda obj: False, f"the end of {name}")
        except NotFound:
            return
