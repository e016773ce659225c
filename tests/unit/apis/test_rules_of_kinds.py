"""What Kubernetes refuses, kind by kind: one fault a row, in upstream's words.

Source: k8s.io/kubernetes/pkg/apis/*/validation/validation.go.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.apis.test_validation import CONTAINER, faults

from kcp.apimachinery.meta import JSONObject, copy_json

CREATED: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("NetworkPolicy", {"spec": {"podSelector": {}, "ingress": [{"from": [{}]}]}}, "spec.ingress[0].from[0]: Required value: must specify a peer"),
    ("NetworkPolicy", {"spec": {"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0"}}]}]}},
     'spec.egress[0].to[0].ipBlock.cidr: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
    ("NetworkPolicy", {"spec": {"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]}},
     'spec.egress[0].to[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`'),
    ("NetworkPolicy", {"spec": {"podSelector": {}, "ingress": [{"ports": [{"port": 90, "endPort": 80}]}]}},
     "spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"),
    ("NetworkPolicy", {"spec": {"podSelector": {}, "policyTypes": ["Both"]}},
     'spec.policyTypes[0]: Unsupported value: "Both": supported values: "Egress", "Ingress"'),
    ("IngressClass", {"spec": {"controller": "nginx"}},
     'spec.controller: Invalid value: "nginx": must be a domain-prefixed path (such as "acme.io/foo")'),
    ("IngressClass", {"spec": {"controller": "a.io/b", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}}},
     "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"),
    ("Endpoints", {"subsets": [{"ports": [{"port": 80}]}]}, "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"),
    ("Endpoints", {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "a", "port": 1}, {"port": 2}]}]},
     "subsets[0].ports[1].name: Required value"),
    ("EndpointSlice", {"addressType": "IPv4", "endpoints": [{"addresses": []}]},
     "endpoints[0].addresses: Required value: must contain at least 1 address"),
    ("EndpointSlice", {"addressType": "IPv9", "endpoints": []},
     'addressType: Unsupported value: "IPv9": supported values: "FQDN", "IPv4", "IPv6"'),
    ("EndpointSlice", {"addressType": "IPv4", "endpoints": [], "ports": [{"name": "a"}, {"name": "a"}]},
     'ports[1].name: Duplicate value: "a"'),
    ("ServiceCIDR", {"spec": {"cidrs": []}}, "spec.cidrs: Required value: at least one CIDR required"),
    ("IPAddress", {"spec": {"parentRef": {"name": "x"}}}, "spec.parentRef.resource: Required value"),
    ("PersistentVolume", {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}},
     "spec: Required value: must specify a volume type"),
    ("PersistentVolume", {"spec": {"capacity": {"storage": "0"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}},
     'spec.capacity[storage]: Invalid value: "0": must be greater than zero'),
    ("PersistentVolume", {"spec": {"capacity": {"storage": "1"}, "accessModes": ["Any"], "hostPath": {"path": "/x"}}},
     'spec.accessModes: Unsupported value: "Any": '
     'supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"'),
    ("PersistentVolumeClaim", {"spec": {"accessModes": ["ReadWriteOncePod", "ReadOnlyMany"], "resources": {"requests": {"storage": "1"}}}},
     "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"),
    ("StorageClass", {"provisioner": ""}, "provisioner: Required value"),
    ("StorageClass", {"provisioner": "p", "reclaimPolicy": "Recycle"},
     'reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"'),
    ("VolumeAttributesClass", {"driverName": "d.io"}, "parameters: Required value: must contain at least one key/value pair"),
    ("VolumeAttachment", {"spec": {"attacher": "a", "nodeName": "n", "source": {}}},
     "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
    ("CSIDriver", {"spec": {"volumeLifecycleModes": ["Now"]}},
     'spec.volumeLifecycleModes: Unsupported value: "Now": supported values: "Ephemeral", "Persistent"'),
    ("CSINode", {"spec": {"drivers": [{"name": "a", "nodeID": ""}]}}, "spec.drivers[0].nodeID: Required value"),
    ("CSIStorageCapacity", {"storageClassName": "s", "capacity": "-1"}, 'capacity: Invalid value: "-1": must be greater than or equal to 0'),
    ("PriorityClass", {"value": 2000000000}, "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"),
    ("PriorityClass", {"metadata": {"name": "system-x"}, "value": 1},
     "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: "
     "system-x is not a known system priority class"),
    ("RuntimeClass", {"handler": "Runc_"},
     "handler: Invalid value: \"Runc_\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
     "start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
     "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"),
    ("Lease", {"spec": {"leaseDurationSeconds": 0}}, "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"),
    ("ControllerRevision", {"revision": -1, "data": {}}, "revision: Invalid value: -1: must be greater than or equal to 0"),
    ("PodTemplate", {"template": {"spec": {"containers": [{"name": "a"}]}}}, "template.spec.containers[0].image: Required value"),
    ("FlowSchema", {"spec": {"matchingPrecedence": 10001, "priorityLevelConfiguration": {"name": "a"}}},
     "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"),
    ("PriorityLevelConfiguration", {"spec": {"type": "Limited"}}, "spec.limited: Required value: must not be empty when type is Limited"),
    ("APIService", {"spec": {"group": "a.io", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}},
     'metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v1.a.io"'),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "obj", "fault"), CREATED)
def test_an_object_that_cannot_be_is_refused(kind: str, obj: JSONObject, fault: str) -> None:
    assert fault in faults(kind, obj)


_PVC = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}, "storageClassName": "a"}
_FIXED_PVC = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
_BOUND: dict[str, Any] = {"spec": {**_PVC, "volumeName": "v"}, "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}}
_PV = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}
UPDATED: tuple[tuple[str, dict[str, Any], dict[str, Any], list[str]], ...] = (
    ("IngressClass", {"spec": {"controller": "a.io/a"}}, {"spec": {"controller": "a.io/b"}},
     ['spec.controller: Invalid value: "a.io/b": field is immutable']),
    ("EndpointSlice", {"addressType": "IPv4", "endpoints": []}, {"addressType": "IPv6", "endpoints": []},
     ['addressType: Invalid value: "IPv6": field is immutable']),
    ("PersistentVolumeClaim", {"spec": _PVC}, {"spec": {**_PVC, "storageClassName": "b"}}, [_FIXED_PVC]),
    ("PersistentVolumeClaim", {"spec": _PVC}, {"spec": {**_PVC, "resources": {"requests": {"storage": "3Gi"}}}}, [_FIXED_PVC]),
    ("PersistentVolumeClaim", {"spec": _PVC}, {"spec": {**_PVC, "volumeName": "v"}}, []),
    ("PersistentVolumeClaim", _BOUND, {**_BOUND, "spec": {**_BOUND["spec"], "resources": {"requests": {"storage": "3Gi"}}}}, []),
    ("PersistentVolumeClaim", _BOUND, {**_BOUND, "spec": {**_BOUND["spec"], "resources": {"requests": {"storage": "1Gi"}}}},
     ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]),
    ("PersistentVolume", {"spec": {**_PV, "hostPath": {"path": "/a"}}}, {"spec": {**_PV, "hostPath": {"path": "/b"}}},
     ["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"]),
    ("StorageClass", {"provisioner": "a", "parameters": {"x": "1"}, "volumeBindingMode": "Immediate"},
     {"provisioner": "b", "parameters": {"x": "2"}, "volumeBindingMode": "WaitForFirstConsumer"},
     ["parameters: Forbidden: updates to parameters are forbidden.", "provisioner: Forbidden: updates to provisioner are forbidden.",
      'volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable']),
    ("PriorityClass", {"value": 1}, {"value": 2}, ["value: Forbidden: may not be changed in an update."]),
    ("RuntimeClass", {"handler": "a"}, {"handler": "b"}, ['handler: Invalid value: "b": field is immutable']),
    ("ControllerRevision", {"revision": 1, "data": {"a": 1}}, {"revision": 2, "data": {"a": 2}},
     ['data: Invalid value: {"a":2}: field is immutable']),
    ("ResourceClaim", {"spec": {"devices": {}}}, {"spec": {"devices": {"requests": []}}},
     ['spec: Invalid value: {"devices":{"requests":[]}}: field is immutable']),
    ("IPAddress", {"spec": {"parentRef": {"resource": "services", "name": "a"}}}, {"spec": {"parentRef": {"resource": "services", "name": "b"}}},
     ['spec.parentRef: Invalid value: {"resource":"services","name":"b"}: field is immutable']),
)  # fmt: skip


@pytest.mark.parametrize(("kind", "old", "new", "expected"), UPDATED)
def test_what_an_update_may_not_change(kind: str, old: JSONObject, new: JSONObject, expected: list[str]) -> None:
    assert faults(kind, new, old) == expected


PODS: tuple[tuple[dict[str, Any], dict[str, Any], str], ...] = (
    ({}, {"tolerations": [{"operator": "Equal", "value": "x"}]},
     'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and '
     'all keys"'),
    ({}, {"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 3}]},
     "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set"),
    ({}, {"tolerations": [{"key": "a", "operator": "Near"}]},
     'spec.tolerations[0].operator: Unsupported value: "Near": supported values: "Equal", "Exists"'),
    ({}, {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}},
     "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one "
     "node selector term"),
    ({}, {"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 0, "podAffinityTerm": {"topologyKey": "zone"}}]}}},
     "spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100"),
    ({}, {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": ""}]}}},
     "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty"),
    ({}, {"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]},
     "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"),
    ({}, {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "Never"}]},
     'spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Never": supported values: "DoNotSchedule", "ScheduleAnyway"'),
    ({}, {"securityContext": {"runAsUser": -1}},
     "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"),
    ({"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}}, {},
     'spec.containers[0].securityContext: Invalid value: {"privileged":true,"allowPrivilegeEscalation":false}: '
     "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"),
    ({}, {"dnsPolicy": "None"}, "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
    ({}, {"hostAliases": [{"ip": "x"}]},
     'spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
    ({"ports": [{"containerPort": 80, "hostPort": 81}]}, {"hostNetwork": True},
     "spec.containers[0].ports[0].containerPort: Invalid value: 80: must match `hostPort` when `hostNetwork` is true"),
    ({}, {"initContainers": [{**CONTAINER, "name": "i", "readinessProbe": {"exec": {"command": ["a"]}}}]},
     "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"),
    ({"livenessProbe": {"exec": {"command": []}}}, {}, "spec.containers[0].livenessProbe.exec.command: Required value"),
    ({"readinessProbe": {"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 3}}, {},
     "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 3: must not be set for readinessProbes"),
    ({"lifecycle": {"preStop": {}}}, {}, "spec.containers[0].lifecycle.preStop: Required value: must specify a handler type"),
    ({"env": [{"name": "a=b", "value": "x"}]}, {},
     "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII "
     "characters other than '='"),
    ({}, {"volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]},
     "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"),
    ({}, {"volumes": [{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "/abs"}]}}]},
     'spec.volumes[0].configMap.items[0].path: Invalid value: "/abs": must be a relative path'),
    ({}, {"volumes": [{"name": "v", "secret": {"secretName": "s", "defaultMode": 1000}}]},
     "spec.volumes[0].secret.defaultMode: Invalid value: 1000: must be a number between 0 and 0777 (octal), both inclusive"),
    ({}, {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": ""}}]},
     "spec.volumes[0].persistentVolumeClaim.claimName: Required value"),
    ({}, {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 10}}]}}]},
     "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 10: "
     "may not specify a duration less than 10 minutes"),
    ({"volumeMounts": [{"name": "v", "mountPath": "/a", "subPath": "../x"}]}, {"volumes": [{"name": "v", "emptyDir": {}}]},
     "spec.containers[0].volumeMounts[0].subPath: Invalid value: \"../x\": must not contain '..'"),
)  # fmt: skip


@pytest.mark.parametrize(("container", "spec", "fault"), PODS)
def test_a_pod_that_cannot_be_is_refused(container: JSONObject, spec: JSONObject, fault: str) -> None:
    pod = {"spec": {"containers": [{**CONTAINER, **container}], **spec}}
    before = copy_json(pod)
    assert faults("Pod", pod) == [fault]
    assert pod == before
