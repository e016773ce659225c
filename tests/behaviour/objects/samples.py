"""One small object of each of Kubernetes' kinds, as a client would write it; for tests that go through all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kcp.apimachinery.gvk import GVR

_LABELS = {"app": "sample"}
_POD_SPEC: dict[str, Any] = {"containers": [{"name": "app", "image": "nginx:1"}]}
_TEMPLATE: dict[str, Any] = {"metadata": {"labels": _LABELS}, "spec": _POD_SPEC}
_WORKLOAD: dict[str, Any] = {"replicas": 0, "selector": {"matchLabels": _LABELS}, "template": _TEMPLATE}
_HOOK: dict[str, Any] = {
    "name": "hook.example.com",
    "clientConfig": {"url": "https://127.0.0.1:1/hook"},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
    "failurePolicy": "Ignore",
    "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"]}],
}
_MATCH = {"resourceRules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"]}]}
_SOME_PEM = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIUE1IZ0NBUUF3RmpFVU1CSUdBMVVFQXd3TGMyOXRaV0p2WkhrPQotLS0tLUVORCBDRVJUSUZJQ0FU"
    "RSBSRVFVRVNULS0tLS0K"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """An object without a name, and what of its kind is worth trying."""

    gvr: GVR
    kind: str
    body: dict[str, Any]
    namespaced: bool = True
    status: dict[str, Any] | None = None
    """A merge patch of the status; None for a kind without one."""
    in_workspaces: bool = False
    """Whether a plain workspace serves the kind."""
    name: str = ""
    """Where names have rules of their own; "{n}" is a digit."""
    is_collected: bool = True
    """Whether it can be deleted as a collection, and goes at once."""

    def named(self, number: int, **labels: str) -> dict[str, Any]:
        name = (self.name or "sample-{n}").replace("{n}", str(number))
        labels_of = {"metadata": {"name": name, "labels": labels}}
        return {"apiVersion": self.gvr.api_version, "kind": self.kind, **labels_of, **self.body}

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        base = f"/apis/{self.gvr.group}/{self.gvr.version}" if self.gvr.group else f"/api/{self.gvr.version}"
        where = f"{base}/namespaces/{namespace}" if self.namespaced and namespace else base
        return "/".join(part for part in (where, self.gvr.resource, name, subresource) if part)


def _of(group_version: str, plural: str, kind: str, body: dict[str, Any] | None = None, **more: Any) -> Sample:
    group, _, version = group_version.rpartition("/")
    return Sample(gvr=GVR(group, version, plural), kind=kind, body=body or {}, **more)


def _condition(kind: str) -> dict[str, Any]:
    told = {"reason": "Tried", "message": "set by a test", "lastTransitionTime": "2026-01-02T03:04:05Z"}
    return {"conditions": [{"type": kind, "status": "True", **told}]}


_ADMISSION, _RBAC, _STORAGE = "admissionregistration.k8s.io/v1", "rbac.authorization.k8s.io/v1", "storage.k8s.io/v1"
_WORKSPACE: dict[str, Any] = {"in_workspaces": True}
_CLUSTER: dict[str, Any] = {"namespaced": False}
_REF = {"apiGroup": "rbac.authorization.k8s.io", "name": "view"}
_EVENT = {
    "reason": "Tried",
    "message": "a test",
    "type": "Normal",
    "involvedObject": {"kind": "Pod", "name": "a", "namespace": "lifecycle"},
}
_NEW_EVENT = {
    "reason": "Tried", "note": "a test", "type": "Normal", "action": "Try", "eventTime": "2026-01-02T03:04:05.000006Z",
    "regarding": {"kind": "Pod", "name": "a", "namespace": "lifecycle"}, "reportingController": "example.com/test", "reportingInstance": "t",
}  # fmt: skip
_CSR = {"request": _SOME_PEM, "signerName": "example.com/signer", "usages": ["client auth"]}
_FLOW = "flowcontrol.apiserver.k8s.io/v1"
_SUBJECT = {"subjects": [{"kind": "User", "user": {"name": "nobody"}}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/nothing"]}]}  # fmt: skip
_CLAIM = {"devices": {"requests": [{"name": "one", "exactly": {"deviceClassName": "example.com"}}]}}
_PV = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/x"}, "storageClassName": "manual"}
_PVC = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "manual"}
_HPA = {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}}

SAMPLES: tuple[Sample, ...] = (
    _of("v1", "configmaps", "ConfigMap", {"data": {"a": "b"}}, **_WORKSPACE),
    _of("v1", "secrets", "Secret", {"stringData": {"a": "b"}}, **_WORKSPACE),
    _of("v1", "events", "Event", _EVENT, **_WORKSPACE),
    _of("v1", "serviceaccounts", "ServiceAccount", **_WORKSPACE),
    _of("v1", "resourcequotas", "ResourceQuota", {"spec": {"hard": {"pods": "9"}}}, status={"hard": {"pods": "9"}}, **_WORKSPACE),
    _of("v1", "limitranges", "LimitRange", {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "2"}}]}}, **_WORKSPACE),
    _of(_ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", {"webhooks": [_HOOK]}, **_WORKSPACE, **_CLUSTER),
    _of(_ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", {"webhooks": [_HOOK]}, **_WORKSPACE, **_CLUSTER),
    _of(_ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy",
        {"spec": {"matchConstraints": _MATCH, "validations": [{"expression": "true"}]}}, status=_condition("Tried"), **_WORKSPACE, **_CLUSTER),
    _of(_ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding",
        {"spec": {"policyName": "none", "validationActions": ["Deny"]}}, **_WORKSPACE, **_CLUSTER),
    _of(_ADMISSION, "mutatingadmissionpolicies", "MutatingAdmissionPolicy",
        {"spec": {"matchConstraints": _MATCH, "reinvocationPolicy": "Never",
                  "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}]}}, **_WORKSPACE, **_CLUSTER),
    _of(_ADMISSION, "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", {"spec": {"policyName": "none"}},
        **_WORKSPACE, **_CLUSTER),
    _of(_RBAC, "roles", "Role", {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}, **_WORKSPACE),
    _of(_RBAC, "rolebindings", "RoleBinding", {"roleRef": {**_REF, "kind": "ClusterRole"}}, **_WORKSPACE),
    _of(_RBAC, "clusterroles", "ClusterRole", {"rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]}, **_WORKSPACE, **_CLUSTER),
    _of(_RBAC, "clusterrolebindings", "ClusterRoleBinding", {"roleRef": {**_REF, "kind": "ClusterRole"}}, **_WORKSPACE, **_CLUSTER),
    _of("coordination.k8s.io/v1", "leases", "Lease", {"spec": {"holderIdentity": "me", "leaseDurationSeconds": 30}}, **_WORKSPACE),
    _of("events.k8s.io/v1", "events", "Event", _NEW_EVENT, **_WORKSPACE),
    _of("certificates.k8s.io/v1", "certificatesigningrequests", "CertificateSigningRequest", {"spec": _CSR},
        status={"conditions": [{"type": "Failed", "status": "True", "reason": "Tried", "lastUpdateTime": "2026-01-02T03:04:05Z",
                                "lastTransitionTime": "2026-01-02T03:04:05Z"}]}, **_WORKSPACE, **_CLUSTER),
    _of("v1", "pods", "Pod", {"spec": {**_POD_SPEC, "schedulerName": "nobody"}}, status=_condition("Tried")),
    _of("v1", "services", "Service", {"spec": {"ports": [{"port": 80}]}},
        status={"loadBalancer": {"ingress": [{"ip": "203.0.113.1", "ipMode": "VIP"}]}}),
    _of("v1", "endpoints", "Endpoints", {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
    _of("v1", "podtemplates", "PodTemplate", {"template": _TEMPLATE}),
    _of("v1", "persistentvolumes", "PersistentVolume", {"spec": _PV}, status={"phase": "Released", "reason": "Tried"}, is_collected=False,
        **_CLUSTER),
    _of("v1", "persistentvolumeclaims", "PersistentVolumeClaim", {"spec": _PVC}, status=_condition("Tried"), is_collected=False),
    _of("v1", "replicationcontrollers", "ReplicationController", {"spec": {"replicas": 0, "selector": _LABELS, "template": _TEMPLATE}},
        status=_condition("Tried")),
    _of("apps/v1", "deployments", "Deployment", {"spec": _WORKLOAD}, status=_condition("Tried")),
    _of("apps/v1", "replicasets", "ReplicaSet", {"spec": _WORKLOAD}, status=_condition("Tried")),
    _of("apps/v1", "statefulsets", "StatefulSet", {"spec": {**_WORKLOAD, "serviceName": "none"}}, status=_condition("Tried")),
    _of("apps/v1", "daemonsets", "DaemonSet",
        {"spec": {"selector": {"matchLabels": _LABELS},
                  "template": {**_TEMPLATE, "spec": {**_POD_SPEC, "nodeSelector": {"no": "where"}}}}}, status=_condition("Tried")),
    _of("apps/v1", "controllerrevisions", "ControllerRevision", {"revision": 1, "data": {"a": 1}}),
    _of("batch/v1", "jobs", "Job", {"spec": {"suspend": True, "template": {"spec": {**_POD_SPEC, "restartPolicy": "Never"}}}},
        status=_condition("Tried")),
    _of("batch/v1", "cronjobs", "CronJob",
        {"spec": {"suspend": True, "schedule": "0 0 1 1 *",
                  "jobTemplate": {"spec": {"template": {"spec": {**_POD_SPEC, "restartPolicy": "Never"}}}}}},
        status={"lastScheduleTime": "2026-01-02T03:04:05Z"}),
    _of("discovery.k8s.io/v1", "endpointslices", "EndpointSlice",
        {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "http", "port": 80}]}),
    _of("networking.k8s.io/v1", "ingresses", "Ingress", {"spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}},
        status={"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}),
    _of("networking.k8s.io/v1", "ingressclasses", "IngressClass", {"spec": {"controller": "example.com/c"}}, **_CLUSTER),
    _of("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
    _of("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR", {"spec": {"cidrs": ["10.9.0.0/24"]}}, status=_condition("Tried"), **_CLUSTER,
        is_collected=False),
    _of("networking.k8s.io/v1", "ipaddresses", "IPAddress",
        {"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "x"}}}, name="192.168.0.{n}", **_CLUSTER),
    _of("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"no": "one"}}}},
        status=_condition("Tried")),
    _of("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", {"value": 100, "description": "d"}, **_CLUSTER),
    _of(_STORAGE, "storageclasses", "StorageClass", {"provisioner": "example.com/p"}, **_CLUSTER),
    _of(_STORAGE, "csidrivers", "CSIDriver", {"spec": {"attachRequired": False}}, **_CLUSTER),
    _of(_STORAGE, "csinodes", "CSINode", {"spec": {"drivers": [{"name": "d.example.com", "nodeID": "n"}]}}, **_CLUSTER),
    _of(_STORAGE, "csistoragecapacities", "CSIStorageCapacity", {"storageClassName": "manual", "capacity": "1Gi"}),
    _of(_STORAGE, "volumeattachments", "VolumeAttachment",
        {"spec": {"attacher": "d.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}}, status={"attached": True},
        **_CLUSTER),
    _of(_STORAGE, "volumeattributesclasses", "VolumeAttributesClass", {"driverName": "d.example.com", "parameters": {"iops": "1"}}, **_CLUSTER),
    _of("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", {"handler": "runc"}, **_CLUSTER),
    _of("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", {"spec": _HPA}, status={"desiredReplicas": 2}),
    _of("autoscaling/v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", {"spec": _HPA}, status={"desiredReplicas": 2}),
    _of(_FLOW, "flowschemas", "FlowSchema",
        {"spec": {"matchingPrecedence": 9000, "priorityLevelConfiguration": {"name": "none"}, "rules": [_SUBJECT]}},
        status=_condition("Tried"), **_CLUSTER),
    _of(_FLOW, "prioritylevelconfigurations", "PriorityLevelConfiguration",
        {"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}},
        status=_condition("Tried"), **_CLUSTER),
    _of("resource.k8s.io/v1", "deviceclasses", "DeviceClass", {"spec": {"selectors": [{"cel": {"expression": "true"}}]}}, **_CLUSTER),
    _of("resource.k8s.io/v1", "resourceclaims", "ResourceClaim", {"spec": _CLAIM},
        status={"reservedFor": [], "allocation": {"devices": {"results": [
            {"request": "one", "driver": "d.example.com", "pool": "p", "device": "x"}]}}}),
    _of("resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate", {"spec": {"spec": _CLAIM}}),
    _of("resource.k8s.io/v1", "resourceslices", "ResourceSlice",
        {"spec": {"driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1, "generation": 1},
                  "devices": [{"name": "x"}]}}, **_CLUSTER),
    _of("apiregistration.k8s.io/v1", "apiservices", "APIService",
        {"spec": {"group": "example.com", "version": "v1alpha{n}", "groupPriorityMinimum": 2000, "versionPriority": 200,
                  "service": {"namespace": "default", "name": "none"}, "insecureSkipTLSVerify": True}},
        status=_condition("Tried"), name="v1alpha{n}.example.com", **_CLUSTER),
)  # fmt: skip
