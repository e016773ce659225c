"""Frozen views of WorkspaceType objects, for the decisions that read them. Pure.

Source: kcp sdk/apis/tenancy/v1alpha1/types_workspacetype.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.tenancy.kinds import PATH


@dataclass(frozen=True, slots=True, order=True)
class TypeReference:
    """A type by the path of the workspace it stands in and its name.

    >>> str(TypeReference("root", "universal")), TypeReference.parse("root:org:Team")
    ('root:universal', TypeReference(path='root:org', name='team'))
    """

    path: str
    """"" means: look in the workspace itself and then in its ancestors."""
    name: str

    @classmethod
    def parse(cls, text: str) -> TypeReference:
        path, _, name = text.rpartition(":")
        return cls(path, name.lower())

    @classmethod
    def from_object(cls, reference: Mapping[str, Any] | None) -> TypeReference | None:
        if not reference or not reference.get("name"):
            return None
        return cls(str(reference.get("path") or ""), str(reference["name"]))

    def to_object(self) -> dict[str, str]:
        return {"name": self.name, "path": self.path} if self.path else {"name": self.name}

    def __str__(self) -> str:
        return f"{self.path}:{self.name}" if self.path else self.name


@dataclass(frozen=True, slots=True)
class TypeLimit:
    """Which types may be children or parents."""

    none: bool
    types: tuple[TypeReference, ...]

    @classmethod
    def from_object(cls, limit: Mapping[str, Any] | None) -> TypeLimit | None:
        if not limit or not (limit.get("none") or limit.get("types")):
            return None
        return cls(bool(limit.get("none")), _references(limit.get("types")))


@dataclass(frozen=True, slots=True, order=True)
class ExportReference:
    path: str
    export: str

    def __str__(self) -> str:
        return f"{self.path}|{self.export}"


@dataclass(frozen=True, slots=True)
class WorkspaceType:
    reference: TypeReference
    """Where it stands: path and name."""
    cluster: str = ""
    """Name of the logical cluster it stands in."""
    initializer: bool = False
    terminator: bool = False
    extends: tuple[TypeReference, ...] = ()
    default_child: TypeReference | None = None
    allowed_children: TypeLimit | None = None
    allowed_parents: TypeLimit | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    bindings: tuple[ExportReference, ...] = ()
    maintains_bindings: bool = False
    """Whether its bindings are made again, and brought up to date, after initialization."""
    initializer_permissions: tuple[JSONObject, ...] = ()
    """PolicyRules of what its initializer may do in a workspace; empty: what the workspace's owner may."""
    terminator_permissions: tuple[JSONObject, ...] = ()

    @property
    def identifier(self) -> str:
        """By which initializers and terminators are named: `<cluster name>:<type name>`.

        Source: kcp sdk/apis/tenancy/initialization/initialization.go, InitializerForType.
        """
        return f"{self.cluster or self.reference.path}:{self.reference.name}"

    @classmethod
    def from_object(cls, obj: Mapping[str, Any], *, path: str = "", cluster: str = "") -> WorkspaceType:
        """Args: path and cluster where the object stands, used when it does not say so itself."""
        spec = meta.nested(obj, "spec", default={})
        home = meta.annotations(obj).get(PATH) or path
        return cls(
            reference=TypeReference(home, meta.name(obj)),
            cluster=cluster or meta.cluster(obj),
            initializer=bool(spec.get("initializer")),
            terminator=bool(spec.get("terminator")),
            extends=_references(meta.nested(spec, "extend", "with", default=())),
            default_child=TypeReference.from_object(spec.get("defaultChildWorkspaceType")),
            allowed_children=TypeLimit.from_object(spec.get("limitAllowedChildren")),
            allowed_parents=TypeLimit.from_object(spec.get("limitAllowedParents")),
            labels=dict(spec.get("additionalWorkspaceLabels") or {}),
            bindings=tuple(ExportReference(b.get("path") or home, b["export"]) for b in spec.get("defaultAPIBindings") or ()),
            maintains_bindings=spec.get("defaultAPIBindingLifecycle") == "Maintain",
            initializer_permissions=tuple(spec.get("initializerPermissions") or ()),
            terminator_permissions=tuple(spec.get("terminatorPermissions") or ()),
        )


def _references(items: Any) -> tuple[TypeReference, ...]:
    return tuple(r for r in (TypeReference.from_object(item) for item in items or ()) if r is not None)
