"""Placing a workspace: the choice of shard, the derived cluster name, the LogicalCluster written, the owner's binding."""

from __future__ import annotations

from kcp.apimachinery.meta import JSONObject
from kcp.tenancy.logicalcluster.lifecycle import owner_binding
from kcp.tenancy.workspace.scheduling import Shard, candidate_cluster, choose_shard, logical_cluster, shard_hash
from kcp.tenancy.workspacetype.defaults import TypeOptions, default_types
from kcp.tenancy.workspacetype.model import TypeReference, WorkspaceType
from kcp.tenancy.workspacetype.resolution import resolve

TYPES = {t.reference: t for t in (WorkspaceType.from_object(o, path="root") for o in default_types(TypeOptions()))}


def shard(name: str, **labels: str) -> Shard:
    return Shard(name, f"https://{name}", labels, unschedulable=False)


def workspace(**more: object) -> JSONObject:
    annotations = {"kcp.io/cluster": "root", "experimental.tenancy.kcp.io/owner": '{"username":"alice"}'}
    return {
        "metadata": {"name": "web", "uid": "u-1", "annotations": annotations},
        "spec": {"type": {"name": "universal", "path": "root"}, **more},
    }


def test_choice_is_the_same_each_time_and_spreads_over_shards() -> None:
    shards = [shard("a"), shard("b"), shard("c")]
    chosen = []
    for number in range(60):
        one = workspace()
        one["metadata"]["uid"] = f"u-{number}"
        first, again = choose_shard(one, shards).shard, choose_shard(one, reversed(shards)).shard
        assert first == again
        assert first is not None
        chosen.append(first.name)
    assert set(chosen) == {"a", "b", "c"}


def test_earlier_choice_stays_even_if_unschedulable_now() -> None:
    for annotation, value in (
        ("core.kcp.io/shard", "b"),
        ("internal.tenancy.kcp.io/shard", shard_hash("b")),
        ("internal.tenancy.kcp.io/shard", "b"),
    ):
        held = workspace()
        held["metadata"]["annotations"][annotation] = value
        choice = choose_shard(held, [shard("a"), Shard("b", "https://b", {}, unschedulable=True)])
        assert choice.shard is not None
        assert choice.shard.name == "b"


def test_reasons_say_why_there_is_no_shard() -> None:
    assert "no shards" in choose_shard(workspace(), []).problem
    picky = workspace(location={"selector": {"matchLabels": {"region": "eu"}}})
    assert "none of the 1 shards matches" in choose_shard(picky, [shard("a", region="us")]).problem
    closed = Shard("a", "https://a", {}, unschedulable=True)
    assert "unschedulable: a" in choose_shard(workspace(), [closed]).problem


def test_selector_picks_the_matching_shard() -> None:
    picky = workspace(location={"selector": {"matchLabels": {"region": "eu"}}})
    choice = choose_shard(picky, [shard("a", region="us"), shard("b", region="eu")])
    assert choice.shard is not None
    assert choice.shard.name == "b"


def test_cluster_name_depends_on_uid_and_attempt_only() -> None:
    assert candidate_cluster(workspace()) == candidate_cluster(workspace())
    assert candidate_cluster(workspace(), 1) != candidate_cluster(workspace())
    annotated = workspace()
    annotated["metadata"]["annotations"]["internal.tenancy.kcp.io/cluster"] = "kept"
    assert candidate_cluster(annotated) == "kept"


def test_logical_cluster_carries_path_type_owner_and_initializers() -> None:
    made = logical_cluster(workspace(), resolve(TypeReference("root", "universal"), TYPES.get), parent_path="root")
    assert made["metadata"]["name"] == "cluster"
    assert made["metadata"]["annotations"]["kcp.io/path"] == "root:web"
    assert made["metadata"]["annotations"]["internal.tenancy.kcp.io/type"] == "root:universal"
    assert made["metadata"]["annotations"]["experimental.tenancy.kcp.io/owner"] == '{"username":"alice"}'
    assert made["metadata"]["finalizers"] == ["core.kcp.io/logicalcluster-deletion"]
    assert made["metadata"]["labels"]["tenancy.kcp.io/phase"] == "Initializing"
    assert made["spec"]["initializers"] == ["root:universal", "system:apibindings"]
    assert made["spec"]["owner"] == {
        "apiVersion": "tenancy.kcp.io/v1alpha1", "resource": "workspaces", "name": "web", "cluster": "root", "uid": "u-1",
    }  # fmt: skip


def test_owner_becomes_cluster_admin() -> None:
    binding = owner_binding('{"username":"alice","groups":["dev"]}')
    assert binding is not None
    assert binding["metadata"]["name"] == "workspace-admin"
    assert binding["roleRef"]["name"] == "cluster-admin"
    assert [s["name"] for s in binding["subjects"]] == ["alice"]


def test_missing_or_broken_owner_gives_no_binding() -> None:
    assert owner_binding("") is None
    assert owner_binding("{broken") is None
    assert owner_binding("[]") is None
