"""What one Placement costs in writes, and that nothing is written once it is placed."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from tests.behaviour.tmc.world import World, running, until

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.kinds import PLACEMENT_DECISIONS, PLACEMENTS
from kcp.tmc.model.names import chosen_keys


async def place(world: World, name: str) -> None:
    spec = {"numberOfClusters": 1, "strategy": "Spread", "namespaceSelector": {"matchNames": ["elsewhere"]}}
    await world.create(PLACEMENTS, "Placement", name, spec=spec)
    await until(functools.partial(placement, world, name), lambda found: bool(chosen_keys(found)))


async def placement(world: World, name: str) -> JSONObject:
    return await world.client.resource(PLACEMENTS).get(name)


def about(world: World, name: str) -> list[str]:
    """Writes of the controllers about a Placement: `METHOD resource[/subresource]`."""
    found = []
    for told in world.writes("controllers"):
        method, path = told.split()
        resource, _, rest = path.partition("/v1alpha1/")[2].partition("/")
        if rest.partition("/")[0] == name:
            found.append(f"{method} {resource}{rest.removeprefix(name)}")
        elif method == "POST" and resource == "placementdecisions":
            found.append("POST placementdecisions")
    return found


async def test_a_placement_is_three_writes_and_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await place(world, "before")
        await until(lambda: world.client.resource(PLACEMENT_DECISIONS).list(), lambda found: len(found.items) == 2)
        world.fail("controllers", 0, "request")
        await place(world, "counted")
        before_next = about(world, "counted")
        assert before_next == ["PATCH placements/status", "POST placementdecisions", "PATCH placements"]
        await place(world, "next")  # whatever else the first one brought about has stood in the queue before it
        assert [told for told in about(world, "counted") if "POST" not in told] == ["PATCH placements/status", "PATCH placements"]
        found = await placement(world, "counted")
        assert found["status"]["observedGeneration"] == meta.generation(found)
        assert [d["reason"] for d in found["status"]["decisions"] if d["chosen"]] == ["Selected"]


async def test_an_edit_is_observed_only_once_it_is_carried_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await place(world, "p")
        world.fail("controllers", 0, "request")
        await world.client.resource(PLACEMENTS).patch("p", {"spec": {"numberOfClusters": 2}})
        found = await until(functools.partial(placement, world, "p"), lambda p: p["status"].get("observedGeneration") == 2)
        assert len(chosen_keys(found)) == 2
        assert about(world, "p") == ["PATCH placements/status", "PUT placementdecisions", "PATCH placements", "PATCH placements/status"]
