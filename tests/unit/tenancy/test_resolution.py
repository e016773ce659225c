"""Workspace types: union of what is extended, circles, allowed parents and children, lookup through ancestors, the default types."""

from __future__ import annotations

import pytest

from kcp.tenancy.workspacetype.defaults import TypeOptions, default_types
from kcp.tenancy.workspacetype.model import ExportReference, TypeReference, WorkspaceType
from kcp.tenancy.workspacetype.resolution import GetType, ResolvedType, UnresolvableType, find, refusals, resolve

ROOT_UNIVERSAL = TypeReference("root", "universal")


def getter(*types: WorkspaceType) -> GetType:
    return {t.reference: t for t in types}.get


def defaults(options: TypeOptions) -> GetType:
    return getter(*(WorkspaceType.from_object(t, path="root") for t in default_types(options)))


def resolved(name: str, options: TypeOptions) -> ResolvedType:
    return resolve(TypeReference("root", name), defaults(options))


PLAIN, TMC = TypeOptions(), TypeOptions(tmc=True)


def test_extending_accumulates_bindings_initializers_and_labels() -> None:
    base = WorkspaceType(
        TypeReference("root", "base"), initializer=True, labels={"a": "base", "b": "base"}, bindings=(ExportReference("root", "x"),)
    )
    derived = WorkspaceType(
        TypeReference("root:org", "derived"), initializer=True, extends=(base.reference,), labels={"a": "own"},
        bindings=(ExportReference("root:org", "y"), ExportReference("root", "x")),
    )  # fmt: skip
    type_ = resolve(derived.reference, getter(base, derived))
    assert type_.initializers == ("root:org:derived", "root:base", "system:apibindings")
    assert type_.bindings == (ExportReference("root:org", "y"), ExportReference("root", "x"))
    assert type_.labels == {"a": "own", "b": "base"}


def test_type_without_bindings_has_no_bindings_initializer() -> None:
    assert resolve(ROOT_UNIVERSAL, getter(WorkspaceType(ROOT_UNIVERSAL))).initializers == ()


def test_circle_is_refused_and_named() -> None:
    a, b = TypeReference("root", "a"), TypeReference("root", "b")
    with pytest.raises(UnresolvableType, match="circular dependency.*root:a -> root:b -> root:a"):
        resolve(a, getter(WorkspaceType(a, extends=(b,)), WorkspaceType(b, extends=(a,))))


def test_diamond_is_no_circle() -> None:
    top, left, right, base = (TypeReference("root", n) for n in ("top", "left", "right", "base"))
    types = getter(
        WorkspaceType(top, extends=(left, right)),
        WorkspaceType(left, extends=(base,)),
        WorkspaceType(right, extends=(base,)),
        WorkspaceType(base),
    )
    assert [t.reference.name for t in resolve(top, types).aliases] == ["top", "left", "base", "right"]


def test_missing_ancestor_is_named() -> None:
    a, b = TypeReference("root", "a"), TypeReference("root", "b")
    with pytest.raises(UnresolvableType, match="inherited workspace type root:b") as caught:
        resolve(a, getter(WorkspaceType(a, extends=(b,))))
    assert caught.value.missing == b


def test_type_without_path_is_looked_for_upwards() -> None:
    types = getter(WorkspaceType(ROOT_UNIVERSAL), WorkspaceType(TypeReference("root:org", "universal")))
    named = TypeReference("", "universal")
    for path, expected in (("root:org:team", "root:org"), ("root:org", "root:org"), ("root:other", "root"), ("user:alice", "root")):
        found = find(named, path, types)
        assert found is not None
        assert found.reference.path == expected
    assert find(TypeReference("root:other", "universal"), "root:org", types) is None


@pytest.mark.parametrize(
    ("parent", "child", "problem"),
    [
        ("root", "organization", ""),
        ("root", "universal", ""),
        ("organization", "universal", ""),
        ("organization", "team", ""),  # a team is a universal workspace
        ("universal", "universal", ""),
        ("universal", "organization", "only allows [root:root] parent workspaces"),
        ("root", "team", "only allows [root:organization root:team] parent workspaces"),
        ("root", "root", "cannot have any parent"),
        ("root", "home", "cannot have any parent"),
    ],
)
def test_default_types_allow_kcps_tree(parent: str, child: str, problem: str) -> None:
    problems = "; ".join(refusals(resolved(parent, PLAIN), resolved(child, PLAIN)))
    assert problem in problems
    assert bool(problems) == bool(problem)


def test_type_without_children_refuses_each() -> None:
    leaf = WorkspaceType.from_object({"metadata": {"name": "leaf"}, "spec": {"limitAllowedChildren": {"none": True}}}, path="root")
    assert refusals(ResolvedType((leaf,)), resolved("universal", PLAIN)) == ["workspace type root:leaf cannot have any children"]


def test_universal_binds_tenancy_and_topology() -> None:
    exports = [str(b) for b in resolved("universal", PLAIN).bindings]
    assert exports == ["root|tenancy.kcp.io", "root|topology.kcp.io"]


def test_universal_binds_the_apis_of_tmc_and_compute_with_tmc() -> None:
    exports = [b.export for b in resolved("organization", TMC).bindings]
    assert exports == [
        "tenancy.kcp.io",
        "topology.kcp.io",
        "scheduling.kcp.io",
        "workload.kcp.io",
        "tmc.kcp.io",
        "apiresource.kcp.io",
        "kubernetes",
    ]


def test_compute_binding_can_be_switched_off() -> None:
    assert "kubernetes" not in [b.export for b in resolved("universal", TypeOptions(tmc=True, compute_binding=False)).bindings]


def test_default_children_are_kcps() -> None:
    children = {name: str(resolved(name, PLAIN).default_child) for name in ("root", "organization", "team", "universal", "home")}
    assert children.pop("root") == "root:organization"
    assert set(children.values()) == {"root:universal"}


def test_default_child_is_not_inherited() -> None:
    derived = WorkspaceType(TypeReference("root", "derived"), extends=(ROOT_UNIVERSAL,))
    universal = WorkspaceType(ROOT_UNIVERSAL, default_child=ROOT_UNIVERSAL)
    assert resolve(derived.reference, getter(derived, universal)).default_child is None
