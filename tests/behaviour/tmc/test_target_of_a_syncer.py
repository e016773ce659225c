"""Which SyncTarget a syncer serves: the one with the uid it was given, or whichever bears the name if that uid never was anybody's."""

from __future__ import annotations

import functools
from collections.abc import Awaitable
from pathlib import Path

import pytest
from tests.behaviour.tmc.world import CLOCK, World, until, with_target

from kcp.apimachinery import meta
from kcp.apimachinery.keys import ClusterName
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.server.compose import SYSTEM
from kcp.tmc.errors import TMCError
from kcp.tmc.model.kinds import NAMESPACES, SYNC_TARGETS
from kcp.tmc.model.names import DOWNSTREAM_CLUSTER_LABEL, NAMESPACE_LOCATOR_ANNOTATION, NamespaceLocator, sync_target_key, syncer_id
from kcp.tmc.syncer.engine import find_target, first_contact
from kcp.tmc.syncer.identity import Identity
from kcp.tmc.syncer.settings import SyncerConfig


async def test_a_syncer_without_a_uid_serves_the_target_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        uid = meta.uid(await world.client.resource(SYNC_TARGETS).get("east"))
        control_plane = Client(AsgiTransport(world.server.app, SYSTEM), clock=CLOCK)
        assert (await find_target(control_plane, "root:work", "east", "")).uid == uid
        with pytest.raises(TMCError, match=f"start with --sync-target-uid={uid}"):
            await find_target(control_plane, "root:work", "east", "another")


ANY_UID = "5E1F3A52-9B60-4C4E-8B7E-0C2F6E0F9D11"
"""As `uuidgen` prints one."""


def first_look(world: World, uid: str, name: str = "east") -> Awaitable[Identity]:
    control_plane = Client(AsgiTransport(world.server.app, SYSTEM), clock=CLOCK)
    downstream = world.clusters["east"].client()
    return first_contact(control_plane, downstream, CLOCK, SyncerConfig(), workspace="root:work", name=name, uid=uid)


async def test_a_uid_that_no_sync_target_ever_had_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        uid = meta.uid(await world.client.resource(SYNC_TARGETS).get("east"))
        assert (await first_look(world, ANY_UID)).uid == uid
        assert f"no SyncTarget has uid {ANY_UID}: SyncTarget east is served under its own, {uid}" in caplog.text
        with pytest.raises(TMCError, match="it was made anew, or the uid was mistyped"):
            await first_look(world, uid[:-1])


async def test_a_uid_that_was_another_sync_targets_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        west = meta.uid(await world.client.resource(SYNC_TARGETS).get("west"))
        with pytest.raises(TMCError, match=f"not {west}"):
            await first_look(world, west)
        former = "11111111-2222-4333-8444-555555555555"
        namespaces = world.clusters["east"].client().resource(NAMESPACES)
        await namespaces.create({"metadata": {"name": syncer_id("east", former)}})
        with pytest.raises(TMCError, match=f"not {former}"):
            await first_look(world, former)


async def test_the_uid_of_the_sync_target_before_it_was_made_anew_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        former = meta.uid(await world.client.resource(SYNC_TARGETS).get("east"))
        cluster = ClusterName(meta.cluster(await world.client.resource(SYNC_TARGETS).get("east")))
        locator = NamespaceLocator(cluster, "east", former, cluster, "default")
        copy = {
            "name": locator.downstream_namespace, "labels": {DOWNSTREAM_CLUSTER_LABEL: sync_target_key(cluster, "east")},
            "annotations": {NAMESPACE_LOCATOR_ANNOTATION: locator.to_json()},
        }  # fmt: skip
        await world.clusters["east"].client().resource(NAMESPACES).create({"metadata": copy})
        await world.client.resource(SYNC_TARGETS).delete("east")
        await until(functools.partial(names, world), lambda found: "east" not in found)
        await world.create(SYNC_TARGETS, "SyncTarget", "east", spec={})
        with pytest.raises(TMCError, match=f"not {former}"):
            await first_look(world, former)


async def names(world: World) -> list[str]:
    return [meta.name(target) for target in (await world.client.resource(SYNC_TARGETS).list()).items]
