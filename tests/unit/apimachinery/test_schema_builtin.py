"""The schemas of Kubernetes' own kinds: well-known types, nulls, defaults of list keys, merge keys."""

from __future__ import annotations

from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.schema.structural import Schema, compile_schema
from kcp.apis.kubernetes.definitions import load


def builtin_schema(name: str) -> Schema:
    return compile_schema(load().raw(name), resolve=load().raw)


DEPLOYMENT = builtin_schema("io.k8s.api.apps.v1.Deployment")

WEB: JSONObject = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "creationTimestamp": None, "labels": {"app": "web"}},
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "image": "nginx",
                        "ports": [{"containerPort": 80}],
                        "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
                    }
                ]
            },
        },
    },
}


def test_every_definition_compiles() -> None:
    for name in sorted(load().names()):
        assert builtin_schema(name).properties is not None


def test_an_ordinary_deployment_is_valid() -> None:
    assert DEPLOYMENT.validate(WEB) == []
    assert DEPLOYMENT.unknown_fields(WEB) == []


def test_empty_lists_and_maps_are_left_out_but_empty_structs_stay() -> None:
    container = {"name": "a", "ports": [], "resources": {}}
    obj = {"metadata": {"labels": {}, "ownerReferences": []}, "spec": {"containers": [container], "nodeSelector": {}, "affinity": {}}}
    builtin_schema("io.k8s.api.core.v1.Pod").default(obj)
    assert obj == {"metadata": {}, "spec": {"containers": [{"name": "a", "resources": {}}], "affinity": {}}}


def test_nulls_mean_absent_and_a_port_gets_its_protocol() -> None:
    obj = copy_json(WEB)
    DEPLOYMENT.default(obj)
    assert "creationTimestamp" not in obj["metadata"]
    assert obj["spec"]["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]


def test_faults_and_unknown_fields_carry_kubernetes_paths() -> None:
    obj = copy_json(WEB)
    container = obj["spec"]["template"]["spec"]["containers"][0]
    container["imagee"] = container.pop("image")
    container["ports"][0]["containerPort"] = "http"
    obj["spec"]["replicas"] = "three"
    assert DEPLOYMENT.unknown_fields(obj) == ["spec.template.spec.containers[0].imagee"]
    assert [cause.field for cause in DEPLOYMENT.validate(obj)] == [
        "spec.replicas",
        "spec.template.spec.containers[0].ports[0].containerPort",
    ]


def test_free_form_definitions_accept_anything() -> None:
    crd = builtin_schema("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition")
    node = {"type": "object", "default": {"a": [None]}, "additionalProperties": {"type": "string"}, "items": [{"type": "string"}]}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": node}}
    names = {"kind": "X", "plural": "xs"}
    obj = {"metadata": {"name": "xs.y"}, "spec": {"group": "y", "names": names, "scope": "Cluster", "versions": [version]}}
    assert crd.validate(obj) == []
    assert crd.unknown_fields(obj) == []


def test_merge_and_list_keys_are_known() -> None:
    pod = DEPLOYMENT.properties["spec"].properties["template"].properties["spec"]
    ports = pod.properties["containers"].items
    assert ports is not None
    assert (ports.properties["ports"].merge_key, ports.properties["ports"].list_keys) == ("containerPort", ("containerPort", "protocol"))
    assert DEPLOYMENT.properties["spec"].properties["strategy"].patch_strategy == ("retainKeys",)
    assert DEPLOYMENT.properties["spec"].properties["selector"].map_type == "atomic"
    assert DEPLOYMENT.properties["metadata"].properties["finalizers"].list_type == "set"


def test_definitions_are_shared_between_kinds() -> None:
    replica_set = builtin_schema("io.k8s.api.apps.v1.ReplicaSet")
    assert replica_set.properties["spec"].properties["template"] is DEPLOYMENT.properties["spec"].properties["template"]
