"""Exports and bindings survive any crash point: the n-th write of the controllers fails, for every n, its request or its answer lost.

Each round is a whole life: an export with a claim is made, bound, used by both sides, its claim withdrawn, the binding deleted with what it
holds, then the export. Whatever write was lost, the life takes its course, and nothing is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.exports.market import CONFIG_MAP_CLAIM, CONFIG_MAPS, WIDGETS, Market, accepted, config_map, is_settled, named
from tests.faults import FailingTransport

from kcp.aio.clock import SystemClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound, StatusError
from kcp.client.transport import Transport
from kcp.exports.claims import CLAIM_LABEL
from kcp.exports.endpointslices import SLICES
from kcp.exports.keptschemas import BOUND_CRDS
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS
from kcp.server.compose import SYSTEM, run_server
from kcp.server.options import Options


@asynccontextmanager
async def running(tmp_path: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Market, FailingTransport]]:
    """A server whose controllers meet faults, and the market on it, which meets none."""
    async with run_server(Options(root_directory=tmp_path / ".kcp", in_memory=True), clock=SystemClock(), with_socket=False) as server:
        market = Market(server)
        await market.open()
        await market.workspace("one")
        yield market, _interpose(server.client.transport, patch)


def _interpose(transport: Transport, patch: pytest.MonkeyPatch) -> FailingTransport:
    class Original:
        request = staticmethod(transport.request)
        stream = staticmethod(transport.stream)
        close = staticmethod(transport.close)

    failing = FailingTransport(Original())
    patch.setattr(transport, "request", failing.request)
    return failing


async def life_of_a_binding(market: Market, name: str) -> None:
    await market.export(name, claims=[CONFIG_MAP_CLAIM])
    one, provider = market.at("one"), market.at("provider")
    maps, widgets, bindings = one.resource(CONFIG_MAPS), one.resource(WIDGETS), one.resource(BINDINGS)
    await maps.create(config_map(name), namespace="default")
    await market.bind("one", accepted(CONFIG_MAP_CLAIM), export=name)
    held = named(WIDGETS, "Widget", name)
    held["metadata"]["finalizers"] = ["example.com/held"]
    await widgets.create(held, namespace="default")
    view = market.view("one", export=name)
    assert name in {meta.name(obj) for obj in (await view.resource(CONFIG_MAPS).list()).items}
    await market.until(provider.resource(SLICES), name, lambda s: bool(meta.nested(s, "status", "endpoints")), "an endpoint")
    await bindings.patch(name, {"spec": {"permissionClaims": [accepted(CONFIG_MAP_CLAIM, state="Rejected")]}})
    await market.until(bindings, name, lambda b: "appliedPermissionClaims" not in b["status"] and is_settled(b), "no claim")
    assert not any(key.startswith(CLAIM_LABEL) for obj in (await maps.list()).items for key in meta.labels(obj))
    await bindings.delete(name)
    await market.until(bindings, name, lambda b: conditions.is_false(b, "BindingResourceDeleteSuccess"), "a reason")
    await widgets.patch(name, {"metadata": {"finalizers": None}}, namespace="default")
    await market.gone(bindings, name)
    with pytest.raises(NotFound):
        await widgets.list()
    await maps.delete(name, namespace="default")
    await provider.resource(EXPORTS).delete(name)
    await market.gone(provider.resource(SLICES), name)


async def life_of_a_schema(market: Market, name: str) -> None:
    """A schema is deleted while it is bound, comes again under its name, and in the end goes for good."""
    schemas, schema = market.at("provider").resource(SCHEMAS), f"{name}.widgets.example.com"
    spec = (await schemas.get("v1.widgets.example.com"))["spec"]
    await schemas.create(named(SCHEMAS, "APIResourceSchema", schema, spec))
    await market.export(name, resources=[{"group": "example.com", "name": "widgets", "schema": schema}])
    await market.bind("one", export=name)
    one = market.at("one")
    widgets, bindings = one.resource(WIDGETS), one.resource(BINDINGS)
    await widgets.create(named(WIDGETS, "Widget", "w"), namespace="default")
    await repeated(lambda: schemas.delete(schema))
    assert len((await widgets.list()).items) == 1
    uid = meta.uid(await schemas.create(named(SCHEMAS, "APIResourceSchema", schema, spec)))
    await market.until(bindings, name, lambda b: bool(b["status"]["boundResources"][0]["schema"]["UID"] == uid), "the new schema")
    await bindings.delete(name)
    await market.gone(bindings, name)
    await repeated(lambda: schemas.delete(schema))
    await market.at("provider").resource(EXPORTS).delete(name)
    async with asyncio.timeout(10):
        while (await market.as_user(SYSTEM).cluster(BOUND_CRDS).resource(SCHEMAS).list()).items:
            await market.server.clock.sleep(0.02)


async def repeated(delete: Callable[[], Awaitable[object]]) -> None:
    """As a user repeats what ended in an error; gone is gone."""
    for _ in range(2):
        try:
            await delete()
        except NotFound:
            return
        except StatusError:
            continue
        return


@pytest.mark.parametrize("life", [life_of_a_binding, life_of_a_schema])
@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_every_lost_write_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: Any, life: Callable[[Market, str], Awaitable[None]]
) -> None:
    async with running(tmp_path, monkeypatch) as (market, faults):
        await life(market, "count")
        writes = faults.writes
        assert writes > 5
        for n in range(1, writes + 1):
            faults.writes, faults.n, faults.lost, faults.written = 0, n, lost, []
            await life(market, f"life-{n}")
