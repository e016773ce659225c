"""Which SyncTarget a syncer serves: the one with the uid it was given, or whichever bears the name."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.behaviour.tmc.world import CLOCK, with_target

from kcp.apimachinery import meta
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.server.compose import SYSTEM
from kcp.tmc.errors import TMCError
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.syncer.engine import find_target


async def test_a_syncer_without_a_uid_serves_the_target_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        uid = meta.uid(await world.client.resource(SYNC_TARGETS).get("east"))
        control_plane = Client(AsgiTransport(world.server.app, SYSTEM), clock=CLOCK)
        assert (await find_target(control_plane, "root:work", "east", "")).uid == uid
        with pytest.raises(TMCError, match=f"start with --sync-target-uid={uid}"):
            await find_target(control_plane, "root:work", "east", "another")
