"""What is refused when workspaces, their types and logical clusters are written, and with which words."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.behaviour.workspaces.server import ALICE, Kcp, kcp_server

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, Invalid
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import ResourceClient
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for


@pytest.fixture
async def kcp() -> AsyncIterator[Kcp]:
    async with kcp_server() as made:
        yield made


def workspaces(kcp: Kcp, path: str = "root") -> ResourceClient:
    return kcp.client(ALICE).cluster(path).resource(kinds.WORKSPACES)


def workspace(name: str, type_: str = "", **more: object) -> JSONObject:
    spec: JSONObject = {**more}
    if type_:
        spec["type"] = {"name": type_, "path": "root"}
    return {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": spec}


async def ready(kcp: Kcp, path: str, name: str, type_: str = "") -> JSONObject:
    await workspaces(kcp, path).create(workspace(name, type_))
    return await wait_for(
        workspaces(kcp, path), name, lambda w: bool(meta.nested(w, "status", "phase") == "Ready"), timeout_s=10, what=name
    )


@pytest.mark.parametrize("name", ["any", "system"])
async def test_reserved_names_are_refused(kcp: Kcp, name: str) -> None:
    with pytest.raises(Forbidden, match="is a reserved name"):
        await workspaces(kcp).create(workspace(name))


async def test_name_that_makes_no_path_is_invalid(kcp: Kcp) -> None:
    with pytest.raises(Invalid, match="part of a path"):
        await workspaces(kcp).create(workspace("a.b"))


async def test_type_that_is_not_there_is_named(kcp: Kcp) -> None:
    with pytest.raises(Forbidden, match="workspace type root:nope cannot be resolved"):
        await workspaces(kcp).create(workspace("x", "nope"))


async def test_parent_and_child_types_have_to_agree(kcp: Kcp) -> None:
    with pytest.raises(Forbidden, match="workspace type root:team only allows .* parent workspaces, but parent type root:root"):
        await workspaces(kcp).create(workspace("x", "team"))
    await ready(kcp, "root", "org", "organization")
    with pytest.raises(Forbidden, match="root:organization"):
        await workspaces(kcp, "root:org").create(workspace("x", "organization"))


async def test_default_type_is_that_of_the_parent(kcp: Kcp) -> None:
    assert (await ready(kcp, "root", "org"))["spec"]["type"]["name"] == "organization"
    assert (await ready(kcp, "root:org", "team"))["spec"]["type"]["name"] == "universal"


async def test_type_needs_the_right_to_use_it(kcp: Kcp) -> None:
    kcp.denied_types.add("universal")
    with pytest.raises(Forbidden, match="unable to use workspace type root:universal: missing verb='use' permission"):
        await workspaces(kcp).create(workspace("x", "universal"))


async def test_type_that_extends_itself_is_refused(kcp: Kcp) -> None:
    types = kcp.client().cluster("root").resource(kinds.WORKSPACE_TYPES)
    for name, other in (("a", "b"), ("b", "a")):
        spec = {"extend": {"with": [{"name": other, "path": "root"}]}}
        await types.create({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceType", "metadata": {"name": name}, "spec": spec})
    with pytest.raises(Forbidden, match="circular dependency"):
        await workspaces(kcp).create(workspace("x", "a"))


async def test_system_fields_are_not_the_users_to_set(kcp: Kcp) -> None:
    for field in ("cluster", "URL"):
        with pytest.raises(Forbidden, match=f"spec.{field} can only be set by system privileged users"):
            await workspaces(kcp).create(workspace("x", **{field: "mine"}))


async def test_type_and_cluster_never_change(kcp: Kcp) -> None:
    await ready(kcp, "root", "org")
    for spec, problem in (
        ({"type": {"name": "universal"}}, "spec.type is immutable"),
        ({"cluster": "other"}, "spec.cluster can only be changed by system privileged users"),
        ({"cluster": None}, "spec.cluster cannot be unset"),
    ):
        with pytest.raises(Forbidden, match=problem):
            await workspaces(kcp).patch("org", {"spec": spec})


async def test_owner_cannot_be_forged_or_changed(kcp: Kcp) -> None:
    forged = workspace("org")
    forged["metadata"]["annotations"] = {"experimental.tenancy.kcp.io/owner": '{"username":"root"}'}
    await workspaces(kcp).create(forged)
    made = await workspaces(kcp).get("org")
    assert '"username":"alice"' in meta.annotations(made)["experimental.tenancy.kcp.io/owner"]
    with pytest.raises(Forbidden, match="owner is immutable"):
        await workspaces(kcp).patch("org", {"metadata": {"annotations": {"experimental.tenancy.kcp.io/owner": "{}"}}})


async def test_required_groups_are_handed_down(kcp: Kcp) -> None:
    org = await ready(kcp, "root", "org")
    cluster = kcp.client().cluster(org["spec"]["cluster"]).resource(kinds.LOGICAL_CLUSTERS)
    await cluster.patch("cluster", {"metadata": {"annotations": {"authorization.kcp.io/required-groups": "dev"}}})
    await ready(kcp, "root:org", "first")
    team = await ready(kcp, "root:org", "team")
    assert meta.annotations(team)["authorization.kcp.io/required-groups"] == "dev"
    child = await kcp.client().cluster(team["spec"]["cluster"]).resource(kinds.LOGICAL_CLUSTERS).get("cluster")
    assert meta.annotations(child)["authorization.kcp.io/required-groups"] == "dev"


async def test_clients_of_earlier_releases_update_a_logical_cluster(kcp: Kcp) -> None:
    """Go's write the whole object without the fields they do not know. Source: kcp 0.31 test/e2e/workspace/{deletion,inactive}_test.go."""
    await ready(kcp, "root", "org")
    clusters = kcp.client(ALICE).cluster("root:org").resource(kinds.LOGICAL_CLUSTERS)
    held = await clusters.get("cluster")
    creator = held["spec"].pop("createdBy")
    held["metadata"]["finalizers"].append("example.com/test")
    updated = await clusters.update(held)
    assert "example.com/test" in meta.finalizers(updated)
    assert updated["spec"]["createdBy"] == creator
    with pytest.raises(Forbidden, match=r"spec\.createdBy is immutable"):
        await clusters.patch("cluster", {"spec": {"createdBy": {"username": "mallory"}}})


