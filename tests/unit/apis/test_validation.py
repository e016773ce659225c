"""Rules of Kubernetes' kinds: the faults, upstream's words, all of them at once; malformed objects do not break them."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apis.kubernetes.kinds import KINDS
from kcp.apis.kubernetes.rules import rules_of


def faults(kind: str, new: JSONObject, old: JSONObject | None = None) -> list[str]:
    info = next(k for k in KINDS if k.kind == kind)
    head = {"apiVersion": info.gvr.api_version, "kind": kind, "metadata": {"name": "x"}}
    before = None if old is None else {**head, **old}
    return [str(cause) for cause in rules_of(info.gvk).validate({**head, **new}, before)]


CONTAINER = {"name": "c", "image": "nginx"}


def _deployment(**spec: Any) -> JSONObject:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [CONTAINER]}}
    return {"spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}}


def _pod(container: JSONObject, **spec: Any) -> JSONObject:
    return {"spec": {"containers": [{**CONTAINER, **container}], **spec}}


def test_a_good_deployment_has_no_faults() -> None:
    assert faults("Deployment", _deployment()) == []


def test_selector_has_to_match_the_template() -> None:
    assert faults("Deployment", _deployment(selector={"matchLabels": {"app": "db"}})) == [
        'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'
    ]


def test_an_empty_selector_selects_too_much() -> None:
    assert faults("Deployment", _deployment(selector={})) == ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]


def test_selector_is_immutable() -> None:
    labels = {"app": "web", "tier": "a"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [CONTAINER]}}
    new = _deployment(selector={"matchLabels": labels}, template=template)
    assert faults("Deployment", new, _deployment()) == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"web","tier":"a"}}: field is immutable'
    ]


def test_all_faults_come_at_once() -> None:
    found = faults(
        "Deployment",
        _deployment(
            replicas=-1,
            strategy={"type": "Sometimes"},
            template={
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "A_B"}, {"image": "i"}], "restartPolicy": "Never"},
            },
        ),
    )
    assert [fault.partition(": ")[0] for fault in found] == [
        "spec.replicas",
        "spec.template.spec.containers[0].name",
        "spec.template.spec.containers[0].image",
        "spec.template.spec.containers[1].name",
        "spec.template.spec.restartPolicy",
        "spec.strategy.type",
    ]
    assert found[0] == "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    assert found[-2] == 'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'
    assert found[-1] == 'spec.strategy.type: Unsupported value: "Sometimes": supported values: "Recreate", "RollingUpdate"'


@pytest.mark.parametrize(
    ("strategy", "fault"),
    [
        (
            {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}},
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            {"type": "Recreate", "rollingUpdate": {}},
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "many"}},
            'spec.strategy.rollingUpdate.maxSurge: Invalid value: "many": a valid percent string must be a numeric string followed by an '
            "ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
    ],
)
def test_rolling_update_limits(strategy: JSONObject, fault: str) -> None:
    assert faults("Deployment", _deployment(strategy=strategy)) == [fault]


@pytest.mark.parametrize(
    ("pod", "fault"),
    [
        ({"spec": {"containers": []}}, "spec.containers: Required value"),
        (_pod({"image": ""}), "spec.containers[0].image: Required value"),
        (
            _pod({"ports": [{"containerPort": 70000}]}),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (_pod({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}), 'spec.containers[0].volumeMounts[0].name: Not found: "v"'),
        (
            _pod({"imagePullPolicy": "Rarely"}),
            'spec.containers[0].imagePullPolicy: Unsupported value: "Rarely": supported values: "Always", "IfNotPresent", "Never"',
        ),
        (
            _pod({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            _pod({"resources": {"limits": {"cpu": "-1"}}}),
            'spec.containers[0].resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0',
        ),
        (_pod({"env": [{"name": ""}]}), "spec.containers[0].env[0].name: Required value"),
        (_pod({"livenessProbe": {}}), "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
        (
            _pod({"livenessProbe": {"exec": {"command": ["a"]}, "successThreshold": 2}}),
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (_pod({}, initContainers=[CONTAINER]), 'spec.initContainers[0].name: Duplicate value: "c"'),
        (
            _pod({}, volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            _pod({}, restartPolicy="Perhaps"),
            'spec.restartPolicy: Unsupported value: "Perhaps": supported values: "Always", "Never", "OnFailure"',
        ),
    ],
)
def test_pod_faults(pod: JSONObject, fault: str) -> None:
    assert faults("Pod", pod) == [fault]


NO_SYSCTL = r"must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"securityContext": {"sysctls": [{"name": name, "value": "1"} for name in ("foo-", "kernel.shmmax", "safe-and-unsafe", "bar..")]}},
            [f'spec.securityContext.sysctls[0].name: Invalid value: "foo-": {NO_SYSCTL}',
             f'spec.securityContext.sysctls[3].name: Invalid value: "bar..": {NO_SYSCTL}'],
        ),
        ({"securityContext": {"sysctls": [{"name": "a.b"}, {"name": "a/b"}]}}, ['spec.securityContext.sysctls[1].name: Duplicate value: "a/b"']),
        (
            {"securityContext": {"seccompProfile": {"type": "Localhost"}}},
            ["spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost"],
        ),
        ({"dnsPolicy": "None"}, ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]),
        (
            {"dnsPolicy": "None", "dnsConfig": {"searches": ["a.b"]}},
            ["spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None"],
        ),
        (
            {"dnsConfig": {"nameservers": ["192.0.2.1"] * 4, "searches": [".", "_tcp.x."], "options": [{"name": ""}]}},
            ['spec.dnsConfig.nameservers: Invalid value: ["192.0.2.1","192.0.2.1","192.0.2.1","192.0.2.1"]: must not have more than 3 nameservers',
             "spec.dnsConfig.options[0].name: Required value: must not be empty"],
        ),
        ({"hostAliases": [{"ip": "x", "hostnames": ["a"]}]}, ['spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address']),
    ],
)  # fmt: skip
def test_faults_of_what_surrounds_containers(spec: JSONObject, expected: list[str]) -> None:
    assert [fault.partition(", (e.g.")[0] for fault in faults("Pod", _pod({}, **spec))] == expected


def test_of_a_pod_only_a_few_fields_may_change() -> None:
    old = _pod({})
    assert faults("Pod", _pod({"image": "other"}), old) == []
    (fault,) = faults("Pod", _pod({}, hostNetwork=True), old)
    assert fault.startswith("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,")
    assert faults("Pod", _pod({}, nodeName="n1"), old) == [fault]  # only the binding subresource gives a pod its node


def test_config_map_keys_and_overlap() -> None:
    found = faults("ConfigMap", {"data": {"a b": "", "x": ""}, "binaryData": {"x": ""}})
    assert found == [
        "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
        "(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        'binaryData[x]: Invalid value: "x": duplicate of key present in data',
    ]


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_an_immutable_object_keeps_its_data(kind: str) -> None:
    old = {"data": {"a": "YQ=="}, "immutable": True}
    detail = "Forbidden: field is immutable when `immutable` is set"
    assert faults(kind, {"data": {"a": "Yg=="}, "immutable": True}, old) == [f"data: {detail}"]
    assert faults(kind, {"data": {"a": "YQ=="}}, old) == [f"immutable: {detail}"]


@pytest.mark.parametrize(
    ("secret", "fault"),
    [
        ({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}, "data[tls.key]: Required value"),
        ({"type": "kubernetes.io/dockerconfigjson"}, "data[.dockerconfigjson]: Required value"),
        ({"type": "kubernetes.io/service-account-token"}, "metadata.annotations[kubernetes.io/service-account.name]: Required value"),
    ],
)
def test_secret_types_want_their_keys(secret: JSONObject, fault: str) -> None:
    assert faults("Secret", secret) == [fault]


def test_a_fault_in_secret_data_does_not_show_it() -> None:
    (fault,) = faults("Secret", {"data": {"a": "not base64!"}})
    assert fault.startswith('data[a]: Invalid value: "<hidden>": illegal base64 data')


def test_secret_type_is_immutable() -> None:
    assert faults("Secret", {"type": "b"}, {"type": "a"}) == ['type: Invalid value: "b": field is immutable']


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"type": "ClusterIP"}, ["spec.ports: Required value"]),
        ({"clusterIP": "None"}, []),
        ({"type": "ExternalName"}, ["spec.externalName: Required value"]),
        ({"ports": [{"port": 0}]}, ["spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"]),
        (
            {"ports": [{"port": 1, "protocol": "TCP"}, {"port": 1, "protocol": "TCP", "name": "b"}]},
            ["spec.ports[0].name: Required value", 'spec.ports[1]: Duplicate value: {"port":1,"protocol":"TCP"}'],
        ),
        (
            {"type": "Magic", "ports": [{"port": 1}]},
            ['spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'],
        ),
    ],
)
def test_service_faults(spec: JSONObject, expected: list[str]) -> None:
    assert faults("Service", {"spec": spec}) == expected


def test_role_rules_say_what_and_may_not_name_urls_in_a_namespace() -> None:
    assert faults("Role", {"rules": [{"verbs": []}, {"verbs": ["get"], "nonResourceURLs": ["/"]}]}) == [
        "rules[0].verbs: Required value: verbs must contain at least one value",
        "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
        "rules[0].resources: Required value: resource rules must supply at least one resource",
        'rules[1].nonResourceURLs: Invalid value: ["/"]: namespaced rules cannot apply to non-resource URLs',
    ]


def test_role_ref_cannot_change() -> None:
    one, other = ({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}} for name in ("a", "b"))
    (fault,) = faults("RoleBinding", other, one)
    assert fault.endswith("cannot change roleRef")


@pytest.mark.parametrize(
    ("kind", "spec", "fault"),
    [
        (
            "HorizontalPodAutoscaler",
            {"minReplicas": 3, "maxReplicas": 2},
            "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`",
        ),
        (
            "PersistentVolumeClaim",
            {"resources": {"requests": {"storage": "1Gi"}}},
            "spec.accessModes: Required value: at least 1 access mode is required",
        ),
        (
            "CronJob",
            {"schedule": "* *", "jobTemplate": {"spec": {"template": {"spec": {"dnsPolicy": "Default"}}}}},
            'spec.schedule: Invalid value: "* *": expected exactly 5 fields, found 2: [* *]',
        ),
        (
            "Ingress",
            {"rules": [{"http": {"paths": [{"path": "a", "pathType": "Prefix"}]}}]},
            'spec.rules[0].http.paths[0].path: Invalid value: "a": must be an absolute path',
        ),
    ],
)
def test_other_kinds_faults(kind: str, spec: JSONObject, fault: str) -> None:
    assert faults(kind, {"spec": spec}) == [fault]


def test_stateful_set_forbids_changes_elsewhere() -> None:
    one, other = (_deployment(serviceName=name) for name in ("a", "b"))
    (fault,) = faults("StatefulSet", other, one)
    assert fault.startswith("spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template',")


def test_a_jobs_template_is_immutable() -> None:
    def job(image: str) -> JSONObject:
        return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}], "restartPolicy": "Never"}}}}

    (fault,) = faults("Job", job("b"), job("a"))
    assert fault.startswith("spec.template: Invalid value: ")


_ODD: list[JSONObject] = [
    {},
    {"spec": None, "data": None, "rules": None, "roleRef": None},
    {"spec": {"template": 3, "selector": "a", "ports": [None, "x"], "containers": 5, "strategy": [], "replicas": "two"}},
    {"data": {"a": 5}, "rules": [5], "subjects": ["me"], "spec": {"containers": [{"ports": [{"containerPort": "http"}], "env": {}}]}},
]


@pytest.mark.parametrize("kind", sorted({k.kind for k in KINDS}))
@pytest.mark.parametrize("obj", _ODD)
def test_rules_survive_malformed_objects_and_change_nothing(kind: str, obj: JSONObject) -> None:
    new = copy_json(obj)
    faults(kind, new, copy_json(obj))
    assert new == obj
