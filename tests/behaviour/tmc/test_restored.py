"""A control plane that was restored from a backup is older than its clusters: nothing that runs there is deleted before somebody says so.

Aspects: what the backup knows goes on as the same copies; what it does not know stays, is told on the SyncTarget, and goes once that is
acknowledged; what is made again is adopted; what users delete now is deleted meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, QUIET, World, syncing, until, with_clusters, with_control_plane

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_restored import text
from kcp.storage.restored import Restored
from kcp.storage.snapshot.file import Header, Reader, write
from kcp.storage.snapshot.marked import Marked
from kcp.storage.snapshot.restore import to_sqlite
from kcp.storage.snapshot.sources import SQLiteSource
from kcp.tmc.model.kinds import NAMESPACES, SYNC_TARGETS
from kcp.tmc.model.names import RESTORE_ACKNOWLEDGED_ANNOTATION
from kcp.tmc.syncer import held


async def back_up(directory: Path) -> Path:
    source = SQLiteSource(directory / ".kcp" / "kcp.db")
    await write(directory / "a.snapshot", Header(source.revision, "2026-01-01T02:00:00Z", "test"), source.pages())
    await source.close()
    return directory / "a.snapshot"


def restore(directory: Path, snapshot: Path) -> None:
    database = directory / ".kcp" / "kcp.db"
    for file in (database, Path(f"{database}-wal"), Path(f"{database}-shm")):
        file.unlink(missing_ok=True)
    reader = Reader(snapshot)
    to_sqlite(Marked(reader, Restored("r1", reader.header.revision, reader.header.created, "2026-01-02T00:00:00Z")), database)
    reader.close()


async def uids_below(world: World, name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for cluster in world.clusters.values():
        for copy in (await cluster.client().resource(DEPLOYMENTS).list()).items:
            if meta.name(copy) == name:
                found[cluster.name] = meta.uid(copy)
    return found


async def held_by(world: World, name: str) -> JSONObject:
    target = await world.client.resource(SYNC_TARGETS).get(name)
    found: JSONObject = meta.nested(target, "status", "heldDeletions", default={})
    return found


def tells(held: JSONObject, *objects: str) -> bool:
    told = " ".join(held.get("objects", []))
    return all(name in told for name in objects)


@asynccontextmanager
async def gone_back(directory: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, dict[str, dict[str, str]]]]:
    """A control plane restored to when `late`, and namespace `after` with what is in it, were not there; and the copies before that."""
    patch.setattr(held, "AGAIN_S", 0.05)
    patch.setattr("kcp.tmc.syncer.spec.AGAIN_S", 0.05)
    async with with_clusters() as clusters:
        async with with_control_plane(directory, patch, clusters, in_memory=False) as world:
            await world.set_up()
            async with syncing(world):
                await world.spread()
                await world.deploy("default", "kept", 2)
                await world.settle("default", "kept", 2)
                snapshot = await back_up(directory)
                await world.create(NAMESPACES, "Namespace", "after")
                unknown = (("default", "late"), ("default", "again"), ("after", "later"))
                for namespace, name in unknown:
                    await world.deploy(namespace, name, 2)
                for namespace, name in unknown:
                    await world.settle(namespace, name, 2)
            before = {name: await uids_below(world, name) for name in ("kept", "late", "again", "later")}
        restore(directory, snapshot)
        async with with_control_plane(directory, patch, clusters, in_memory=False) as world, syncing(world, config=QUIET):
            yield world, before


async def test_what_a_restored_control_plane_does_not_know_stays_until_that_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gone_back(tmp_path, monkeypatch) as (world, before):
        assert sorted(before["late"]) == ["east", "west"]
        for name in ("east", "west"):
            await until(partial(held_by, world, name), lambda held: tells(held, "default/late", "default/again", "after/later"))
            assert (await held_by(world, name))["restore"] == "r1"
        await world.settle("default", "kept", 2)
        assert {name: await uids_below(world, name) for name in before} == before, "the very same copies"
        shown = text((await world.client.resource(SYNC_TARGETS).list()).items)
        assert "restored from a backup" in shown
        assert "default/late" in shown

        await world.deploy("default", "again", 2)
        await world.settle("default", "again", 2)
        assert await uids_below(world, "again") == before["again"], "what is made again is adopted"
        await until(partial(held_by, world, "east"), lambda held: not tells(held, "default/again"))

        await world.client.resource(DEPLOYMENTS).delete("kept", namespace="default")
        await world.gone(DEPLOYMENTS, "kept", "default")
        assert await uids_below(world, "kept") == {}, "what users delete now is deleted"

        patch = {"metadata": {"annotations": {RESTORE_ACKNOWLEDGED_ANNOTATION: "r1"}}}
        await world.client.resource(SYNC_TARGETS).patch("east", patch)
        await until(lambda: uids_below(world, "late"), lambda found: list(found) == ["west"])
        await until(lambda: uids_below(world, "later"), lambda found: list(found) == ["west"])
        await until(partial(held_by, world, "east"), lambda held: not held)
        assert await uids_below(world, "again") == before["again"]
        assert (await held_by(world, "west"))["count"] >= 2
