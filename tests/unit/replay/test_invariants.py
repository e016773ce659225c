"""The invariants bite: each finds what it is for, in a view made by hand, and nothing in one that is right."""

from __future__ import annotations

from collections import Counter
from typing import Any

from kcp.apimachinery.meta import JSONObject
from kcp.replay.invariants import FOREIGN, FOREIGN_NAMESPACE, View, always, at_rest
from kcp.replay.ledger import Ledger

FAULTLESS_FOREIGN: JSONObject = {"metadata": {"name": FOREIGN, "namespace": FOREIGN_NAMESPACE, "generation": 1}}


def deployment(name: str, replicas: int, *, ready: int | None = None) -> JSONObject:
    status: dict[str, Any] = {}
    if ready is not None:
        status = {"readyReplicas": ready, "conditions": [{"type": "Synced", "status": "True"}]}
    return {"metadata": {"name": name, "namespace": "n"}, "spec": {"replicas": replicas}, "status": status}


def target(status: str) -> JSONObject:
    return {"metadata": {"name": "east"}, "status": {"conditions": [{"type": "Ready", "status": status}]}}


def view(**parts: Any) -> View:
    held = {
        "upstream": {"web": deployment("web", 3, ready=3)},
        "targets": {"east": target("True")},
        "copies": {"east": [deployment("web", 2)], "west": [deployment("web", 1)]},
        "foreign": {"east": FAULTLESS_FOREIGN},
        **parts,
    }
    return View(**held)


def found(seen: View, **ledger: Any) -> set[str]:
    account = Ledger(**{"wanted": {"web": 3}, **ledger})
    return {invariant for invariant, _ in [*always(seen, account), *at_rest(seen, account, 2)]}


def test_a_fleet_as_it_should_be_breaks_none() -> None:
    assert found(view()) == set()


def test_what_is_lost_or_changed_is_not_kept() -> None:
    assert "kept" in found(view(upstream={}))
    assert "kept" in found(view(upstream={"web": deployment("web", 9, ready=9)}))
    assert "kept" not in found(view(upstream={}), pending=Counter(["web"]))


def test_a_second_copy_in_a_cluster_is_not_single() -> None:
    assert "single" in found(view(copies={"east": [deployment("web", 2), deployment("web", 1)]}))


def test_foreign_objects_are_there_and_as_they_were() -> None:
    assert found(view(foreign={"east": None})) == {"foreign"}
    assert found(view(foreign={"east": {"metadata": {"name": FOREIGN, "generation": 2}}})) == {"foreign"}


def test_replicas_add_up_in_as_many_clusters_as_asked_for() -> None:
    assert found(view(copies={"east": [deployment("web", 2)]})) == {"placed"}
    assert found(view(copies={name: [deployment("web", 1)] for name in ("a", "b", "c")})) == {"placed"}


def test_a_status_tells_the_truth() -> None:
    assert found(view(upstream={"web": deployment("web", 3, ready=2)})) == {"told"}
    assert found(view(upstream={"web": deployment("web", 3)})) == {"told"}


def test_orphans_and_unready_targets_are_found() -> None:
    assert found(view(), wanted={}) == {"orphans"}
    assert found(view(targets={"east": target("False")})) == {"targets"}


def test_rest_needs_time_without_faults_or_open_writes() -> None:
    assert Ledger(quiet_since_s=10.0).is_calm(200.0, 180.0)
    assert not Ledger(quiet_since_s=100.0).is_calm(200.0, 180.0)
    assert not Ledger(faults={"east": "kill"}).is_calm(200.0, 180.0)
    assert not Ledger(pending=Counter(["web"])).is_calm(200.0, 180.0)
