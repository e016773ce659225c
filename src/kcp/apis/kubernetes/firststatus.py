"""The status that a new object of a Kubernetes kind has: its Go struct's zero value, so that clients find `status` from the start.

Before: `registry.builtin`. Source: k8s.io/api's types.go: `Status` is a struct, no pointer, so JSON always has it.
"""

from __future__ import annotations

from collections.abc import Mapping

from kcp.apimachinery.meta import JSONObject, copy_json

_NO_ADDRESSES: JSONObject = {"loadBalancer": {}}
_NO_NODE: JSONObject = {
    "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
    "nodeInfo": {
        "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "", "containerRuntimeVersion": "",
        "kubeletVersion": "", "kubeProxyVersion": "", "operatingSystem": "", "architecture": "",
    },
}  # fmt: skip
_FIRST: Mapping[tuple[str, str], JSONObject] = {
    ("", "Service"): _NO_ADDRESSES,
    ("networking.k8s.io", "Ingress"): _NO_ADDRESSES,
    ("", "PersistentVolumeClaim"): {"phase": "Pending"},
    ("", "Node"): _NO_NODE,
    ("", "PersistentVolume"): {"phase": "Pending"},
    ("", "ReplicationController"): {"replicas": 0},
    ("apps", "ReplicaSet"): {"replicas": 0},
    ("apps", "StatefulSet"): {"replicas": 0, "availableReplicas": 0},
    ("apps", "DaemonSet"): {"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0},
    ("policy", "PodDisruptionBudget"): {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0},
    ("autoscaling", "HorizontalPodAutoscaler"): {"desiredReplicas": 0},
}


def first_status(group: str, kind: str) -> JSONObject:
    """A fresh one; empty for most kinds."""
    status: JSONObject = copy_json(_FIRST.get((group, kind), {}))
    return status
