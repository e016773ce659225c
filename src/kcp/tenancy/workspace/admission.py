"""What may be written to a Workspace, and what is filled in.

Part of the server's admission chain (`registry.backend.Admission`).
Before: handlers, through the chain. After: the registry.
Source: kcp pkg/admission/workspace, pkg/admission/workspacetypeexists, pkg/admission/reservednames.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Forbidden, Invalid
from kcp.apimachinery.keys import ROOT, ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Attributes, Scope, UserInfo
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.index import ClusterRecord
from kcp.tenancy.logicalcluster.labels import with_phase_labels
from kcp.tenancy.workspace.status import labelled
from kcp.tenancy.workspacetype.lister import TypeLister
from kcp.tenancy.workspacetype.model import TypeReference
from kcp.tenancy.workspacetype.resolution import ResolvedType, UnresolvableType, refusals

RESERVED_NAMES = frozenset({"any", "system"})
_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")

MayUseType = Callable[[UserInfo, ClusterName, str], Awaitable[bool]]
"""Whether a user has verb `use` on the workspace type of this name in this cluster."""


def forbidden(scope: Scope, text: str) -> Forbidden:
    resource = scope.resource.group_resource
    return Forbidden(f'{resource} "{scope.name}" is forbidden: {text}', resource=resource, name=scope.name)


def owner_annotation(user: UserInfo) -> str:
    """The creator as JSON, in the form of authentication.k8s.io UserInfo."""
    info: dict[str, object] = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {k: list(v) for k, v in user.extra.items()}
    return orjson.dumps(info).decode()


def is_privileged(user: UserInfo) -> bool:
    return kinds.MASTERS in user.groups


@dataclass(frozen=True, slots=True)
class WorkspaceAdmission:
    types: TypeLister
    record: Callable[[ClusterName], ClusterRecord | None]
    """What is known of the parent's logical cluster: `WorkspaceIndex.record`."""
    may_use_type: MayUseType
    has_mounts: bool = True
    """Whether workspaces may be mounts: this server then sends requests to URLs that users name."""

    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        if not _is_workspace(attributes.scope) or attributes.new is None:
            return attributes.new
        if attributes.verb == "UPDATE" and attributes.scope.subresource == "status" and meta.nested(attributes.new, "status", "phase"):
            return labelled(attributes.new)  # else a second write would have to follow each change of phase
        if attributes.verb != "CREATE":
            return attributes.new
        workspace: JSONObject = meta.copy_json(attributes.new)
        self._set_owner(workspace, attributes)
        if meta.nested(workspace, "spec", "mount") is None:
            await self._set_type(workspace, attributes.scope)
            finalizers = [f for f in meta.finalizers(workspace) if f != kinds.LOGICAL_CLUSTER_FINALIZER]
            meta.set_finalizers(workspace, [*finalizers, kinds.LOGICAL_CLUSTER_FINALIZER])
        return workspace

    def _set_owner(self, workspace: JSONObject, attributes: Attributes) -> None:
        """Record the creator, and hand down the groups that the parent requires."""
        privileged = is_privileged(attributes.user)
        if not privileged:
            meta.set_annotation(workspace, kinds.OWNER, owner_annotation(attributes.user))
        if not privileged or kinds.REQUIRED_GROUPS not in meta.annotations(workspace):
            parent = self.record(attributes.scope.cluster)
            meta.set_annotation(workspace, kinds.REQUIRED_GROUPS, (parent.required_groups if parent else "") or None)

    async def _set_type(self, workspace: JSONObject, scope: Scope) -> None:
        """Default the type from the parent, make its path explicit, and take over its labels."""
        reference = TypeReference.from_object(meta.nested(workspace, "spec", "type"))
        if reference is None:
            parent = await self._parent_type(scope)
            reference = parent.default_child
            if reference is None:
                raise forbidden(scope, f"spec.type must be set: workspace type {parent.reference} has no default child type")
        found = await self.types.find_live(reference, scope.cluster)
        if found is None:
            raise forbidden(
                scope, f"workspace type {reference} cannot be resolved; `kubectl get workspacetypes` lists those of a workspace"
            )
        type_ = await self._resolved(found.reference, scope)
        chosen = reference if reference.path else type_.reference  # a path that is given stays, even if it is a cluster's name
        meta.ensure(workspace, "spec")["type"] = chosen.to_object()
        labels = {**type_.labels, **meta.labels(workspace)}
        workspace["metadata"]["labels"] = with_phase_labels(labels, kinds.SCHEDULING, ())

    async def _parent_type(self, scope: Scope) -> ResolvedType:
        record = self.record(scope.cluster)
        text = record.type if record is not None else ""
        if not text and scope.cluster == ROOT:
            text = "root:root"
        if not text:
            raise forbidden(scope, f"the type of the parent workspace {scope.cluster} is unknown")
        return await self._resolved(TypeReference.parse(text), scope)

    async def _resolved(self, reference: TypeReference, scope: Scope) -> ResolvedType:
        try:
            return await self.types.resolve_live(reference)
        except UnresolvableType as error:
            raise forbidden(scope, str(error)) from error

    async def validate(self, attributes: Attributes) -> None:
        if not _is_workspace(attributes.scope) or attributes.new is None:
            return
        if attributes.verb == "CREATE":
            await self._validate_create(attributes, attributes.new)
        elif attributes.verb == "UPDATE" and attributes.old is not None:
            _validate_update(attributes, attributes.old, attributes.new)

    async def _validate_create(self, attributes: Attributes, new: JSONObject) -> None:
        scope, user = attributes.scope, attributes.user
        _check_name(scope, meta.name(new))
        if not is_privileged(user):
            for field in ("cluster", "URL"):
                if meta.nested(new, "spec", field):
                    raise forbidden(scope, f"spec.{field} can only be set by system privileged users")
            if meta.annotations(new).get(kinds.OWNER) != owner_annotation(user):
                raise forbidden(scope, f"expected user annotation {kinds.OWNER}={owner_annotation(user)}")
        if meta.nested(new, "spec", "mount") is not None:
            if not self.has_mounts:
                raise forbidden(scope, "spec.mount cannot be set: start the server with --feature-gates=WorkspaceMounts=true")
            _check_mount(scope, new)
            return
        reference = TypeReference.from_object(meta.nested(new, "spec", "type"))
        if reference is None:
            raise forbidden(scope, "spec.type must be set")
        type_ = await self._resolved(reference, scope)
        problems = refusals(await self._parent_type(scope), type_)
        if problems:
            raise forbidden(scope, "; ".join(problems))
        await self._check_use(scope, user, reference)

    async def _check_use(self, scope: Scope, user: UserInfo, reference: TypeReference) -> None:
        cluster = self.types.resolve_path(reference.path)
        if is_privileged(user) or (cluster is not None and await self.may_use_type(user, cluster, reference.name)):
            return
        raise forbidden(scope, f"unable to use workspace type {reference}: missing verb='use' permission on workspacetype")


