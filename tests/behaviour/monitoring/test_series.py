"""However much a server serves, one scrape of it stays small: kinds of requests, resources, workspaces, definitions and controllers are many."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from tests.behaviour.exports.market import named

from kcp.aio.clock import SystemClock
from kcp.apimachinery import conditions
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.server.compose import KcpServer, run_server
from kcp.server.options import Options, TMCOptions
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for

MOST = 2_000
_TYPES = {"PATCH": {"content-type": "application/merge-patch+json"}}
CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KcpServer]:
    options = Options(root_directory=tmp_path, in_memory=True, tmc=TMCOptions(enabled=True))
    async with run_server(options, clock=SystemClock(), with_socket=False) as found:
        yield found


async def series(server: KcpServer) -> Counter[str]:
    """How many each family has."""
    text = (await server.client.cluster("").raw("GET", "/metrics")).body.decode()
    names = (re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#"))
    return Counter(re.sub(r"_(bucket|sum|count)$", "", name) for name in names)


async def resources(client: Client) -> list[tuple[str, JSONObject]]:
    """Path up to the version, and what discovery says of each resource."""
    groups = orjson.loads((await client.raw("GET", "/apis")).body)["groups"]
    paths = ["/api/v1", *(f"/apis/{version['groupVersion']}" for group in groups for version in group["versions"])]
    return [(path, resource) for path in paths for resource in orjson.loads((await client.raw("GET", path)).body)["resources"]]


async def use(client: Client, path: str, resource: JSONObject) -> None:
    """Ask for it in every way that its users have."""
    name, _, sub = resource["name"].partition("/")
    place = f"{path}/namespaces/default/{name}" if resource["namespaced"] else f"{path}/{name}"
    body = {"apiVersion": path.removeprefix("/apis/").removeprefix("/api/"), "kind": resource["kind"], "metadata": {"name": "x"}}
    asked: list[tuple[str, str, JSONObject | None]] = [("GET", f"{place}/x/{sub}", None)] if sub else [
        ("GET", f"{path}/{name}", None), ("GET", place, None), ("POST", place, body), ("GET", f"{place}/x", None), ("PUT", f"{place}/x", body),
        ("PATCH", f"{place}/x", {"metadata": {"labels": {"a": "b"}}}), ("DELETE", f"{place}/x", None),
    ]  # fmt: skip
    for method, where, sent in asked:
        content = orjson.dumps(sent) if sent is not None else b""
        await client.transport.request(client.request(method, where, headers=_TYPES.get(method), body=content))
    async with client.transport.stream(client.request("GET", place, query={"watch": "true"})):
        pass


def definition(group: str, plural: str) -> JSONObject:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"plural": plural, "singular": plural[:-1], "kind": plural.capitalize()}
    spec = {"group": group, "names": names, "scope": "Namespaced", "versions": [version]}
    return named(CRDS, "CustomResourceDefinition", f"{plural}.{group}", spec)


async def define(client: Client, group: str, count: int) -> None:
    for number in range(count):
        await client.resource(CRDS).create(definition(group, f"things{number}s"))
    last = f"things{count - 1}s.{group}"
    await wait_for(client.resource(CRDS), last, lambda crd: conditions.is_true(crd, "Established"), timeout_s=30, what="definition")


async def workspaces(server: KcpServer, numbers: range) -> None:
    found = server.client.cluster("root").resource(kinds.WORKSPACES)
    for number in numbers:
        await found.create(named(kinds.WORKSPACES, "Workspace", f"w{number}", {"type": {"name": "universal", "path": "root"}}))
        await wait_for(found, f"w{number}", lambda seen: seen.get("status", {}).get("phase") == "Ready", timeout_s=30, what="workspace")


async def use_all(client: Client) -> None:
    for path, resource in await resources(client):
        await use(client, path, resource)


async def test_a_server_with_everything_in_use_stays_below_two_thousand(server: KcpServer) -> None:
    root = server.client.cluster("root")
    await workspaces(server, range(2))
    await define(root, "first.example.com", 20)
    await use_all(root)
    await use_all(server.client.cluster("root:w0"))
    before = await series(server)
    assert before.total() <= MOST, before.most_common(12)

    await workspaces(server, range(2, 8))
    await define(root, "second.example.com", 40)
    for name in ("root:w5", "root"):
        await use_all(server.client.cluster(name))
    after = await series(server)
    assert after.total() <= MOST, after.most_common(12)
    bounded = ("apiserver_storage_objects", "apiserver_cache_list_total", "apiserver_longrunning_requests")
    assert {name: after[name] for name in bounded} == {name: before[name] for name in bounded}, "workspaces and definitions add none"
