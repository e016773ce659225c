"""Warnings of Kubernetes' own kinds: one a row, in upstream's words.

Source: k8s.io/kubernetes/pkg/api/{pod,service,persistentvolume}/warnings_test.go.
"""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.gvk import GVK
from kcp.apis.kubernetes.warnings import warnings_of

POD = GVK("", "v1", "Pod")
AFFINITY = "requiredDuringSchedulingIgnoredDuringExecution"


def containers(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "image": "a", **fields}]}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"nodeSelector": {"beta.kubernetes.io/os": "linux"}},
         'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'),
        ({"topologySpreadConstraints": [{"topologyKey": "zone"}]},
         "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod"),
        ({"volumes": [{"name": "v", "gitRepo": {"repository": "x"}}]}, "spec.volumes[0].gitRepo: deprecated in v1.11"),
        ({"volumes": [{"name": "v", "rbd": {}}]}, "spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+"),
        ({"hostAliases": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}]}, 'spec.hostAliases[1].ip: duplicate ip "1.1.1.1"'),
        ({"imagePullSecrets": [{}]}, 'spec.imagePullSecrets[0].name: invalid empty name ""'),
        (containers(resources={"limits": {"memory": "1500m"}}),
         'spec.containers[0].resources.limits[memory]: fractional byte value "1500m" is invalid, must be an integer'),
        (containers(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
         'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply'),
        (containers(ports=[{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"}]),
         "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"),
        (containers(ports=[{"containerPort": 80, "protocol": "TCP", "hostIP": "1.1.1.1"}]),
         "spec.containers[0].ports[0]: hostIP set without hostPort: "
         "{Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.1.1.1}"),
        ({"terminationGracePeriodSeconds": -1},
         "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"),
        ({"affinity": {"podAffinity": {AFFINITY: [{"topologyKey": "a"}]}}},
         f"spec.affinity.podAffinity.{AFFINITY}[0].labelSelector: a null labelSelector results in matching no pod"),
    ],
)  # fmt: skip
def test_pods_and_templates(spec: dict[str, Any], told: str) -> None:
    pod = {"metadata": {"name": "a"}, "spec": {**containers(), **spec}}
    assert warnings_of(POD, pod, None) == [told]
    assert warnings_of(POD, pod, pod) == (), "updates of pods are many"
    deployment = {"metadata": {"name": "a"}, "spec": {"template": pod}}
    kind = GVK("apps", "v1", "Deployment")
    assert warnings_of(kind, deployment, None) == [told.replace("spec.", "spec.template.spec.")]
    assert warnings_of(kind, deployment, deployment) == []


def test_variables_that_build_on_each_other_are_fine() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]
    assert warnings_of(POD, {"metadata": {"name": "a"}, "spec": containers(env=env)}, None) == []


def test_annotations_that_fields_have_replaced() -> None:
    marks = {"scheduler.alpha.kubernetes.io/critical-pod": "", "seccomp.security.alpha.kubernetes.io/pod": "x"}
    assert warnings_of(POD, {"metadata": {"name": "a", "annotations": marks}, "spec": containers()}, None) == [
        'metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the "priorityClassName" field instead',
        'metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead',
    ]


def test_names_that_become_host_names() -> None:
    [told] = warnings_of(POD, {"metadata": {"name": "a.b"}, "spec": containers()}, None)
    assert told.startswith(
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: ["
    )


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"type": "ClusterIP", "clusterIP": "None", "externalIPs": ["1.1.1.1"]}, "spec.externalIPs is ignored for headless services"),
        ({"type": "ClusterIP", "clusterIP": "None", "sessionAffinity": "ClientIP"}, "spec.SessionAffinity is ignored for headless services"),
        ({"externalIPs": ["1.1.1.1"]}, "spec.externalIPs is deprecated and may no longer be implemented in some clusters"),
        ({"type": "ExternalName", "externalIPs": ["1.1.1.1"]}, 'spec.externalIPs is ignored when spec.type is "ExternalName"'),
        ({"externalName": "a.b"}, 'spec.externalName is ignored when spec.type is not "ExternalName"'),
        ({"trafficDistribution": "PreferClose"}, 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'),
        ({"loadBalancerIP": "::ffff:1.2.3.4"},
         'spec.loadBalancerIP: non-standard IP address "::ffff:1.2.3.4" will be considered invalid in a future Kubernetes release: use "1.2.3.4"'),
        ({"loadBalancerSourceRanges": ["10.0.0.1/8"]},
         'spec.loadBalancerSourceRanges[0]: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)'),
    ],
)  # fmt: skip
def test_services(spec: dict[str, Any], told: str) -> None:
    service = {"metadata": {"name": "a"}, "spec": {"type": "ClusterIP", "sessionAffinity": "None", **spec}}
    assert warnings_of(GVK("", "v1", "Service"), service, service) == [told]


def test_volumes_claims_and_ingresses() -> None:
    volume = {"metadata": {"name": "a"}, "spec": {"persistentVolumeReclaimPolicy": "Recycle"}}
    assert warnings_of(GVK("", "v1", "PersistentVolume"), volume, None) == [
        "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic "
        "provisioning."
    ]
    claim = {"metadata": {"name": "a"}, "spec": {"resources": {"requests": {"storage": "0.5"}}}}
    assert warnings_of(GVK("", "v1", "PersistentVolumeClaim"), claim, None) == [
        'spec.resources.requests[storage]: fractional byte value "500m" is invalid, must be an integer'
    ]
    ingress = {"metadata": {"name": "a", "annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": {}}
    kind = GVK("networking.k8s.io", "v1", "Ingress")
    assert warnings_of(kind, ingress, None) == [
        "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
    ]
    assert warnings_of(kind, ingress, ingress) == ()
