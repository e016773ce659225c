"""The table of Kubernetes' kinds that this server can serve: names, scope, verbs, subresources, selectable fields.

Before: `registry.builtin`, which makes resources of it. Source: the registries' `rest` folders under k8s.io/kubernetes/pkg/registry.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kcp.apimachinery.gvk import GVK, GVR, GroupResource

ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CREATE_ONLY = ("create",)


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where the scale subresource reads and writes; `selector` is a field holding a metav1.LabelSelector or a plain map."""

    spec_replicas: str = ".spec.replicas"
    status_replicas: str = ".status.replicas"
    selector: str = ".spec.selector"


@dataclass(frozen=True, kw_only=True, slots=True)
class KindInfo:
    """One kind at one version."""

    group: str = ""
    version: str = "v1"
    plural: str
    singular: str = ""
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL
    has_status: bool = False
    scale: ScalePaths | None = None
    subresources: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    """Selectable beside metadata.name and metadata.namespace."""
    storage_version: str = ""
    """"" for the version itself."""
    deprecation: str = ""
    """Text of the warning that every request gets."""
    view_of: GVK | None = None
    """The kind that objects are stored as, where this one is another view of them."""

    @property
    def gvr(self) -> GVR:
        return GVR(self.group, self.version, self.plural)

    @property
    def gvk(self) -> GVK:
        return GVK(self.group, self.version, self.kind)

    @property
    def group_resource(self) -> GroupResource:
        return GroupResource(self.group, self.plural)


def _k(group_version: str, plural: str, kind: str, **more: object) -> KindInfo:
    gvk = GVK.of(group_version, kind)
    return KindInfo(group=gvk.group, version=gvk.version, plural=plural, kind=kind, **more)  # type: ignore[arg-type]


_ADMISSION = "admissionregistration.k8s.io/v1"
_RBAC = "rbac.authorization.k8s.io/v1"
_AUTHN = "authentication.k8s.io/v1"
_AUTHZ = "authorization.k8s.io/v1"
_FLOW = "flowcontrol.apiserver.k8s.io"
_EVENT_FIELDS = (
    "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
    "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type",
)  # fmt: skip
_EVENT_V1_FIELDS = tuple(
    field.replace("involvedObject.", "regarding.").replace("reportingComponent", "reportingController")
    for field in _EVENT_FIELDS
    if field != "source"
)

