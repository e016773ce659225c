"""OpenAPI v3 and v2: what client generators, `kubectl explain` and client-go look for.

Source: KEP-2896; k8s.io/kube-openapi/pkg/{handler,handler3}, apiserver/pkg/endpoints/openapi, apiextensions-apiserver/pkg/controller/openapi.
"""

from __future__ import annotations

import gzip
from importlib import resources
from typing import Any

import orjson
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tests.behaviour.conformance.server import GATES_CRD, WIDGETS_CRD

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.errors import NotAcceptable
from kcp.apis.kubernetes import definitions
from kcp.apiserver.openapi import OpenAPI
from kcp.apiserver.request import Request, RequestInfo
from kcp.registry.builtin import CLUSTER_KINDS, builtin_resources
from kcp.registry.catalog import StaticCatalog
from kcp.registry.crd import resource_from_crd

PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
PROTOBUF_V3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."


@pytest.fixture(scope="module")
def openapi() -> OpenAPI:
    custom = [resource_from_crd(WIDGETS_CRD, "v1"), resource_from_crd(WIDGETS_CRD, "v1beta1"), resource_from_crd(GATES_CRD, "v1")]
    return OpenAPI(StaticCatalog([*builtin_resources(CLUSTER_KINDS), *custom]), definitions.load().published, VirtualClock())


async def fetch(openapi: OpenAPI, path: str, accept: str = "application/json") -> Any:
    async def no_body() -> bytes:
        return b""

    request = Request("GET", path, "", {"accept": accept}, no_body)
    request.info = RequestInfo(path, "get")
    response = await openapi(request)
    return orjson.loads(response.body) if response.content_type == "application/json" else response


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {o["operationId"]: o for item in document["paths"].values() for method, o in item.items() if method != "parameters"}


async def test_operations_are_named_as_client_generators_know_them(openapi: OpenAPI) -> None:
    core = operations(await fetch(openapi, "/openapi/v3/api/v1"))
    assert {
        "listCoreV1NamespacedPod", "listCoreV1PodForAllNamespaces", "createCoreV1NamespacedPod", "readCoreV1NamespacedPod",
        "replaceCoreV1NamespacedPod", "patchCoreV1NamespacedPod", "deleteCoreV1NamespacedPod", "deleteCoreV1CollectionNamespacedPod",
        "readCoreV1NamespacedPodStatus", "createCoreV1NamespacedPodBinding", "createCoreV1NamespacedPodEviction", "listCoreV1Node",
        "createCoreV1NamespacedServiceAccountToken", "replaceCoreV1NamespaceFinalize",
    } <= core.keys()  # fmt: skip
    roles = operations(await fetch(openapi, "/openapi/v3/apis/rbac.authorization.k8s.io/v1"))
    assert roles["readRbacAuthorizationV1ClusterRole"]["tags"] == ["rbacAuthorization_v1"]
    assert "patchAppsV1NamespacedDeploymentScale" in operations(await fetch(openapi, "/openapi/v3/apis/apps/v1"))


async def test_an_operation_says_what_it_takes_and_gives(openapi: OpenAPI) -> None:
    operation = operations(await fetch(openapi, "/openapi/v3/apis/example.com/v1"))["patchExampleComV1NamespacedWidget"]
    assert [p["name"] for p in operation["parameters"]] == ["dryRun", "fieldManager", "fieldValidation", "force"]
    assert list(operation["requestBody"]["content"]) == [
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/apply-patch+yaml",
    ]
    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/com.example.v1.Widget"}
    assert operation["x-kubernetes-group-version-kind"] == {"group": "example.com", "version": "v1", "kind": "Widget"}
    assert operation["x-kubernetes-action"] == "patch"


async def test_built_in_kinds_take_strategic_patches_and_speak_protobuf(openapi: OpenAPI) -> None:
    found = operations(await fetch(openapi, "/openapi/v3/api/v1"))
    assert "application/strategic-merge-patch+json" in found["patchCoreV1NamespacedPod"]["requestBody"]["content"]
    assert "application/vnd.kubernetes.protobuf;stream=watch" in found["listCoreV1NamespacedPod"]["responses"]["200"]["content"]


