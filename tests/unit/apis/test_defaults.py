"""Defaults of Kubernetes' kinds: what is filled in, that given values stay, that a second run changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apis.kubernetes.kinds import KINDS
from kcp.apis.kubernetes.rules import rules_of


def defaulted(kind: str, obj: JSONObject) -> JSONObject:
    info = next(k for k in KINDS if k.kind == kind)
    made: JSONObject = copy_json({"apiVersion": info.gvr.api_version, "kind": kind, "metadata": {"name": "x"}, **obj})
    rules_of(info.gvk).default(made)
    return made


TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}


def test_deployment_gets_strategy_limits_and_pod_defaults() -> None:
    spec = defaulted("Deployment", {"spec": {"selector": {}, "template": TEMPLATE}})["spec"]
    assert spec["replicas"] == 1
    assert spec["revisionHistoryLimit"] == 10
    assert spec["progressDeadlineSeconds"] == 600
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    pod = spec["template"]["spec"]
    assert pod["containers"] == [
        {
            "name": "c", "image": "nginx", "imagePullPolicy": "Always", "resources": {}, "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        }
    ]  # fmt: skip
    del pod["containers"]
    assert pod == {
        "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }  # fmt: skip


def test_given_values_stay() -> None:
    spec = {"replicas": 0, "strategy": {"type": "Recreate"}, "template": {"spec": {"restartPolicy": "Never", "containers": []}}}
    made = defaulted("Deployment", {"spec": spec})["spec"]
    assert made["replicas"] == 0
    assert made["strategy"] == {"type": "Recreate"}
    assert made["template"]["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.2", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:00", "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    pod = defaulted("Pod", {"spec": {"containers": [{"name": "c", "image": image}]}})
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_quantities_are_written_canonically_and_requests_follow_limits() -> None:
    resources = {"limits": {"cpu": 0.5, "memory": "1024Mi"}, "requests": {"cpu": "0.1"}}
    pod = defaulted("Pod", {"spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
    assert pod["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "1Gi"},
    }  # fmt: skip


def test_probes_ports_volumes_and_references_are_completed() -> None:
    spec = {
        "containers": [
            {
                "name": "c", "image": "i:1", "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": 80}},
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            }
        ],
        "volumes": [{"name": "a"}, {"name": "b", "secret": {"secretName": "s"}}],
        "serviceAccountName": "me",
    }  # fmt: skip
    pod = defaulted("Pod", {"spec": spec})["spec"]
    container = pod["containers"][0]
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1,
        "failureThreshold": 3,
    }  # fmt: skip
    assert container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert pod["volumes"] == [{"name": "a", "emptyDir": {}}, {"name": "b", "secret": {"secretName": "s", "defaultMode": 420}}]
    assert pod["serviceAccount"] == "me"
    assert pod["enableServiceLinks"] is True


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"ports": [{"port": 80}]},
            {
                "type": "ClusterIP",
                "sessionAffinity": "None",
                "internalTrafficPolicy": "Cluster",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            },
        ),
        ({"type": "NodePort"}, {"externalTrafficPolicy": "Cluster"}),
        ({"type": "LoadBalancer"}, {"allocateLoadBalancerNodePorts": True}),
        ({"sessionAffinity": "ClientIP"}, {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}),
    ],
)
def test_service_defaults(spec: JSONObject, expected: dict[str, Any]) -> None:
    assert expected.items() <= defaulted("Service", {"spec": spec})["spec"].items()


def test_secret_moves_its_texts_into_data() -> None:
    secret = defaulted("Secret", {"stringData": {"a": "b"}, "data": {"c": "ZA=="}})
    assert secret["data"] == {"a": "Yg==", "c": "ZA=="}
    assert "stringData" not in secret
    assert secret["type"] == "Opaque"


def test_namespace_carries_its_name_as_a_label() -> None:
    assert defaulted("Namespace", {})["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}


def test_role_binding_subjects_get_their_group() -> None:
    binding = defaulted("RoleBinding", {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]})
    assert binding["roleRef"]["apiGroup"] == binding["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        (
            "StatefulSet",
            {},
            {"podManagementPolicy": "OrderedReady", "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}},
        ),
        ("DaemonSet", {}, {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}}),
        ("Job", {}, {"completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False}),
        ("CronJob", {}, {"concurrencyPolicy": "Allow", "suspend": False, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1}),
        ("NetworkPolicy", {"egress": [{}]}, {"policyTypes": ["Ingress", "Egress"]}),
        ("HorizontalPodAutoscaler", {}, {"minReplicas": 1}),
        ("PersistentVolumeClaim", {}, {"volumeMode": "Filesystem"}),
        ("ReplicaSet", {}, {"replicas": 1}),
    ],
)
def test_other_kinds_defaults(kind: str, spec: JSONObject, expected: dict[str, Any]) -> None:
    assert expected.items() <= defaulted(kind, {"spec": spec})["spec"].items()


_ODD: list[JSONObject] = [
    {},
    {"spec": None},
    {"spec": {"template": None, "ports": [None, 3], "containers": [None], "strategy": None, "volumes": "none"}},
    {"spec": {"template": {"spec": {"containers": [{"name": None, "resources": {"limits": {"cpu": "lots", "obj": "1"}}}]}}}},
]


@pytest.mark.parametrize("kind", sorted({k.kind for k in KINDS}))
@pytest.mark.parametrize("obj", _ODD)
def test_defaults_are_idempotent_and_survive_malformed_objects(kind: str, obj: JSONObject) -> None:
    once = defaulted(kind, obj)
    assert defaulted(kind, once) == once


def in_pod(**spec: Any) -> JSONObject:
    held: JSONObject = {
        "containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "100m"}, "limits": {"hugepages-2Mi": "2Mi"}}}]
    }
    made: JSONObject = defaulted("Pod", {"spec": {**held, **spec}})["spec"]
    return made


def test_empty_texts_and_zeros_of_probes_are_absent_as_in_go() -> None:
    probe = {"httpGet": {"path": "", "port": 80}, "periodSeconds": 0, "failureThreshold": 5}
    container = {
        "name": "c",
        "image": "i:1",
        "imagePullPolicy": "",
        "livenessProbe": probe,
        "ports": [{"containerPort": 80, "protocol": ""}],
    }
    made = in_pod(restartPolicy="", containers=[container])
    assert made["restartPolicy"] == "Always"
    assert made["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert made["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert made["containers"][0]["livenessProbe"] == {
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "periodSeconds": 10, "failureThreshold": 5, "timeoutSeconds": 1,
        "successThreshold": 1,
    }  # fmt: skip


def test_amounts_are_rounded_up_to_thousandths() -> None:
    resources = {"requests": {"cpu": "100u", "memory": "1.5Gi"}}
    assert in_pod(containers=[{"name": "c", "resources": resources}])["containers"][0]["resources"]["requests"] == {
        "cpu": "1m",
        "memory": "1536Mi",
    }


def test_pod_level_limits_are_completed_from_the_containers() -> None:
    made = in_pod(resources={"limits": {"cpu": "1", "memory": "1Gi"}})["resources"]
    assert made == {
        "limits": {"cpu": "1", "memory": "1Gi", "hugepages-2Mi": "2Mi"}, "requests": {"cpu": "100m", "memory": "1Gi", "hugepages-2Mi": "2Mi"},
    }  # fmt: skip
    assert in_pod(resources={"requests": {"cpu": "1"}})["resources"] == {
        "limits": {"hugepages-2Mi": "2Mi"},
        "requests": {"cpu": "1", "hugepages-2Mi": "2Mi"},
    }


@pytest.mark.parametrize(
    ("source", "given", "wanted"),
    [
        ("hostPath", {"path": "/x"}, {"path": "/x", "type": ""}),
        ("iscsi", {"iqn": "i"}, {"iqn": "i", "iscsiInterface": "default"}),
        ("rbd", {"image": "i", "user": "me"}, {"image": "i", "user": "me", "pool": "rbd", "keyring": "/etc/ceph/keyring"}),
        (
            "azureDisk",
            {"diskName": "d"},
            {"diskName": "d", "cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"},
        ),
        ("scaleIO", {"system": "s"}, {"system": "s", "storageMode": "ThinProvisioned", "fsType": "xfs"}),
    ],
)
def test_sources_of_volumes_are_the_same_in_pods_and_volumes(source: str, given: JSONObject, wanted: JSONObject) -> None:
    assert in_pod(volumes=[{"name": "v", source: given}])["volumes"][0][source] == wanted
    assert defaulted("PersistentVolume", {"spec": {source: given}})["spec"][source] == wanted


def test_an_image_volume_is_pulled_as_images_of_containers_are() -> None:
    volumes = [{"name": "a", "image": {"reference": "i"}}, {"name": "b", "image": {"reference": "i:1"}}]
    assert [v["image"]["pullPolicy"] for v in in_pod(volumes=volumes)["volumes"]] == ["Always", "IfNotPresent"]


def test_only_pods_on_the_host_network_get_host_ports() -> None:
    container = {"name": "c", "image": "i:1", "ports": [{"containerPort": 80}]}
    assert in_pod(hostNetwork=True, containers=[container])["containers"][0]["ports"][0]["hostPort"] == 80
    template = {"spec": {"hostNetwork": True, "containers": [container]}}
    made = defaulted("Deployment", {"spec": {"template": template}})["spec"]["template"]["spec"]
    assert "hostPort" not in made["containers"][0]["ports"][0]


def test_rules_of_scaling_are_completed_where_there_are_some() -> None:
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 5}}
    made = defaulted("HorizontalPodAutoscaler", {"apiVersion": "autoscaling/v2", "spec": {"behavior": behavior}})["spec"]["behavior"]
    percent = {"type": "Percent", "value": 100, "periodSeconds": 15}
    assert made == {
        "scaleDown": {"stabilizationWindowSeconds": 5, "selectPolicy": "Max", "policies": [percent]},
        "scaleUp": {
            "stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent],
        },
    }  # fmt: skip


def test_services_that_are_reached_from_outside_have_a_policy_and_a_mode() -> None:
    assert defaulted("Service", {"spec": {"externalIPs": ["192.0.2.1"]}})["spec"]["externalTrafficPolicy"] == "Cluster"
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "a.example.com"}]}}
    held = defaulted("Service", {"spec": {"type": "LoadBalancer"}, "status": status})["status"]["loadBalancer"]["ingress"]
    assert held == [{"ip": "192.0.2.1", "ipMode": "VIP"}, {"hostname": "a.example.com"}]


def test_a_claim_is_for_exactly_one_device_unless_it_says_more() -> None:
    requests = [{"name": "a", "exactly": {"deviceClassName": "gpu"}}, {"name": "b", "firstAvailable": [{"allocationMode": "All"}]}]
    made = defaulted("ResourceClaim", {"spec": {"devices": {"requests": requests}}})["spec"]["devices"]["requests"]
    assert made[0]["exactly"] == {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}
    assert made[1]["firstAvailable"] == [{"allocationMode": "All"}]
    template = defaulted("ResourceClaimTemplate", {"spec": {"spec": {"devices": {"requests": requests[:1]}}}})
    assert template["spec"]["spec"]["devices"]["requests"][0]["exactly"]["count"] == 1


def test_a_statefulset_that_names_its_strategy_gets_no_partition() -> None:
    assert defaulted("StatefulSet", {"spec": {"updateStrategy": {"type": "RollingUpdate"}}})["spec"]["updateStrategy"] == {
        "type": "RollingUpdate"
    }
    assert defaulted("StatefulSet", {"spec": {}})["spec"]["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}
