"""What the ConfigMap syncer-transformations makes of copies."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.tmc.errors import ErrorType, TMCError
from kcp.tmc.syncer.transformations import Transformations

TEXT = """
transformations:
- match: {apiVersion: example.com/v1, kind: Database}
  transforms:
  - type: environment-config
    target: spec.replicas
    rules:
    - {if: "metadata.labels.tier == 'analytics'", set: 1}
    - {if: "metadata.labels.tier == 'primary'", set: 2}
  - type: storage-class
    target: spec.storage.storageClass
    rules: [{if: "spec.storage.storageClass == 'fast-ssd'", set: standard}]
"""


def held(text: str = TEXT) -> Transformations:
    found = Transformations("east")
    found.read({"data": {"database-transform.yaml": text}})
    return found


def database(**labels: str) -> dict[str, Any]:
    spec = {"replicas": 5, "storage": {"size": "1Gi", "storageClass": "fast-ssd"}}
    return {"apiVersion": "example.com/v1", "kind": "Database", "metadata": {"name": "d", "labels": labels}, "spec": spec}


@pytest.mark.parametrize(("tier", "replicas"), [("analytics", 1), ("primary", 2), ("other", 5)])
def test_the_first_rule_that_holds_sets_the_target(tier: str, replicas: int) -> None:
    obj = database(tier=tier)
    found = held().apply(obj)
    assert (found["spec"]["replicas"], found["spec"]["storage"]) == (replicas, {"size": "1Gi", "storageClass": "standard"})
    assert obj == database(tier=tier), "not changed"


def test_a_condition_on_what_is_not_there_does_not_hold() -> None:
    assert held().apply(database())["spec"]["replicas"] == 5


def test_other_kinds_are_left_alone() -> None:
    obj = {**database(tier="primary"), "kind": "Cache"}
    assert held().apply(obj) is obj


def test_without_a_config_map_nothing_is_changed() -> None:
    found = held()
    found.read(None)
    obj = database(tier="primary")
    assert found.apply(obj) is obj


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "yaml"),
        ("transformations: 3", "has no list"),
        ("transformations: [{transforms: [{target: metadata.name, rules: []}]}]", 'target "metadata.name" cannot be set'),
        ("transformations: [{transforms: [{target: spec.a, rules: [{if: 'nobody > 1', set: 1}]}]}]", "compilation failed"),
        ("transformations: [{transforms: [{target: spec.a, rules: [{if: 'true'}]}]}]", "needs set"),
        ("transformations: [{transforms: [{target: 'spec.a[3].b', rules: [{set: 1}]}]}]", "spec.a[3].b"),
    ],
)
def test_a_fault_is_told_with_what_to_mend(text: str, told: str) -> None:
    with pytest.raises(TMCError) as caught:
        held(text).apply({"kind": "X", "metadata": {"name": "x"}, "spec": {"a": []}})
    assert caught.value.type is ErrorType.PROJECTION_TRANSFORM
    assert told in caught.value.message
    assert "syncer-transformations" in caught.value.hint
