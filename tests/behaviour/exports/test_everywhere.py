"""Reads of all workspaces together, `/clusters/*`: whole objects of one identity, the metadata of all of them, and no writes.

Source: kcp test/e2e/conformance/{cross_logical_cluster_list,crd_partial_metadata}_test.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

import orjson
import pytest
from tests.behaviour.exports.market import WIDGETS, Market, named

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, MethodNotAllowed, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.inprocess import AsgiTransport
from kcp.client.transport import RawRequest, RawResponse
from kcp.registry.backend import UserInfo
from kcp.tenancy.kinds import WORKSPACES

CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
ADMINISTRATOR = UserInfo("kcp-admin", ("system:kcp:admin", "system:authenticated"))


def definition(version: str) -> JSONObject:
    """A definition of widgets of a workspace's own."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": version, "served": True, "storage": True, "schema": schema}]
    names = {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": versions}
    return named(CRDS, "CustomResourceDefinition", "widgets.example.com", spec)


async def define(market: Market, workspace: str, version: str) -> None:
    client = await market.workspace(workspace)
    await client.resource(CRDS).create(definition(version))
    await market.until(client.resource(CRDS), "widgets.example.com", lambda c: conditions.is_true(c, "Established"), "the definition")


async def widget(market: Market, workspace: str, name: str, version: str = "v1") -> None:
    obj = named(WIDGETS, "Widget", name, {"n": 1}, apiVersion=f"example.com/{version}")
    await market.at(workspace).resource(GVR("example.com", version, "widgets")).create(obj, namespace="default")


async def read(market: Market, path: str, query: Mapping[str, str] | None = None, accept: str = "application/json") -> RawResponse:
    request = RawRequest("GET", f"/clusters/*{path}", dict(query or {}), {"accept": accept})
    return await AsgiTransport(market.server.app, UserInfo("shard-admin", ("system:masters",))).request(request)


@pytest.fixture
async def five(market: Market) -> Market:
    """Widgets of two identities and of three definitions, one of them in another version."""
    await market.export()
    await market.export("others")
    for workspace, export in (("a", "widgets"), ("b", "others")):
        await market.workspace(workspace)
        await market.bind(workspace, export=export)
        await widget(market, workspace, f"of-{workspace}")
    for workspace, version in (("c", "v1"), ("d", "v1"), ("e", "v2")):
        await define(market, workspace, version)
        await widget(market, workspace, f"of-{workspace}", version)
    return market


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_metadata_is_that_of_all_identities_definitions_and_versions(five: Market, version: str) -> None:
    everywhere = five.server.client.cluster("*").resource(GVR("example.com", version, "widgets"), metadata_only=True)
    found = (await everywhere.list()).items
    assert sorted(meta.name(obj) for obj in found) == ["of-a", "of-b", "of-c", "of-d", "of-e"]
    assert len({meta.cluster(obj) for obj in found}) == 5
    assert {obj["kind"] for obj in found} == {"PartialObjectMetadata"}
    assert not any("spec" in obj for obj in found)
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    limited = await read(five, f"/apis/example.com/{version}/widgets", {"limit": "2"}, accept)
    assert len(orjson.loads(limited.body)["items"]) == 5, "the keys of several resources cannot be paged through: a limit is not kept"


async def test_metadata_of_all_is_watched_in_order(five: Market) -> None:
    everywhere = five.server.client.cluster("*").resource(WIDGETS, metadata_only=True)
    start = await everywhere.list()
    await widget(five, "a", "first")
    await widget(five, "e", "second", "v2")
    await five.at("b").resource(WIDGETS).delete("of-b", namespace="default")
    seen: list[tuple[str, str]] = []
    async with aclosing(everywhere.watch(resource_version=start.resource_version)) as events:
        async for event in events:
            seen.append((event.type, meta.name(event.object)))
            if len(seen) == 3:
                break
    assert seen == [("ADDED", "first"), ("ADDED", "second"), ("DELETED", "of-b")]


async def test_an_identity_that_comes_later_is_watched_too(market: Market) -> None:
    await define(market, "c", "v1")
    everywhere = market.server.client.cluster("*").resource(WIDGETS, metadata_only=True)
    start = await everywhere.list()
    await market.export()
    await market.workspace("a")
    await market.bind("a")
    await widget(market, "a", "new")
    async with aclosing(everywhere.watch(resource_version=start.resource_version)) as events:
        async for event in events:
            assert meta.name(event.object) == "new"
            break


async def test_whole_objects_are_read_by_identity_only(five: Market) -> None:
    hashes = [
        (await five.at("provider").resource(GVR("apis.kcp.io", "v1alpha2", "apiexports")).get(name))["status"]["identityHash"]
        for name in ("widgets", "others")
    ]
    client = five.server.client.cluster("*")
    for identity, name in zip(hashes, ("of-a", "of-b"), strict=True):
        everywhere = client.resource(GVR("example.com", "v1", f"widgets:{identity}"))
        assert [(meta.name(obj), obj["spec"]["n"]) for obj in (await everywhere.list()).items] == [(name, 1)]
        async with aclosing(everywhere.watch()) as events:
            assert meta.name((await anext(events)).object) == name
    for resource in ("widgets", "widgets:*", "widgets:unknown"):
        with pytest.raises(NotFound):
            await client.resource(GVR("example.com", "v1", resource)).list()
    with pytest.raises(NotFound):
        await client.resource(GVR("example.com", "v1", "widgets")).list(field_selector="metadata.name=of-a")


async def test_kcps_own_kinds_need_no_identity(five: Market) -> None:
    found = (await five.server.client.cluster("*").resource(WORKSPACES).list()).items
    assert {"a", "b", "c", "d", "e", "provider"} <= {meta.name(obj) for obj in found}
    assert all("spec" in obj for obj in found)


async def test_nothing_is_written_or_got_by_name_across_workspaces(five: Market) -> None:
    configmaps = five.server.client.cluster("*").resource(GVR("", "v1", "configmaps"))
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    for attempt in (
        configmaps.create(obj, namespace="default"),
        configmaps.get("x", namespace="default"),
        configmaps.delete("x", namespace="default"),
        configmaps.patch("x", {"data": {"a": "b"}}, namespace="default"),
        configmaps.delete_collection(namespace="default"),
    ):
        with pytest.raises(MethodNotAllowed):
            await attempt


async def test_only_masters_read_across_workspaces(five: Market) -> None:
    for metadata_only in (False, True):
        with pytest.raises(Forbidden):
            await five.as_user(ADMINISTRATOR).cluster("*").resource(GVR("", "v1", "configmaps"), metadata_only=metadata_only).list()


async def test_a_table_of_all_is_not_made(five: Market) -> None:
    """Their columns differ."""
    answer = await read(five, "/apis/example.com/v1/widgets", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert answer.status == 404
