"""Discovery in both forms, `/version`, and OpenAPI documents: shapes that kubectl and client-go read, ETags, sharing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.unit.registry.crds import established

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.keys import ClusterName
from kcp.apis.kubernetes import definitions
from kcp.apiserver.discovery import Discovery
from kcp.apiserver.openapi import OpenAPI
from kcp.apiserver.request import Request, RequestInfo, Response
from kcp.apiserver.version import version
from kcp.registry.builtin import CLUSTER_KINDS, WORKSPACE_KINDS, builtin_resources
from kcp.registry.catalog import DynamicCatalog, StaticCatalog
from kcp.registry.crd import LocalCRDSource

A, B = ClusterName("a"), ClusterName("b")
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


def request(path: str, *, cluster: ClusterName = A, query: str = "", **headers: str) -> Request:
    async def no_body() -> bytes:
        return b""

    made = Request("GET", path, query, {k.replace("_", "-"): v for k, v in headers.items()}, no_body)
    made.info = RequestInfo(path, "get", cluster=cluster)
    return made


def body(response: Response) -> Any:
    return orjson.loads(response.body)


def header(response: Response, name: str) -> str:
    return dict(response.headers)[name]


@pytest.fixture
def local() -> LocalCRDSource:
    return LocalCRDSource()


@pytest.fixture
def catalog(local: LocalCRDSource) -> DynamicCatalog:
    return DynamicCatalog([StaticCatalog(builtin_resources(WORKSPACE_KINDS)), local])


async def test_legacy_discovery_lists_versions_groups_and_resources() -> None:
    discovery = Discovery(StaticCatalog(builtin_resources(CLUSTER_KINDS)))
    found = body(await discovery(request("/api", host="kcp.example.com:6443")))
    assert found["versions"] == ["v1"]
    assert found["serverAddressByClientCIDRs"] == [{"clientCIDR": "0.0.0.0/0", "serverAddress": "kcp.example.com:6443"}]
    groups = body(await discovery(request("/apis")))["groups"]
    assert {"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}],
            "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"}} in groups  # fmt: skip
    listed = {r["name"]: r for r in body(await discovery(request("/apis/apps/v1")))["resources"]}
    deployments = listed["deployments"]
    assert deployments["shortNames"] == ["deploy"]
    assert deployments["categories"] == ["all"]
    assert deployments["storageVersionHash"] == "8aSe+NMegvE="
    assert listed["deployments/scale"] == {
        "name": "deployments/scale", "singularName": "", "namespaced": True, "kind": "Scale", "group": "autoscaling", "version": "v1",
        "verbs": ["get", "patch", "update"],
    }  # fmt: skip
    assert "deployments/status" in listed


async def test_aggregated_discovery_answers_in_the_form_that_was_asked_for() -> None:
    discovery = Discovery(StaticCatalog(builtin_resources(CLUSTER_KINDS)))
    answer = await discovery(request("/apis", accept=AGGREGATED))
    assert answer.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    found = body(answer)
    assert found["kind"] == "APIGroupDiscoveryList"
    apps = next(g for g in found["items"] if g["metadata"].get("name") == "apps")
    deployment = next(r for r in apps["versions"][0]["resources"] if r["resource"] == "deployments")
    assert deployment["responseKind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert {s["subresource"] for s in deployment["subresources"]} == {"scale", "status"}
    assert all(g["metadata"].get("name") for g in found["items"])


async def test_kubernetes_own_groups_come_first_so_that_their_short_names_win(catalog: DynamicCatalog, local: LocalCRDSource) -> None:
    # `kubectl get ingress` means the first group that has it. Source: pkg/controlplane/apiserver/aggregator.go (DefaultGenericAPIServicePriorities)
    local.changed(A, "ingresses.aaa.example.com", established("ingresses", "Ingress", group="aaa.example.com"))
    for accept in ("application/json", AGGREGATED):
        found = body(await Discovery(catalog)(request("/apis", accept=accept)))
        names = [g["name"] for g in found["groups"]] if "groups" in found else [g["metadata"]["name"] for g in found["items"]]
        assert names.index("events.k8s.io") < names.index("rbac.authorization.k8s.io") < names.index("aaa.example.com")
        assert names[-1] == "aaa.example.com"


async def test_a_client_that_has_the_document_is_told_so(catalog: DynamicCatalog, local: LocalCRDSource) -> None:
    discovery = Discovery(catalog)
    etag = header(await discovery(request("/apis", accept=AGGREGATED)), "etag")
    assert (await discovery(request("/apis", accept=AGGREGATED, if_none_match=etag))).status == 304
    local.changed(A, "widgets.example.com", established("widgets", "Widget"))
    again = await discovery(request("/apis", accept=AGGREGATED, if_none_match=etag))
    assert again.status == 200
    assert "example.com" in [g["metadata"]["name"] for g in body(again)["items"]]


async def test_a_crd_is_discovered_in_its_cluster_only(catalog: DynamicCatalog, local: LocalCRDSource) -> None:
    discovery = Discovery(catalog)
    local.changed(A, "widgets.example.com", established("widgets", "Widget", versions=("v1alpha1", "v1")))
    group = body(await discovery(request("/apis/example.com")))
    assert [v["version"] for v in group["versions"]] == ["v1", "v1alpha1"]
    with pytest.raises(NotFound):
        await discovery(request("/apis/example.com", cluster=B))


async def test_version_speaks_of_kubernetes_1_36() -> None:
    found = body(await version(request("/version")))
    assert (found["major"], found["minor"]) == ("1", "36")
    assert found["gitVersion"].startswith("v1.36.0+kcp-v")
    assert (found["emulationMajor"], found["emulationMinor"], found["minCompatibilityMinor"]) == ("1", "36", "35")


def openapi(catalog: Any) -> OpenAPI:
    return OpenAPI(catalog, definitions.load().published, VirtualClock())


async def _document(api: OpenAPI, path: str, cluster: ClusterName = A) -> tuple[Any, Response]:
    index = body(await api(request("/openapi/v3", cluster=cluster)))["paths"]
    url, _, query = index[path]["serverRelativeURL"].partition("?")
    response = await api(request(url, cluster=cluster, query=query))
    return body(response), response


async def test_openapi_says_what_kubectl_looks_for_before_it_trusts_the_servers_validation() -> None:
    document, response = await _document(openapi(StaticCatalog(builtin_resources(CLUSTER_KINDS))), "apis/apps/v1")
    operation = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert operation["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "fieldValidation" in [p["name"] for p in operation["parameters"]]
    assert operation["x-kubernetes-action"] == "patch"
    assert "immutable" in header(response, "cache-control")


async def test_an_outdated_hash_leads_to_the_document_as_it_is_now(catalog: DynamicCatalog, local: LocalCRDSource) -> None:
    # Source: k8s.io/kube-openapi/pkg/handler3/handler.go (HandleGroupVersion)
    local.changed(A, "widgets.example.com", established("widgets", "Widget"))
    api, path = openapi(catalog), "/openapi/v3/apis/example.com/v1"
    current = body(await api(request("/openapi/v3")))["paths"]["apis/example.com/v1"]["serverRelativeURL"]
    moved = await api(request(path, query="hash=1234"))
    assert (moved.status, header(moved, "location")) == (301, current)
    fresh = await api(request(path, query=current.partition("?")[2]))
    assert (header(fresh, "cache-control"), header(fresh, "vary")) == ("public, immutable", "Accept")
    assert header(fresh, "expires") == "Fri, 01 Jan 2027 00:00:00 GMT", "in a year: never"
    assert header(fresh, "etag") == f'"{current.partition("hash=")[2]}"'
    assert (await api(request(path, if_none_match=header(fresh, "etag")))).status == 304
    inside = request(path, query="hash=1234")
    inside.path = f"/clusters/root:org{path}"
    assert header(await api(inside), "location") == f"/clusters/root:org{current}"


async def test_discovery_itself_is_described_too() -> None:
    api = openapi(StaticCatalog(builtin_resources(CLUSTER_KINDS)))
    index = body(await api(request("/openapi/v3")))["paths"]
    assert {"api", "apis", "apis/apps", "version"} <= set(index)
    for path, component in (("api", "APIVersions"), ("apis", "APIGroupList"), ("apis/rbac.authorization.k8s.io", "APIGroup")):
        document, _ = await _document(api, path)
        answer = document["paths"][f"/{path}/"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert answer == {"$ref": f"#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.{component}"}
    document, _ = await _document(api, "version")
    assert document["paths"]["/version/"]["get"]["operationId"] == "getCodeVersion"


async def test_every_reference_of_every_document_resolves() -> None:
    catalog = StaticCatalog(builtin_resources(CLUSTER_KINDS))
    api = openapi(catalog)
    index = body(await api(request("/openapi/v3")))["paths"]
    assert "api/v1" in index
    for path in index:
        document, _ = await _document(api, path)
        schemas = document["components"]["schemas"]
        assert set(_references(document)) <= {f"#/components/schemas/{name}" for name in schemas}, path


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


async def test_built_in_documents_are_shared_by_all_clusters(catalog: DynamicCatalog) -> None:
    api = openapi(catalog)
    _, one = await _document(api, "api/v1", A)
    _, other = await _document(api, "api/v1", B)
    assert one.body is other.body


async def test_a_crd_is_published_with_its_fields_and_its_hash_follows_its_schema(catalog: DynamicCatalog, local: LocalCRDSource) -> None:
    api = openapi(catalog)
    widget = established("widgets", "Widget")
    local.changed(A, "widgets.example.com", widget)
    document, first = await _document(api, "apis/example.com/v1")
    schema = document["components"]["schemas"]["com.example.v1.Widget"]
    assert schema["x-kubernetes-group-version-kind"] == [{"group": "example.com", "version": "v1", "kind": "Widget"}]
    assert schema["properties"]["spec"] == {"type": "object", "properties": {"color": {"type": "string"}}}
    widget["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["description"] = "What it should be."
    widget["metadata"]["generation"] += 1
    local.changed(A, "widgets.example.com", widget)
    document, second = await _document(api, "apis/example.com/v1")
    assert header(first, "etag") != header(second, "etag")


async def test_openapi_v2_is_valid_enough_to_be_read(catalog: DynamicCatalog) -> None:
    document = body(await openapi(catalog)(request("/openapi/v2")))
    assert document["swagger"] == "2.0"
    assert "io.k8s.api.core.v1.ConfigMap" in document["definitions"]
    assert b"#/components/schemas/" not in orjson.dumps(document)
