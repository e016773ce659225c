"""What a StatefulSet may say, its claim templates included, in upstream's words.

Source: k8s.io/kubernetes/pkg/apis/apps/validation/validation_test.go (TestValidateStatefulSet, TestValidateStatefulSetUpdate).
"""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apis.kubernetes.stateful_validation import stateful_set

CLAIM = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
LABELS = {"app": "db"}


def a_set(pod: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    container = {
        "name": "c", "image": "x", "imagePullPolicy": "Always", "terminationMessagePolicy": "File",
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }  # fmt: skip
    inner = {"containers": [container], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", **(pod or {})}
    template = {"metadata": {"labels": LABELS}, "spec": inner}
    usual = {"podManagementPolicy": "OrderedReady", "updateStrategy": {"type": "RollingUpdate"}, "serviceName": "db"}
    return {"spec": {**usual, "selector": {"matchLabels": LABELS}, "template": template, "volumeClaimTemplates": [CLAIM], **spec}}


def told(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in stateful_set(new, old)]


@pytest.mark.parametrize(
    "good",
    [
        a_set(),
        a_set({"volumes": [{"name": "data", "emptyDir": {}}]}),
        a_set({"subdomain": "what.ever", "hostname": "Any"}),
        a_set(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2, "maxUnavailable": "10%"}}),
    ],
)
def test_containers_mount_what_is_claimed_for_them(good: dict[str, Any]) -> None:
    assert told(good) == []


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (a_set(volumeClaimTemplates=[]), 'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"'),
        (a_set(volumeClaimTemplates=[{**CLAIM, "spec": {}}]),
         "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required"),
        (a_set(serviceName="A"), 'spec.serviceName: Invalid value: "A": a lowercase RFC 1123 label'),
        (a_set(podManagementPolicy="Some"),
         "spec.podManagementPolicy: Invalid value: \"Some\": must be 'OrderedReady' or 'Parallel'"),
        (a_set(updateStrategy={"type": "Some"}), "must be 'RollingUpdate' or 'OnDelete'"),
        (a_set(updateStrategy={"type": "OnDelete", "rollingUpdate": {}}), "only allowed for updateStrategy 'RollingUpdate'"),
        (a_set(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}), "Invalid value: 0: cannot be 0"),
        (a_set(ordinals={"start": -1}), "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"),
        (a_set(persistentVolumeClaimRetentionPolicy={"whenDeleted": "Never"}),
         'spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "Never": supported values: "Delete", "Retain"'),
        (a_set({"activeDeadlineSeconds": 5}), "Forbidden: activeDeadlineSeconds in StatefulSet is not Supported"),
        (a_set({"restartPolicy": "Never"}), 'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'),
    ],
)  # fmt: skip
def test_what_it_may_not_say(bad: dict[str, Any], expected: str) -> None:
    assert any(expected in fault for fault in told(bad)), told(bad)


def test_an_update_tolerates_what_was_stored_before() -> None:
    broken = a_set(volumeClaimTemplates=[])
    assert told({**broken, "spec": {**broken["spec"], "replicas": 3}}, broken) == []
    assert told(broken, a_set())[0].startswith("spec.template.spec.containers[0].volumeMounts[0].name: Not found"), "not what is new"
    assert told(a_set(serviceName="A"), a_set(serviceName="A")) == []
