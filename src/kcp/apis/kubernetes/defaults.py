"""What the API server fills into new objects of Kubernetes' kinds; the published schemas do not say it.

One function per kind; each changes its object, fills in only what is absent and is idempotent.
Before: `rules`. Source: k8s.io/kubernetes/pkg/apis/<group>/<version>/defaults.go.
"""

from __future__ import annotations

import base64

from kcp.apimachinery.meta import JSONObject, copy_json, ensure, metadata, name
from kcp.apis.kubernetes import pod_defaults
from kcp.apis.kubernetes.pod_defaults import canonical_quantities, child, fill, objects

_MAX_INT32 = 2**31 - 1
RBAC_GROUP = "rbac.authorization.k8s.io"


def _spec(obj: JSONObject) -> JSONObject:
    return ensure(obj, "spec")


def _template(spec: JSONObject) -> None:
    if template := child(spec, "template", "spec"):
        pod_defaults.pod_spec(template)


# --- core ---


def namespace(obj: JSONObject) -> None:
    if held := name(obj):
        ensure(obj, "metadata", "labels")["kubernetes.io/metadata.name"] = held


def secret(obj: JSONObject) -> None:
    """Also moves `stringData`, which is write-only, into `data`."""
    fill(obj, type="Opaque")
    texts = obj.pop("stringData", None)
    if isinstance(texts, dict) and texts:
        data = ensure(obj, "data")
        for key, value in texts.items():
            data[key] = base64.b64encode(str(value).encode()).decode()


def resource_quota(obj: JSONObject) -> None:
    if spec := child(obj, "spec"):
        canonical_quantities(spec, "hard")
    if status := child(obj, "status"):
        canonical_quantities(status, "hard", "used")


