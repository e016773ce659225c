"""Defaults and validation of Kubernetes' kinds by GVK, for whoever serves them: built in, or bound from an APIExport.

Before: `registry.builtin`. After: `defaults`, `validation`, `limit_validation`, `crds`, `admission`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import (
    admission,
    autoscaling,
    certificates,
    cluster_validation,
    crds,
    defaults,
    device_validation,
    events,
    flowcontrol,
    limit_validation,
    network_validation,
    slice_validation,
    stateful_validation,
    storage_validation,
    validation,
)


def _nothing(obj: JSONObject) -> None:
    """No defaults."""


def _no_faults(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    return ()


@dataclass(frozen=True, kw_only=True, slots=True)
class KindRules:
    """What the API server fills in and insists on, beyond the schema. Functions over one decoded object."""

    default: Callable[[JSONObject], None] = _nothing
    """Changes the object; idempotent."""
    completes_status: bool = False
    """Whether `default` has something to say of a status too."""
    validate: Callable[[JSONObject, JSONObject | None], Sequence[Cause]] = _no_faults
    """(new, old or None for a creation): all faults at once."""
    name_faults: Callable[[str], list[str]] = names.dns1123_subdomain


def _gvk(group_version: str, kind: str) -> GVK:
    return GVK.of(group_version, kind)


BUILTIN: Mapping[GVK, KindRules] = {
    _gvk("v1", "Namespace"): KindRules(default=defaults.namespace, name_faults=names.dns1123_label),
    _gvk("v1", "Event"): KindRules(validate=events.core_event),
    _gvk("events.k8s.io/v1", "Event"): KindRules(validate=events.new_event),
    _gvk("v1", "ConfigMap"): KindRules(validate=validation.config_map),
    _gvk("v1", "Secret"): KindRules(default=defaults.secret, validate=validation.secret),
    _gvk("v1", "ResourceQuota"): KindRules(
        default=defaults.resource_quota, completes_status=True, validate=limit_validation.resource_quota
    ),
    _gvk("v1", "LimitRange"): KindRules(default=defaults.limit_range, validate=limit_validation.limit_range),
    _gvk("v1", "Pod"): KindRules(default=defaults.pod, validate=validation.pod),
    _gvk("v1", "PodTemplate"): KindRules(default=defaults.pod_template_kind, validate=cluster_validation.pod_template),
    _gvk("v1", "Service"): KindRules(
        default=defaults.service, completes_status=True, validate=validation.service, name_faults=names.dns1035_label
    ),
    _gvk("v1", "Endpoints"): KindRules(default=defaults.endpoints, validate=network_validation.endpoints),
    _gvk("v1", "Node"): KindRules(default=defaults.node, completes_status=True),
    _gvk("v1", "PersistentVolume"): KindRules(
        default=defaults.persistent_volume, completes_status=True, validate=storage_validation.persistent_volume
    ),
    _gvk("v1", "PersistentVolumeClaim"): KindRules(
        default=defaults.persistent_volume_claim, completes_status=True, validate=storage_validation.persistent_volume_claim
    ),
    _gvk("v1", "ReplicationController"): KindRules(default=defaults.replication_controller, validate=validation.replication_controller),
    _gvk("apps/v1", "Deployment"): KindRules(default=defaults.deployment, validate=validation.deployment),
    _gvk("apps/v1", "ReplicaSet"): KindRules(default=defaults.replica_set, validate=validation.replica_set),
    _gvk("apps/v1", "StatefulSet"): KindRules(default=defaults.stateful_set, validate=stateful_validation.stateful_set),
    _gvk("apps/v1", "DaemonSet"): KindRules(default=defaults.daemon_set, validate=validation.daemon_set),
    _gvk("batch/v1", "Job"): KindRules(default=defaults.job, validate=validation.job),
    _gvk("batch/v1", "CronJob"): KindRules(default=defaults.cron_job, validate=validation.cron_job),
    _gvk("networking.k8s.io/v1", "Ingress"): KindRules(validate=validation.ingress),
    _gvk("networking.k8s.io/v1", "NetworkPolicy"): KindRules(default=defaults.network_policy, validate=network_validation.network_policy),
    _gvk("policy/v1", "PodDisruptionBudget"): KindRules(validate=validation.pod_disruption_budget),
    _gvk("autoscaling/v2", "HorizontalPodAutoscaler"): KindRules(
        default=defaults.horizontal_pod_autoscaler, validate=validation.horizontal_pod_autoscaler
    ),
    _gvk("autoscaling/v1", "HorizontalPodAutoscaler"): KindRules(default=autoscaling.default_v1, validate=autoscaling.validate_v1),
    _gvk("certificates.k8s.io/v1", "CertificateSigningRequest"): KindRules(validate=certificates.validate),
    _gvk("storage.k8s.io/v1", "StorageClass"): KindRules(default=defaults.storage_class, validate=storage_validation.storage_class),
    _gvk("scheduling.k8s.io/v1", "PriorityClass"): KindRules(default=defaults.priority_class, validate=cluster_validation.priority_class),
    _gvk("discovery.k8s.io/v1", "EndpointSlice"): KindRules(default=defaults.endpoint_slice, validate=network_validation.endpoint_slice),
    _gvk("networking.k8s.io/v1", "IngressClass"): KindRules(default=defaults.ingress_class, validate=network_validation.ingress_class),
    _gvk("networking.k8s.io/v1", "ServiceCIDR"): KindRules(validate=network_validation.service_cidr),
    _gvk("networking.k8s.io/v1", "IPAddress"): KindRules(validate=network_validation.ip_address, name_faults=network_validation.ip_name),
    _gvk("storage.k8s.io/v1", "CSIDriver"): KindRules(default=defaults.csi_driver, validate=storage_validation.csi_driver),
    _gvk("storage.k8s.io/v1", "CSINode"): KindRules(validate=storage_validation.csi_node),
    _gvk("storage.k8s.io/v1", "CSIStorageCapacity"): KindRules(validate=storage_validation.csi_storage_capacity),
    _gvk("storage.k8s.io/v1", "VolumeAttachment"): KindRules(validate=storage_validation.volume_attachment),
    _gvk("storage.k8s.io/v1", "VolumeAttributesClass"): KindRules(validate=storage_validation.volume_attributes_class),
    _gvk("node.k8s.io/v1", "RuntimeClass"): KindRules(validate=cluster_validation.runtime_class),
    _gvk("coordination.k8s.io/v1", "Lease"): KindRules(validate=cluster_validation.lease),
    _gvk("apps/v1", "ControllerRevision"): KindRules(validate=cluster_validation.controller_revision),
    _gvk("apiregistration.k8s.io/v1", "APIService"): KindRules(
        default=defaults.api_service, validate=cluster_validation.api_service, name_faults=names.path_segment
    ),
    _gvk("resource.k8s.io/v1", "ResourceClaim"): KindRules(default=defaults.resource_claim, validate=device_validation.claim),
    _gvk("resource.k8s.io/v1", "ResourceClaimTemplate"): KindRules(
        default=defaults.resource_claim_template, validate=device_validation.template
    ),
    _gvk("resource.k8s.io/v1", "DeviceClass"): KindRules(validate=device_validation.device_class),
    _gvk("resource.k8s.io/v1", "ResourceSlice"): KindRules(validate=slice_validation.resource_slice),
    _gvk(flowcontrol.GROUP_VERSION, "FlowSchema"): KindRules(default=flowcontrol.default_schema, validate=flowcontrol.schema),
    _gvk(flowcontrol.GROUP_VERSION, "PriorityLevelConfiguration"): KindRules(default=flowcontrol.default_level, validate=flowcontrol.level),
    _gvk("rbac.authorization.k8s.io/v1", "RoleBinding"): KindRules(default=defaults.binding, validate=validation.binding),
    _gvk("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): KindRules(default=defaults.binding, validate=validation.binding),
    _gvk("rbac.authorization.k8s.io/v1", "Role"): KindRules(validate=validation.role),
    _gvk("rbac.authorization.k8s.io/v1", "ClusterRole"): KindRules(validate=validation.role),
    _gvk("apiextensions.k8s.io/v1", "CustomResourceDefinition"): KindRules(default=crds.default, validate=crds.validate),
    _gvk("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"): KindRules(
        default=admission.mutating_webhooks, validate=admission.mutating_configuration
    ),
    _gvk("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"): KindRules(
        default=admission.validating_webhooks, validate=admission.validating_configuration
    ),
    _gvk("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"): KindRules(
        default=admission.policy, validate=admission.validating_policy
    ),
    _gvk("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"): KindRules(
        default=admission.binding, validate=admission.validating_binding
    ),
    **{
        _gvk(f"admissionregistration.k8s.io/{version}", kind): rules
        for version in ("v1", "v1beta1")
        for kind, rules in {
            "MutatingAdmissionPolicy": KindRules(default=admission.policy, validate=admission.mutating_policy),
            "MutatingAdmissionPolicyBinding": KindRules(default=admission.binding, validate=admission.mutating_binding),
        }.items()
    },
}
"""Every GVK that has rules."""

NONE = KindRules()


def rules_of(gvk: GVK) -> KindRules:
    return BUILTIN.get(gvk, NONE)