async def test_logical_cluster_is_not_the_users_to_make_or_delete(kcp: Kcp) -> None:
    await ready(kcp, "root", "org")
    clusters = kcp.client(ALICE).cluster("root:org").resource(kinds.LOGICAL_CLUSTERS)
    with pytest.raises(Forbidden, match="delete its Workspace in the parent workspace"):
        await clusters.delete("cluster")
    with pytest.raises(Forbidden, match='must be named "cluster"'):
        await clusters.create({"apiVersion": "core.kcp.io/v1alpha1", "kind": "LogicalCluster", "metadata": {"name": "x"}, "spec": {}})
    with pytest.raises(Forbidden, match="only removing is allowed, not adding mine"):
        await clusters.patch("cluster", {"status": {"initializers": ["mine"]}}, subresource="status")
    with pytest.raises(Forbidden, match="cannot transition from Ready to Initializing"):
        await clusters.patch("cluster", {"status": {"phase": "Initializing"}}, subresource="status")


async def test_faults_of_a_type_are_told_all_at_once(kcp: Kcp) -> None:
    types = kcp.client().cluster("root").resource(kinds.WORKSPACE_TYPES)
    spec = {
        "limitAllowedChildren": {"none": True, "types": [{"name": "universal", "path": "root"}]},
        "defaultAPIBindings": [{"path": "root", "export": "x"}, {"path": "root", "export": "x"}],
    }
    with pytest.raises(Invalid) as caught:
        await types.create({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceType", "metadata": {"name": "t"}, "spec": spec})
    assert {c.field for c in caught.value.causes} == {"spec.limitAllowedChildren", "spec.defaultAPIBindings[1]"}


async def test_type_carries_its_path(kcp: Kcp) -> None:
    universal = await kcp.client().cluster("root").resource(kinds.WORKSPACE_TYPES).get("universal")
    assert meta.annotations(universal)["kcp.io/path"] == "root"
