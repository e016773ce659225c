"""An API that several clusters have and no export offers: negotiated among them, published to the workspace, synced once it is bound."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.test_api_imports import QUEUES, crd, entry
from tests.behaviour.tmc.world import QUIET, World, running, until

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.exports.names import BINDINGS, EXPORTS
from kcp.tmc.apis.imports import IMPORTS, NEGOTIATED
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.syncer.importer import CRDS

NAME = "queues.v1.demo.example.io"
ASKING = replace(QUIET, wanted=("queues.demo.example.io",))


async def negotiated(world: World) -> JSONObject:
    found = (await world.client.resource(NEGOTIATED).list()).items
    return next((obj for obj in found if meta.name(obj) == NAME), {})


async def compatible(world: World, target: str) -> dict[str, Any]:
    found = {meta.name(i): i for i in (await world.client.resource(IMPORTS).list()).items}
    held = found.get(f"queues.{target}.v1.demo.example.io", {})
    return dict(conditions.get(held, "Compatible") or {}) if held else {}


def length(obj: JSONObject) -> JSONObject:
    schema: JSONObject = meta.nested(obj, "spec", "openAPIV3Schema", "properties", "spec", "properties", "length", default={})
    return schema


async def test_what_all_clusters_take_is_published_and_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, config=ASKING) as world:
        await world.clusters["east"].client().resource(CRDS).create(crd({"type": "integer", "maximum": 10}))
        await world.clusters["west"].client().resource(CRDS).create(crd({"type": "integer", "minimum": 1}))
        found = await until(functools.partial(negotiated, world), lambda obj: len(length(obj)) == 3)
        assert length(found) == {"type": "integer", "maximum": 10, "minimum": 1}
        exports = [{"path": "root:compute", "export": "kubernetes"}, {"export": "kubernetes"}]
        for target in world.clusters:
            await world.client.resource(SYNC_TARGETS).patch(target, {"spec": {"supportedAPIExports": exports}})
        await until(functools.partial(negotiated, world), lambda obj: conditions.is_true(obj, "Published"))
        await world.client.resource(EXPORTS).get("kubernetes")
        await world.create(BINDINGS, "APIBinding", "own", spec={"reference": {"export": {"name": "kubernetes"}}})
        await until(functools.partial(entry, world, "west"), lambda e: e.get("state") == "Accepted")
        await until(lambda: world.client.discover(), lambda served: QUEUES in {r.gvr for r in served})
        await world.create(QUEUES, "Queue", "jobs", namespace="default", spec={"length": 3})
        for cluster in world.clusters.values():
            listed = functools.partial(cluster.client().resource(QUEUES).list)
            await until(listed, lambda queues: [meta.name(q) for q in queues.items] == ["jobs"])


async def test_a_cluster_that_means_something_else_is_told_so_and_leaves_with_its_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, monkeypatch, config=ASKING) as world:
        await world.clusters["east"].client().resource(CRDS).create(crd({"type": "integer"}))
        await until(functools.partial(compatible, world, "east"), lambda c: c.get("status") == "True")
        await world.clusters["west"].client().resource(CRDS).create(crd({"type": "string"}))
        told = await until(functools.partial(compatible, world, "west"), lambda c: c.get("status") == "False")
        assert (told["reason"], told["message"]) == (
            "IncompatibleSchema", ".spec.length: is integer in one cluster and string in another",
        )  # fmt: skip
        assert length(await negotiated(world)) == {"type": "integer"}
        for cluster in world.clusters.values():
            await cluster.client().resource(CRDS).delete("queues.demo.example.io")
        await until(functools.partial(negotiated, world), lambda obj: obj == {})
