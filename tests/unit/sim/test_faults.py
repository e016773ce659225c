"""Fault switches for clients in the same process, the store and the records of running clusters. Virtual time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from kcp.aio.clock import VirtualClock, settle
from kcp.apimachinery.errors import BadRequest
from kcp.client.transport import RawRequest, RawResponse, TransportError
from kcp.sim.control import parse
from kcp.sim.faults import Fault, FaultState, FaultSwitch, FaultyTransport, FillableStore
from kcp.sim.runstate import ClusterRecord, UnknownCluster, announce, find, running, withdraw
from kcp.storage.interface import StoreFull
from kcp.storage.memory import MemoryStore

REQUEST = RawRequest("GET", "/")


class Echo:
    """A transport that answers, and streams what is put into its queue."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue()

    async def request(self, request: RawRequest) -> RawResponse:
        return RawResponse(200, {}, request.path.encode())

    @asynccontextmanager
    async def stream(self, request: RawRequest) -> AsyncIterator[tuple[RawResponse, AsyncIterator[bytes]]]:  # noqa: ARG002
        yield RawResponse(200, {}, b""), self._read()

    async def _read(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.chunks.get()

    async def close(self) -> None:
        """Nothing to close."""


class Bench:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.switch = FaultSwitch("east")
        self.echo = Echo()
        self.outside = FaultyTransport(self.echo, self.switch, self.clock)
        self.inside = FaultyTransport(self.echo, self.switch, self.clock, inside=True)


async def test_a_killed_cluster_refuses_clients_and_holds_its_own_controllers_until_restored() -> None:
    bench = Bench()
    bench.switch.set(Fault.KILL)
    with pytest.raises(TransportError, match="kcp sim restore east"):
        await bench.outside.request(REQUEST)
    async with asyncio.TaskGroup() as group:
        inside = group.create_task(bench.inside.request(REQUEST))
        await bench.clock.advance(1000)
        assert not inside.done()
        bench.switch.restore()
    assert (await bench.outside.request(REQUEST)).status == 200


async def test_a_kill_breaks_a_silent_stream() -> None:
    bench = Bench()

    async def read() -> None:
        async with bench.outside.stream(REQUEST) as (_, chunks):
            async for _ in chunks:
                raise AssertionError("nothing was sent")

    async with asyncio.TaskGroup() as group:
        reader = group.create_task(_failure(read()))
        await settle()
        bench.switch.set(Fault.KILL)
    assert "the connection broke" in str(reader.result())


async def _failure(coroutine: object) -> TransportError:
    with pytest.raises(TransportError) as caught:
        await coroutine  # type: ignore[misc]
    return caught.value


async def test_a_pause_holds_everybody_and_a_partition_only_those_outside() -> None:
    bench = Bench()
    for fault, inside_answers in ((Fault.PAUSE, False), (Fault.PARTITION, True)):
        bench.switch.set(fault)
        async with asyncio.TaskGroup() as group:
            outside = group.create_task(bench.outside.request(REQUEST))
            inside = group.create_task(bench.inside.request(REQUEST))
            await bench.clock.advance(1000)
            assert not outside.done()
            assert inside.done() == inside_answers
            bench.switch.restore()


async def test_a_slow_cluster_answers_and_tells_late_in_order() -> None:
    bench = Bench()
    bench.switch.set(Fault.SLOW, latency_s=2.0)
    seen: list[bytes] = []

    async def read() -> None:
        async with bench.outside.stream(REQUEST) as (_, chunks):
            async for chunk in chunks:
                seen.append(chunk)
                if len(seen) == 2:
                    return

    async with asyncio.TaskGroup() as group:
        answer = group.create_task(bench.outside.request(REQUEST))
        group.create_task(read())
        await bench.clock.advance(1.9)
        assert not answer.done()
        await bench.clock.advance(0.2)
        assert answer.done()
        for chunk in (b"1", b"2"):
            bench.echo.chunks.put_nowait(chunk)
        await bench.clock.advance(1.9)
        assert seen == []
        await bench.clock.advance(5)
    assert seen == [b"1", b"2"]


async def test_a_full_store_refuses_writes_and_goes_on_reading_and_deleting() -> None:
    switch = FaultSwitch("east")
    store = FillableStore(MemoryStore(), switch)
    revision = await store.create(b"/registry/a/b/-/c/d", b"1")
    switch.set(Fault.FILL)
    with pytest.raises(StoreFull):
        await store.create(b"/registry/a/b/-/c/e", b"1")
    with pytest.raises(StoreFull):
        await store.update(b"/registry/a/b/-/c/d", b"2", revision)
    assert (await store.get(b"/registry/a/b/-/c/d")) is not None
    await store.delete(b"/registry/a/b/-/c/d")
    switch.restore()
    await store.create(b"/registry/a/b/-/c/e", b"1")
    await store.close()


def test_a_malformed_fault_is_told_with_the_choices() -> None:
    assert parse(b'{"fault":"slow","latencySeconds":0.5}') == FaultState(Fault.SLOW, 0.5)
    assert parse(b'{"fault":"kill"}') == FaultState(Fault.KILL)
    for body in (b"", b"[]", b"{}", b'{"fault":"explode"}', b'{"fault":"slow"}', b'{"fault":"slow","latencySeconds":-1}'):
        with pytest.raises(BadRequest):
            parse(body)


def test_records_of_running_clusters_are_found_and_stale_ones_dropped(tmp_path: Path) -> None:
    east = ClusterRecord(
        name="east", pid=os.getpid(), url="https://127.0.0.1:1", control_url="https://127.0.0.1:2", kubeconfig="/k", nodes=3,
        started="2026-01-01T00:00:00Z", labels={"region": "east"},
    )  # fmt: skip
    announce(east, tmp_path)
    announce(replace(east, name="gone", pid=2**22 + 1), tmp_path)
    (tmp_path / "broken.json").write_text("{")
    assert running(tmp_path) == [east]
    assert not (tmp_path / "gone.json").exists()
    assert find("east", tmp_path) == east
    with pytest.raises(UnknownCluster, match="running, by .*: east"):
        find("west", tmp_path)
    withdraw(replace(east, pid=1), tmp_path)
    assert running(tmp_path) == [east]
    withdraw(east, tmp_path)
    assert running(tmp_path) == []
