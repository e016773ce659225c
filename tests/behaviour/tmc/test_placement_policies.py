"""Placements with policies on a whole server in process: records of decisions, faults at the door, neighbours, rebalancing, budgets.

As in test_placement_semantics, what a syncer would report is written by the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.test_placement_semantics import CLOCK, place, reasons, report, running, sync_target, until, workspace

from kcp.aio.clock import rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Invalid, NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.server.compose import KcpServer
from kcp.tmc.model.kinds import NAMESPACES, PLACEMENT_DECISIONS, PLACEMENTS, SYNC_TARGETS
from kcp.tmc.model.names import DELETION_ANNOTATION, STATE_LABEL, chosen_keys, synced_keys


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KcpServer]:
    async with running(tmp_path) as found:
        yield found


@pytest.fixture
async def org(server: KcpServer) -> Client:
    return await workspace(server, "root", "org", type_="organization")


async def record_of(client: Client, *chosen: str, name: str = "p", **expected: Any) -> JSONObject:
    """The PlacementDecision once it tells of these clusters and has these parts; it is written after the Placement's status."""

    async def look() -> JSONObject:
        try:
            return await client.resource(PLACEMENT_DECISIONS).get(name)
        except NotFound:
            return {}

    def is_right(found: JSONObject) -> bool:
        told = tuple(c["syncTarget"] for c in found.get("chosen", ()))
        return told == (chosen or told) and bool(found) and all(found.get(part) == value for part, value in expected.items())

    found: JSONObject = await until(look, is_right)
    return found


async def chosen(client: Client, *names: str, placement: str = "p") -> JSONObject:
    def is_right(obj: JSONObject) -> bool:
        return [d["syncTarget"] for d in meta.nested(obj, "status", "decisions", default=()) if d["chosen"]] == list(names)

    found: JSONObject = await until(lambda: client.resource(PLACEMENTS).get(placement), is_right)
    return found


async def offer(client: Client, name: str, *, cpu: int, used: int) -> None:
    status = {"status": {"allocatable": {"cpu": cpu, "memory": "16Gi"}, "usage": {"cpu": used, "memory": "1Gi"}}}
    await client.resource(SYNC_TARGETS).patch(name, status, subresource="status")


async def known(client: Client, *names: str, cpu: int = 0) -> None:
    """Wait until the placement controller has heard of these, or that they alone have so much free."""
    requests = {"cpu": cpu} if cpu else {}
    nowhere = {"matchNames": ["nowhere"]}
    await place(client, "probe", strategy="OneToMany", constraints={"resources": {"requests": requests}}, namespaceSelector=nowhere)
    await chosen(client, *names, placement="probe")


async def test_a_decision_is_recorded_with_scores_and_with_the_filter_of_each_that_was_ruled_out(org: Client) -> None:
    for name, region in (("east", "eu"), ("north", "eu"), ("west", "us")):
        await sync_target(org, name, region=region)
    await offer(org, "east", cpu=8, used=6)
    await offer(org, "north", cpu=8, used=1)
    await known(org, "east", "north", cpu=1)
    await place(org, strategy="Weighted", constraints={"rules": [{"type": "Region", "values": ["eu"]}]})
    await chosen(org, "north")
    found = await record_of(org, "north")
    assert [(c["syncTarget"], c["score"], c["scores"]) for c in found["chosen"]] == [("north", 100.0, {"Weighted": 100.0})]
    assert [(c["syncTarget"], c["reason"]) for c in found["passed"]] == [("east", "EnoughClustersChosen")]
    message = "constraint Region In eu is not met (here: us)"
    assert found["rejected"] == [{"reason": "ConstraintNotMet", "message": message, "syncTargets": ["west"]}]
    assert found["strategy"] == "Weighted"
    placement = await until(lambda: org.resource(PLACEMENTS).get("p"), lambda p: p["status"].get("observedGeneration") == 1)
    assert found["inputs"]["placementGeneration"] == 1
    assert found["inputs"]["workspace"] == "root:org"
    assert meta.owner_references(found)[0]["uid"] == meta.uid(placement)


async def test_a_record_is_written_again_only_when_the_decision_changed_and_made_anew_if_deleted(org: Client) -> None:
    await sync_target(org, "east")
    await sync_target(org, "west")
    await known(org, "east", "west")
    await place(org)
    await chosen(org, "east")
    first = await record_of(org, "east")
    assert first["tieBreak"] == "east before west by name, both with 0.0 points"
    await report(org, "east")
    await org.resource(PLACEMENTS).patch("p", {"metadata": {"labels": {"team": "a"}}})
    await offer(org, "east", cpu=4, used=1)
    await org.resource(SYNC_TARGETS).patch("west", {"spec": {"unschedulable": True}})
    second = await record_of(
        org, rejected=[{"reason": "Unschedulable", "message": "cordoned: spec.unschedulable is true", "syncTargets": ["west"]}]
    )
    assert meta.generation(second) == meta.generation(first) + 1
    await org.resource(PLACEMENT_DECISIONS).delete("p")
    third = await record_of(org)
    assert meta.uid(third) != meta.uid(first)


async def test_a_placement_takes_its_record_along(org: Client) -> None:
    await sync_target(org, "east")
    await place(org)
    await record_of(org)
    await org.resource(PLACEMENTS).delete("p")

    async def records() -> list[JSONObject]:
        return (await org.resource(PLACEMENT_DECISIONS).list()).items

    assert await until(records, lambda found: not found) == []