WORKSPACE: tuple[KindInfo, ...] = (
    _k("v1", "namespaces", "Namespace", namespaced=False, short=("ns",), has_status=True, subresources=("finalize",),
       fields=("status.phase",), verbs=tuple(v for v in ALL if v != "deletecollection")),
    _k("v1", "configmaps", "ConfigMap", short=("cm",)),
    _k("v1", "secrets", "Secret", fields=("type",)),
    _k("v1", "events", "Event", short=("ev",), fields=_EVENT_FIELDS),
    _k("v1", "serviceaccounts", "ServiceAccount", short=("sa",), subresources=("token",)),
    _k("v1", "resourcequotas", "ResourceQuota", short=("quota",), has_status=True),
    _k("v1", "limitranges", "LimitRange", short=("limits",)),
    _k("apiextensions.k8s.io/v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False, short=("crd", "crds"),
       categories=("api-extensions",), has_status=True),
    _k(_ADMISSION, "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", namespaced=False, categories=("api-extensions",)),
    _k(_ADMISSION, "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", namespaced=False, categories=("api-extensions",)),
    _k(_ADMISSION, "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False, categories=("api-extensions",),
       singular="validatingadmissionpolicy", has_status=True),
    _k(_ADMISSION, "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False,
       categories=("api-extensions",)),
    *(
        _k(f"admissionregistration.k8s.io/{version}", plural, kind, namespaced=False, categories=("api-extensions",),
           singular=kind.lower(), storage_version="v1")
        for version in ("v1", "v1beta1")
        for plural, kind in (
            ("mutatingadmissionpolicies", "MutatingAdmissionPolicy"), ("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"),
        )
    ),
    _k(_RBAC, "roles", "Role"),
    _k(_RBAC, "rolebindings", "RoleBinding"),
    _k(_RBAC, "clusterroles", "ClusterRole", namespaced=False),
    _k(_RBAC, "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _k("coordination.k8s.io/v1", "leases", "Lease"),
    _k("events.k8s.io/v1", "events", "Event", short=("ev",), fields=_EVENT_V1_FIELDS, view_of=GVK("", "v1", "Event")),
    _k("certificates.k8s.io/v1", "certificatesigningrequests", "CertificateSigningRequest", namespaced=False, short=("csr",),
       has_status=True, subresources=("approval",), fields=("spec.signerName",)),
    _k(_AUTHN, "tokenreviews", "TokenReview", namespaced=False, verbs=CREATE_ONLY),
    _k(_AUTHN, "selfsubjectreviews", "SelfSubjectReview", namespaced=False, verbs=CREATE_ONLY),
    _k(_AUTHZ, "subjectaccessreviews", "SubjectAccessReview", namespaced=False, verbs=CREATE_ONLY),
    _k(_AUTHZ, "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False, verbs=CREATE_ONLY),
    _k(_AUTHZ, "selfsubjectrulesreviews", "SelfSubjectRulesReview", namespaced=False, verbs=CREATE_ONLY),
    _k(_AUTHZ, "localsubjectaccessreviews", "LocalSubjectAccessReview", verbs=CREATE_ONLY),
)  # fmt: skip
"""What a plain workspace serves."""

_SCALE = ScalePaths()
_POD_FIELDS = (
    "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
    "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
)  # fmt: skip

_CLUSTER_ONLY: tuple[KindInfo, ...] = (
    _k("v1", "pods", "Pod", short=("po",), categories=("all",), has_status=True, fields=_POD_FIELDS,
       subresources=("attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy", "resize")),
    _k("v1", "bindings", "Binding", verbs=CREATE_ONLY),
    _k("v1", "componentstatuses", "ComponentStatus", namespaced=False, short=("cs",), singular="componentstatus", verbs=("get", "list"),
       deprecation="v1 ComponentStatus is deprecated in v1.19+"),
    _k("v1", "nodes", "Node", namespaced=False, short=("no",), has_status=True, fields=("spec.unschedulable",), subresources=("proxy",)),
    _k("v1", "services", "Service", short=("svc",), categories=("all",), has_status=True, fields=("spec.clusterIP", "spec.type"),
       subresources=("proxy",)),
    _k("v1", "endpoints", "Endpoints", singular="endpoints", short=("ep",),
       deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    _k("v1", "persistentvolumes", "PersistentVolume", namespaced=False, short=("pv",), has_status=True),
    _k("v1", "persistentvolumeclaims", "PersistentVolumeClaim", short=("pvc",), has_status=True),
    _k("v1", "podtemplates", "PodTemplate"),
    _k("v1", "replicationcontrollers", "ReplicationController", short=("rc",), categories=("all",), has_status=True, scale=_SCALE,
       fields=("status.replicas",)),
    _k("apps/v1", "deployments", "Deployment", short=("deploy",), categories=("all",), has_status=True, scale=_SCALE),
    _k("apps/v1", "replicasets", "ReplicaSet", short=("rs",), categories=("all",), has_status=True, scale=_SCALE,
       fields=("status.replicas",)),
    _k("apps/v1", "statefulsets", "StatefulSet", short=("sts",), categories=("all",), has_status=True, scale=_SCALE),
    _k("apps/v1", "daemonsets", "DaemonSet", short=("ds",), categories=("all",), has_status=True),
    _k("apps/v1", "controllerrevisions", "ControllerRevision"),
    _k("batch/v1", "jobs", "Job", categories=("all",), has_status=True, fields=("status.successful",)),
    _k("batch/v1", "cronjobs", "CronJob", short=("cj",), categories=("all",), has_status=True),
    _k("discovery.k8s.io/v1", "endpointslices", "EndpointSlice"),
    _k("networking.k8s.io/v1", "ingresses", "Ingress", singular="ingress", short=("ing",), has_status=True),
    _k("networking.k8s.io/v1", "ingressclasses", "IngressClass", singular="ingressclass", namespaced=False),
    _k("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", singular="networkpolicy", short=("netpol",)),
    _k("networking.k8s.io/v1", "ipaddresses", "IPAddress", singular="ipaddress", namespaced=False, short=("ip",)),
    _k("networking.k8s.io/v1", "servicecidrs", "ServiceCIDR", namespaced=False, has_status=True),
    _k("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", short=("pdb",), has_status=True),
    _k("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", singular="priorityclass", namespaced=False, short=("pc",)),
    _k("storage.k8s.io/v1", "storageclasses", "StorageClass", singular="storageclass", namespaced=False, short=("sc",)),
    _k("storage.k8s.io/v1", "csidrivers", "CSIDriver", namespaced=False),
    _k("storage.k8s.io/v1", "csinodes", "CSINode", namespaced=False),
    _k("storage.k8s.io/v1", "csistoragecapacities", "CSIStorageCapacity", singular="csistoragecapacity"),
    _k("storage.k8s.io/v1", "volumeattachments", "VolumeAttachment", namespaced=False, has_status=True),
    _k("storage.k8s.io/v1", "volumeattributesclasses", "VolumeAttributesClass", singular="volumeattributesclass", namespaced=False,
       short=("vac",)),
    _k(f"{_FLOW}/v1", "flowschemas", "FlowSchema", namespaced=False, has_status=True),
    _k(f"{_FLOW}/v1", "prioritylevelconfigurations", "PriorityLevelConfiguration", namespaced=False, has_status=True),
    _k("resource.k8s.io/v1", "deviceclasses", "DeviceClass", singular="deviceclass", namespaced=False),
    _k("resource.k8s.io/v1", "resourceclaims", "ResourceClaim", has_status=True),
    _k("resource.k8s.io/v1", "resourceclaimtemplates", "ResourceClaimTemplate"),
    _k("resource.k8s.io/v1", "resourceslices", "ResourceSlice", namespaced=False, fields=("spec.driver", "spec.nodeName")),
    _k("apiregistration.k8s.io/v1", "apiservices", "APIService", namespaced=False, categories=("api-extensions",), has_status=True),
    _k("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", singular="runtimeclass", namespaced=False),
    _k("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", short=("hpa",), categories=("all",), has_status=True),
    _k("autoscaling/v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", short=("hpa",), categories=("all",), has_status=True,
       view_of=GVK("autoscaling", "v2", "HorizontalPodAutoscaler")),
)  # fmt: skip

WORKSPACE_KINDS: tuple[GroupResource, ...] = tuple(kind.group_resource for kind in WORKSPACE)
CLUSTER_KINDS: tuple[GroupResource, ...] = tuple(dict.fromkeys((*WORKSPACE_KINDS, *(kind.group_resource for kind in _CLUSTER_ONLY))))
"""What a physical cluster serves."""

KINDS: tuple[KindInfo, ...] = (*WORKSPACE, *_CLUSTER_ONLY)

COMPUTE_KINDS: tuple[GroupResource, ...] = tuple(
    GroupResource(group, plural)
    for group, plural in (
        ("", "services"), ("apps", "deployments"), ("networking.k8s.io", "ingresses"), ("", "pods"),
        ("apps", "statefulsets"), ("apps", "daemonsets"), ("batch", "jobs"), ("batch", "cronjobs"), ("", "persistentvolumeclaims"),
        ("autoscaling", "horizontalpodautoscalers"), ("policy", "poddisruptionbudgets"), ("", "endpoints"), ("", "persistentvolumes"),
    )
)  # fmt: skip
"""What the export `root:compute:kubernetes` offers: kcp's five, and the other kinds an application's namespace usually holds."""


def select(which: Iterable[GroupResource]) -> list[KindInfo]:
    """The rows of these resources, every version, in the table's order."""
    wanted = frozenset(which)
    return [kind for kind in KINDS if kind.group_resource in wanted]


_BY_GVK = {kind.gvk: kind for kind in KINDS}


def by_gvk(gvk: GVK) -> KindInfo | None:
    return _BY_GVK.get(gvk)
