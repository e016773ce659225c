"""Aggregated APIs: an APIService puts a group version behind a Service; its server answers for it, as if this one did.

The server here is one of our own, over HTTPS; Kubernetes' sample server would need a container.
Source: k8s.io/kube-aggregator; test/e2e/apimachinery/aggregator.go.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web
from tests.listener import listening

from kcp.aio.clock import SystemClock
from kcp.apimachinery import conditions
from kcp.apimachinery.errors import Forbidden, NotFound, ServiceUnavailable
from kcp.apimachinery.gvk import GVR
from kcp.apiserver.pki import PKI
from kcp.client.rest import Client
from kcp.registry.backend import UserInfo
from kcp.sim.apiservices import API_SERVICES
from kcp.sim.cluster import SimCluster

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

GROUP, NAME = "wardle.example.com", "v1.wardle.example.com"
HOSTS = ("api.default.svc",)
PREFIX = f"/apis/{GROUP}/v1"
FLUNDERS = GVR(GROUP, "v1", "flunders")
V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
RESOURCES = [
    {"name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder", "verbs": ["create", "get", "list", "watch"],
     "shortNames": ["fl"]},
    {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
]  # fmt: skip
SCHEMA = {"type": "object", "properties": {"spec": {"$ref": "#/definitions/Spec"}}}


class Wardle:
    """A server of flunders, which remembers who asked."""

    def __init__(self, ca_bundle: str) -> None:
        self.ca_bundle = ca_bundle
        self.port = 0
        self.is_well = True
        self.held: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str, list[tuple[str, str]]]] = []
        self.proxies: set[str] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path, list(request.headers.items())))
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport is not None else None
        self.proxies |= {value for part in (certificate or {}).get("subject", ()) for key, value in part if key == "commonName"}
        if not self.is_well:
            return web.Response(status=500)
        documents: dict[str, Any] = {
            PREFIX: {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/v1", "resources": RESOURCES},
            "/openapi/v3": {"paths": {PREFIX[1:]: {"serverRelativeURL": f"/openapi/v3{PREFIX}?hash=AB12"}}},
            f"/openapi/v3{PREFIX}": {"openapi": "3.0.0", "info": {"title": "Wardle"}},
            "/openapi/v2": {"paths": {f"{PREFIX}/flunders": {"get": {"schema": {"$ref": "#/definitions/Flunder"}}}, "/version": {}},
                            "definitions": {"Flunder": SCHEMA, "Spec": {"type": "object"}, "Unused": {}}},
        }  # fmt: skip
        if request.path in documents:
            return web.json_response(documents[request.path])
        if request.query.get("watch"):
            return await self._watch(request)
        return await self._flunder(request)

    async def _flunder(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            made = await request.json()
            self.held[made["metadata"]["name"]] = made
            return web.json_response(made, status=201, headers={"Warning": '299 - "fresh fish"'})
        name = request.path.removeprefix(f"{PREFIX}/namespaces/default/flunders").strip("/")
        if not name:
            return web.json_response(
                {"kind": "FlunderList", "apiVersion": f"{GROUP}/v1", "metadata": {}, "items": list(self.held.values())}
            )
        if name in self.held:
            return web.json_response(self.held[name])
        return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}, status=404)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        for flunder in self.held.values():
            await response.write(orjson.dumps({"type": "ADDED", "object": flunder}) + b"\n")
        return response


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pki")


@pytest.fixture
async def wardle(certificates: Path) -> AsyncIterator[Wardle]:
    async with listening(certificates, HOSTS, Wardle) as served:
        yield served


async def register(client: Client, wardle: Wardle, **more: Any) -> None:
    leads = {"type": "ExternalName", "externalName": "localhost"}
    await client.resource(GVR("", "v1", "services")).create(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"}, "spec": leads}, namespace="default"
    )
    service = {"namespace": "default", "name": "api", "port": wardle.port}
    spec = {"group": GROUP, "version": "v1", "groupPriorityMinimum": 2000, "versionPriority": 200, "service": service}
    trusted: dict[str, Any] = more or {"caBundle": wardle.ca_bundle}
    await client.resource(API_SERVICES).create(
        {"apiVersion": API_SERVICES.api_version, "kind": "APIService", "metadata": {"name": NAME}, "spec": spec | trusted}
    )


async def available(client: Client, status: str, reason: str) -> str:
    """The message of the condition, once it is as it should be."""
    async for event in client.resource(API_SERVICES).watch(field_selector=f"metadata.name={NAME}"):
        condition = conditions.get(event.object, "Available")
        if condition is not None and (condition["status"], condition["reason"]) == (status, reason):
            return str(condition["message"])
    raise AssertionError("the watch ended")


async def registered(world: World, wardle: Wardle) -> None:
    await register(world.client, wardle)
    assert await available(world.client, "True", "Passed") == "all checks passed"


def flunder(name: str) -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/v1", "kind": "Flunder", "metadata": {"name": name}}


async def document(client: Client, path: str, accept: str = "application/json") -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((await client.raw("GET", path, headers={"accept": accept})).body)
    return found


async def test_what_is_asked_of_an_aggregated_api_goes_to_its_server_and_comes_back(world: World, wardle: Wardle) -> None:
    await registered(world, wardle)
    path = f"{PREFIX}/namespaces/default/flunders"
    made = await world.client.raw("POST", path, body=orjson.dumps(flunder("a")), headers={"content-type": "application/json"})
    assert (made.status, made.headers["warning"], orjson.loads(made.body)) == (201, '299 - "fresh fish"', flunder("a"))
    assert (await document(world.client, path))["items"] == [flunder("a")]
    with pytest.raises(NotFound):
        await world.client.raw("GET", f"{path}/b")
    events = [event async for event in world.client.resource(FLUNDERS).watch(namespace="default")]
    assert [(event.type, event.object) for event in events] == [("ADDED", flunder("a"))]


async def test_its_server_hears_who_asks_and_gets_no_credentials(world: World, wardle: Wardle) -> None:
    await registered(world, wardle)
    ann = UserInfo("ann", ("system:masters", "fish mongers"), "7", {"scopes/x": ("a", "b")})
    headers = {"authorization": "Bearer secret", "x-remote-user": "root", "x-custom": "yes"}
    await world.cluster.client(ann).raw("GET", f"{PREFIX}/namespaces/default/flunders", query={"limit": "1"}, headers=headers)
    _, path, heard = wardle.asked[-1]
    assert path == f"{PREFIX}/namespaces/default/flunders"
    named = [(name, text) for name, text in heard if name.startswith("X-Remote")]
    extra = "X-Remote-Extra-scopes%2Fx"
    groups = [("X-Remote-Group", "system:masters"), ("X-Remote-Group", "fish mongers")]
    assert named == [("X-Remote-User", "ann"), *groups, (extra, "a"), (extra, "b"), ("X-Remote-Uid", "7")]
    assert "authorization" not in {name.lower() for name, _ in heard}
    assert ("x-custom", "yes") in heard


async def test_who_may_not_is_refused_before(world: World, wardle: Wardle) -> None:
    await registered(world, wardle)
    before = len(wardle.asked)
    with pytest.raises(Forbidden):
        await world.cluster.client(UserInfo("ann")).raw("GET", f"{PREFIX}/namespaces/default/flunders")
    assert all(not path.endswith("flunders") for _, path, _ in wardle.asked[before:])


async def test_discovery_tells_of_it_in_every_form(world: World, wardle: Wardle) -> None:
    await registered(world, wardle)
    groups = (await document(world.client, "/apis"))["groups"]
    names = [group["name"] for group in groups]
    assert names.index("flowcontrol.apiserver.k8s.io") < names.index(GROUP) < names.index("sim.kcp.io")
    assert (await document(world.client, f"/apis/{GROUP}"))["preferredVersion"] == {"groupVersion": f"{GROUP}/v1", "version": "v1"}
    assert (await document(world.client, PREFIX))["resources"] == RESOURCES
    [item] = [item for item in (await document(world.client, "/apis", V2))["items"] if item["metadata"]["name"] == GROUP]
    kind = {"group": GROUP, "version": "v1", "kind": "Flunder"}
    told = {
        "resource": "flunders", "scope": "Namespaced", "singularResource": "flunder", "verbs": ["create", "get", "list", "watch"],
        "responseKind": kind, "shortNames": ["fl"], "subresources": [{"subresource": "status", "responseKind": kind, "verbs": ["get"]}],
    }  # fmt: skip
    assert item["versions"] == [{"version": "v1", "freshness": "Current", "resources": [told]}]
    assert FLUNDERS in {resource.gvr for resource in await world.client.discover()}


async def test_openapi_has_its_documents(world: World, wardle: Wardle) -> None:
    await registered(world, wardle)
    index = (await document(world.client, "/openapi/v3"))["paths"]
    assert index[PREFIX[1:]] == {"serverRelativeURL": f"/openapi/v3{PREFIX}?hash=AB12"}
    assert (await document(world.client, f"/openapi/v3{PREFIX}"))["info"] == {"title": "Wardle"}
    second = await document(world.client, "/openapi/v2")
    assert f"{PREFIX}/flunders" in second["paths"]
    assert second["definitions"]["Flunder"] == SCHEMA
    assert {"Spec", "io.k8s.api.core.v1.Pod"} <= second["definitions"].keys()
    assert "Unused" not in second["definitions"]


async def test_one_that_is_down_is_told_to_be_and_answers_503(world: World, wardle: Wardle) -> None:
    wardle.is_well = False
    await register(world.client, wardle)
    told = await available(world.client, "False", "FailedDiscoveryCheck")
    assert told.endswith(f"bad status from https://api.default.svc:{wardle.port}{PREFIX}: 500")
    with pytest.raises(ServiceUnavailable):
        await world.client.raw("POST", f"{PREFIX}/namespaces/default/flunders")
    [item] = [item for item in (await document(world.client, "/apis", V2))["items"] if item["metadata"]["name"] == GROUP]
    assert item["versions"] == [{"version": "v1", "freshness": "Stale", "resources": []}]
    wardle.is_well = True
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(available(world.client, "True", "Passed"))
        for _ in range(50):
            await world.clock.advance(1.0)
            if waiting.done():
                break
            await asyncio.wait([waiting], timeout=0.05)
        assert await waiting


async def test_its_certificate_must_be_for_the_service_unless_nobody_cares(world: World, wardle: Wardle, tmp_path: Path) -> None:
    stranger = PKI.ensure(tmp_path, clock=SystemClock())
    await register(world.client, wardle, caBundle=base64.b64encode(stranger.ca_pem().encode()).decode())
    assert "certificate" in await available(world.client, "False", "FailedDiscoveryCheck")
    await world.client.resource(API_SERVICES).patch(NAME, {"spec": {"caBundle": None, "insecureSkipTLSVerify": True}})
    assert await available(world.client, "True", "Passed")


async def test_when_it_goes_its_api_goes(world: World, wardle: Wardle) -> None:
    await registered(world, wardle)
    await world.client.resource(API_SERVICES).delete(NAME)
    with pytest.raises(NotFound):
        await world.client.raw("GET", f"{PREFIX}/namespaces/default/flunders")
    assert GROUP not in {group["name"] for group in (await document(world.client, "/apis"))["groups"]}


async def test_a_cluster_proves_to_its_servers_that_it_may_name_users(tmp_path: Path) -> None:
    async with SimCluster("east", nodes=0, data_dir=tmp_path / "east") as cluster:
        client = cluster.client()
        info = await client.resource(GVR("", "v1", "configmaps")).get("extension-apiserver-authentication", namespace="kube-system")
        assert info["data"]["requestheader-allowed-names"] == '["front-proxy-client"]'
        authority = info["data"]["requestheader-client-ca-file"]
        async with listening(tmp_path / "other", HOSTS, Wardle, client_authority=authority) as served:
            await register(client, served)
            assert await available(client, "True", "Passed")
            assert served.proxies == {"front-proxy-client"}
