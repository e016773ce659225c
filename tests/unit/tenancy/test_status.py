"""Phases and conditions of Workspaces and LogicalClusters, and the initializers in between: pure transitions."""

from __future__ import annotations

from kcp.apimachinery import conditions
from kcp.apimachinery.meta import JSONObject
from kcp.tenancy.logicalcluster.lifecycle import advance, pending_initializers
from kcp.tenancy.workspace import status
from kcp.tenancy.workspacetype.bindings import exports_for, missing_and_unready
from kcp.tenancy.workspacetype.initialization import DONE, Progress, settled
from kcp.tenancy.workspacetype.model import ExportReference, WorkspaceType
from kcp.tenancy.workspacetype.resolution import ResolvedType

NOW = "2026-01-01T00:00:00Z"


def cluster(phase: str = "", initializers: tuple[str, ...] = (), **more: JSONObject) -> JSONObject:
    obj: JSONObject = {"spec": {"initializers": ["a", "b"]}, **more}
    if phase:
        obj["status"] = {"phase": phase, "initializers": list(initializers)}
    return obj


def test_new_cluster_becomes_initializing_with_its_initializers() -> None:
    made = advance(cluster(), url="https://x", now=NOW)
    assert made["status"]["phase"] == "Initializing"
    assert made["status"]["initializers"] == ["a", "b"]
    assert made["status"]["URL"] == "https://x"
    assert conditions.is_false(made, "WorkspaceInitialized")


def test_cluster_without_initializers_left_becomes_ready() -> None:
    made = advance(cluster("Initializing"), url="https://x", now=NOW)
    assert made["status"]["phase"] == "Ready"
    assert conditions.is_true(made, "WorkspaceInitialized")


def test_ready_cluster_stays_as_it_is() -> None:
    ready = advance(cluster("Initializing"), url="https://x", now=NOW)
    assert advance(ready, url="https://x", now="2027-01-01T00:00:00Z") == ready


def test_pending_initializers_are_those_of_the_spec_before_the_first_status() -> None:
    assert pending_initializers(cluster()) == ["a", "b"]
    assert pending_initializers(cluster("Initializing", ("b",))) == ["b"]
    assert pending_initializers(cluster("Ready")) == []


def test_workspace_mirrors_phase_and_initializers() -> None:
    made = status.scheduled({}, cluster("Initializing", ("b",)), now=NOW)
    assert made["status"]["phase"] == "Initializing"
    assert made["status"]["initializers"] == ["b"]
    assert conditions.is_true(made, "WorkspaceScheduled")
    condition = conditions.get(made, "WorkspaceInitialized")
    assert condition is not None
    assert (condition["reason"], condition["message"]) == ("InitializerExists", "Initializers still exist: [b]")
    ready = status.scheduled(made, cluster("Ready"), now=NOW)
    assert ready["status"]["phase"] == "Ready"
    assert "initializers" not in ready["status"]
    assert conditions.is_true(ready, "WorkspaceInitialized")


def test_trouble_with_bindings_shows_on_the_workspace_and_goes_again() -> None:
    troubled = cluster("Initializing", ("b",))
    trouble = conditions.build("APIBindingsInitialized", "False", reason="APIBindingErrors", message="no", now=NOW)
    troubled["status"]["conditions"] = [trouble]
    shown = status.scheduled({}, troubled, now=NOW)
    assert conditions.is_false(shown, "APIBindingsInitialized")
    assert conditions.get(status.scheduled(shown, cluster("Ready"), now=NOW), "APIBindingsInitialized") is None


def test_vanished_cluster_makes_a_ready_workspace_unavailable() -> None:
    ready = status.scheduled({}, cluster("Ready"), now=NOW)
    gone = status.scheduled(ready, None, now=NOW)
    assert gone["status"]["phase"] == "Unavailable"
    condition = conditions.get(gone, "WorkspaceInitialized")
    assert condition is not None
    assert condition["reason"] == "WorkspaceDisappeared"


def test_unschedulable_workspace_says_why() -> None:
    condition = conditions.get(status.unschedulable({}, "no shards", now=NOW), "WorkspaceScheduled")
    assert condition is not None
    assert (condition["status"], condition["reason"], condition["message"]) == ("False", "Unschedulable", "no shards")


def binding(name: str, export: str, phase: str = "") -> JSONObject:
    return {"metadata": {"name": name}, "spec": {"reference": {"export": {"path": "root", "name": export}}}, "status": {"phase": phase}}


def test_bindings_that_are_missing_or_not_bound_are_told_apart() -> None:
    wanted = [ExportReference("root", name) for name in ("a", "b", "c")]
    missing, unready = missing_and_unready(
        wanted, [binding("made-by-hand", "a", "Bound"), binding("b-1", "b", "Binding"), binding("d", "d")]
    )
    assert missing == [ExportReference("root", "c")]
    assert unready == ["b-1"]


def test_export_is_not_bound_in_the_workspace_it_comes_from() -> None:
    type_ = WorkspaceType.from_object(
        {
            "metadata": {"name": "u"},
            "spec": {"defaultAPIBindings": [{"path": "root", "export": "a"}, {"path": "root:compute", "export": "k"}]},
        }
    )
    assert exports_for(ResolvedType((type_,)).bindings, "root:compute") == [ExportReference("root", "a")]


def test_finished_initializers_are_removed_and_the_last_makes_the_cluster_ready() -> None:
    waiting = Progress("WaitingOnAPIBindings", "x")
    held = cluster("Initializing", ("root:universal", "system:apibindings"))
    older = settled(held, {"root:universal": DONE, "system:apibindings": waiting}, now=NOW, is_young=False)
    assert older["status"]["initializers"] == ["system:apibindings"]
    assert conditions.is_false(older, "APIBindingsInitialized")
    ready = settled(older, {"system:apibindings": DONE}, now=NOW, is_young=False)
    assert ready["status"]["phase"] == "Ready"
    assert "initializers" not in ready["status"]
    assert conditions.is_true(ready, "APIBindingsInitialized")


def test_quick_initializers_of_a_young_cluster_wait_for_the_others() -> None:
    held = cluster("Initializing", ("root:universal", "system:apibindings"))
    progress = {"root:universal": DONE, "system:apibindings": Progress("WaitingOnAPIBindings", "x")}
    assert settled(held, progress, now=NOW, is_young=True) == held
    progress["system:apibindings"] = Progress("APIBindingErrors", "no")
    assert settled(held, progress, now=NOW, is_young=True)["status"]["initializers"] == ["system:apibindings"]


def test_initializers_of_others_are_left_alone() -> None:
    held = cluster("Initializing", ("root:universal", "mine"))
    assert settled(held, {"root:universal": DONE}, now=NOW, is_young=True)["status"]["initializers"] == ["mine"]
