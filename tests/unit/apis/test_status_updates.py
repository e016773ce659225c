"""What an update of a status may not say, kind by kind, in upstream's words.

Source: the functions Validate<Kind>StatusUpdate of k8s.io/kubernetes/pkg/apis/*/validation/validation.go.
"""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.gvk import GVK
from kcp.apis.kubernetes.status_validation import status_faults

DEPLOYMENT, JOB, POD = GVK("apps", "v1", "Deployment"), GVK("batch", "v1", "Job"), GVK("", "v1", "Pod")
START, END = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"


def met(*kinds: str) -> list[dict[str, str]]:
    return [{"type": kind, "status": "True"} for kind in kinds]


def ended(code: int) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code}}}]}


RUNS = {"containerStatuses": [{"name": "c", "state": {"running": {}}}]}
DONE = {"startTime": START, "completionTime": END, "conditions": met("SuccessCriteriaMet", "Complete"), "succeeded": 1}


@pytest.mark.parametrize(
    ("gvk", "old", "new", "told"),
    [
        (DEPLOYMENT, {}, {"replicas": -1}, "status.replicas: Invalid value: -1: must be greater than or equal to 0"),
        (DEPLOYMENT, {}, {"replicas": 1, "readyReplicas": 2}, "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"),
        (DEPLOYMENT, {}, {"replicas": 2, "availableReplicas": 1},
         "status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas"),
        (DEPLOYMENT, {"collisionCount": 2}, {"collisionCount": 1}, "status.collisionCount: Invalid value: 1: cannot be decremented"),
        (GVK("apps", "v1", "ReplicaSet"), {}, {"replicas": 1, "fullyLabeledReplicas": 2},
         "status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas"),
        (GVK("apps", "v1", "StatefulSet"), {}, {"replicas": 1, "availableReplicas": 1},
         "status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas"),
        (GVK("apps", "v1", "DaemonSet"), {}, {"numberReady": -1}, "status.numberReady: Invalid value: -1: must be greater than or equal to 0"),
        (GVK("policy", "v1", "PodDisruptionBudget"), {}, {"expectedPods": -1},
         "status.expectedPods: Invalid value: -1: must be greater than or equal to 0"),
        (GVK("autoscaling", "v2", "HorizontalPodAutoscaler"), {}, {"desiredReplicas": -1},
         "status.desiredReplicas: Invalid value: -1: must be greater than or equal to 0"),
        (GVK("", "v1", "Namespace"), {}, {"phase": "Terminating"},
         "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"),
        (GVK("", "v1", "ResourceQuota"), {}, {"used": {"pods": "-1"}},
         'status.used[pods]: Invalid value: "-1": must be greater than or equal to 0'),
        (GVK("", "v1", "Service"), {}, {"loadBalancer": {"ingress": [{"ip": "x"}]}},
         'status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address'),
        (GVK("networking.k8s.io", "v1", "Ingress"), {}, {"loadBalancer": {"ingress": [{"hostname": "10.0.0.1"}]}},
         'status.loadBalancer.ingress[0].hostname: Invalid value: "10.0.0.1": must be a DNS name, not an IP address'),
        (POD, {"qosClass": "Burstable"}, {"qosClass": "Guaranteed"}, 'status.qosClass: Invalid value: "Guaranteed": field is immutable'),
        (POD, ended(0), RUNS, "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"),
        (POD, {}, {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]}, 'status.podIPs[1]: Duplicate value: "10.0.0.1"'),
        (GVK("apiextensions.k8s.io", "v1", "CustomResourceDefinition"), {}, {"acceptedNames": {"plural": "widgets", "kind": "My_Kind"}},
         'status.acceptedNames.kind: Invalid value: "My_Kind": may have mixed case, but should otherwise match: a DNS-1035 label must consist '
         "of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. "
         "'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"),
        (JOB, {}, {"conditions": met("Complete", "SuccessCriteriaMet"), "startTime": START},
         "status.completionTime: Required value: completionTime is required for Complete jobs"),
        (JOB, {}, {"startTime": START, "completionTime": END},
         f'status.completionTime: Invalid value: "{END}": cannot set completionTime when there is no Complete=True condition'),
        (JOB, {}, {"conditions": met("Failed"), "startTime": START},
         "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"),
        (JOB, {}, {**DONE, "active": 1}, "status.active: Invalid value: 1: active>0 is invalid for finished job"),
        (JOB, {}, {**DONE, "startTime": None}, "status.startTime: Required value: startTime is required for finished job"),
        (JOB, DONE, {**DONE, "conditions": met("SuccessCriteriaMet")},
         "status.conditions: Invalid value: cannot disable the terminal Complete=True condition"),
        (JOB, DONE, {**DONE, "succeeded": 0}, "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter"),
        (JOB, {"startTime": START}, {}, "status.startTime: Required value: startTime cannot be removed for unsuspended job"),
        (JOB, {}, {"active": 1, "ready": 2}, "status.ready: Invalid value: 2: cannot set more ready pods than active"),
        (JOB, {}, {"completedIndexes": "1"},
         'status.completedIndexes: Invalid value: "1": cannot set non-empty completedIndexes when non-indexed completion mode'),
    ],
)  # fmt: skip
def test_what_a_status_may_not_say(gvk: GVK, old: dict[str, Any], new: dict[str, Any], told: str) -> None:
    assert any(told in fault for fault in faults(gvk, old, new)), faults(gvk, old, new)


@pytest.mark.parametrize(
    ("gvk", "old", "new"),
    [
        (JOB, {}, DONE),
        (JOB, {"conditions": met("Complete")}, {"conditions": met("Complete", "Own"), "startTime": START}),
        (POD, ended(1), RUNS),
        (DEPLOYMENT, {}, {"replicas": 3, "readyReplicas": 2, "availableReplicas": 1, "conditions": met("Available")}),
        (GVK("", "v1", "Node"), {}, {"capacity": {"cpu": "1"}}),
    ],
)
def test_what_it_may(gvk: GVK, old: dict[str, Any], new: dict[str, Any]) -> None:
    assert faults(gvk, old, new) == []


def faults(gvk: GVK, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    spec = {"restartPolicy": "OnFailure"}
    return [str(cause) for cause in status_faults(gvk, {"spec": spec, "status": new}, {"spec": spec, "status": old})]
