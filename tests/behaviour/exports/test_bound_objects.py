"""Objects of bound kinds under the built-in controllers of their workspace: owners, quotas, namespaces; and next to those of others.

Source: kcp test/e2e/{garbagecollector,quota,reconciler/namespace}, test/e2e/conformance/cross_logical_cluster_list_test.go.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.behaviour.exports.market import CONFIG_MAPS, WIDGETS, Market, config_map, named

from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest, Forbidden
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, ResourceClient
from kcp.exports.names import EXPORTS, SCHEMAS

NAMESPACES, QUOTAS = GVR("", "v1", "namespaces"), GVR("", "v1", "resourcequotas")


def owned(obj: JSONObject, owner: JSONObject, **more: Any) -> JSONObject:
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta.name(owner), "uid": meta.uid(owner), **more}
    obj["metadata"]["ownerReferences"] = [reference]
    return obj


async def until_empty(market: Market, resource: ResourceClient, *names: str) -> None:
    async with asyncio.timeout(10):
        while set(names) & {meta.name(obj) for obj in (await resource.list()).items}:
            await market.server.clock.sleep(0.02)


async def bound(market: Market, *names: str) -> list[Client]:
    await market.export()
    for name in names:
        await market.workspace(name)
        await market.bind(name)
    return [market.at(name) for name in names]


async def known_to_the_collector(market: Market, client: Client) -> None:
    """It hears of a new kind within a second, and asks again for owners of kinds that it does not know only now and then."""
    widgets = client.resource(WIDGETS)
    first = await widgets.create(named(WIDGETS, "Widget", "first"), namespace="default")
    await widgets.create(owned(named(WIDGETS, "Widget", "second"), first), namespace="default")
    await widgets.delete("first", namespace="default")
    await until_empty(market, widgets, "second")


async def test_dependents_go_with_their_owners(market: Market) -> None:
    one, two = await bound(market, "one", "two")
    await known_to_the_collector(market, one)
    for client in (one, two):
        widgets, maps = client.resource(WIDGETS), client.resource(CONFIG_MAPS)
        owner = await widgets.create(named(WIDGETS, "Widget", "owner"), namespace="default")
        await widgets.create(owned(named(WIDGETS, "Widget", "dependent"), owner), namespace="default")
        await maps.create(owned(config_map("dependent"), owner), namespace="default")
    await one.resource(WIDGETS).delete("owner", namespace="default")
    await until_empty(market, one.resource(WIDGETS), "dependent")
    await until_empty(market, one.resource(CONFIG_MAPS), "dependent")
    assert {meta.name(obj) for obj in (await two.resource(WIDGETS).list()).items} == {"owner", "dependent"}
    await two.resource(WIDGETS).delete("owner", namespace="default", propagation="Orphan")
    async with asyncio.timeout(10):
        while meta.owner_references(await two.resource(WIDGETS).get("dependent", namespace="default")):
            await market.server.clock.sleep(0.02)


async def test_foreground_deletion_waits_for_dependents_that_block_it(market: Market) -> None:
    (one,) = await bound(market, "one")
    await known_to_the_collector(market, one)
    widgets, maps = one.resource(WIDGETS), one.resource(CONFIG_MAPS)
    owner = await widgets.create(named(WIDGETS, "Widget", "owner"), namespace="default")
    held = owned(config_map("dependent"), owner, blockOwnerDeletion=True)
    held["metadata"]["finalizers"] = ["example.com/held"]
    await maps.create(held, namespace="default")
    await widgets.delete("owner", namespace="default", propagation="Foreground")
    async with asyncio.timeout(10):
        while not meta.deletion_timestamp(await maps.get("dependent", namespace="default")):
            await market.server.clock.sleep(0.02)
    assert meta.finalizers(await widgets.get("owner", namespace="default")) == ["foregroundDeletion"]
    await maps.patch("dependent", {"metadata": {"finalizers": None}}, namespace="default")
    await until_empty(market, widgets, "owner")


async def test_quotas_count_what_is_bound(market: Market) -> None:
    one, two = await bound(market, "one", "two")
    quotas = one.resource(QUOTAS)
    await quotas.create(named(QUOTAS, "ResourceQuota", "q", {"hard": {"count/widgets.example.com": "1"}}), namespace="default")
    async with asyncio.timeout(10):
        while "used" not in (await quotas.get("q", namespace="default")).get("status", {}):
            await market.server.clock.sleep(0.02)
    await one.resource(WIDGETS).create(named(WIDGETS, "Widget", "a"), namespace="default")
    with pytest.raises(Forbidden, match="exceeded quota: q"):
        await one.resource(WIDGETS).create(named(WIDGETS, "Widget", "b"), namespace="default")
    with pytest.raises(Forbidden, match="exceeded quota: q"):
        await market.view("one").resource(WIDGETS).create(named(WIDGETS, "Widget", "b"), namespace="default")
    for name in ("a", "b"):
        await two.resource(WIDGETS).create(named(WIDGETS, "Widget", name), namespace="default")


async def test_a_namespace_goes_with_what_is_bound_in_it(market: Market) -> None:
    (one,) = await bound(market, "one")
    namespaces, widgets = one.resource(NAMESPACES), one.resource(WIDGETS)
    await namespaces.create(named(NAMESPACES, "Namespace", "ns"))
    await widgets.create(named(WIDGETS, "Widget", "w"), namespace="ns")
    await namespaces.delete("ns")
    await market.gone(namespaces, "ns")
    assert (await widgets.list()).items == []


async def test_reads_over_all_workspaces_are_by_identity(market: Market) -> None:
    """Two exports of one name serve two kinds of objects."""
    await bound(market, "one", "two")
    first = (await market.at("provider").resource(EXPORTS).get("widgets"))["status"]["identityHash"]
    second = (await market.export("other"))["status"]["identityHash"]
    await market.workspace("three")
    await market.bind("three", export="other")
    for name in ("one", "two", "three"):
        await market.at(name).resource(WIDGETS).create(named(WIDGETS, "Widget", f"of-{name}"), namespace="default")
    everywhere = market.server.client.cluster("*")
    for identity, names in ((first, {"of-one", "of-two"}), (second, {"of-three"})):
        found = (await everywhere.resource(GVR("example.com", "v1", f"widgets:{identity}")).list()).items
        assert {meta.name(obj) for obj in found} == names


async def test_fields_that_a_schema_makes_selectable_select(market: Market) -> None:
    """Source: kcp test/e2e/apibinding/apibinding_fieldselector_test.go."""
    provider, one = market.at("provider"), await market.workspace("one")
    spec = {"type": "object", "properties": {"color": {"type": "string"}}}
    openapi = {"type": "object", "properties": {"spec": spec}}
    version = {"name": "v1", "served": True, "storage": True, "schema": openapi, "selectableFields": [{"jsonPath": ".spec.color"}]}
    names = {"plural": "shirts", "kind": "Shirt", "singular": "shirt", "listKind": "ShirtList"}
    schema = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    await provider.resource(SCHEMAS).create(named(SCHEMAS, "APIResourceSchema", "v1.shirts.example.com", schema))
    await market.export("shirts", resources=[{"group": "example.com", "name": "shirts", "schema": "v1.shirts.example.com"}])
    await market.bind("one", export="shirts")
    shirts = one.resource(GVR("example.com", "v1", "shirts"))
    for name, color in (("a", "blue"), ("b", "red"), ("c", "blue")):
        await shirts.create(named(shirts.gvr, "Shirt", name, {"color": color}), namespace="default")
    assert [meta.name(shirt) for shirt in (await shirts.list(field_selector="spec.color=blue")).items] == ["a", "c"]
    with pytest.raises(BadRequest, match="field label not supported"):
        await shirts.list(field_selector="status.result=won")