def _is_workspace(scope: Scope) -> bool:
    return scope.resource.group_resource == kinds.WORKSPACES.group_resource


def _check_name(scope: Scope, name: str) -> None:
    if name in RESERVED_NAMES:
        raise forbidden(scope, f'"{name}" is a reserved name')
    if not _NAME.match(name):
        detail = "it becomes part of a path: at most 63 lower-case letters, digits and '-', first and last a letter or digit"
        raise Invalid.of(scope.resource.group_resource, scope.resource.kind, name, [Cause.invalid("metadata.name", name, detail)])


def _check_mount(scope: Scope, new: JSONObject) -> None:
    reference = meta.nested(new, "spec", "mount", "ref", default={})
    for field in ("kind", "name", "apiVersion"):
        if not reference.get(field):
            raise forbidden(scope, f"spec.mount.ref.{field} must be set")
    if meta.nested(new, "spec", "type") is not None:
        raise forbidden(scope, "spec.type cannot be set for mounted workspaces")


def _validate_update(attributes: Attributes, old: JSONObject, new: JSONObject) -> None:
    """Type and mount never change; cluster and URL only by the system, and never back to nothing."""
    scope, privileged = attributes.scope, is_privileged(attributes.user)
    for field in ("type", "mount"):
        if meta.nested(old, "spec", field) != meta.nested(new, "spec", field):
            raise forbidden(scope, f"spec.{field} is immutable")
    for field in ("cluster", "URL"):
        before, after = meta.nested(old, "spec", field, default=""), meta.nested(new, "spec", field, default="")
        if before and not after:
            raise forbidden(scope, f"spec.{field} cannot be unset")
        if before != after and not privileged:
            raise forbidden(scope, f"spec.{field} can only be changed by system privileged users")
        became_ready = meta.nested(new, "status", "phase") == kinds.READY != meta.nested(old, "status", "phase")
        if became_ready and not after and meta.nested(new, "spec", "mount") is None:
            raise forbidden(scope, f"spec.{field} must be set for phase {kinds.READY}")
    if not privileged and meta.annotations(old).get(kinds.OWNER) != meta.annotations(new).get(kinds.OWNER):
        raise forbidden(scope, f"annotation {kinds.OWNER} is immutable")
