"""What becomes of bound APIs when what they came from goes: the schema, the export, the provider's whole workspace; across restarts.

Source: kcp pkg/reconciler/apis/{apibinding,crdcleanup} (bound CRDs live as long as bindings), test/e2e/apibinding/apibinding_deletion_test.go,
apibinding_missing_bound_crd_test.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.behaviour.exports.market import WIDGETS, Market, named

from kcp.aio.clock import SystemClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound
from kcp.client.rest import Client
from kcp.exports.keptschemas import BOUND_CRDS
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS
from kcp.server.compose import run_server
from kcp.server.options import Options
from kcp.tenancy import kinds

SCHEMA = "v1.widgets.example.com"


@asynccontextmanager
async def served(root: Path, *, is_new: bool = False) -> AsyncIterator[Market]:
    async with run_server(Options(root_directory=root), clock=SystemClock(), with_socket=False) as running:
        market = Market(running)
        if is_new:
            await market.open()
        yield market


def kept(market: Market) -> Client:
    return market.server.client.cluster(BOUND_CRDS)


async def until_nothing_is_kept(market: Market) -> None:
    async with asyncio.timeout(10):
        while (await kept(market).resource(SCHEMAS).list()).items:
            await market.server.clock.sleep(0.02)


async def test_a_bound_api_outlives_its_schema_and_its_export_and_goes_with_its_binding(tmp_path: Path) -> None:
    async with served(tmp_path / ".kcp", is_new=True) as market:
        await market.export()
        one = await market.workspace("one")
        await market.bind("one")
        await one.resource(WIDGETS).create(named(WIDGETS, "Widget", "w", {"n": 1}), namespace="default")
        provider = market.at("provider")
        await provider.resource(SCHEMAS).delete(SCHEMA)
        await provider.resource(EXPORTS).delete("widgets")
        assert (await one.resource(WIDGETS).get("w", namespace="default"))["spec"] == {"n": 1}
    async with served(tmp_path / ".kcp") as market:
        one = market.at("one")
        widgets, bindings = one.resource(WIDGETS), one.resource(BINDINGS)
        assert (await widgets.get("w", namespace="default"))["spec"] == {"n": 1}
        await widgets.create(named(WIDGETS, "Widget", "v", {"n": 2, "pruned": True}), namespace="default")
        assert [obj["spec"] for obj in (await widgets.list()).items] == [{"n": 2}, {"n": 1}]
        assert conditions.is_true(await bindings.get("widgets"), "Ready")
        assert [meta.annotations(s)["apis.kcp.io/schema-name"] for s in (await kept(market).resource(SCHEMAS).list()).items] == [SCHEMA]
        await bindings.delete("widgets")
        await market.gone(bindings, "widgets")
        with pytest.raises(NotFound):
            await widgets.list()
        await until_nothing_is_kept(market)


async def test_a_schema_that_nobody_binds_is_not_kept(market: Market) -> None:
    await market.export()
    await market.at("provider").resource(SCHEMAS).delete(SCHEMA)
    assert (await kept(market).resource(SCHEMAS).list()).items == []


async def test_a_schema_made_anew_under_its_name_takes_the_place_of_the_old_one(market: Market) -> None:
    await market.export()
    one = await market.workspace("one")
    await market.bind("one")
    widgets, bindings, schemas = one.resource(WIDGETS), one.resource(BINDINGS), market.at("provider").resource(SCHEMAS)
    await widgets.create(named(WIDGETS, "Widget", "w", {"n": 1}), namespace="default")
    old = await schemas.get(SCHEMA)
    await schemas.delete(SCHEMA)
    blocked = await market.until(bindings, "widgets", lambda b: conditions.is_false(b, "APIExportValid"), "a condition")
    assert SCHEMA in (conditions.get(blocked, "APIExportValid") or {})["message"]
    assert conditions.is_true(blocked, "Ready")
    spec = meta.copy_json(old["spec"])
    spec["versions"][0]["schema"]["properties"]["spec"]["properties"]["color"] = {"type": "string", "default": "red"}
    made = await schemas.create(named(SCHEMAS, "APIResourceSchema", SCHEMA, spec))
    new = meta.uid(made)
    await market.until(bindings, "widgets", lambda b: bool(b["status"]["boundResources"][0]["schema"]["UID"] == new), "the new schema")
    assert (await widgets.get("w", namespace="default"))["spec"] == {"n": 1, "color": "red"}
    await until_nothing_is_kept(market)


async def test_a_providers_workspace_goes_and_its_consumers_stay(market: Market) -> None:
    await market.export()
    one = await market.workspace("one")
    await market.bind("one")
    widgets = one.resource(WIDGETS)
    await widgets.create(named(WIDGETS, "Widget", "w", {"n": 1}), namespace="default")
    workspaces = market.server.client.cluster("root").resource(kinds.WORKSPACES)
    await workspaces.delete("provider")
    await market.gone(workspaces, "provider")
    assert (await widgets.get("w", namespace="default"))["spec"] == {"n": 1}
    bindings = one.resource(BINDINGS)
    found = await market.until(bindings, "widgets", lambda b: conditions.is_false(b, "APIExportValid"), "a condition")
    assert (conditions.get(found, "APIExportValid") or {})["reason"] == "APIExportNotFound"
    assert conditions.is_true(found, "Ready")
    await workspaces.delete("one")
    await market.gone(workspaces, "one")
    await until_nothing_is_kept(market)


async def test_a_bound_resource_without_a_schema_holds_up_nobody(market: Market) -> None:
    await market.export()
    await market.export("second", resources=[])
    one = await market.workspace("one")
    bound = await market.bind("one")
    bindings = one.resource(BINDINGS)
    stale = {"name": "v1.widgets.stale.io", "UID": "00000000-0000-0000-0000-000000000000", "identityHash": "abc"}
    resources = [*bound["status"]["boundResources"], {"group": "stale.io", "resource": "widgets", "schema": stale}]
    await bindings.patch("widgets", {"status": {"boundResources": resources}}, subresource="status")
    await market.bind("one", export="second")
    assert {r.gvr.group for r in await one.discover()} >= {"example.com"}
    found = await bindings.get("widgets")
    assert conditions.is_true(found, "Ready")
    assert len(found["status"]["boundResources"]) == 2
    for name in ("widgets", "second"):
        await bindings.delete(name)
        await market.gone(bindings, name)