async def test_a_custom_kind_is_published_with_its_extensions(openapi: OpenAPI) -> None:
    schemas = (await fetch(openapi, "/openapi/v3/apis/example.com/v1"))["components"]["schemas"]
    kind, spec = schemas["com.example.v1.Widget"], schemas["com.example.v1.Widget"]["properties"]["spec"]["properties"]
    assert kind["x-kubernetes-group-version-kind"] == [{"group": "example.com", "version": "v1", "kind": "Widget"}]
    assert kind["x-kubernetes-selectable-fields"] == [{"fieldPath": "spec.color"}]
    assert kind["properties"]["metadata"]["allOf"] == [{"$ref": f"#/components/schemas/{META}ObjectMeta"}]
    assert spec["ports"]["x-kubernetes-list-map-keys"] == ["port", "protocol"]
    assert spec["ios"] == {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert spec["when"] == {"type": "string", "format": "date-time", "nullable": True}
    many = schemas["com.example.v1.WidgetList"]
    assert (many["description"], many["required"]) == ("WidgetList is a list of Widget", ["items"])
    assert {f"{META}{part}" for part in ("DeleteOptions", "Patch", "Status", "ListMeta", "ManagedFieldsEntry")} <= schemas.keys()
    assert "io.k8s.api.autoscaling.v1.Scale" in schemas


async def test_nothing_stands_beside_a_reference(openapi: OpenAPI) -> None:
    # OpenAPI 3.0 ignores it: descriptions go beside an allOf of the reference.
    schemas = (await fetch(openapi, "/openapi/v3/api/v1"))["components"]["schemas"]
    template = schemas["io.k8s.api.core.v1.PodTemplateSpec"]["properties"]["spec"]
    assert template["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}]
    assert template["description"]


async def test_every_operation_id_is_there_once(openapi: OpenAPI) -> None:
    index = (await fetch(openapi, "/openapi/v3"))["paths"]
    for path in index:
        document = await fetch(openapi, f"/openapi/v3/{path}")
        names = [o["operationId"] for item in document["paths"].values() for method, o in item.items() if method != "parameters"]
        assert len(names) == len(set(names)), path


# --- v2 ---


async def test_v2_has_all_groups_in_the_words_of_swagger(openapi: OpenAPI) -> None:
    document = await fetch(openapi, "/openapi/v2")
    spec = document["definitions"]["com.example.v1.Widget"]["properties"]["spec"]["properties"]
    assert spec["ios"] == {"x-kubernetes-int-or-string": True}
    assert spec["when"] == {"format": "date-time"}, "what may be null has no type in v2"
    assert spec["free"] == {"x-kubernetes-preserve-unknown-fields": True}
    assert spec["size"] == {"type": "integer", "minimum": 1}
    definitions_of = document["definitions"]
    assert definitions_of["com.example.v1.Gate"]["type"] == "object"
    assert definitions_of["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"] == "int-or-string"
    assert definitions_of["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"] == "string"
    metadata = definitions_of["io.k8s.api.core.v1.Pod"]["properties"]["metadata"]
    assert metadata["$ref"] == f"#/definitions/{META}ObjectMeta"
    patch = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"]
    assert patch["parameters"][0]["in"] == "body"
    assert {"name": "dryRun", "in": "query", "type": "string"}.items() <= patch["parameters"][1].items()
    assert patch["responses"]["200"]["schema"] == {"$ref": "#/definitions/com.example.v1.Widget"}


def decoded(raw: bytes, version: str = "v2") -> Any:
    packed = resources.files("kcp.apiserver.protobuf").joinpath("openapi.binpb.gz").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(gzip.decompress(packed)).file:
        pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"openapi.{version}.Document")).FromString(raw)


