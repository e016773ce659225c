"""`kcp ops` on a whole control plane in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import CLOCK, World, with_control_plane

from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.cli.ops import inspection_of
from kcp.cli.ops_figures import Run
from kcp.cli.ops_inspection import Inspection, Look, Wanted, look_at
from kcp.cli.ops_report import Check
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.registry.backend import UserInfo
from kcp.storage.memory import MemoryStore
from kcp.storage.snapshot.file import Header, write
from kcp.storage.snapshot.sources import StoreSource
from kcp.tmc.model.kinds import PLACEMENTS, SYNC_TARGETS

ADMIN = UserInfo("kcp-admin", ("system:kcp:admin", "system:authenticated"))
OPERATOR = UserInfo("shard-admin", ("system:masters", "system:authenticated"))
STRANGER = UserInfo("system:anonymous", ("system:unauthenticated",))


@dataclass
class Installation:
    world: World

    async def inspection(self, user: UserInfo = OPERATOR, runs: Sequence[Run] = (), **wanted: Any) -> Inspection:
        app = self.world.server.app
        client = Client(AsgiTransport(app, user), clock=CLOCK)
        return await inspection_of(client, AsgiTransport(app, STRANGER), "daily", Wanted(**wanted), list(runs))

    async def look(self, look: Look, user: UserInfo = OPERATOR, **wanted: Any) -> Check:
        return await look_at("it", look, await self.inspection(user, **wanted))

    async def create(self, path: str, gvr: GVR, kind: str, name: str, *, namespace: str = "", **parts: Any) -> JSONObject:
        obj = {"apiVersion": gvr.api_version, "kind": kind, "metadata": {"name": name, **parts.pop("metadata", {})}, **parts}
        return await self.world.server.client.cluster(path).resource(gvr).create(obj, namespace=namespace)


@pytest.fixture
async def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Installation]:
    """Two SyncTargets, whose syncers never came, and a Placement."""
    async with with_control_plane(tmp_path, monkeypatch, {}, in_memory=True) as world:
        for name in ("east", "west"):
            await world.create(SYNC_TARGETS, "SyncTarget", name, spec={})
        await world.create(PLACEMENTS, "Placement", "all", spec={})
        yield Installation(world)


async def snapshot(directory: Path, *, created: str) -> Path:
    """Of two objects."""
    store = MemoryStore()
    for name in ("a", "b"):
        value = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s","namespace":"default"}}' % name.encode()
        await store.create(b"/registry/core/configmaps/-/root/default/" + name.encode(), value)
    source = StoreSource(store, await store.current_revision())
    path = directory / f"kcp-20260101-020000-r{source.revision}.snapshot"
    await write(path, Header(source.revision, created, "test"), source.pages())
    await source.close()
    return path
