"""What deleting means for one object: the decision alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.meta import finalizers
from kcp.registry.backend import DeleteOptions, UserInfo
from kcp.registry.builtin import strategy_for
from kcp.registry.deletion import plan
from kcp.registry.strategy import BUILTIN, NAMESPACE, POD

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MARKED = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}


def options(**more: Any) -> DeleteOptions:
    return DeleteOptions(UserInfo("u"), **more)


@pytest.mark.parametrize(
    ("held", "policy", "expected"),
    [
        (["a"], "", ["a"]),
        (["a"], "Foreground", ["a", "foregroundDeletion"]),
        (["a", "orphan"], "Foreground", ["a", "foregroundDeletion"]),
        (["foregroundDeletion", "a"], "Foreground", ["foregroundDeletion", "a"]),
        (["a", "foregroundDeletion"], "Orphan", ["a", "orphan"]),
        (["a", "foregroundDeletion", "orphan"], "Background", ["a"]),
        (["foregroundDeletion"], "", ["foregroundDeletion"]),
    ],
)
def test_propagation_sets_the_garbage_collectors_finalizers(held: list[str], policy: Any, expected: list[str]) -> None:
    decided = plan({"metadata": {"name": "x", "finalizers": held}}, options(propagation=policy), BUILTIN, NOW)
    assert (decided.is_gone, decided.obj["metadata"]["finalizers"]) == (False, expected)


def test_deciding_twice_changes_nothing() -> None:
    first = plan({"metadata": {"name": "x", "finalizers": ["a"], "generation": 1}}, options(), BUILTIN, NOW).obj
    assert first["metadata"]["generation"] == 2
    again = plan({**first, "metadata": dict(first["metadata"])}, options(), BUILTIN, NOW).obj
    assert again == first


def test_a_marked_object_that_waits_for_nothing_goes() -> None:
    assert plan({"metadata": {"name": "x", **MARKED}}, options(), BUILTIN, NOW).is_gone


def test_a_namespace_goes_when_neither_kind_of_finalizer_is_left() -> None:
    held = {"metadata": {"name": "x", **MARKED}, "spec": {"finalizers": ["kubernetes"]}}
    assert not plan(held, options(), NAMESPACE, NOW).is_gone
    assert plan({"metadata": {"name": "x", **MARKED}, "spec": {}}, options(), NAMESPACE, NOW).is_gone


@pytest.mark.parametrize(
    ("spec", "phase", "asked_s", "grace_s"),
    [
        ({"nodeName": "n"}, "Running", None, 30),
        ({"nodeName": "n", "terminationGracePeriodSeconds": 5}, "Running", None, 5),
        ({"nodeName": "n"}, "Running", 7, 7),
        ({"nodeName": "n"}, "Running", 0, 0),
        ({}, "Pending", None, 0),
        ({"nodeName": "n"}, "Failed", None, 0),
    ],
)
def test_a_pods_grace(spec: dict[str, Any], phase: str, asked_s: int | None, grace_s: int) -> None:
    pod = {"metadata": {"name": "x"}, "spec": spec, "status": {"phase": phase}}
    decided = plan(pod, options(grace_period_s=asked_s), POD, NOW)
    assert decided.is_gone is (grace_s == 0)
    if grace_s:
        assert decided.obj["metadata"]["deletionGracePeriodSeconds"] == grace_s


@pytest.mark.parametrize(("group", "kind"), [("", "ReplicationController"), ("batch", "Job")])
def test_of_kinds_older_than_the_collector_dependents_stay_where_nobody_says_otherwise(group: str, kind: str) -> None:
    # strategy.go of both, DefaultGarbageCollectionPolicy
    strategy = strategy_for(GVK(group, "v1", kind))
    assert strategy is not None
    assert finalizers(plan({"metadata": {"name": "x"}}, options(), strategy, NOW).obj) == ["orphan"]
    assert plan({"metadata": {"name": "x"}}, options(propagation="Background"), strategy, NOW).is_gone
    held = {"metadata": {"name": "x", "finalizers": ["foregroundDeletion"]}}
    assert finalizers(plan(held, options(), strategy, NOW).obj) == ["foregroundDeletion"], "said at an earlier deletion"
