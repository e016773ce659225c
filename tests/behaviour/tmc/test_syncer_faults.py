"""What a syncer meets: a cluster that hangs, a namespace removed under it, answers that say nothing about the object, a SyncTarget that goes.

Nothing that runs is removed on the word of an answer that does not name it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.behaviour.tmc.world import CLOCK, DEPLOYMENTS, World, running, syncing, until, with_target
from tests.faults import BreakableTransport

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse, Transport
from kcp.tmc.errors import TMCError
from kcp.tmc.model.kinds import NAMESPACES, SYNC_TARGETS, SYNCER_READY
from kcp.tmc.model.names import SYNC_ERROR_ANNOTATION, SYNCER_FINALIZER, held_keys, keys_with
from kcp.tmc.syncer import spec
from kcp.tmc.syncer.former import locator_of
from kcp.tmc.syncer.heartbeat import Heartbeat, Side
from kcp.tmc.syncer.identity import Identity


class Unserved:
    """A transport to a server that, while `is_active`, does not know one resource: a 404 that names no object."""

    def __init__(self, inner: Transport, plural: str) -> None:
        self._inner = inner
        self._plural = plural
        self.is_active = False

    async def request(self, request: RawRequest) -> RawResponse:
        if self.is_active and f"/{self._plural}" in request.path:
            return RawResponse(404, {}, orjson.dumps(NotFound("the server could not find the requested resource").to_status()))
        return await self._inner.request(request)

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        return self._inner.stream(request)

    async def close(self) -> None:
        await self._inner.close()


async def test_a_cluster_that_does_not_serve_a_resource_is_not_taken_for_one_without_the_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spec, "RETRY_TERMINAL_S", 0.02)
    made: list[Unserved] = []

    def through(inner: Transport) -> Transport:
        made.append(Unserved(inner, "deployments"))
        return made[0]

    async with running(tmp_path, monkeypatch, through=through) as world:
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        made[0].is_active = True
        deployments = world.client.resource(DEPLOYMENTS)
        await deployments.delete("web", namespace="default")
        held = await until(
            lambda: deployments.get("web", namespace="default"), lambda d: bool(keys_with(meta.annotations(d), SYNC_ERROR_ANNOTATION))
        )
        assert any(f.startswith(SYNCER_FINALIZER) for f in meta.finalizers(held))
        made[0].is_active = False
        await world.gone(DEPLOYMENTS, "web", "default")
        assert await world.below("web") == {}


async def test_a_namespace_removed_downstream_is_made_again_with_what_was_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.deploy("default", "web", 3)
        await world.settle("default", "web", 3)
        east = world.clusters["east"].client()
        before = await namespaces_of(east)
        for name in before:
            await east.resource(NAMESPACES).delete(name)
        await until(lambda: namespaces_of(east), lambda found: found.keys() == before.keys() and found != before)
        await world.settle("default", "web", 3)


async def namespaces_of(cluster: Client) -> dict[str, str]:
    """Those that stand for namespaces of workspaces: name → uid."""
    return {meta.name(ns): meta.uid(ns) for ns in (await cluster.resource(NAMESPACES).list()).items if locator_of(ns) is not None}


async def test_what_runs_stays_when_its_sync_target_is_deleted_and_moves_to_one_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.deploy("default", "web", 4)
        await world.settle("default", "web", 4)
        deployments, targets = world.client.resource(DEPLOYMENTS), world.client.resource(SYNC_TARGETS)
        before = await namespaces_of(world.clusters["east"].client())
        await targets.delete("east")
        await until(lambda: deployments.get("web", namespace="default"), lambda d: len(held_keys(d)) == 1)
        await until(lambda: deployments.get("web", namespace="default"), lambda d: "east" not in (synced(d).get("message") or ""))
        assert (await world.below("web"))["east"] == 2, "nobody has said that it should go"
        await world.create(SYNC_TARGETS, "SyncTarget", "east", spec={})
        async with syncing(world):
            await until(lambda: namespaces_of(world.clusters["east"].client()), lambda found: found and not found.keys() & before.keys())
            await world.settle("default", "web", 4)


def synced(obj: JSONObject) -> Mapping[str, Any]:
    return conditions.get(obj, "Synced") or {}


# --- heartbeat ---


async def nothing_more() -> JSONObject:
    return {}


class Beating:
    """A heartbeat under virtual time, of a SyncTarget on a real server, over connections that can be cut."""

    def __init__(self, world: World, target: JSONObject) -> None:
        self.clock = VirtualClock(CLOCK.now())
        self.down = BreakableTransport(world.clusters["east"].client().transport)
        self.up = BreakableTransport(world.client.transport)
        self.answers: list[tuple[Side, bool]] = []
        self._targets = world.client.resource(SYNC_TARGETS)
        workspace = Client(self.up, world.client.base_path, clock=self.clock)
        identity = Identity(meta.cluster(target), meta.name(target), meta.uid(target))
        self.heartbeat = Heartbeat(
            identity, workspace, Client(self.down, clock=self.clock), self.clock, 20.0, list, lambda _what, _worked: None, nothing_more,
            lambda side, again: self.answers.append((side, again)),
        )  # fmt: skip

    async def condition(self) -> Mapping[str, Any]:
        return conditions.get(await self._targets.get("east"), SYNCER_READY) or {}

    async def advance(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.5)):
            await self.clock.advance(0.5)


async def beating(world: World) -> Beating:
    return Beating(world, await world.client.resource(SYNC_TARGETS).get("east"))


@pytest.mark.parametrize("silently", [False, True])
async def test_a_cluster_that_is_cut_off_is_reported_within_ten_seconds_and_its_return_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, silently: bool
) -> None:
    async with with_target(tmp_path, monkeypatch) as world, Supervisor("heartbeat") as tasks:
        beat = await beating(world)
        tasks.spawn(beat.heartbeat.run(), name="heartbeat")
        await beat.advance(3.0)
        assert (await beat.condition())["status"] == "True"
        beat.down.cut(silently=silently)
        await beat.advance(10.0)
        condition = await beat.condition()
        assert (condition["status"], condition["reason"]) == ("False", "ClusterUnreachable")
        beat.answers.clear()
        beat.down.mend()
        await beat.advance(3.0)
        assert (await beat.condition())["status"] == "True"
        assert (Side.CLUSTER, True) in beat.answers


async def test_a_control_plane_that_is_back_is_told_and_reported_to_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world, Supervisor("heartbeat") as tasks:
        beat = await beating(world)
        tasks.spawn(beat.heartbeat.run(), name="heartbeat")
        await beat.advance(3.0)
        beat.up.cut()
        await beat.advance(60.0)
        beat.up.mend()
        beat.answers.clear()
        await beat.advance(3.0)
        assert (Side.KCP, True) in beat.answers


async def test_a_syncer_ends_once_its_sync_target_was_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world, Supervisor("heartbeat") as tasks:
        beat = await beating(world)
        tasks.spawn(beat.heartbeat.run(), name="heartbeat")
        await beat.advance(3.0)
        await world.client.resource(SYNC_TARGETS).delete("east")
        await beat.advance(25.0)
        made = await world.create(SYNC_TARGETS, "SyncTarget", "east", spec={})
        await beat.advance(3.0)
        error = await tasks.wait_failed()
        assert isinstance(error, TMCError)
        assert f"start with --sync-target-uid={meta.uid(made)}" in str(error)
