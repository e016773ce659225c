"""The virtual workspaces `initializingworkspaces` and `terminatingworkspaces`: who may use them, and what they lead to.

`/services/<name>/<cluster>:<type>/clusters/…`: LogicalClusters that wait for this initializer or terminator, across all workspaces or in
one; everything else in one workspace is the workspace itself, while it waits. There the request counts as the workspace's creator's; or,
if the type declares permissions, as the caller's own with exactly these.
Before: `virtual.framework`. After: `backend`, or the ordinary request path.
Source: kcp pkg/virtual/{initializing,terminating}workspaces/builder/build.go, docs/content/concepts/workspaces/workspace-initialization.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import NOWHERE, WILDCARD, ClusterName, ObjectKey
from kcp.apiserver.authz.attributes import Authorizer, AuthzAttributes, forbidden
from kcp.apiserver.authz.effective import effective_groups
from kcp.apiserver.authz.rules import Rule
from kcp.apiserver.request import Request
from kcp.registry.backend import Backend, Scope, UserInfo
from kcp.registry.builtin import storage_hash
from kcp.registry.resource import Resource
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.index import ClusterRecord
from kcp.tenancy.logicalcluster.lifecycle import owner_of_annotation
from kcp.tenancy.workspacetype.model import WorkspaceType
from kcp.virtual.framework import Forward, View
from kcp.virtual.lifecycle.backend import LifecycleBackend
from kcp.virtual.lifecycle.stage import Stage
from kcp.virtual.oneresource import OneResource

_HELD_VIEWS = 512
_READS = ("get", "list", "watch")


@dataclass(frozen=True, slots=True)
class LifecycleWorkspace:
    """Implements VirtualWorkspace for one stage."""

    stage: Stage
    backend: Backend
    logical_clusters: Resource
    authorizer: Authorizer
    resolve: Callable[[str], ClusterName | None]
    record: Callable[[ClusterName], ClusterRecord | None]
    read_type: Callable[[ObjectKey], Awaitable[WorkspaceType | None]]
    parameters: int = 1
    _held: dict[tuple[str, bool], View] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.stage.name

    async def view(self, parameters: Sequence[str], request: Request) -> View | Forward:
        """Raises Forbidden."""
        identifier, info = parameters[0], request.info
        await self._check_verb(identifier, request.user)
        is_own = info.is_resource and GVR(info.group, info.version, info.resource) == kinds.LOGICAL_CLUSTERS
        if info.cluster == WILDCARD or is_own:
            return self._hold(identifier, is_everywhere=info.cluster == WILDCARD)
        return await self._forward(identifier, request)

    async def _check_verb(self, identifier: str, user: UserInfo) -> None:
        if kinds.MASTERS in effective_groups(user, WILDCARD):
            return
        key = self._type_key(identifier)
        if key is None:
            raise Forbidden(
                f'access not permitted: "{identifier}" names no {self.stage.noun}, which has the form <cluster>:<workspace type>'
            )
        types = kinds.WORKSPACE_TYPES
        asked = AuthzAttributes(user, self.stage.verb, key.cluster, types.group, types.resource, name=key.name)
        decision = await self.authorizer.authorize(asked)
        if not decision.is_allowed:
            raise forbidden(asked, decision.reason)

    def _type_key(self, identifier: str) -> ObjectKey | None:
        path, _, name = identifier.rpartition(":")
        if not path or path == WILDCARD or not name:
            return None
        return ObjectKey(self.resolve(path) or NOWHERE, "", name)  # asked about as what is closed

    def _hold(self, identifier: str, *, is_everywhere: bool) -> View:
        held = self._held.get((identifier, is_everywhere))
        if held is None:
            if len(self._held) >= _HELD_VIEWS:
                self._held.clear()
            status_verbs = () if is_everywhere else self.logical_clusters.status_verbs
            resource = replace(
                self.logical_clusters,
                verbs=_READS,
                status_verbs=status_verbs,
                storage_hash=storage_hash(self.logical_clusters.gvk, owner=""),
            )
            held = View(OneResource(resource), LifecycleBackend(self.backend, self.stage, identifier))
            self._held[identifier, is_everywhere] = held
        return held

    async def _forward(self, identifier: str, request: Request) -> Forward:
        record = self.record(request.info.cluster)
        if record is None or identifier not in self.stage.waits_for(record):
            raise Forbidden(f'{self.stage.noun} "{identifier}" cannot access this workspace')
        key = self._type_key(identifier)
        type_ = await self.read_type(key) if key is not None else None
        if type_ is None:
            raise Forbidden(f'{self.stage.noun} "{identifier}" cannot access this workspace: its workspace type does not exist any more')
        rules = self.stage.permissions(type_)
        if not rules:
            return Forward(await self._creator(request.info.cluster))
        info = request.info
        asked = AuthzAttributes(
            request.user, info.verb, info.cluster, info.group, info.resource, info.subresource, info.namespace, info.name, info.path,
            info.is_resource,
        )  # fmt: skip
        if not any(_grants(Rule.of(rule), asked) for rule in rules):
            raise forbidden(asked, f'{self.stage.noun} "{identifier}" denied by {self.stage.noun}Permissions')
        group = f"{self.stage.group_prefix}{identifier}"
        return Forward(replace(request.user, groups=(group, *request.user.groups)), is_authorized=True)

    async def _creator(self, cluster: ClusterName) -> UserInfo:
        scope = Scope(self.logical_clusters, cluster, name=kinds.LOGICAL_CLUSTER_NAME)
        held = (await self.backend.get(scope)).decode()
        info = meta.nested(held, "spec", "createdBy", default={}) or owner_of_annotation(meta.annotations(held).get(kinds.OWNER, ""))
        if not info.get("username"):
            raise Forbidden(
                f"LogicalCluster {cluster}|{kinds.LOGICAL_CLUSTER_NAME} had no createdBy recorded: as whom requests count is unknown."
                f" Declare {self.stage.noun}Permissions in the workspace type, or create the workspace as a user"
            )
        extra = {key: tuple(values) for key, values in (info.get("extra") or {}).items()}
        return UserInfo(info["username"], tuple(info.get("groups") or ()), info.get("uid") or "", extra)


def _grants(rule: Rule, asked: AuthzAttributes) -> bool:
    if not asked.is_resource:
        return rule.matches_url(asked.verb, asked.path)
    named = not rule.names or asked.name in rule.names
    return named and rule.matches_resource(asked.verb, asked.group, asked.resource, asked.subresource)
