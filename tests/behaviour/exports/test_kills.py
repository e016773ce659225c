"""The server killed at its n-th write, for every n in the life of a workspace and its binding: it starts again and everything converges.

A killed server writes nothing more: what it wrote until then is there, nothing else, and nobody is answered. One life: a workspace is made,
binds an export with a claim, holds an object of it and a claimed one, unbinds, and is deleted; whoever does this goes on after the crash with
what was not acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.behaviour.exports.market import CONFIG_MAP_CLAIM, CONFIG_MAPS, WIDGETS, Market, accepted, config_map, is_settled, named

from kcp.aio.clock import SystemClock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, ResourceClient
from kcp.exports.claims import CLAIM_LABEL
from kcp.exports.names import BINDINGS
from kcp.server import compose
from kcp.server.options import Options
from kcp.storage.interface import Revision
from kcp.storage.memory import MemoryStore
from kcp.tenancy.kinds import WORKSPACES


class Disk(MemoryStore):
    """Outlives the servers on it. The n-th write from now on, and all after it, never arrive: the server is dead."""

    def __init__(self) -> None:
        super().__init__()
        self.crashed = asyncio.Event()
        self.writes = 0
        self._last = 0

    def crash_at(self, n: int) -> None:
        """0: never."""
        self.writes, self._last = 0, n
        self.crashed.clear()

    async def _arrive(self) -> None:
        self.writes += 1
        if self._last and self.writes >= self._last:
            self.crashed.set()
            await asyncio.Event().wait()

    async def create(self, key: bytes, value: bytes) -> Revision:
        await self._arrive()
        return await super().create(key, value)

    async def update(self, key: bytes, value: bytes, expected: Revision) -> Revision:
        await self._arrive()
        return await super().update(key, value, expected)

    async def delete(self, key: bytes, expected: Revision | None = None) -> Revision:
        await self._arrive()
        return await super().delete(key, expected)

    async def close(self) -> None:
        """The next server goes on with it."""


@asynccontextmanager
async def running(disk: Disk, directory: Path) -> AsyncIterator[Market]:
    async with compose.run_server(Options(root_directory=directory), clock=SystemClock(), with_socket=False) as server:
        yield Market(server)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()

    async def open_store(options: Options, clock: object) -> Disk:
        return made

    monkeypatch.setattr(compose, "open_store", open_store)
    return made


async def ensure(resource: ResourceClient, obj: JSONObject, namespace: str = "") -> None:
    try:
        await resource.create(obj, namespace=namespace)
    except AlreadyExists:
        return  # it was written, and its answer lost with the server


async def until_gone(market: Market, resource: ResourceClient, name: str) -> None:
    try:
        await resource.delete(name)
        await market.until(resource, name, lambda obj: False, f"the end of {name}")
    except NotFound:
        return


class Life:
    """Of one workspace; the steps that are done stay done."""

    def __init__(self, name: str, *, is_bound_to_the_end: bool) -> None:
        self.name = name
        self.is_bound_to_the_end = is_bound_to_the_end
        self.done = 0
        self.cluster = ""

    async def go_on(self, market: Market) -> None:
        steps: list[Callable[[Market, Client], Awaitable[None]]] = [self.make, self.bind, self.fill]
        steps += [self.delete] if self.is_bound_to_the_end else [self.unbind, self.delete]
        for step in steps[self.done :]:
            await step(market, market.at(self.name))
            self.done += 1

    async def make(self, market: Market, inside: Client) -> None:
        workspaces = market.server.client.cluster("root").resource(WORKSPACES)
        await ensure(workspaces, named(WORKSPACES, "Workspace", self.name, {"type": {"name": "universal", "path": "root"}}))
        made = await market.until(workspaces, self.name, lambda w: bool(meta.nested(w, "status", "phase") == "Ready"), self.name)
        self.cluster = made["spec"]["cluster"]
        bindings = (await inside.resource(BINDINGS).list()).items
        assert sorted(b["spec"]["reference"]["export"]["name"] for b in bindings) == ["tenancy.kcp.io", "topology.kcp.io"]
        assert {b["status"]["phase"] for b in bindings} == {"Bound"}

    async def bind(self, market: Market, inside: Client) -> None:
        spec = {"reference": {"export": {"path": "root:provider", "name": "widgets"}}, "permissionClaims": [accepted(CONFIG_MAP_CLAIM)]}
        await ensure(inside.resource(BINDINGS), named(BINDINGS, "APIBinding", "widgets", spec))
        await market.until(inside.resource(BINDINGS), "widgets", is_settled, "the binding")

    async def fill(self, market: Market, inside: Client) -> None:
        await ensure(inside.resource(WIDGETS), named(WIDGETS, "Widget", "w", {"n": 1}), "default")
        await ensure(inside.resource(CONFIG_MAPS), config_map("c"), "default")

    async def unbind(self, market: Market, inside: Client) -> None:
        await until_gone(market, inside.resource(BINDINGS), "widgets")
        with pytest.raises(NotFound):
            await inside.resource(WIDGETS).list()

        def is_free(obj: JSONObject) -> bool:
            return not any(key.startswith(CLAIM_LABEL) for key in meta.labels(obj))

        found = await inside.resource(CONFIG_MAPS).get("c", namespace="default")
        if not is_free(found):
            await market.until(inside.resource(CONFIG_MAPS), "c", is_free, "the claim's end")

    async def delete(self, market: Market, inside: Client) -> None:
        await until_gone(market, market.server.client.cluster("root").resource(WORKSPACES), self.name)

    async def check_nothing_is_left(self, disk: Disk) -> None:
        left = [item.key.decode() for item in (await disk.list(b"/registry/")).items if f"/{self.cluster}/" in item.key.decode()]
        assert left == []


async def live_until_the_crash(disk: Disk, market: Market, life: Life) -> None:
    """As far as it comes before the server is dead."""
    living, dying = asyncio.ensure_future(life.go_on(market)), asyncio.ensure_future(disk.crashed.wait())
    try:
        await asyncio.wait((living, dying), return_when=asyncio.FIRST_COMPLETED)
        if not disk.crashed.is_set():
            await living
    finally:
        for task in (living, dying):
            task.cancel()
        await asyncio.wait((living, dying))


@pytest.mark.parametrize("bound", [True, False])
async def test_every_crash_is_made_good_after_the_next_start(disk: Disk, tmp_path: Path, *, bound: bool) -> None:
    async with running(disk, tmp_path) as market:
        await market.open()
        await market.export(claims=[CONFIG_MAP_CLAIM])
        disk.crash_at(0)
        life = Life("count", is_bound_to_the_end=bound)
        await life.go_on(market)
        await life.check_nothing_is_left(disk)
        writes = disk.writes
    assert writes > 20
    first = writes // 2 if bound else 1  # both lives begin alike
    for n in range(first, writes + 1):
        life = Life(f"life-{n}", is_bound_to_the_end=bound)
        async with running(disk, tmp_path) as market:
            disk.crash_at(n)
            await live_until_the_crash(disk, market, life)
        disk.crash_at(0)
        async with running(disk, tmp_path) as market:
            await life.go_on(market)
            await life.check_nothing_is_left(disk)


async def test_a_first_start_that_is_cut_off_is_finished_by_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def start(disk: Disk, workspace: str = "") -> None:
        async def open_store(options: Options, clock: object) -> Disk:
            return disk

        monkeypatch.setattr(compose, "open_store", open_store)
        async with running(disk, tmp_path) as market:
            if workspace:
                await market.workspace(workspace)

    async def content(disk: Disk) -> int:
        return len((await disk.list(b"/registry/")).items)

    whole = Disk()
    await start(whole)
    steps = range(1, whole.writes, 6)
    await start(whole, "usable")
    assert len(steps) > 8
    for n in steps:
        disk = Disk()
        disk.crash_at(n)
        starting, dying = asyncio.ensure_future(start(disk)), asyncio.ensure_future(disk.crashed.wait())
        await asyncio.wait((starting, dying), return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()
        await asyncio.wait((starting,))
        disk.crash_at(0)
        await start(disk, "usable")
        assert await content(disk) == await content(whole)
