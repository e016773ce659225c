"""Migrations of a whole fleet under virtual time: each way to move, what is checked, what undoes one, and that a namespace's other work stays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.test_recovery import DEPLOYMENTS, EVENTS, deploy, is_ready, runs, until
from tests.behaviour.tmc.test_recovery import play as play_fleet

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.replay.fleet import Fleet
from kcp.sim.faults import Fault
from kcp.tmc.migration.model import MIGRATIONS
from kcp.tmc.model.kinds import NAMESPACES, PLACEMENTS, SYNC_TARGETS
from kcp.tmc.model.moves import MOVE_ANNOTATION, pins

CONFIG_MAPS = GVR("", "v1", "configmaps")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    import logging

    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


def play(directory: Path, scene: Any, *, number_of_clusters: int = 1) -> None:
    async def at_home(fleet: Fleet) -> None:
        """Everything in east."""
        for name in ("east", "west"):
            await until(fleet, partial(is_ready, fleet, name), 30, name)
            target = await fleet.user().resource(SYNC_TARGETS).get(name)
            labels = {"labels": {"site": name}}
            await fleet.user().resource(SYNC_TARGETS).patch(meta.name(target), {"metadata": labels})
        spec: JSONObject = {"numberOfClusters": number_of_clusters}
        if number_of_clusters == 1:
            spec["constraints"] = {"rules": [{"type": "Label", "field": "site", "operator": "In", "values": ["east"]}]}
        await fleet.user().resource(PLACEMENTS).patch("all", {"spec": spec})
        for name in ("shop", "other"):
            await deploy(fleet, name, 4)
            await until(fleet, partial(runs, fleet, name, 4), 60, name)
        if number_of_clusters == 1:
            await until(fleet, partial(has, fleet, {"east": 4}), 60, "in east")
        await scene(fleet)

    play_fleet(directory, at_home, clusters=("east", "west"))


async def below(fleet: Fleet, name: str = "shop") -> dict[str, int]:
    """Replicas that each cluster is asked to run."""
    found = {}
    for cluster in fleet.clusters.values():
        for copy in (await cluster.observer().resource(DEPLOYMENTS).list()).items:
            if meta.name(copy) == name:
                found[cluster.name] = copy["spec"]["replicas"]
    return found


async def has(fleet: Fleet, wanted: dict[str, int], name: str = "shop") -> bool:
    return await below(fleet, name) == wanted


async def migrate(fleet: Fleet, name: str = "m", **more: Any) -> None:
    spec = {"workload": {"name": "shop"}, "from": "east", "to": "west", **more}
    obj = {"apiVersion": MIGRATIONS.api_version, "kind": "Migration", "metadata": {"name": name}, "spec": spec}
    await fleet.user().resource(MIGRATIONS).create(obj, namespace="default")


async def phase(fleet: Fleet, name: str, *wanted: str) -> JSONObject | None:
    obj = await fleet.user().resource(MIGRATIONS).get(name, namespace="default")
    return obj if meta.nested(obj, "status", "phase", default="") in wanted else None


async def ends(fleet: Fleet, name: str, wanted: str, limit_s: float = 120) -> JSONObject:
    found, _ = await until(fleet, partial(phase, fleet, name, "Completed", "RolledBack", "Failed"), limit_s, wanted)
    assert found["status"]["phase"] == wanted, found["status"]
    return dict(found["status"])


@pytest.mark.parametrize("mode", ["live", "snapshot", "halt-resume"])
def test_a_workload_moves_alone_and_back_by_hand(tmp_path: Path, mode: str) -> None:
    async def scene(fleet: Fleet) -> None:
        least = 4

        async def both() -> bool:
            nonlocal least
            shop = await fleet.user().resource(DEPLOYMENTS).get("shop", namespace="default")
            least = min(least, meta.nested(shop, "status", "readyReplicas", default=0))
            return bool(await phase(fleet, "m", "Completed", "Failed"))

        await migrate(fleet, strategy=mode)
        await until(fleet, both, 120, "moved")
        status = await ends(fleet, "m", "Completed")
        assert (status["progress"], all(check["passed"] for check in status["checks"])) == (100, True)
        assert {check["when"] for check in status["checks"]} == {"before", "after"}
        assert await below(fleet) == {"west": 4}
        assert await below(fleet, "other") == {"east": 4}, "what was not moved stays"
        if mode == "live":
            assert least == 4, "never fewer than before"
        await until(fleet, partial(runs, fleet, "shop", 4), 60, "runs")
        await fleet.user().resource(DEPLOYMENTS).patch("shop", {"spec": {"replicas": 5}}, namespace="default")
        await until(fleet, partial(has, fleet, {"west": 5}), 30, "it is still the user's")
        await fleet.user().resource(MIGRATIONS).patch("m", {"spec": {"rollback": True}}, namespace="default")
        await ends_again(fleet, mode)

    async def ends_again(fleet: Fleet, mode: str) -> None:
        await until(fleet, partial(phase, fleet, "m", "RolledBack"), 120, "back")
        assert await below(fleet) == {"east": 4 if mode == "snapshot" else 5}
        shop = await fleet.user().resource(DEPLOYMENTS).get("shop", namespace="default")
        assert MOVE_ANNOTATION not in meta.annotations(shop)
        assert pins(await fleet.user().resource(NAMESPACES).get("default")) == {}

    play(tmp_path, scene)


def test_one_that_cannot_get_on_goes_back_by_itself(tmp_path: Path) -> None:
    async def scene(fleet: Fleet) -> None:
        await fleet.set_fault("west", Fault.FILL, amount=0.0)
        await migrate(fleet, timeout="20s")
        await until(fleet, partial(phase, fleet, "m", "Moving"), 10, "under way")
        status = await ends(fleet, "m", "RolledBack")
        assert status["error"]["type"] == "MigrationTimeout"
        assert await below(fleet) == {"east": 4}
        assert await runs(fleet, "shop", 4)
        await fleet.set_fault("west", Fault.NONE, amount=0.0)
        await migrate(fleet, "again")
        await until(fleet, partial(phase, fleet, "again", "Moving"), 10, "under way")
        await fleet.set_fault("west", Fault.KILL, amount=0.0)
        status = await ends(fleet, "again", "RolledBack", 700)
        reasons = {e["reason"] for e in (await fleet.user().resource(EVENTS).list(namespace="default")).items}
        assert {"MigrationStarted", "MigrationRolledBack"} <= reasons

    play(tmp_path, scene)


def test_what_cannot_work_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    async def scene(fleet: Fleet) -> None:
        await fleet.user().resource(SYNC_TARGETS).patch("west", {"spec": {"unschedulable": True}})
        await fleet.clock.sleep(1)
        before = (await fleet.user().resource(DEPLOYMENTS).get("shop", namespace="default"))["metadata"].get("annotations")
        await migrate(fleet)
        status = await ends(fleet, "m", "Failed")
        assert status["message"] == "west is cordoned, or is being emptied"
        assert (await fleet.user().resource(DEPLOYMENTS).get("shop", namespace="default"))["metadata"].get("annotations") == before
        await migrate(fleet, "wrong-way", **{"from": "west", "to": "east"})
        assert (await ends(fleet, "wrong-way", "Failed"))["message"].startswith("west does not run it")
        await migrate(fleet, "nothing", workload={"name": "nope"})
        assert (await ends(fleet, "nothing", "Failed"))["message"] == "there is no Deployment default/nope"
        with pytest.raises(Invalid, match="different clusters"):
            await migrate(fleet, "same", to="east")

    play(tmp_path, scene)


def test_a_share_moves_to_the_other_cluster_and_what_a_workload_needs_is_there(tmp_path: Path) -> None:
    async def scene(fleet: Fleet) -> None:
        await until(fleet, partial(has, fleet, {"east": 2, "west": 2}), 60, "on both")
        await migrate(fleet)
        await ends(fleet, "m", "Completed")
        assert await below(fleet) == {"west": 4}
        assert await below(fleet, "other") == {"east": 2, "west": 2}

    play(tmp_path, scene, number_of_clusters=2)


def test_a_server_that_dies_and_a_migration_that_is_deleted_leave_nothing_half_done(tmp_path: Path) -> None:
    async def scene(fleet: Fleet) -> None:
        settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}
        await fleet.user().resource(CONFIG_MAPS).create(settings, namespace="default")
        await migrate(fleet)
        await until(fleet, partial(phase, fleet, "m", "Moving"), 10, "under way")
        await fleet.set_fault("control-plane", Fault.KILL, amount=0.0)
        await fleet.set_fault("control-plane", Fault.NONE, amount=0.0)
        await ends(fleet, "m", "Completed")
        maps = (await fleet.clusters["west"].observer().resource(CONFIG_MAPS).list()).items
        assert "settings" in {meta.name(m) for m in maps}, "with what it needs"
        await fleet.set_fault("east", Fault.PARTITION, amount=0.0)
        await migrate(fleet, "back", **{"from": "west", "to": "east"})
        await fleet.clock.sleep(2)
        await fleet.user().resource(MIGRATIONS).delete("back", namespace="default")
        await fleet.set_fault("east", Fault.NONE, amount=0.0)

        async def is_gone() -> bool:
            listed = (await fleet.user().resource(MIGRATIONS).list(namespace="default")).items
            return "back" not in {meta.name(m) for m in listed}

        await until(fleet, is_gone, 120, "undone and gone")
        assert await below(fleet) == {"west": 4}

    play(tmp_path, scene)
