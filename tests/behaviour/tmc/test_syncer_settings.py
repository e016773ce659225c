"""What a syncer is told, seen from the user's object: which namespaces and objects it takes, looking again, how much at once."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, QUIET, World, running, until

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.transport import RawRequest, RawResponse, Transport
from kcp.controller.controller import Controller
from kcp.controller.informer import Informer
from kcp.tmc.model.kinds import NAMESPACES, SYNC_TARGETS
from kcp.tmc.syncer.importer import CRDS
from kcp.tmc.syncer.settings import Filters

CONFIG_MAPS = GVR("", "v1", "configmaps")


async def synced(world: World, namespace: str, name: str) -> Mapping[str, Any]:
    return conditions.get(await world.client.resource(DEPLOYMENTS).get(name, namespace=namespace), "Synced") or {}


async def test_what_a_syncer_leaves_out_says_so_and_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(QUIET, filters=Filters(namespaces=("default", "team-*"), excluded_namespaces=("team-b",)))
    async with running(tmp_path, monkeypatch, config=config) as world:
        for namespace in ("team-a", "team-b", "other"):
            await world.create(NAMESPACES, "Namespace", namespace)
            await world.deploy(namespace, f"in-{namespace}", 2)
        await world.settle("team-a", "in-team-a", 2)
        for namespace, flag in (("team-b", "--exclude-namespaces"), ("other", "--sync-namespaces")):
            told = await until(
                functools.partial(synced, world, namespace, f"in-{namespace}"), lambda c: c.get("reason") == "PlacementPolicy"
            )
            assert flag in told["message"]
            assert await world.below(f"in-{namespace}") == {}
            await world.client.resource(DEPLOYMENTS).delete(f"in-{namespace}", namespace=namespace)
            await world.gone(DEPLOYMENTS, f"in-{namespace}", namespace)


class Counting:
    """Counts how many writes of one resource are under way at once."""

    def __init__(self, inner: Transport, plural: str) -> None:
        self._inner, self._plural = inner, plural
        self.at_once = self.most = 0

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        return self._inner.stream(request)

    async def close(self) -> None:
        await self._inner.close()

    async def request(self, request: RawRequest) -> RawResponse:
        if request.method != "PATCH" or f"/{self._plural}/" not in request.path:
            return await self._inner.request(request)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(0)
            return await self._inner.request(request)
        finally:
            self.at_once -= 1


@pytest.mark.parametrize(("limit", "workers"), [(1, 8), (0, 8)])
async def test_no_more_objects_are_in_work_at_once_than_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, workers: int
) -> None:
    made: list[Counting] = []

    def through(inner: Transport) -> Transport:
        made.append(Counting(inner, "configmaps"))
        return made[0]

    config = replace(QUIET, workers=workers, max_concurrent_syncs=limit)
    async with running(tmp_path, monkeypatch, through=through, config=config) as world:
        await asyncio.gather(*(world.create(CONFIG_MAPS, "ConfigMap", f"c{n}", namespace="default", data={"a": "b"}) for n in range(20)))

        async def copies() -> int:
            found = (await world.clusters["east"].client().resource(CONFIG_MAPS).list()).items
            return sum(meta.name(m).startswith("c") and meta.name(m)[1:].isdigit() for m in found)

        await until(copies, lambda count: count == 20)
        assert made[0].most == limit if limit else made[0].most > 1


async def test_the_target_shows_what_its_cluster_has_and_what_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, config=replace(QUIET, heartbeat_period_s=0.1)) as world:
        targets = world.client.resource(SYNC_TARGETS)

        async def status() -> JSONObject:
            return dict((await targets.get("east")).get("status") or {})

        before = await until(status, lambda s: "allocatable" in s)
        assert before["clusterInfo"]["nodes"] == 1
        assert before["heartbeat"]["count"] >= 1
        await world.deploy("default", "web", 4)
        await world.settle("default", "web", 4)
        pods = int(before["usage"]["pods"]) + 2
        await until(status, lambda s: int(s["usage"]["pods"]) == pods)


async def test_the_resync_makes_good_an_event_that_was_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--resync-period: the mirrors know of the change, and nobody was told."""
    missing: list[str] = []
    watch = Controller.watch

    def hard_of_hearing(controller: Controller[Any], informer: Informer, names: Any = None) -> None:
        def heard(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[Any]:
            if missing and controller.name == "syncer-spec-deployments.apps":
                missing.append(key.name)
                return ()
            found: Iterable[Any] = names(key, old, new) if names is not None else (key,)
            return found

        watch(controller, informer, heard)

    monkeypatch.setattr(Controller, "watch", hard_of_hearing)
    async with running(tmp_path, monkeypatch, config=replace(QUIET, resync_period_s=3.0)) as world:
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        missing.append("from now on")
        await world.client.resource(DEPLOYMENTS).patch("web", {"spec": {"replicas": 4}}, namespace="default")
        await world.settle("default", "web", 4)
        assert "web" in missing


async def test_what_nodes_really_use_is_shown_where_the_cluster_measures_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, config=replace(QUIET, heartbeat_period_s=0.1)) as world:
        cluster, targets = world.clusters["east"].client(), world.client.resource(SYNC_TARGETS)

        async def usage() -> JSONObject:
            return dict(meta.nested(await targets.get("east"), "status", "clusterInfo", "usage", default={}))

        await until(lambda: targets.get("east"), lambda t: "clusterInfo" in t["status"])
        assert await usage() == {}
        metrics = GVR("metrics.k8s.io", "v1beta1", "nodes")
        names = {"plural": "nodes", "singular": "node", "kind": "NodeMetrics", "listKind": "NodeMetricsList"}
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        version = {"name": "v1beta1", "served": True, "storage": True, "schema": schema}
        await cluster.resource(CRDS).create({
            "apiVersion": CRDS.api_version, "kind": "CustomResourceDefinition",
            "metadata": {"name": "nodes.metrics.k8s.io", "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/metrics"}},
            "spec": {"group": "metrics.k8s.io", "names": names, "scope": "Cluster", "versions": [version]},
        })  # fmt: skip
        await until(lambda: cluster.resource(CRDS).get("nodes.metrics.k8s.io"), lambda c: conditions.is_true(c, "Established"))
        for name, cpu in (("one", "250m"), ("two", "1500000n")):
            measured = {"apiVersion": metrics.api_version, "kind": "NodeMetrics", "metadata": {"name": name}, "window": "30s"}
            await cluster.resource(metrics).create({**measured, "usage": {"cpu": cpu, "memory": "512Mi"}})
        await until(usage, lambda found: found == {"cpu": "251500u", "memory": "1Gi"})
