"""Sheriffs of a provider's workspace, which its consumers read: what is defined, cached and published, under the current and former kinds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.behaviour.exports.market import Market, named

from kcp.aio.clock import SystemClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.exports.cached.names import CURRENT, CachedKinds
from kcp.exports.names import EXPORTS, SCHEMAS
from kcp.server.compose import run_server
from kcp.server.options import Options
from kcp.tenancy import kinds as tenancy_kinds

SHERIFFS = GVR("wildwest.dev", "v1alpha1", "sheriffs")
CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
NAME = "sheriffs.wildwest.dev"
_TEXT = {"type": "string"}
_OPENAPI = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "properties": {"intent": _TEXT}},
        "status": {"type": "object", "properties": {"result": _TEXT}},
    },
}
_NAMES = {"plural": "sheriffs", "kind": "Sheriff", "singular": "sheriff", "listKind": "SheriffList"}


def crd(scope: str = "Cluster") -> JSONObject:
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": _OPENAPI}, "subresources": {"status": {}}}
    return named(CRDS, "CustomResourceDefinition", NAME, {"group": "wildwest.dev", "names": _NAMES, "scope": scope, "versions": [version]})


def sheriff(name: str, **labels: str) -> JSONObject:
    made = named(SHERIFFS, "Sheriff", name, {"intent": f"{name}-spec"})
    return {**made, "metadata": {"name": name, **({"labels": labels} if labels else {})}}


def cached(kinds: CachedKinds = CURRENT, **spec: Any) -> JSONObject:
    wanted = {"group": "wildwest.dev", "version": "v1alpha1", "resource": "sheriffs", **spec}
    return named(kinds.resources, kinds.kind, NAME, wanted)


def slice_of(path: str = "", *, name: str = NAME, of: str = NAME, export: str = "sheriffs", kinds: CachedKinds = CURRENT) -> JSONObject:
    spec = {kinds.field: {"name": of, **({"path": path} if path else {})}, **({"export": {"name": export}} if kinds.names_export else {})}
    return named(kinds.slices, kinds.slice_kind, name, spec)


@asynccontextmanager
async def open_market(root: Path) -> AsyncIterator[Market]:
    options = Options(root_directory=root, in_memory=True, cache_apis=True)
    async with run_server(options, clock=SystemClock(), with_socket=False) as running:
        made = Market(running)
        await made.open()
        yield made


async def define(market: Market, workspace: str = "provider", scope: str = "Cluster") -> None:
    crds = market.at(workspace).resource(CRDS)
    await crds.create(crd(scope))
    await market.until(crds, NAME, lambda c: conditions.is_true(c, "Established"), "the CRD")


async def cache(market: Market, kinds: CachedKinds = CURRENT, **spec: Any) -> JSONObject:
    resources = market.at("provider").resource(kinds.resources)
    await resources.create(cached(kinds, **spec))
    return await market.until(resources, NAME, lambda c: conditions.is_true(c, "ReplicationStarted"), "the cached resource")


async def publish(market: Market, identity: str, kinds: CachedKinds = CURRENT) -> None:
    """The export of sheriffs, with its slice."""
    provider = market.at("provider")
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": _OPENAPI, "subresources": {"status": {}}}
    spec = {"group": "wildwest.dev", "names": _NAMES, "scope": "Cluster", "versions": [version]}
    await provider.resource(SCHEMAS).create(named(SCHEMAS, "APIResourceSchema", f"today.{NAME}", spec))
    reference = {"apiGroup": "cache.kcp.io", "kind": kinds.slice_kind, "name": NAME}
    virtual = {"reference": reference, "identityHash": identity}
    resources = [{"group": "wildwest.dev", "name": "sheriffs", "schema": f"today.{NAME}", "storage": {"virtual": virtual}}]
    await provider.resource(EXPORTS).create(named(EXPORTS, "APIExport", "sheriffs", {"resources": resources}))
    slices = provider.resource(kinds.slices)
    judged = ["ResourceValid"]
    if kinds.names_export:
        await slices.create(slice_of())
        judged.append("APIExportValid")
    await market.until(slices, NAME, lambda s: all(conditions.is_true(s, kind) for kind in judged), "the slice")


async def open_all(market: Market, *consumers: str, kinds: CachedKinds = CURRENT, **spec: Any) -> None:
    await define(market)
    held = await cache(market, kinds, **spec)
    await publish(market, held["status"]["identityHash"], kinds)
    for consumer in consumers:
        await market.workspace(consumer)
        await market.bind(consumer, export="sheriffs")


async def cluster_of(market: Market, workspace: str) -> str:
    return meta.cluster(await market.at(workspace).resource(tenancy_kinds.LOGICAL_CLUSTERS).get("cluster"))
