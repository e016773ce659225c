"""A syncer with too much to do: its SyncTarget says so, and so do the objects that wait."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, QUIET, World, running, until

from kcp.apimachinery import conditions
from kcp.client.transport import RawRequest, RawResponse, Transport
from kcp.tmc.model.kinds import SYNC_TARGETS

BUSY = replace(QUIET, backlog_limit=3, workers=1)


class Slow:
    """A connection on which writes wait until they may go on."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.may_go_on = asyncio.Event()

    async def request(self, request: RawRequest) -> RawResponse:
        if request.method == "PATCH":
            await self.may_go_on.wait()
        return await self.inner.request(request)

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        return self.inner.stream(request)

    async def close(self) -> None:
        await self.inner.close()


async def backlog(world: World) -> int:
    return int((await world.client.resource(SYNC_TARGETS).get("east"))["status"].get("syncBacklog", 0))


async def synced(world: World, name: str) -> dict[str, Any]:
    obj = await world.client.resource(DEPLOYMENTS).get(name, namespace="default")
    return dict(conditions.get(obj, "Synced") or {})


async def test_who_waits_is_told_what_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow: list[Slow] = []

    def through(inner: Transport) -> Transport:
        slow.append(Slow(inner))
        return slow[0]

    async with running(tmp_path, monkeypatch, through=through, config=BUSY) as world:
        for number in range(8):
            await world.deploy("default", f"web-{number}", 2)
        await until(functools.partial(backlog, world), lambda count: count > 3)
        told = await until(functools.partial(synced, world, "web-7"), lambda c: c.get("reason") == "SyncerOverloaded")
        assert "objects wait for its syncer" in told["message"]
        slow[0].may_go_on.set()
        await until(functools.partial(backlog, world), lambda count: count == 0)
        await until(functools.partial(synced, world, "web-7"), lambda c: c.get("status") == "True")
