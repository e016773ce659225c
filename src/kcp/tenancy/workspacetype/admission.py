"""What may be written to a WorkspaceType; its canonical path is filled in.

Part of the server's admission chain (`registry.backend.Admission`).
The server itself binds what a type says; so whoever says it must be allowed to bind it.
Source: kcp pkg/admission/workspacetype, pkg/admission/reservednames, pkg/admission/pathannotation;
test/e2e/apibinding/default_apibinding_admission_test.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Invalid
from kcp.apimachinery.keys import NOWHERE, ClusterName, ClusterPath
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Attributes, UserInfo
from kcp.tenancy import kinds
from kcp.tenancy.workspace.admission import RESERVED_NAMES, forbidden


@dataclass(frozen=True, slots=True)
class WorkspaceTypeAdmission:
    path_of: Callable[[ClusterName], str]
    resolve: Callable[[str], ClusterName | None]
    may_bind: Callable[[UserInfo, ClusterName, str], Awaitable[bool]]
    """(user, cluster of the export, its name): verb `bind`."""

    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        scope, new = attributes.scope, attributes.new
        if scope.resource.group_resource != kinds.WORKSPACE_TYPES.group_resource or scope.subresource or new is None:
            return new
        path = self.path_of(scope.cluster)
        if meta.annotations(new).get(kinds.PATH) == path:
            return new
        changed: JSONObject = meta.copy_json(new)
        meta.set_annotation(changed, kinds.PATH, path)
        return changed

    async def validate(self, attributes: Attributes) -> None:
        scope, new = attributes.scope, attributes.new
        if scope.resource.group_resource != kinds.WORKSPACE_TYPES.group_resource or new is None or attributes.verb == "DELETE":
            return
        name = meta.name(new)
        if attributes.verb == "CREATE" and name in RESERVED_NAMES:
            raise forbidden(scope, f'"{name}" is a reserved name')
        causes = faults(new)
        if causes:
            raise Invalid.of(scope.resource.group_resource, scope.resource.kind, name, causes)
        await self._check_bind(attributes, new)

    async def _check_bind(self, attributes: Attributes, new: JSONObject) -> None:
        """Raises Forbidden. What the type said before is not asked about again: others may change the rest of it."""
        before = set(_bound_by(attributes.old or {}))
        for path, export in _bound_by(new):
            cluster = (self.resolve(path) or NOWHERE) if path else attributes.scope.cluster
            if (path, export) not in before and not await self.may_bind(attributes.user, cluster, export):
                where = f"{path or self.path_of(attributes.scope.cluster)}:{export}"
                raise forbidden(attributes.scope, f"spec.defaultAPIBindings: no permission to bind to export {where}")


def _bound_by(type_: JSONObject) -> list[tuple[str, str]]:
    """Path and name of each export that workspaces of a type bind."""
    return [(each.get("path") or "", each.get("export") or "") for each in meta.nested(type_, "spec", "defaultAPIBindings", default=())]


def faults(type_: JSONObject) -> list[Cause]:
    """What no schema can say about a WorkspaceType. Pure."""
    spec = meta.nested(type_, "spec", default={})
    causes: list[Cause] = []
    for field in ("limitAllowedChildren", "limitAllowedParents"):
        limit = spec.get(field) or {}
        if limit.get("none") and limit.get("types"):
            causes.append(Cause.forbidden(f"spec.{field}", "none and types exclude each other"))
    seen: set[tuple[str, str]] = set()
    for index, binding in enumerate(spec.get("defaultAPIBindings") or ()):
        field, export = f"spec.defaultAPIBindings[{index}]", (binding.get("path") or "", binding.get("export") or "")
        if not export[1]:
            causes.append(Cause.required(f"{field}.export"))
        if export[0] and not ClusterPath(export[0]).is_valid:
            detail = "must be the path of the workspace that has the APIExport, or empty for the type's own"
            causes.append(Cause.invalid(f"{field}.path", export[0], detail))
        if export in seen:
            causes.append(Cause.duplicate(field, f"{export[0]}:{export[1]}"))
        seen.add(export)
    return causes
