"""What runs in the clusters, shown in the workspace: pods of synced workloads, volumes of their claims, and whatever bears the label."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, QUIET, World, running, until

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.model.names import STATE_LABEL, STATE_UPSYNC

PODS, VOLUMES, CLAIMS, ENDPOINTS = (GVR("", "v1", name) for name in ("pods", "persistentvolumes", "persistentvolumeclaims", "endpoints"))
UPSYNCING = replace(QUIET, upsync=("pods", "persistentvolumes", "endpoints"))


async def pods_above(world: World) -> dict[str, JSONObject]:
    return {meta.name(pod): pod for pod in (await world.client.resource(PODS).list(namespace="default")).items}


async def pods_below(world: World) -> dict[str, JSONObject]:
    found = [pod for c in world.clusters.values() for pod in (await c.client().resource(PODS).list()).items]
    return {meta.name(pod): pod for pod in found if any(label.startswith(STATE_LABEL) for label in meta.labels(pod))}


async def same(world: World) -> tuple[dict[str, str], dict[str, str]]:
    """Pod → phase, in the workspace and in the clusters."""
    above, below = await pods_above(world), await pods_below(world)
    return tuple({n: meta.nested(p, "status", "phase", default="") for n, p in found.items()} for found in (above, below))  # type: ignore[return-value]


async def test_pods_of_synced_workloads_are_shown_while_they_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, config=UPSYNCING) as world:
        await world.deploy("default", "web", 4)
        await until(functools.partial(same, world), lambda f: f[0] == f[1] and list(f[0].values()) == ["Running"] * 4)
        shown = next(iter((await pods_above(world)).values()))
        assert shown["spec"]["nodeName"]
        assert meta.owner_references(shown) == []
        await world.client.resource(DEPLOYMENTS).patch("web", {"spec": {"replicas": 2}}, namespace="default")
        await until(functools.partial(same, world), lambda f: f[0] == f[1] and len(f[0]) == 2)
        await world.client.resource(DEPLOYMENTS).delete("web", namespace="default")
        await world.gone(DEPLOYMENTS, "web", "default")
        await until(functools.partial(same, world), lambda f: f == ({}, {}))


async def test_a_change_below_is_seen_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, config=UPSYNCING) as world:
        await world.deploy("default", "web", 2)
        await until(functools.partial(same, world), lambda f: f[0] == f[1] and list(f[0].values()) == ["Running"] * 2)
        name, pod = next(iter((await pods_below(world)).items()))
        for cluster in world.clusters.values():
            if name in {meta.name(p) for p in (await cluster.client().resource(PODS).list()).items}:
                patch = {"metadata": {"annotations": {"seen": "yes"}}}
                await cluster.client().resource(PODS).patch(name, patch, namespace=meta.namespace(pod))
        await until(functools.partial(pods_above, world), lambda found: meta.annotations(found[name]).get("seen") == "yes")


async def test_without_being_asked_a_syncer_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        assert await same(world) == ({}, {})


async def test_any_chosen_kind_is_shown_that_bears_the_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, config=UPSYNCING) as world:
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        east = world.clusters["east"].client()
        copy = next(d for d in (await east.resource(DEPLOYMENTS).list()).items if meta.name(d) == "web")
        key = (await world.client.resource(SYNC_TARGETS).get("east"))["metadata"]["labels"]["internal.workload.kcp.io/key"]
        subsets = [{"addresses": [{"ip": "10.0.0.7"}], "ports": [{"port": 80}]}]
        made = {
            "metadata": {"name": "db", "namespace": meta.namespace(copy), "labels": {STATE_LABEL + key: STATE_UPSYNC}},
            "subsets": subsets,
        }
        await east.resource(ENDPOINTS).create({"apiVersion": "v1", "kind": "Endpoints", **made})

        async def shown() -> list[str]:
            return [meta.name(e) for e in (await world.client.resource(ENDPOINTS).list(namespace="default")).items]

        await until(shown, lambda names: names == ["db"])
        gone = {"metadata": {"labels": {STATE_LABEL + key: None}}}
        await east.resource(ENDPOINTS).patch("db", gone, namespace=meta.namespace(copy))
        await until(shown, lambda names: names == [])


async def test_volumes_of_claims_are_shown_with_their_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, config=UPSYNCING) as world:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""}
        await world.create(CLAIMS, "PersistentVolumeClaim", "data", namespace="default", spec=spec)
        for cluster in world.clusters.values():
            client = cluster.client()
            listed = functools.partial(client.resource(CLAIMS).list)
            claim = (await until(listed, lambda found: bool(found.items))).items[0]
            volume = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"},
                      "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "data",
                                   "namespace": meta.namespace(claim), "uid": meta.uid(claim)}}  # fmt: skip
            metadata = {"name": f"disk-{cluster.name}"}
            await client.resource(VOLUMES).create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": volume})
        find = functools.partial(world.client.resource(VOLUMES).list)
        found = await until(find, lambda volumes: {meta.name(v) for v in volumes.items} == {"disk-east", "disk-west"})
        assert {v["spec"]["claimRef"]["namespace"] for v in found.items} == {"default"}
        assert all("uid" not in v["spec"]["claimRef"] for v in found.items)
