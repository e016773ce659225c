"""Replicas over real (simulated) clusters as a Placement asks for them, and how they follow its edits."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.behaviour.tmc.world import CLOCK, DEPLOYMENTS, running, until

from kcp.aio.clock import rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.sim.cluster import SimCluster
from kcp.tmc.model.kinds import NAMESPACES, PLACEMENTS, SYNC_TARGETS
from kcp.tmc.model.names import HANDOVER_ANNOTATION, UNPLACED_ANNOTATION, sync_target_key
from kcp.tmc.model.shifts import Shift


async def test_replicas_follow_the_weights_and_bounds_of_the_placement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.deploy("default", "web", 4)

        async def below() -> dict[str, int]:
            return await world.below("web")

        await until(below, lambda found: found == {"east": 2, "west": 2})
        placements, deployments = world.client.resource(PLACEMENTS), world.client.resource(DEPLOYMENTS)
        await placements.patch("all", {"spec": {"clusterRules": [{"clusterNames": ["east"], "weight": 3}, {"weight": 1}]}})
        await until(below, lambda found: found == {"east": 3, "west": 1})
        await placements.patch("all", {"spec": {"replicas": {"maxPerCluster": 2}}})
        await until(below, lambda found: found == {"east": 2, "west": 2})
        await deployments.patch("web", {"spec": {"replicas": 6}}, namespace="default")
        told = await until(
            lambda: deployments.get("web", namespace="default"), lambda found: UNPLACED_ANNOTATION in meta.annotations(found)
        )
        assert meta.annotations(told)[UNPLACED_ANNOTATION].startswith("2 of 6")
        assert await below() == {"east": 2, "west": 2}
        await placements.patch("all", {"spec": {"replicas": {"division": "Duplicated", "maxPerCluster": None}, "clusterRules": None}})
        await until(below, lambda found: found == {"east": 6, "west": 6})


STATEFUL_SETS = GVR("apps", "v1", "statefulsets")


async def ready_in(cluster: SimCluster, name: str) -> int | None:
    """Ready replicas of the cluster's copies; None: there is none."""
    listed = [obj for gvr in (DEPLOYMENTS, STATEFUL_SETS) for obj in (await cluster.client().resource(gvr).list()).items]
    found = [meta.nested(obj, "status", "readyReplicas", default=0) for obj in listed if meta.name(obj) == name]
    return sum(found) if found else None


@pytest.mark.parametrize(("gvr", "kind"), [(DEPLOYMENTS, "Deployment"), (STATEFUL_SETS, "StatefulSet")])
async def test_a_drained_cluster_keeps_its_copies_until_the_others_are_ready(
    gvr: GVR, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.client.resource(PLACEMENTS).patch("all", {"spec": {"locationSelectors": [{"matchLabels": {"here": "yes"}}]}})
        targets = world.client.resource(SYNC_TARGETS)
        await targets.patch("east", {"metadata": {"labels": {"here": "yes"}}})
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
        named = {"serviceName": "web"} if kind == "StatefulSet" else {}
        spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template, **named}
        await world.create(gvr, kind, "web", namespace="default", spec=spec)
        above = world.client.resource(gvr)
        await until(
            lambda: above.get("web", namespace="default"), lambda found: meta.nested(found, "status", "readyReplicas", default=0) == 2
        )
        east = sync_target_key(meta.cluster(await targets.get("east")), "east")
        held_back: list[int | None] = []

        async def moved() -> bool:
            if await ready_in(world.clusters["east"], "web") is not None:
                return False
            held_back.append(await ready_in(world.clusters["west"], "web"))
            return True

        await targets.patch("west", {"metadata": {"labels": {"here": "yes"}}})
        await targets.patch("east", {"spec": {"evictAfter": rfc3339(CLOCK.now())}})
        await until(moved, bool)
        assert held_back == [2], "the old copy went before the new one was ready"
        namespace = await world.client.resource(NAMESPACES).get("default")
        assert HANDOVER_ANNOTATION + east not in meta.annotations(namespace)


async def test_on_request_replicas_leave_a_full_cluster_once_the_others_are_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        placements, deployments = world.client.resource(PLACEMENTS), world.client.resource(DEPLOYMENTS)
        await placements.patch("all", {"spec": {"replicas": {"preference": "Capacity"}}})
        container = {"name": "web", "image": "nginx", "resources": {"requests": {"cpu": "1"}}}
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
        spec = {"replicas": 4, "selector": {"matchLabels": {"app": "web"}}, "template": template}
        await world.spread()
        await world.create(DEPLOYMENTS, "Deployment", "web", namespace="default", spec=spec)
        await world.settle("default", "web", 4)
        before = await world.below("web")
        full = max(before, key=lambda name: before[name])
        used = {name: 10 if name == full else 2 for name in before}
        sums: list[tuple[int, int]] = []

        async def moved() -> str:
            obj = await deployments.get("web", namespace="default")
            ready = [await ready_in(cluster, "web") or 0 for cluster in world.clusters.values()]
            sums.append((sum((await world.below("web")).values()), sum(ready)))
            shift = Shift.of(obj)
            if shift is None:  # the usage may not have been heard of when it was asked for
                await world.report(**used)
                await world.rebalance()
            return str(shift.stage) if shift is not None else ""

        await until(moved, lambda stage: stage == "Done")
        await world.settle("default", "web", 4)
        after = await world.below("web")
        assert after[full] < before[full]
        assert min(ready for _, ready in sums) >= 4, "an old replica went before its new one was ready"
        assert max(asked for asked, _ in sums) <= 4 + before[full]
        assert len((await placements.get("all"))["status"]["recentMoves"]) == 1
