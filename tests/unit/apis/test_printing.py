"""Cells of `kubectl get` for Kubernetes' kinds, as kubectl users know them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.table import build_table
from kcp.apis.kubernetes.columns import builtin_columns

NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)
META = {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}


def cells(api_version: str, kind: str, obj: JSONObject, *, wide: bool = False) -> dict[str, Any]:
    """Column name → cell."""
    table = build_table([{"metadata": META, **obj}], builtin_columns(GVK.of(api_version, kind)), now=NOW)
    shown = zip(table["columnDefinitions"], table["rows"][0]["cells"], strict=True)
    return {column["name"]: cell for column, cell in shown if wide or not column["priority"]}


def test_deployment_shows_ready_of_desired() -> None:
    obj = {
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{"name": "c", "image": "nginx:1"}]}},
        },
        "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2},
    }
    assert cells("apps/v1", "Deployment", obj) == {"Name": "x", "Ready": "2/3", "Up-to-date": 3, "Available": 2, "Age": "60m"}
    wide = cells("apps/v1", "Deployment", obj, wide=True)
    assert (wide["Containers"], wide["Images"], wide["Selector"]) == ("c", "nginx:1", "app=web")


def _pod(**status: Any) -> JSONObject:
    return {"spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}], "nodeName": "n1"}, "status": status}


def _container(name: str, *, ready: bool = False, restarts: int = 0, **state: Any) -> JSONObject:
    return {"name": name, "ready": ready, "restartCount": restarts, "state": state}


@pytest.mark.parametrize(
    ("status", "ready", "shown", "restarts"),
    [
        ({"phase": "Pending"}, "0/2", "Pending", "0"),
        (
            {
                "phase": "Running",
                "containerStatuses": [_container("a", ready=True, running={}), _container("b", ready=True, restarts=2, running={})],
            },
            "2/2",
            "Running",
            "2",
        ),
        (
            {"phase": "Running", "containerStatuses": [_container("a", restarts=5, waiting={"reason": "CrashLoopBackOff"})]},
            "0/2",
            "CrashLoopBackOff",
            "5",
        ),
        ({"phase": "Failed", "containerStatuses": [_container("a", terminated={"exitCode": 137})]}, "0/2", "ExitCode:137", "0"),
        ({"phase": "Failed", "reason": "Evicted"}, "0/2", "Evicted", "0"),
        ({"phase": "Pending", "initContainerStatuses": [_container("i", running={})]}, "0/2", "Init:0/1", "0"),
        (
            {"phase": "Pending", "initContainerStatuses": [_container("i", waiting={"reason": "ImagePullBackOff"})]},
            "0/2",
            "Init:ImagePullBackOff",
            "0",
        ),
        ({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}, "0/2", "SchedulingGated", "0"),
    ],
)
def test_pod_status_is_what_matters_most(status: JSONObject, ready: str, shown: str, restarts: str) -> None:
    found = cells("v1", "Pod", _pod(**status))
    assert (found["Ready"], found["Status"], found["Restarts"]) == (ready, shown, restarts)


def test_pod_tells_when_it_restarted_last_and_that_it_is_going() -> None:
    again = _container("a", ready=True, restarts=1, running={}) | {"lastState": {"terminated": {"finishedAt": "2026-01-01T00:58:00Z"}}}
    pod = _pod(phase="Running", containerStatuses=[again])
    assert cells("v1", "Pod", pod)["Restarts"] == "1 (2m ago)"
    assert cells("v1", "Pod", {**pod, "metadata": {**META, "deletionTimestamp": "2026-01-01T00:59:00Z"}})["Status"] == "Terminating"
    assert cells("v1", "Pod", pod, wide=True)["Node"] == "n1"


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        (
            {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [{"port": 80, "protocol": "TCP"}]},
            {},
            ("ClusterIP", "10.0.0.1", "<none>", "80/TCP"),
        ),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]},
            {},
            ("NodePort", "<none>", "<none>", "80:30080/TCP"),
        ),
        ({"type": "LoadBalancer", "ports": []}, {}, ("LoadBalancer", "<none>", "<pending>", "<none>")),
        ({"type": "LoadBalancer"}, {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}, ("LoadBalancer", "<none>", "1.2.3.4", "<none>")),
        ({"type": "ExternalName", "externalName": "a.b"}, {}, ("ExternalName", "<none>", "a.b", "<none>")),
    ],
)
def test_service_addresses(spec: JSONObject, status: JSONObject, expected: tuple[str, ...]) -> None:
    found = cells("v1", "Service", {"spec": spec, "status": status})
    assert (found["Type"], found["Cluster-IP"], found["External-IP"], found["Port(s)"]) == expected


def test_node_status_and_roles() -> None:
    node = {
        "metadata": {**META, "labels": {"node-role.kubernetes.io/worker": ""}},
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.36.0"}},
    }
    found = cells("v1", "Node", node)
    assert (found["Status"], found["Roles"], found["Version"]) == ("Ready,SchedulingDisabled", "worker", "v1.36.0")


def test_event_columns_need_no_name_in_front() -> None:
    event = {
        "type": "Warning", "reason": "Failed", "message": "no\n", "count": 3, "involvedObject": {"kind": "Pod", "name": "web"},
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:59:30Z",
    }  # fmt: skip
    assert cells("v1", "Event", event) == {
        "Last Seen": "30s (x3 over 60m)", "Type": "Warning", "Reason": "Failed", "Object": "pod/web", "Message": "no",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("api_version", "kind", "obj", "expected"),
    [
        ("v1", "Namespace", {"status": {"phase": "Active"}}, {"Status": "Active"}),
        ("v1", "ConfigMap", {"data": {"a": "1"}, "binaryData": {"b": ""}}, {"Data": 2}),
        ("v1", "Secret", {"type": "Opaque", "data": {"a": ""}}, {"Type": "Opaque", "Data": 1}),
        ("apps/v1", "ReplicaSet", {"spec": {"replicas": 2}, "status": {"replicas": 2}}, {"Desired": 2, "Current": 2, "Ready": 0}),
        ("batch/v1", "Job", {"spec": {"completions": 2}, "status": {"succeeded": 1}}, {"Status": "Running", "Completions": "1/2"}),
        ("batch/v1", "CronJob", {"spec": {"schedule": "* * * * *", "suspend": False}}, {"Suspend": "False", "Last Schedule": "<none>"}),
        ("networking.k8s.io/v1", "Ingress", {"spec": {"rules": [{"host": "a"}, {}]}}, {"Hosts": "a", "Ports": "80", "Class": "<none>"}),
        ("networking.k8s.io/v1", "NetworkPolicy", {"spec": {"podSelector": {}}}, {"Pod-Selector": "<none>"}),
        ("coordination.k8s.io/v1", "Lease", {"spec": {"holderIdentity": "me"}}, {"Holder": "me"}),
        ("rbac.authorization.k8s.io/v1", "Role", {}, {"Created At": "2026-01-01T00:00:00Z"}),
        ("rbac.authorization.k8s.io/v1", "RoleBinding", {"roleRef": {"kind": "Role", "name": "r"}}, {"Role": "Role/r"}),
        ("v1", "PersistentVolumeClaim", {"status": {"phase": "Pending"}}, {"Status": "Pending", "Capacity": ""}),
        ("policy/v1", "PodDisruptionBudget", {"spec": {"minAvailable": "50%"}}, {"Min Available": "50%", "Max Unavailable": "N/A"}),
        (
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            {
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                    "maxReplicas": 5,
                    "metrics": [
                        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
                    ],
                }
            },
            {"Reference": "Deployment/web", "Targets": "cpu: <unknown>/80%", "MaxPods": 5},
        ),
        ("certificates.k8s.io/v1", "CertificateSigningRequest", {"spec": {"signerName": "s"}}, {"Condition": "Pending", "SignerName": "s"}),
        ("v1", "ResourceQuota", {"status": {"hard": {"pods": "4", "limits.cpu": "2"}, "used": {"pods": "1"}}}, {"Request": "pods: 1/4"}),
        ("v1", "Endpoints", {"subsets": [{"addresses": [{"ip": "1.1.1.1"}], "ports": [{"port": 80}]}]}, {"Endpoints": "1.1.1.1:80"}),
    ],
)
def test_columns_of_other_kinds(api_version: str, kind: str, obj: JSONObject, expected: dict[str, Any]) -> None:
    assert expected.items() <= cells(api_version, kind, obj).items()


@pytest.mark.parametrize("kind", ["Pod", "Service", "Node", "Namespace", "Event", "PersistentVolume", "PersistentVolumeClaim"])
def test_an_empty_object_can_be_printed(kind: str) -> None:
    assert cells("v1", kind, {}, wide=True)
