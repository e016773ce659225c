"""Which columns `kubectl get` shows of which Kubernetes kind, built in or bound.

Before: `registry.builtin` and `registry.crd` (a bound Deployment shows READY 3/3 like a built-in one).
"""

from __future__ import annotations

from collections.abc import Mapping

from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.table import Column
from kcp.apis.kubernetes import print_access as access
from kcp.apis.kubernetes import print_core as core
from kcp.apis.kubernetes import print_workloads as workloads

_BY_GROUP_KIND: Mapping[tuple[str, str], tuple[Column, ...]] = {
    ("", "Pod"): workloads.POD,
    ("", "ReplicationController"): workloads.REPLICA_SET,
    ("", "PodTemplate"): workloads.POD_TEMPLATE,
    ("apps", "Deployment"): workloads.DEPLOYMENT,
    ("apps", "ReplicaSet"): workloads.REPLICA_SET,
    ("apps", "StatefulSet"): workloads.STATEFUL_SET,
    ("apps", "DaemonSet"): workloads.DAEMON_SET,
    ("apps", "ControllerRevision"): access.CONTROLLER_REVISION,
    ("batch", "Job"): workloads.JOB,
    ("batch", "CronJob"): workloads.CRON_JOB,
    ("autoscaling", "HorizontalPodAutoscaler"): workloads.HORIZONTAL_POD_AUTOSCALER,
    ("policy", "PodDisruptionBudget"): workloads.POD_DISRUPTION_BUDGET,
    ("", "Namespace"): core.NAMESPACE,
    ("", "ConfigMap"): core.CONFIG_MAP,
    ("", "Secret"): core.SECRET,
    ("", "ServiceAccount"): core.SERVICE_ACCOUNT,
    ("", "LimitRange"): core.LIMIT_RANGE,
    ("", "ResourceQuota"): core.RESOURCE_QUOTA,
    ("", "Service"): core.SERVICE,
    ("", "Endpoints"): core.ENDPOINTS,
    ("discovery.k8s.io", "EndpointSlice"): core.ENDPOINT_SLICE,
    ("", "ComponentStatus"): core.COMPONENT_STATUS,
    ("", "Node"): core.NODE,
    ("", "Event"): core.EVENT,
    ("events.k8s.io", "Event"): core.EVENT,
    ("", "PersistentVolume"): core.PERSISTENT_VOLUME,
    ("", "PersistentVolumeClaim"): core.PERSISTENT_VOLUME_CLAIM,
    ("storage.k8s.io", "StorageClass"): core.STORAGE_CLASS,
    ("networking.k8s.io", "Ingress"): core.INGRESS,
    ("networking.k8s.io", "IngressClass"): core.INGRESS_CLASS,
    ("networking.k8s.io", "NetworkPolicy"): core.NETWORK_POLICY,
    ("scheduling.k8s.io", "PriorityClass"): core.PRIORITY_CLASS,
    ("node.k8s.io", "RuntimeClass"): access.RUNTIME_CLASS,
    ("rbac.authorization.k8s.io", "Role"): access.ROLE,
    ("rbac.authorization.k8s.io", "ClusterRole"): access.ROLE,
    ("rbac.authorization.k8s.io", "RoleBinding"): access.BINDING,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): access.BINDING,
    ("coordination.k8s.io", "Lease"): access.LEASE,
    ("certificates.k8s.io", "CertificateSigningRequest"): access.CERTIFICATE_SIGNING_REQUEST,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): access.WEBHOOK_CONFIGURATION,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): access.WEBHOOK_CONFIGURATION,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): access.ADMISSION_POLICY,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): access.ADMISSION_POLICY_BINDING,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): access.CREATED,
    ("apiregistration.k8s.io", "APIService"): access.API_SERVICE,
}


def builtin_columns(gvk: GVK) -> tuple[Column, ...]:
    """Columns of a Kubernetes kind; () for kinds without columns of their own. Versions of one kind share them."""
    return _BY_GROUP_KIND.get((gvk.group, gvk.kind), ())
