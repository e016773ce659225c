"""Continuous backup: snapshots with files of changes between them, what they come to, and what goes wrong on the way.

Aspects: whatever was shipped restores to what the store held then; names of chains, gaps, another history; retention; a place that is away; a
history that was forgotten; snapshots that are taken meanwhile; damage.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.storage.interface import KeyValue, Revision, Store
from kcp.storage.memory import MemoryStore
from kcp.storage.snapshot.changes import Chain, chains, superfluous
from kcp.storage.snapshot.fetching import Checked, opened
from kcp.storage.snapshot.file import SnapshotError
from kcp.storage.snapshot.places import Directory, PlaceError, S3Options
from kcp.storage.snapshot.restore import to_sqlite
from kcp.storage.snapshot.shipping import Shipper, ShippingConfig
from kcp.storage.snapshot.sources import SQLiteOrigin, StoreOrigin
from kcp.storage.sqlite import SQLiteStore

P = b"/registry/core/configmaps/-/root/default/"
START = datetime(2026, 1, 1, 2, tzinfo=UTC)


def obj(name: bytes, text: str = "") -> bytes:
    return b'{"metadata":{"resourceVersion":"","name":"%s"},"data":{"a":"%s"}}' % (name, text.encode())


async def put(store: Store, name: bytes, text: str = "") -> Revision:
    held = await store.get(P + name)
    return await (store.create(P + name, obj(name, text)) if held is None else store.update(P + name, obj(name, text), held.mod_revision))


def restored(place: Path) -> tuple[Sequence[KeyValue], int]:
    with opened(str(place), S3Options()) as content:
        checked = Checked(content)
        return list(checked.records()), checked.header.revision


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups"


async def at_once(blocking: Callable[..., Any], *arguments: Any) -> Any:
    """No thread, whose time would not be virtual."""
    return blocking(*arguments)


class Shipping:
    """A shipper that runs."""

    def __init__(self, store: Store, directory: Path, supervisor: Supervisor, **config: float) -> None:
        self.clock = VirtualClock(START)
        self.place = Flaky(directory)
        shipper = Shipper(StoreOrigin(store, "memory"), self.place, ShippingConfig(**config), clock=self.clock, aside=at_once)  # type: ignore[arg-type]
        supervisor.spawn(shipper.run(), name="shipper")

    async def until_shipped(self, revision: int) -> None:
        for _ in range(200):
            await self.clock.advance(0.5)
            if chains(entry.name for entry in self.place.entries()) and restored(self.place.path)[1] >= revision:
                return
        pytest.fail(f"revision {revision} was not shipped")


class Flaky(Directory):
    is_away = False

    def put(self, path: Path, name: str) -> None:
        if self.is_away:
            raise PlaceError("away")
        super().put(path, name)


@pytest.mark.parametrize("seed", range(4))
async def test_what_was_shipped_restores_to_what_the_store_held(place: Path, seed: int) -> None:
    store, chance = MemoryStore(), random.Random(seed)
    async with Supervisor() as supervisor:
        shipping = Shipping(store, place, supervisor, interval_s=2.0, snapshot_every_s=6.0)
        for _ in range(6):
            for _ in range(chance.randrange(12)):
                name = b"o%d" % chance.randrange(8)
                if await store.get(P + name) is not None and chance.random() < 0.3:
                    await store.delete(P + name)
                else:
                    await put(store, name, str(chance.random()))
            revision = await put(store, b"last", str(chance.random()))
            await shipping.until_shipped(revision)
            held = sorted((await store.list(P)).items, key=lambda kv: kv.mod_revision)
            assert list(restored(place)[0]) == held


@pytest.mark.parametrize("seconds", [5])
async def test_at_most_five_seconds_are_lost(place: Path, seconds: int) -> None:
    store = MemoryStore()
    async with Supervisor() as supervisor:
        shipping = Shipping(store, place, supervisor)
        await shipping.until_shipped(1)
        for number in range(5):
            revision = await put(store, b"a", str(number))
            for _ in range(seconds * 2):
                await shipping.clock.advance(0.5)
            assert restored(place)[1] >= revision


async def test_changes_of_a_database_are_taken_while_its_server_runs(tmp_path: Path, place: Path) -> None:
    store = await SQLiteStore.open(tmp_path / "kcp.db")
    await put(store, b"kept", "1")
    await put(store, b"gone")
    origin, clock = SQLiteOrigin(tmp_path / "kcp.db"), VirtualClock(START)
    shipper = Shipper(origin, Directory(place), ShippingConfig(), clock=clock)
    reached = await shipper.snapshot()
    await put(store, b"kept", "2")
    await store.delete(P + b"gone")
    await put(store, b"new")
    assert (await shipper._try(reached)) is not None
    held = sorted((await store.list(P)).items, key=lambda kv: kv.mod_revision)
    revision = await store.current_revision()
    await store.close()
    assert restored(place) == (held, revision)
    with opened(str(place), S3Options()) as content:
        to_sqlite(Checked(content), tmp_path / "restored.db")
    again = await SQLiteStore.open(tmp_path / "restored.db")
    assert sorted((await again.list(P)).items, key=lambda kv: kv.mod_revision) == held
    assert await again.current_revision() == revision
    await again.close()


async def test_a_place_that_is_away_gets_everything_once_it_is_back(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    async with Supervisor() as supervisor:
        shipping = Shipping(store, place, supervisor)
        await shipping.until_shipped(1)
        shipping.place.is_away = True
        for number in range(20):
            revision = await put(store, b"a", str(number))
            await shipping.clock.advance(1)
        assert restored(place)[1] < revision
        assert caplog.text.count("changes do not reach the backup: away") == 1
        shipping.place.is_away = False
        await shipping.until_shipped(revision)
        assert "the backup has caught up" in caplog.text


async def test_a_history_that_was_forgotten_makes_another_snapshot(place: Path) -> None:
    store = MemoryStore()
    async with Supervisor() as supervisor:
        shipping = Shipping(store, place, supervisor)
        await shipping.until_shipped(1)
        shipping.place.is_away = True
        for number in range(5):
            revision = await put(store, b"a", str(number))
        await store.compact(revision)
        shipping.place.is_away = False
        await shipping.until_shipped(revision)
    assert len(chains(entry.name for entry in Directory(place).entries())) == 2


def test_a_chain_ends_at_a_gap_and_is_none_of_another_snapshots() -> None:
    first, second = "kcp-20260101-020000-r10", "kcp-20260101-030000-r12"
    names = [
        f"{first}.snapshot", f"{first}.000000000010-000000000012.changes", f"{first}.000000000012-000000000015.changes",
        f"{first}.000000000017-000000000018.changes", f"{second}.snapshot", f"{second}.000000000012-000000000013.changes", "notes.txt",
    ]  # fmt: skip
    assert chains(reversed(names)) == [Chain(names[0], (names[1], names[2])), Chain(names[4], (names[5],))]
    assert set(superfluous(names, 1)) == set(names[:4])
    assert superfluous(names, 0) == superfluous(names, 2) == []


async def test_damaged_changes_and_foreign_content_are_refused(place: Path, tmp_path: Path) -> None:
    store, clock = MemoryStore(), VirtualClock(START)
    shipper = Shipper(StoreOrigin(store, "memory"), Directory(place), ShippingConfig(), clock=clock)
    reached = await shipper.snapshot()
    await store.create(P + b"a", b"no object")
    await shipper._try(reached)
    with (
        opened(str(place), S3Options()) as content,
        pytest.raises(SnapshotError, match="not that of a control plane: .*/a holds no object"),
    ):
        Checked(content).verify()
    (chain,) = chains(entry.name for entry in Directory(place).entries())
    changes = place / chain.changes[0]
    changes.write_bytes(changes.read_bytes()[:-8])
    with pytest.raises(SnapshotError, match="damaged"), opened(str(place), S3Options()):
        pass
    with pytest.raises(SnapshotError, match="no snapshots"), opened(str(tmp_path), S3Options()):
        pass
