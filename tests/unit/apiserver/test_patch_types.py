"""Which patches a resource takes, by who defines it and what kind it is."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apiserver.handlers.patch import STRATEGIC_PATCH, supported_patches
from kcp.registry.crd import resources_from_schema

BY_KEY = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {"type": "object"}}
WITH_KEYS = {**BY_KEY, "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge"}


def bound(group: str, plural: str, kind: str, items: dict[str, Any]) -> tuple[str, ...]:
    """The patches of a resource that an export defines."""
    openapi = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"items": items}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": openapi}
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    schema = {
        "metadata": {"name": f"v1.{plural}.{group or 'core'}", "annotations": {"kcp.io/cluster": "one"}},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [version]},
    }
    (resource,) = resources_from_schema(schema, "identity")
    return supported_patches(resource)


@pytest.mark.parametrize(("group", "plural", "kind"), [("apps", "deployments", "Deployment"), ("", "services", "Service")])
def test_kubernetes_own_kinds_take_strategic_patches_whoever_defines_them(group: str, plural: str, kind: str) -> None:
    assert STRATEGIC_PATCH in bound(group, plural, kind, BY_KEY)


def test_other_kinds_only_with_merge_keys() -> None:
    assert STRATEGIC_PATCH not in bound("example.io", "widgets", "Widget", BY_KEY)
    assert STRATEGIC_PATCH not in bound("apps", "widgets", "Widget", BY_KEY)
    assert STRATEGIC_PATCH in bound("example.io", "widgets", "Widget", WITH_KEYS)
