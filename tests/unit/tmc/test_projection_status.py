"""What a projection's status and its metrics make of the marks on objects: made, waiting, failed, silent; of many clusters those in trouble first."""

from __future__ import annotations

import json
from typing import Any

from kcp.tmc.placement.snapshot import Target
from kcp.tmc.projection.clusters import Choice
from kcp.tmc.projection.copies import outcomes
from kcp.tmc.projection.spec import Mark, Projection
from kcp.tmc.projection.status import MOST_TOLD, Seen, render, tallies

NOW = "2026-11-21T00:00:00Z"


def projected(*, made: tuple[str, ...] = (), failed: tuple[str, ...] = (), waiting: tuple[str, ...] = ()) -> dict[str, Any]:
    annotations = {"kcp.io/cluster": "ws"}
    for key in (*made, *failed, *waiting):
        annotations["projected.tmc.kcp.io/" + key] = Mark(("p",), "ws").to_json()
    annotations |= {"made.tmc.kcp.io/" + key: NOW for key in made}
    annotations |= {"error.tmc.kcp.io/" + key: json.dumps({"message": "no room"}) for key in failed}
    labels = {"state.workload.kcp.io/" + key: "Sync" for key in (*made, *failed, *waiting)}
    return {"kind": "ConfigMap", "metadata": {"name": "c", "namespace": "n", "annotations": annotations, "labels": labels}}


def told(obj: dict[str, Any], *names: str, silent: str = "") -> dict[str, Any]:
    targets = tuple(Target(name, name, {}, ready=name != silent, not_ready_reason="no heartbeat") for name in names)
    document: dict[str, Any] = {"metadata": {"name": "p", "generation": 1}, "spec": {"mode": "All"}}
    count, found = tallies("p", [("configmaps", obj)])
    status: dict[str, Any] = render(document, Projection.of(document), Seen(Choice(targets), ("", ""), count, found), now=NOW)["status"]
    return status


def test_active_means_that_every_copy_was_made() -> None:
    assert told(projected(made=("a", "b")), "a", "b")["phase"] == "Active"
    assert told(projected(made=("a",), waiting=("b",)), "a", "b")["phase"] == "Pending"


def test_a_copy_that_fails_is_named_with_its_cluster() -> None:
    status = told(projected(made=("a",), failed=("b",)), "a", "b")
    assert status["phase"] == "OutOfSync"
    assert status["conditions"][0]["message"] == "b: configmaps n/c: no room"
    assert told(projected(failed=("b",)), "b")["phase"] == "Failed"


def test_what_a_silent_cluster_has_is_not_known() -> None:
    status = told(projected(made=("a", "b")), "a", "b", silent="b")
    assert (status["phase"], status["targets"][1]["message"]) == ("OutOfSync", "not known: no heartbeat")


def test_of_a_hundred_clusters_those_in_trouble_are_told_first() -> None:
    names = [f"c{number:03}" for number in range(100)]
    status = told(projected(made=tuple(names[:98]), failed=tuple(names[98:])), *names)
    assert status["clusters"] == 100
    assert len(status["targets"]) == MOST_TOLD
    assert [t["cluster"] for t in status["targets"] if t["status"] == "Failed"] == names[98:]


def test_copies_are_counted_once_when_they_are_made_or_fail() -> None:
    waiting, made = projected(waiting=("a", "b")), projected(made=("a",), failed=("b",))
    assert list(outcomes(waiting, made)) == [("a", "kcp", "success"), ("b", "kcp", "failure")]
    assert list(outcomes(made, made)) == []
    assert list(outcomes(None, made)) == [], "what was there at the start was counted before"
