"""`kubectl kcp diagnose`: for each kind, what stands in its way and what to do about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from tests.behaviour.plugins.conftest import User

from kcp.aio.clock import SystemClock
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_bind import BINDINGS, EXPORTS
from kcp.cli.plugin_diagnose import PLACEMENTS, SCHEMAS, SYNC_TARGETS, WORKSPACE_TYPES, named
from kcp.cli.plugin_lookup import WORKSPACES, conditions_text
from kcp.cli.plugin_session import PluginError
from kcp.cli.plugin_workloads import KINDS

CONFIG_MAP_CLAIM = {"group": "", "resource": "configmaps", "verbs": ["get"]}


def made(gvr: GVR, kind: str, name: str, spec: JSONObject) -> JSONObject:
    return {"apiVersion": gvr.api_version, "kind": kind, "metadata": {"name": name}, "spec": spec}


async def until(look: Callable[[], Awaitable[tuple[int, str]]], text: str, code: int = 1) -> str:
    """What it says, once that is in it."""
    clock, told = SystemClock(), (0, "")
    for _ in range(300):
        told = await look()
        if text in told[1] and told[0] == code:
            return told[1]
        await clock.sleep(0.02)
    raise AssertionError(told)


async def test_what_is_ready_is_in_order(user: User) -> None:
    await user.workspace("web")
    assert await user.diagnose("workspace", "web") == (0, "workspace web is in order.\n")
    assert await user.diagnose("ws/web") == (0, "workspace web is in order.\n")
    assert (await user.diagnose("apibindings"))[0] == 0
    user.enter("root:web")
    code, told = await user.diagnose("workspace", ".")
    assert told.startswith("workspace root:web is in order.\napibinding ")
    assert code == 0


async def test_a_workspace_whose_initializer_does_not_come_names_it_and_who_must_act(user: User) -> None:
    await user.resource("root", WORKSPACE_TYPES).create(made(WORKSPACE_TYPES, "WorkspaceType", "slow", {"initializer": True}))
    await user.resource("root", WORKSPACES).create(made(WORKSPACES, "Workspace", "web", {"type": {"name": "slow", "path": "root"}}))
    told = await until(lambda: user.diagnose("workspace", "web"), "Initializer root:slow is not done.")
    assert "workspace web is not in order:" in told
    assert "The controller of WorkspaceType slow in root has to remove it at https://" in told
    assert "may `initialize` workspacetypes/slow there." in told


async def test_a_binding_to_nothing_says_what_is_missing(user: User) -> None:
    export = {"path": "root", "name": "nothing"}
    await user.resource("root", BINDINGS).create(made(BINDINGS, "APIBinding", "widgets", {"reference": {"export": export}}))
    told = await until(lambda: user.diagnose("apibinding/widgets"), "APIExportNotFound")
    assert 'There is no APIExport "nothing" in workspace root.' in told
    assert "→ Create the APIExport in that workspace, or bind the right one with `kubectl kcp bind apiexport`." in told


async def test_open_claims_are_told_with_the_command_that_answers_them(user: User) -> None:
    await user.quickstart()
    exports = user.resource("root:quickstart-org:quickstart-provider", EXPORTS)
    await exports.patch("cowboys", {"spec": {"permissionClaims": [CONFIG_MAP_CLAIM]}})
    user.enter("root:quickstart-org:quickstart-consumer")
    told = await until(lambda: user.diagnose("claim", "cowboys"), "The provider asks for configmaps.core", code=0)
    assert "`kubectl kcp claims accept apibinding cowboys --resource configmaps.core`, or `claims reject`." in told


async def test_an_export_without_its_schema_says_which(user: User) -> None:
    resource = {"group": "example.com", "name": "widgets", "schema": "v1.widgets.example.com", "storage": {"crd": {}}}
    await user.resource("root", EXPORTS).create(made(EXPORTS, "APIExport", "widgets", {"resources": [resource]}))
    told = await until(lambda: user.diagnose("apiexport", "widgets"), "APIResourceSchema v1.widgets.example.com for widgets.example.com")
    assert "→ Create it in this workspace, or name another in spec.resources." in told
    assert not (await user.resource("root", SCHEMAS).list(field_selector="metadata.name=v1.widgets.example.com")).items


async def test_a_sync_target_that_nobody_serves_says_how_to_start_a_syncer(user: User) -> None:
    await user.workspace("compute1")
    user.enter("root:compute1")
    targets = user.resource("root:compute1", SYNC_TARGETS)
    await targets.create(made(SYNC_TARGETS, "SyncTarget", "east", {}))
    told = await until(lambda: user.diagnose("synctarget", "east"), "SyncerNotConnected")
    assert "→ Start its syncer: `kubectl kcp workload sync --help` says how." in told
    await targets.patch("east", {"spec": {"unschedulable": True}})
    told = await until(lambda: user.diagnose("synctargets"), "It is cordoned: nothing new is placed there.")
    assert "→ `kubectl kcp workload uncordon east`, if that is over." in told


async def test_a_deployment_that_no_cluster_runs_says_why_from_the_namespace_to_the_placement(user: User) -> None:
    await user.workspace("team")
    user.enter("root:team")
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    deployments = user.resource("root:team", KINDS["deployment"])
    await deployments.create(made(KINDS["deployment"], "Deployment", "web", spec), namespace="default")
    told = await until(lambda: user.diagnose("deployment", "web"), "No cluster")
    assert "`kubectl kcp bind compute PATH` makes one" in told
    placement = {
        "locationResource": {"group": "workload.kcp.io", "version": "v1alpha1", "resource": "synctargets"},
        "namespaceSelector": {}, "locationSelectors": [{}], "locationWorkspace": "root:team",
    }  # fmt: skip
    await user.resource("root:team", PLACEMENTS).create(made(PLACEMENTS, "Placement", "anywhere", placement))
    told = await until(lambda: user.diagnose("deploy/web", namespace="default"), "Placement anywhere: ")
    assert "deployment web is not in order:" in told
    assert (await user.diagnose("deployments", namespace="default"))[0] == 1
    assert await user.diagnose("deployments", namespace="x") == (0, "There are no deployments in namespace x of root:team.\n")


async def test_conditions_of_workloads_are_read_the_way_they_are_meant(user: User) -> None:
    from kcp.cli.plugin_workloads import workload_findings

    told = [
        {"type": "Available", "status": "True"},
        {"type": "Drifted", "status": "True", "reason": "Contested", "message": "east: spec.replicas changed by bob"},
        {"type": "ReplicaFailure", "status": "False"},
        {"type": "Synced", "status": "False", "reason": "NotReported", "message": "east: has not reported yet"},
    ]
    obj = {"metadata": {"name": "web", "labels": {"state.workload.kcp.io/K": "Sync"}}, "status": {"conditions": told}}
    found = [finding.what async for finding in workload_findings(user.session(), obj, "deployment")]
    assert found == [
        "Drifted is True: Contested: east: spec.replicas changed by bob.",
        "Synced is False: NotReported: east: has not reported yet.",
    ]


async def test_what_is_not_there_ends_with_the_command_that_lists_what_is(user: User) -> None:
    with pytest.raises(PluginError, match="synctarget east not found in root: .*; `kubectl get synctargets` shows what is there"):
        await user.diagnose("synctarget", "east")


@pytest.mark.parametrize("words", [["nonsense"], ["nonsense", "x"], ["workspace", "a", "b"]])
def test_kinds_that_are_none_are_refused_with_those_that_are(words: list[str]) -> None:
    with pytest.raises(PluginError, match="is no object to diagnose: .* workspace, apibinding, .* deployment"):
        named(words)


def test_the_same_thing_is_said_once_and_not_at_any_length() -> None:
    told = [{"type": kind, "status": "False", "reason": "NamingConflicts", "message": "word " * 500} for kind in ("A", "Ready")]
    text = conditions_text({"status": {"conditions": told}})
    assert text.startswith(":\n  A, Ready: NamingConflicts word word")
    assert len(text) < 450