async def test_faults_of_a_policy_are_refused_at_the_door_all_at_once(org: Client) -> None:
    with pytest.raises(Invalid) as refused:
        await place(org, strategy="Random", constraints={"rules": [{"type": "Cost", "operator": "In", "values": ["a", "b"]}]})
    assert [c.field for c in refused.value.causes] == ["spec.strategy", "spec.constraints.rules[0].values"]
    assert 'supported values: "Spread", "Pack"' in refused.value.message


async def test_a_placement_that_needs_room_is_placed_as_soon_as_there_is_some(org: Client) -> None:
    await sync_target(org, "east")
    await place(org, constraints={"resources": {"requests": {"cpu": "4"}}})
    await until(lambda: org.resource(PLACEMENTS).get("p"), lambda p: reasons(p).get("east") == "InsufficientResources")
    await offer(org, "east", cpu=8, used=4)
    await chosen(org, "east")


async def test_placements_that_keep_away_from_each_other_do_so_even_when_they_are_made_at_once(org: Client) -> None:
    names = ("a", "b", "c", "d")
    for name in names:
        await sync_target(org, name)
    spec = {"placementAntiAffinity": [{"placementSelector": {"matchLabels": {"app": "web"}}}]}
    made = [
        {"apiVersion": PLACEMENTS.api_version, "kind": "Placement", "metadata": {"name": f"p-{n}", "labels": {"app": "web"}}, "spec": spec}
        for n in names
    ]
    await asyncio.gather(*(org.resource(PLACEMENTS).create(body) for body in made))

    async def targets() -> list[str]:
        return sorted(key for p in (await org.resource(PLACEMENTS).list()).items for key in chosen_keys(p))

    found = await until(targets, lambda keys: len(keys) == len(names))
    assert len(set(found)) == len(names)


async def test_a_placement_follows_another_one_as_soon_as_that_is_placed(org: Client) -> None:
    await sync_target(org, "east", region="eu")
    await sync_target(org, "west", region="us")
    await place(org, "web", placementAffinity=[{"placementSelector": {"matchLabels": {"app": "db"}}}])
    await until(lambda: org.resource(PLACEMENTS).get("web"), lambda p: reasons(p).get("west") == "PlacementAffinityNotMet")
    database = {"apiVersion": PLACEMENTS.api_version, "kind": "Placement", "metadata": {"name": "db", "labels": {"app": "db"}}}
    await org.resource(PLACEMENTS).create({**database, "spec": {"locationSelectors": [{"matchLabels": {"region": "us"}}]}})
    await chosen(org, "west", placement="web")


async def test_rebalancing_is_done_once_for_each_request(org: Client) -> None:
    await sync_target(org, "east")
    await offer(org, "east", cpu=8, used=7)
    await place(org, strategy="Weighted")
    await chosen(org, "east")
    await sync_target(org, "west")
    await offer(org, "west", cpu=8, used=0)
    await known(org, "west", cpu=8)
    await org.resource(PLACEMENTS).patch("p", {"metadata": {"annotations": {"tmc.kcp.io/rebalance": "monday"}}})
    moved = await chosen(org, "west")
    assert len(moved["status"]["recentMoves"]) == 1
    assert (await record_of(org, "west"))["moves"][0]["to"] == "west"


async def test_an_edit_of_the_placement_makes_affinity_count_again(org: Client) -> None:
    await sync_target(org, "east", region="eu")
    await sync_target(org, "west", region="us")
    await known(org, "east", "west")
    await place(org)
    await chosen(org, "east")
    term = {"requiredDuringSchedulingIgnoredDuringExecution": {"labelSelector": {"matchLabels": {"region": "us"}}}}
    await org.resource(PLACEMENTS).patch("p", {"spec": {"constraints": {"affinity": {"clusterAffinity": term}}}})
    await chosen(org, "west")
    await until(lambda: org.resource(PLACEMENTS).get("p"), lambda p: p["status"].get("observedGeneration") == 2)
    await org.resource(SYNC_TARGETS).patch("west", {"metadata": {"labels": {"region": "eu"}}})
    await record_of(org, "west")
    await until(
        lambda: org.resource(PLACEMENTS).get("p"), lambda p: reasons(p) == {"east": "ClusterAffinityNotMatched", "west": "Selected"}
    )


async def test_drained_clusters_are_left_one_after_the_other_within_the_budget(org: Client) -> None:
    for name in ("a", "b", "c", "d"):
        await sync_target(org, name)
    await known(org, "a", "b", "c", "d")
    await place(org, numberOfClusters=2, movement={"maxDisruptedClusters": 1})
    await chosen(org, "a", "b")
    await until(lambda: org.resource(NAMESPACES).get("default"), lambda ns: len(synced_keys(ns)) == 2)
    past = rfc3339(CLOCK.now())
    for name in ("a", "b"):
        await org.resource(SYNC_TARGETS).patch(name, {"spec": {"evictAfter": past}})
    waiting = await chosen(org, "b", "c")
    assert conditions.is_true(waiting, "Ready")
    left = await until(lambda: org.resource(NAMESPACES).get("default"), lambda ns: len(synced_keys(ns)) == 3)
    gone = next(k for k in synced_keys(left) if DELETION_ANNOTATION + k in meta.annotations(left))
    done = {"metadata": {"labels": {STATE_LABEL + gone: None}, "annotations": {DELETION_ANNOTATION + gone: None}}}
    await org.resource(NAMESPACES).patch("default", done)
    await chosen(org, "c", "d")
