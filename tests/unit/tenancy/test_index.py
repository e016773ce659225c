"""The workspace index: resolving paths, following changes, paths for display."""

from __future__ import annotations

import pytest

from kcp.apimachinery.keys import ROOT, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tenancy.logicalcluster.index import WorkspaceIndex
from kcp.tenancy.logicalcluster.names import home_cluster_name

ORG, TEAM = ClusterName("1aaaaaaaaaaaaaaa"), ClusterName("2bbbbbbbbbbbbbbb")


def workspace(cluster: str) -> JSONObject:
    return {"spec": {"cluster": cluster} if cluster else {}}


def logical_cluster(path: str, **more: object) -> JSONObject:
    return {"metadata": {"name": "cluster", "annotations": {"kcp.io/path": path}}, "status": {"phase": "Ready"}, **more}


@pytest.fixture
def index() -> WorkspaceIndex:
    made = WorkspaceIndex()
    made.on_logical_cluster(ObjectKey(ROOT, "", "cluster"), None, logical_cluster("root"))
    made.on_workspace(ObjectKey(ROOT, "", "org"), None, workspace(ORG))
    made.on_workspace(ObjectKey(ORG, "", "team"), None, workspace(TEAM))
    return made


@pytest.mark.parametrize(
    ("path", "cluster"),
    [
        ("root", ROOT),
        ("root:org", ORG),
        ("root:org:team", TEAM),
        (f"{ORG}:team", TEAM),
        (ORG, ORG),
        ("system:admin", "system:admin"),
        ("*", "*"),
        ("zzzzzzzzzzzzzzzz", "zzzzzzzzzzzzzzzz"),  # a generated name may not be known yet
    ],
)
def test_paths_and_names_resolve(index: WorkspaceIndex, path: str, cluster: str) -> None:
    assert index.resolve(path) == cluster
    assert index.resolve(path) == cluster  # remembered


@pytest.mark.parametrize(
    "path", ["root:nope", "root:org:team:x", "nope", "", "Root", "root::org", "system:admin:x", "user:alice", "root:*"]
)
def test_unknown_and_malformed_paths_resolve_to_nothing(index: WorkspaceIndex, path: str) -> None:
    assert index.resolve(path) is None


def test_deleted_workspace_is_forgotten_with_its_paths(index: WorkspaceIndex) -> None:
    assert index.resolve("root:org:team") == TEAM
    index.on_workspace(ObjectKey(ROOT, "", "org"), workspace(ORG), None)
    assert index.resolve("root:org") is None
    assert index.resolve("root:org:team") is None


def test_recreated_workspace_points_to_its_new_cluster(index: WorkspaceIndex) -> None:
    index.on_workspace(ObjectKey(ROOT, "", "org"), None, workspace(TEAM))
    assert index.resolve("root:org") == TEAM


def test_unscheduled_workspace_resolves_to_nothing_until_it_has_a_cluster(index: WorkspaceIndex) -> None:
    key = ObjectKey(ROOT, "", "new")
    index.on_workspace(key, None, workspace(""))
    assert index.resolve("root:new") is None
    index.on_workspace(key, None, workspace("3ccccccccccccccc"))
    assert index.resolve("root:new") == "3ccccccccccccccc"


def test_path_for_display_comes_from_the_cluster_or_else_from_the_tree(index: WorkspaceIndex) -> None:
    assert index.path_of(TEAM) == "root:org:team"
    index.on_logical_cluster(ObjectKey(TEAM, "", "cluster"), None, logical_cluster("root:elsewhere"))
    assert index.path_of(TEAM) == "root:elsewhere"
    assert index.path_of(ClusterName("unknown")) == "unknown"


def test_ancestors_go_up_to_the_root(index: WorkspaceIndex) -> None:
    assert index.ancestors(TEAM) == [ORG, ROOT]
    assert index.ancestors(ROOT) == []


def test_home_path_resolves_once_the_home_exists(index: WorkspaceIndex) -> None:
    home = home_cluster_name("alice")
    index.on_logical_cluster(ObjectKey(home, "", "cluster"), None, logical_cluster("user:alice"))
    index.on_workspace(ObjectKey(home, "", "dev"), None, workspace(TEAM))
    assert index.resolve("user:alice") == home
    assert index.resolve("user:alice:dev") == TEAM


def test_record_follows_the_logical_cluster(index: WorkspaceIndex) -> None:
    key = ObjectKey(ORG, "", "cluster")
    index.on_logical_cluster(key, None, logical_cluster("root:org", spec={"owner": {"cluster": "root", "name": "org"}}))
    record = index.record(ORG)
    assert record is not None
    assert (record.path, record.phase, record.owner_cluster, record.owner_name) == ("root:org", "Ready", "root", "org")
    index.on_logical_cluster(key, None, None)
    assert index.record(ORG) is None


def test_ring_of_parents_ends(index: WorkspaceIndex) -> None:
    index.on_workspace(ObjectKey(TEAM, "", "loop"), None, workspace(ORG))
    assert len(index.ancestors(ORG)) == 2
    assert index.path_of(ORG)