async def test_v2_as_protobuf_is_the_same_document(openapi: OpenAPI) -> None:
    response = await fetch(openapi, "/openapi/v2", PROTOBUF)
    assert response.content_type == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    document, plain = decoded(response.body), await fetch(openapi, "/openapi/v2")
    assert (document.swagger, document.info.title) == ("2.0", "Kubernetes")
    assert [each.name for each in document.definitions.additional_properties] == list(plain["definitions"])
    assert [each.name for each in document.paths.path] == list(plain["paths"])
    widget = next(each.value for each in document.definitions.additional_properties if each.name == "com.example.v1.Widget")
    extensions = {each.name: orjson.loads(each.value.yaml) for each in widget.vendor_extension}
    assert extensions["x-kubernetes-group-version-kind"] == [{"group": "example.com", "version": "v1", "kind": "Widget"}]
    spec = {each.name: each.value for each in widget.properties.additional_properties}["spec"]
    fields = {each.name: each.value for each in spec.properties.additional_properties}
    assert (list(fields["size"].type.value), fields["size"].minimum) == (["integer"], 1)
    assert [orjson.loads(each.yaml) for each in fields["color"].enum] == ["red", "blue"]
    assert list(fields["tags"].items.schema[0].type.value) == ["string"]
    assert list(fields["map"].additional_properties.schema.type.value) == ["string"]
    item = next(each.value for each in document.paths.path if each.name.endswith("/namespaces/{namespace}/widgets/{name}"))
    assert item.patch.parameters[0].parameter.body_parameter.schema._ref == f"#/definitions/{META}Patch"
    assert item.patch.parameters[1].parameter.non_body_parameter.query_parameter_sub_schema.name == "dryRun"
    assert item.get.responses.response_code[0].value.response.schema.schema._ref == "#/definitions/com.example.v1.Widget"


@pytest.mark.parametrize("accept", [PROTOBUF_V3, PROTOBUF_V3.replace("v3.v1", "v3@v1"), f"application/json;q=0.5,{PROTOBUF_V3}"])
async def test_v3_as_protobuf_is_the_same_document(openapi: OpenAPI, accept: str) -> None:
    response = await fetch(openapi, "/openapi/v3/apis/example.com/v1", accept)
    assert response.content_type == PROTOBUF_V3
    document, plain = decoded(response.body, "v3"), await fetch(openapi, "/openapi/v3/apis/example.com/v1")
    assert (document.openapi, document.info.title) == ("3.0.0", "Kubernetes")
    schemas = {each.name: each.value.schema for each in document.components.schemas.additional_properties}
    assert list(schemas) == list(plain["components"]["schemas"])
    assert [each.name for each in document.paths.path] == list(plain["paths"])
    widget = schemas["com.example.v1.Widget"]
    extensions = {each.name: orjson.loads(each.value.yaml) for each in widget.specification_extension}
    assert extensions["x-kubernetes-group-version-kind"] == [{"group": "example.com", "version": "v1", "kind": "Widget"}]
    top = {each.name: each.value.schema for each in widget.properties.additional_properties}
    assert top["metadata"].all_of[0].reference._ref == f"#/components/schemas/{META}ObjectMeta"
    fields = {each.name: each.value.schema for each in top["spec"].properties.additional_properties}
    assert (fields["size"].type, fields["size"].minimum, fields["size"].default.number) == ("integer", 1, 3)
    assert [orjson.loads(each.yaml) for each in fields["color"].enum] == ["red", "blue"]
    assert fields["tags"].items.schema_or_reference[0].schema.type == "string"
    assert fields["map"].additional_properties.schema_or_reference.schema.type == "string"
    assert (fields["when"].nullable, [each.schema.type for each in fields["ios"].any_of]) == (True, ["integer", "string"])
    patch = next(each.value for each in document.paths.path if each.name.endswith("/namespaces/{namespace}/widgets/{name}")).patch
    assert patch.parameters[0].parameter.name == "dryRun"
    sent = {each.name: each.value.schema for each in patch.request_body.request_body.content.additional_properties}
    assert sent["application/merge-patch+json"].reference._ref == f"#/components/schemas/{META}Patch"
    ok = next(each.value.response for each in patch.responses.response_or_reference if each.name == "200")
    assert ok.content.additional_properties[0].value.schema.reference._ref == "#/components/schemas/com.example.v1.Widget"


async def test_another_form_of_v3_is_not_acceptable(openapi: OpenAPI) -> None:
    with pytest.raises(NotAcceptable):
        await fetch(openapi, "/openapi/v3/apis/example.com/v1", "text/plain")


async def test_another_form_of_v2_is_not_acceptable(openapi: OpenAPI) -> None:
    with pytest.raises(NotAcceptable):
        await fetch(openapi, "/openapi/v2", "text/plain")


async def test_nothing_is_said_that_go_leaves_out(openapi: OpenAPI) -> None:
    # test/e2e/apimachinery/openapiv3.go: documents survive a round through Go's types, which omit empty lists
    for path in ("/openapi/v3/apis/example.com/v1", "/openapi/v3/apis/apps/v1", "/openapi/v2"):
        found = operations(await fetch(openapi, path))
        assert len(found) > 10
        assert not [name for name, operation in found.items() if operation.get("parameters") == []]
