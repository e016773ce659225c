"""Names that clash: two APIs of one workspace may not share a resource name, a singular, a short name or a kind in one group.

Pure. Before: the binding controller, admission of CRDs.
Source: kcp pkg/reconciler/apis/apibinding/conflict_checker.go, pkg/admission/crdnooverlappinggvr.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from kcp.apimachinery.gvk import GroupResource
from kcp.registry.resource import Resource


@dataclass(frozen=True, slots=True)
class ApiNames:
    """What one resource is called."""

    group_resource: GroupResource
    singular: str
    short_names: tuple[str, ...]
    kind: str
    list_kind: str

    @classmethod
    def of(cls, group: str, names: Mapping[str, Any]) -> Self:
        """From `spec.names` of a schema."""
        shorts = tuple(names.get("shortNames") or ())
        return cls(GroupResource(group, names["plural"]), names.get("singular") or "", shorts, names["kind"], names.get("listKind") or "")

    @classmethod
    def of_resource(cls, resource: Resource) -> Self:
        return cls(resource.group_resource, resource.singular, resource.short_names, resource.kind, resource.list_kind)

    def clash(self, taken: ApiNames) -> str:
        """The name of ours that another resource has, as kcp tells it; "" if there is none."""
        if taken.group_resource.group != self.group_resource.group:
            return ""
        words, kinds = {taken.group_resource.resource, taken.singular, *taken.short_names}, {taken.kind, taken.list_kind}
        shorts = f"[{' '.join(self.short_names)}]"
        asked = [
            ("plural", self.group_resource.resource, self.group_resource.resource in words),
            ("singular", self.singular, self.singular in words),
            ("shortNames", shorts, not words.isdisjoint(self.short_names)),
            ("kind", self.kind, self.kind in kinds),
            ("listKind", self.list_kind, self.list_kind in kinds),
        ]
        return next((f"spec.names.{field}={value} is forbidden" for field, value, is_taken in asked if is_taken), "")


@dataclass(frozen=True, slots=True)
class Taken:
    """Names that something else in the workspace has."""

    names: ApiNames
    owner: str
    """What has them, in words."""

    @classmethod
    def by_crd(cls, names: ApiNames) -> Self:
        return cls(names, f'CustomResourceDefinition "{names.group_resource}"')


def conflict(wanted: ApiNames, taken: Iterable[Taken]) -> str:
    """Why an API cannot be bound; "" if it can.

    >>> widgets = ApiNames(GroupResource("example.com", "widgets"), "widget", ("w",), "Widget", "WidgetList")
    >>> conflict(widgets, [Taken(widgets, 'CustomResourceDefinition "widgets.example.com"')])
    'naming conflict with CustomResourceDefinition "widgets.example.com": spec.names.plural=widgets is forbidden'
    """
    for other in taken:
        if details := wanted.clash(other.names):
            return f"naming conflict with {other.owner}: {details}"
    return ""
