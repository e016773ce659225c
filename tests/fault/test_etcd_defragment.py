"""Etcd's files shrink again after much was forgotten: one member after the other, the leader last, and nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.etcd import Etcd

from kcp.aio.clock import SystemClock, VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.storage.etcd import defragment
from kcp.storage.etcd.config import EtcdConfig
from kcp.storage.etcd.defragment import Defragmenter
from kcp.storage.etcd.store import EtcdStore
from kcp.storage.interface import StoreUnavailable

P = b"/registry/core/configmaps/-/root/"


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Etcd]:
    etcd = Etcd(tmp_path, size=3).start()
    yield etcd
    etcd.stop()


async def test_members_that_are_worth_it_are_defragmented_the_leader_last(three: Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defragment, "_REST_S", 0.0)
    monkeypatch.setattr(defragment, "_LEAST_BYTES", 1 << 20)
    config = EtcdConfig(endpoints=tuple(three.endpoints))
    store = await EtcdStore.open(config, SystemClock())
    defragmenter = Defragmenter(config, SystemClock(), 1.0)
    try:
        assert await defragmenter.step() == [], "nothing to give back"
        revision = await store.create(P + b"a", b"x")
        for _ in range(40):
            revision = await store.update(P + b"a", b"x" * 500_000, revision)
        await store.compact(revision)
        async with asyncio.timeout(20):  # each member forgets in its own time, and counts what is free when it writes again
            while not all([(await defragmenter._look(endpoint)).is_worth_it for endpoint in config.endpoints]):
                revision = await store.update(P + b"a", b"x", revision)
        before = [await defragmenter._look(endpoint) for endpoint in config.endpoints]
        (leader,) = [member.endpoint for member in before if member.is_leader]
        done = await defragmenter.step()
        assert sorted(done) == sorted(config.endpoints)
        assert done[-1] == leader
        after = [await defragmenter._look(endpoint) for endpoint in config.endpoints]
        assert all(now.bytes < then.bytes / 4 for then, now in zip(before, after, strict=True))
        held = await store.get(P + b"a")
        assert held is not None
        assert held.mod_revision == revision
        assert await defragmenter.step() == []
    finally:
        await store.close()


async def test_a_member_that_is_away_puts_it_off(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()

    async def away(endpoint: str) -> defragment.Member:
        raise StoreUnavailable(f"{endpoint} does not answer")

    defragmenter = Defragmenter(EtcdConfig(endpoints=("http://127.0.0.1:1",)), clock, 3_600.0)
    monkeypatch.setattr(defragmenter, "_look", away)
    async with Supervisor() as supervisor:
        supervisor.spawn(defragmenter.run(), name="defragmentation")
        await clock.advance(1)
        assert caplog.text == ""
        await clock.advance(2 * 3_600)
    assert caplog.text.count("etcd was not defragmented") == 2
