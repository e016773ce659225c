"""What `kubectl get` shows of clusters: Placements always, Deployments with `-o wide`. And that the plain table is everybody's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, World, running, until

from kcp.apimachinery import conditions
from kcp.apimachinery.gvk import GVR
from kcp.tmc.model.kinds import PLACEMENTS, SYNC_TARGETS

TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with running(tmp_path, monkeypatch) as world:
        await world.spread()
        await world.deploy("default", "shop", 5)
        await world.settle("default", "shop", 5)
        yield world


async def rows(world: World, gvr: GVR, namespace: str = "", *, wide: bool = False) -> tuple[list[str], list[list[Any]]]:
    """Names of the columns that kubectl shows, and what stands in them."""
    within = f"namespaces/{namespace}/" if namespace else ""
    answer = await world.client.raw("GET", f"/apis/{gvr.api_version}/{within}{gvr.resource}", headers=TABLE)
    table = json.loads(answer.body)
    shown = [i for i, column in enumerate(table["columnDefinitions"]) if wide or not column["priority"]]
    return [table["columnDefinitions"][i]["name"] for i in shown], [[row["cells"][i] for i in shown] for row in table["rows"]]


async def test_placements_show_all_their_clusters_with_replicas_and_freshness(world: World) -> None:
    names, [cells] = await rows(world, PLACEMENTS)
    assert names == ["Name", "Phase", "Ready", "Clusters", "Observed", "Reason", "Age"]
    told = dict(zip(names, cells, strict=True))
    assert (told["Name"], told["Phase"], told["Ready"], told["Clusters"]) == ("all", "Bound", "True", "east 3/3, west 2/2")
    assert told["Observed"].endswith("s")
    assert told["Reason"] == "<none>"


async def test_placements_say_why_clusters_were_not_taken(world: World) -> None:
    await world.client.resource(PLACEMENTS).patch("all", {"spec": {"numberOfClusters": 1}})
    await world.client.resource(SYNC_TARGETS).patch("west", {"spec": {"taints": [{"key": "off", "effect": "NoExecute"}]}})
    await until(lambda: rows(world, PLACEMENTS), lambda found: found[1][0][5] == "TaintNotTolerated: west")
    await world.client.resource(SYNC_TARGETS).patch("east", {"spec": {"taints": [{"key": "off", "effect": "NoExecute"}]}})
    wanted = ["False", "<none>", "<none>", "NoValidTarget; TaintNotTolerated: east, west"]
    await until(lambda: rows(world, PLACEMENTS), lambda found: found[1][0][2:6] == wanted)


async def test_plain_deployments_look_as_everywhere_and_wide_ones_show_their_clusters(world: World) -> None:
    names, [cells] = await rows(world, DEPLOYMENTS, "default")
    assert names == ["Name", "Ready", "Up-to-date", "Available", "Age"]
    assert cells[:4] == ["shop", "5/5", 5, 5]
    names, [cells] = await rows(world, DEPLOYMENTS, "default", wide=True)
    assert names[5:] == ["Containers", "Images", "Selector", "Clusters", "Unknown", "Observed", "Synced", "Reason"]
    assert cells[8:10] == ["east 3/3, west 2/2", "0"]
    assert cells[10].endswith("s")
    assert cells[11:] == ["True", "<none>"]


async def test_a_silent_cluster_is_not_counted_as_ready(world: World) -> None:
    targets = world.client.resource(SYNC_TARGETS)
    held = await targets.get("west")
    now = held["status"]["lastSyncerHeartbeatTime"]
    lost = conditions.build("SyncerReady", conditions.FALSE, reason="ClusterUnreachable", message="no answer", now=now)
    conditions.set_condition(held, lost)
    await targets.update(held, subresource="status")
    names, [cells] = await until(
        lambda: rows(world, DEPLOYMENTS, "default", wide=True), lambda found: "west ?/2" in found[1][0][8] and found[1][0][11] == "False"
    )
    told = dict(zip(names, cells, strict=True))
    assert (told["Clusters"], told["Unknown"]) == ("east 3/3, west ?/2", "2")
    assert told["Reason"].startswith("west: ")
    _, [cells] = await rows(world, PLACEMENTS)
    assert cells[3] == "east 3/3, west ?/2"


async def test_what_somebody_wrote_into_the_annotations_breaks_no_table(world: World) -> None:
    shop = await world.client.resource(DEPLOYMENTS).get("shop", namespace="default")
    marks = {name: "{" for name in shop["metadata"]["annotations"] if "kcp.io/" in name and "override" not in name}
    await world.client.resource(DEPLOYMENTS).patch("shop", {"metadata": {"annotations": marks}}, namespace="default")
    _, found = await rows(world, DEPLOYMENTS, "default", wide=True)
    assert len(found) == 1
    assert len((await rows(world, PLACEMENTS))[1]) == 1
