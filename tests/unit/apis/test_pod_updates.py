"""What of a pod may change: one update a row, in upstream's words.

Source: k8s.io/kubernetes/pkg/apis/core/validation/validation_test.go (TestValidatePodUpdate).
"""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.meta import copy_json
from kcp.apis.kubernetes.pod_update import update

OTHERS = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
SPEC: dict[str, Any] = {"containers": [{"name": "c", "image": "a"}], "terminationGracePeriodSeconds": 30}
FAST = {"key": "a", "operator": "Exists"}
TERM = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
GATED = {"schedulingGates": [{"name": "one"}, {"name": "two"}]}


def near(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"containers": [{"name": "c", "image": "b"}]}),
        ({}, {"activeDeadlineSeconds": 10}),
        ({"activeDeadlineSeconds": 10}, {"activeDeadlineSeconds": 5}),
        ({"tolerations": [FAST]}, {"tolerations": [{**FAST, "tolerationSeconds": 5}, {"key": "b", "operator": "Exists"}]}),
        ({"terminationGracePeriodSeconds": -1}, {"terminationGracePeriodSeconds": 1}),
        (GATED, {"schedulingGates": [{"name": "two"}]}),
        ({**GATED, "nodeSelector": {"a": "b"}}, {"nodeSelector": {"a": "b", "c": "d"}}),
        (GATED, {"affinity": near(TERM)}),
        ({**GATED, "affinity": near(TERM)}, {"affinity": near({"matchExpressions": [*TERM["matchExpressions"], {"key": "x", "operator": "Exists"}]})}),
    ],
)  # fmt: skip
def test_what_may_change(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert faults(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({}, {"containers": [{"name": "c", "image": "a"}, {"name": "d", "image": "a"}]},
         "spec.containers: Forbidden: pod updates may not add or remove containers"),
        ({}, {"initContainers": [{"name": "d", "image": "a"}]}, "spec.initContainers: Forbidden: pod updates may not add or remove containers"),
        ({}, {"containers": [{"name": "c", "image": "a", "tty": True}]}, OTHERS),
        ({}, {"nodeName": "n"}, OTHERS),
        ({}, {"nodeSelector": {"a": "b"}}, OTHERS),
        ({}, {"terminationGracePeriodSeconds": 1}, OTHERS),
        ({"activeDeadlineSeconds": 5}, {"activeDeadlineSeconds": 10},
         "spec.activeDeadlineSeconds: Invalid value: 10: must be less than or equal to previous value"),
        ({"activeDeadlineSeconds": 5}, {"activeDeadlineSeconds": None},
         "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"),
        ({}, {"activeDeadlineSeconds": -1}, "spec.activeDeadlineSeconds: Invalid value: -1: must be between 0 and 2147483647, inclusive"),
        ({"tolerations": [FAST]}, {"tolerations": []},
         "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"),
        ({}, GATED, "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'one'"),
        ({**GATED, "nodeSelector": {"a": "b"}}, {"nodeSelector": {}},
         "spec.nodeSelector: Invalid value: {}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"),
        ({**GATED, "affinity": near(TERM)}, {"affinity": near(TERM, TERM)}, "no additions/deletions to non-empty NodeSelectorTerms list are allowed"),
        ({**GATED, "affinity": near(TERM)}, {"affinity": near({})}, "only additions are allowed (no mutations or deletions)"),
    ],
)  # fmt: skip
def test_what_may_not(old: dict[str, Any], new: dict[str, Any], told: str) -> None:
    assert any(told in fault for fault in faults(old, new)), faults(old, new)


def faults(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    before = {"spec": {**copy_json(SPEC), **old}}
    after = {"spec": {field: value for field, value in {**before["spec"], **new}.items() if value is not None}}
    return [str(cause) for cause in update(after, before)]
