"""What a workspace type means once everything it extends is added up. Pure.

Called by workspace admission (is this child allowed here?), the workspace controller (initializers, labels) and the default-bindings
initializer.
Source: kcp pkg/admission/workspacetypeexists/admission.go, pkg/reconciler/tenancy/initialization/apibinder_initializer_reconcile.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kcp.tenancy.kinds import BINDINGS_INITIALIZER
from kcp.tenancy.workspacetype.model import ExportReference, TypeReference, WorkspaceType

GetType = Callable[[TypeReference], WorkspaceType | None]
"""The type that stands at this path under this name, or None."""


class UnresolvableType(Exception):
    """A type, or one it extends, is missing or extends itself."""

    def __init__(self, message: str, missing: TypeReference | None = None) -> None:
        super().__init__(message)
        self.missing = missing
        """The type that was not found; None for a circle."""


@dataclass(frozen=True, slots=True)
class ResolvedType:
    """A type with everything it extends, itself first."""

    aliases: tuple[WorkspaceType, ...]

    @property
    def reference(self) -> TypeReference:
        return self.aliases[0].reference

    @property
    def default_child(self) -> TypeReference | None:
        """Of the type itself: default children are not inherited."""
        return self.aliases[0].default_child

    @property
    def initializers(self) -> tuple[str, ...]:
        """In the order types were found; the default bindings come last."""
        own = tuple(alias.identifier for alias in self.aliases if alias.initializer)
        return (*own, BINDINGS_INITIALIZER) if self.bindings else own

    @property
    def terminators(self) -> tuple[str, ...]:
        """In the order of names."""
        return tuple(sorted(alias.identifier for alias in self.aliases if alias.terminator))

    @property
    def maintained_bindings(self) -> tuple[ExportReference, ...]:
        """Those of aliases whose bindings are kept up after initialization."""
        return tuple(dict.fromkeys(binding for alias in self.aliases if alias.maintains_bindings for binding in alias.bindings))

    @property
    def bindings(self) -> tuple[ExportReference, ...]:
        """Union over all aliases, first mention first."""
        return tuple(dict.fromkeys(binding for alias in self.aliases for binding in alias.bindings))

    @property
    def labels(self) -> dict[str, str]:
        """The type's own labels win over those it inherits."""
        merged: dict[str, str] = {}
        for alias in reversed(self.aliases):
            merged.update(alias.labels)
        return merged


def resolve(reference: TypeReference, get: GetType) -> ResolvedType:
    """Follow `extend.with` from one type, depth first.

    Raises: UnresolvableType if a type is missing or the types extend each other in a circle.
    """
    base = get(reference)
    if base is None:
        raise UnresolvableType(f"workspace type {reference} does not exist", reference)
    found: dict[TypeReference, WorkspaceType] = {base.reference: base}
    _extend(base, get, found, (base.reference,))
    return ResolvedType(tuple(found.values()))


def _extend(type_: WorkspaceType, get: GetType, found: dict[TypeReference, WorkspaceType], trail: tuple[TypeReference, ...]) -> None:
    for reference in type_.extends:
        parent = get(reference)
        if parent is None:
            raise UnresolvableType(f"unable to find inherited workspace type {reference}, extended by {type_.reference}", reference)
        if parent.reference in trail:
            circle = " -> ".join(str(r) for r in (*trail[trail.index(parent.reference) :], parent.reference))
            raise UnresolvableType(f"circular dependency detected in workspace type {parent.reference}: {circle}")
        if parent.reference in found:
            continue
        found[parent.reference] = parent
        _extend(parent, get, found, (*trail, parent.reference))


def find(reference: TypeReference, workspace_path: str, get: GetType) -> WorkspaceType | None:
    """The type a workspace's `spec.type` means: at its path, or else in the workspace and then its ancestors, and `root` at last."""
    return next((found for place in places(reference, workspace_path) if (found := get(place)) is not None), None)


def places(reference: TypeReference, workspace_path: str) -> list[TypeReference]:
    """Where a type may stand, in the order of looking."""
    if reference.path:
        return [reference]
    segments = workspace_path.split(":")
    paths = [":".join(segments[:n]) for n in range(len(segments), 0, -1)]
    return [TypeReference(path, reference.name) for path in dict.fromkeys([*paths, "root"])]


def refusals(parent: ResolvedType, child: ResolvedType) -> list[str]:
    """Why a workspace of type `child` may not be created in one of type `parent`; empty if it may."""
    return _child_refusals(parent, child) + _parent_refusals(parent, child)


def _child_refusals(parent: ResolvedType, child: ResolvedType) -> list[str]:
    problems = []
    for alias in parent.aliases:
        limit = alias.allowed_children
        if limit is None:
            continue
        if limit.none:
            problems.append(f"workspace type {parent.reference} cannot have any children")
        elif not _any_of(child, limit.types):
            problems.append(
                f"workspace type {_extending(parent, alias)} only allows {_names(limit.types)} child workspaces,"
                f" but child type {child.reference} only implements {_names(a.reference for a in child.aliases)}"
            )
    return problems


def _parent_refusals(parent: ResolvedType, child: ResolvedType) -> list[str]:
    problems = []
    for alias in child.aliases:
        limit = alias.allowed_parents
        if limit is None:
            continue
        if limit.none:
            problems.append(f"workspace type {child.reference} cannot have any parent")
        elif not _any_of(parent, limit.types):
            problems.append(
                f"workspace type {_extending(child, alias)} only allows {_names(limit.types)} parent workspaces,"
                f" but parent type {parent.reference} only implements {_names(a.reference for a in parent.aliases)}"
            )
    return problems


def _any_of(type_: ResolvedType, allowed: tuple[TypeReference, ...]) -> bool:
    return any(alias.reference in allowed for alias in type_.aliases)


def _extending(type_: ResolvedType, alias: WorkspaceType) -> str:
    return str(type_.reference) if alias is type_.aliases[0] else f"{type_.reference} extends {alias.reference}, which"


def _names(references: Iterable[TypeReference]) -> str:
    return "[" + " ".join(sorted(str(r) for r in references)) + "]"
