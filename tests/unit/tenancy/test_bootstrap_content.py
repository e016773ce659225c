"""What is put into root: complete, switchable, and with the names kcp uses."""

from __future__ import annotations

from kcp.tenancy.bootstrap.content import BootstrapOptions, Piece, compute_workspace, root_cluster, root_foundation, root_tenancy
from kcp.tenancy.bootstrap.policy import kcp_policy, root_policy
from kcp.tenancy.bootstrap.run import _difference


def names(pieces: list[Piece], kind: str) -> set[str]:
    return {p.obj["metadata"]["name"] for p in pieces if p.obj["kind"] == kind}


def test_root_cluster_is_marked_as_root() -> None:
    cluster = root_cluster().obj
    assert cluster["metadata"]["annotations"]["kcp.io/path"] == "root"
    assert cluster["metadata"]["annotations"]["internal.tenancy.kcp.io/type"] == "root:root"


def test_root_has_types_and_shard() -> None:
    pieces = root_tenancy(BootstrapOptions(shard_name="root", shard_base_url="https://h:1"))
    assert names(pieces, "WorkspaceType") == {"root", "universal", "organization", "team", "home"}
    shard = next(p.obj for p in pieces if p.obj["kind"] == "Shard")
    assert shard["spec"] == {"baseURL": "https://h:1", "externalURL": "https://h:1", "virtualWorkspaceURL": "https://h:1"}


def test_battery_of_types_can_be_left_out() -> None:
    pieces = root_tenancy(BootstrapOptions(batteries=frozenset()))
    assert names(pieces, "WorkspaceType") == {"root", "universal", "home"}
    root = next(p.obj for p in pieces if p.obj["metadata"]["name"] == "root" and p.obj["kind"] == "WorkspaceType")
    assert root["spec"]["defaultChildWorkspaceType"]["name"] == "universal"


def test_compute_binding_needs_the_compute_workspace() -> None:
    def exports(options: BootstrapOptions) -> list[str]:
        universal = next(p.obj for p in root_tenancy(options) if p.obj["metadata"]["name"] == "universal")
        return [b["export"] for b in universal["spec"]["defaultAPIBindings"]]

    assert "kubernetes" in exports(BootstrapOptions(tmc=True))
    assert "kubernetes" not in exports(BootstrapOptions(tmc=True, batteries=frozenset({"workspace-types"})))
    assert "kubernetes" not in exports(BootstrapOptions(tmc=True, compute_binding=False))
    assert "workload.kcp.io" not in exports(BootstrapOptions())


def test_policy_has_kcps_roles_and_each_binding_has_its_role() -> None:
    objects = [*kcp_policy(), *root_policy(tmc=True)]
    roles = {o["metadata"]["name"] for o in objects if o["kind"] == "ClusterRole"}
    assert {"system:kcp:tenancy:reader", "system:kcp:workspace:access", "system:kcp:logical-cluster-admin"} <= roles
    bound = {o["roleRef"]["name"] for o in objects if o["kind"] == "ClusterRoleBinding"}
    assert bound <= roles | {"cluster-admin"}


def test_everything_stored_in_root_may_be_changed_by_its_administrator() -> None:
    stored = [p.obj for p in root_foundation(BootstrapOptions())] + [compute_workspace().obj]
    as_flags_say = {("ClusterRoleBinding", "system:kcp:home-workspace-create")}
    stored = [o for o in stored if (o["kind"], o["metadata"]["name"]) not in as_flags_say]
    assert all(o["metadata"]["annotations"]["bootstrap.kcp.io/create-only"] == "true" for o in stored)


def test_second_start_brings_back_only_what_differs() -> None:
    wanted = {"kind": "WorkspaceType", "metadata": {"name": "universal"}, "spec": {"initializer": True}}
    held = {**wanted, "metadata": {"name": "universal", "uid": "1"}, "spec": {"initializer": True, "defaulted": "x"}}
    assert _difference(held, wanted) == {}
    assert _difference({**held, "spec": {"initializer": False}}, wanted) == {"spec": {"initializer": True}}
    kept = {**held, "metadata": {"annotations": {"bootstrap.kcp.io/create-only": "true"}}, "spec": {}}
    assert _difference(kept, wanted) == {}