def limit_range(obj: JSONObject) -> None:
    for item in objects(child(obj, "spec") or {}, "limits"):
        canonical_quantities(item, "max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
        if item.get("type") != "Container":
            continue
        maximum, minimum = child(item, "max"), child(item, "min")
        if maximum:
            fill(ensure(item, "default"), **maximum)
        if item.get("default"):
            fill(ensure(item, "defaultRequest"), **item["default"])
        if minimum:
            fill(ensure(item, "defaultRequest"), **minimum)


def pod(obj: JSONObject) -> None:
    pod_defaults.pod(_spec(obj))


def pod_template_kind(obj: JSONObject) -> None:
    _template(obj)


def service(obj: JSONObject) -> None:
    spec = _spec(obj)
    fill(spec, sessionAffinity="None", type="ClusterIP")
    if spec["sessionAffinity"] == "ClientIP":
        fill(ensure(spec, "sessionAffinityConfig", "clientIP"), timeoutSeconds=10800)
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    for port in objects(spec, "ports"):
        fill(port, protocol="TCP")
        if port.get("targetPort") in (None, 0, "") and "port" in port:
            port["targetPort"] = port["port"]
    if spec["type"] in ("NodePort", "LoadBalancer") or (spec["type"] == "ClusterIP" and spec.get("externalIPs")):
        fill(spec, externalTrafficPolicy="Cluster")
    if spec["type"] in ("ClusterIP", "NodePort", "LoadBalancer"):
        fill(spec, internalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        fill(spec, allocateLoadBalancerNodePorts=True)
    status = ensure(obj, "status")
    fill(status, loadBalancer={})
    if spec["type"] == "LoadBalancer":
        for entry in objects(child(status, "loadBalancer") or {}, "ingress"):
            if entry.get("ip"):
                fill(entry, ipMode="VIP")


def endpoints(obj: JSONObject) -> None:
    for subset in objects(obj, "subsets"):
        for port in objects(subset, "ports"):
            fill(port, protocol="TCP")


def node(obj: JSONObject) -> None:
    if status := child(obj, "status"):
        canonical_quantities(status, "capacity", "allocatable")
        if status.get("capacity"):
            fill(status, allocatable=dict(status["capacity"]))


def persistent_volume(obj: JSONObject) -> None:
    spec = _spec(obj)
    fill(spec, persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
    canonical_quantities(spec, "capacity")
    pod_defaults.volume_source(spec)
    fill(ensure(obj, "status"), phase="Pending")


def persistent_volume_claim(obj: JSONObject) -> None:
    spec = _spec(obj)
    fill(spec, volumeMode="Filesystem")
    if resources := child(spec, "resources"):
        canonical_quantities(resources, "requests", "limits")
    status = ensure(obj, "status")
    fill(status, phase="Pending")
    canonical_quantities(status, "capacity", "allocatedResources")


def replication_controller(obj: JSONObject) -> None:
    spec = _spec(obj)
    fill(spec, replicas=1)
    labels = child(spec, "template", "metadata", "labels")
    if labels:
        fill(spec, selector=dict(labels))
        if not metadata(obj).get("labels"):
            ensure(obj, "metadata")["labels"] = dict(labels)
    _template(spec)


# --- apps ---


def deployment(obj: JSONObject) -> None:
    spec = _spec(obj)
    fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = ensure(spec, "strategy")
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(ensure(strategy, "rollingUpdate"), maxUnavailable="25%", maxSurge="25%")
    _template(spec)


def replica_set(obj: JSONObject) -> None:
    spec = _spec(obj)
    fill(spec, replicas=1)
    _template(spec)


def stateful_set(obj: JSONObject) -> None:
    spec = _spec(obj)
    fill(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady")
    update = ensure(spec, "updateStrategy")
    if not update.get("type"):
        update["type"] = "RollingUpdate"
        ensure(update, "rollingUpdate")
    if update["type"] == "RollingUpdate" and (rolling := child(update, "rollingUpdate")) is not None:
        fill(rolling, partition=0)
    fill(ensure(spec, "persistentVolumeClaimRetentionPolicy"), whenDeleted="Retain", whenScaled="Retain")
    for claim in objects(spec, "volumeClaimTemplates"):
        fill(claim, apiVersion="v1", kind="PersistentVolumeClaim")
        persistent_volume_claim(claim)
    _template(spec)


def daemon_set(obj: JSONObject) -> None:
    spec = _spec(obj)
    fill(spec, revisionHistoryLimit=10)
    update = ensure(spec, "updateStrategy")
    fill(update, type="RollingUpdate")
    if update["type"] == "RollingUpdate":
        fill(ensure(update, "rollingUpdate"), maxUnavailable=1, maxSurge=0)
    _template(spec)


# --- batch ---


def job(obj: JSONObject) -> None:
    spec = _spec(obj)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        fill(spec, completions=1)
    fill(spec, parallelism=1, completionMode="NonIndexed", suspend=False)
    fill(spec, backoffLimit=6 if spec.get("backoffLimitPerIndex") is None else _MAX_INT32)
    fill(spec, podReplacementPolicy="Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    if not metadata(obj).get("labels") and (labels := child(spec, "template", "metadata", "labels")):
        ensure(obj, "metadata")["labels"] = dict(labels)
    _template(spec)


def cron_job(obj: JSONObject) -> None:
    spec = _spec(obj)
    fill(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    if inner := child(spec, "jobTemplate", "spec"):
        _template(inner)


# --- the rest ---


def network_policy(obj: JSONObject) -> None:
    spec = _spec(obj)
    for rule in (*objects(spec, "ingress"), *objects(spec, "egress")):
        for port in objects(rule, "ports"):
            fill(port, protocol="TCP")
    fill(spec, policyTypes=["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def horizontal_pod_autoscaler(obj: JSONObject) -> None:
    spec = _spec(obj)
    fill(spec, minReplicas=1)
    if not spec.get("metrics"):
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
        spec["metrics"] = [{"type": "Resource", "resource": cpu}]
    if (behavior := child(spec, "behavior")) is not None:
        fill(ensure(behavior, "scaleUp"), **copy_json(_SCALE_UP))
        fill(ensure(behavior, "scaleDown"), **copy_json(_SCALE_DOWN))


_PERCENT = {"type": "Percent", "value": 100, "periodSeconds": 15}
_SCALE_UP = {
    "stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, _PERCENT],
}  # fmt: skip
_SCALE_DOWN = {"selectPolicy": "Max", "policies": [_PERCENT]}


def _device_request(request: JSONObject) -> None:
    """Of a claim for devices: exactly one unless more, or all, are asked for. Source: pkg/apis/resource/v1/defaults.go."""
    fill(request, allocationMode="ExactCount")
    if request["allocationMode"] == "ExactCount" and not request.get("count"):
        request["count"] = 1


def resource_claim(obj: JSONObject) -> None:
    _device_requests(_spec(obj))


def resource_claim_template(obj: JSONObject) -> None:
    if spec := child(obj, "spec", "spec"):
        _device_requests(spec)


def _device_requests(spec: JSONObject) -> None:
    for request in objects(child(spec, "devices") or {}, "requests"):
        if (exactly := child(request, "exactly")) is not None:
            _device_request(exactly)
        for other in objects(request, "firstAvailable"):
            _device_request(other)


def storage_class(obj: JSONObject) -> None:
    fill(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def csi_driver(obj: JSONObject) -> None:
    spec = _spec(obj)
    fill(spec, attachRequired=True, podInfoOnMount=False, storageCapacity=False, fsGroupPolicy="ReadWriteOnceWithFSType")
    fill(spec, requiresRepublish=False, seLinuxMount=False)
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def ingress_class(obj: JSONObject) -> None:
    if parameters := child(obj, "spec", "parameters"):
        fill(parameters, scope="Cluster")


def api_service(obj: JSONObject) -> None:
    if (service_of := child(obj, "spec", "service")) is not None:
        fill(service_of, port=443)


def priority_class(obj: JSONObject) -> None:
    fill(obj, preemptionPolicy="PreemptLowerPriority")


def endpoint_slice(obj: JSONObject) -> None:
    for port in objects(obj, "ports"):
        fill(port, name="", protocol="TCP")


def binding(obj: JSONObject) -> None:
    """A RoleBinding or ClusterRoleBinding."""
    if (reference := child(obj, "roleRef")) is not None:
        fill(reference, apiGroup=RBAC_GROUP)
    for subject in objects(obj, "subjects"):
        if subject.get("kind") in ("User", "Group"):
            fill(subject, apiGroup=RBAC_GROUP)
