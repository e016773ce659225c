"""What every store promises (`kcp.storage.interface`), whatever keeps the data.

Aspects: create, get, update, delete with compare; lists: order, limit and continue, at an old, compacted or future revision; watches:
live, from a revision, previous values, compacted, slow, closed; compaction; many writers, cancelled writers; reopening.
A further backend joins by a class like those below in `BACKENDS`. After every test the invariants are checked.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Protocol

import pytest
from tests.etcd import Etcd

from kcp.aio.clock import SystemClock
from kcp.apimachinery.gvk import GroupResource
from kcp.storage.encryption.ciphers import Sealings
from kcp.storage.encryption.config import Key, Provider, Rule
from kcp.storage.encryption.store import EncryptedStore
from kcp.storage.etcd.config import EtcdConfig
from kcp.storage.etcd.store import EtcdStore
from kcp.storage.interface import (
    Compacted,
    Event,
    FutureRevision,
    KeyExists,
    KeyValue,
    Revision,
    RevisionMismatch,
    SlowConsumer,
    Store,
    StoreClosed,
)
from kcp.storage.memory import MemoryStore
from kcp.storage.sqlite import SQLiteStore

P = b"/registry/core/configmaps/-/"
A, B, C = P + b"root/default/a", P + b"root/default/b", P + b"root/default/c"


class Backend(Protocol):
    """How the suite gets at one kind of store."""

    is_durable: bool
    """Whether `open` after `close` finds the data again."""

    async def open(self) -> Store: ...

    def stop(self) -> None:
        """Ends whatever the store needs besides this process."""


class MemoryBackend(Backend):
    is_durable = False

    def __init__(self, directory: Path) -> None:
        del directory

    async def open(self) -> Store:
        return MemoryStore()


class SQLiteBackend(Backend):
    is_durable = True

    def __init__(self, directory: Path) -> None:
        self._path = directory / "kcp.db"

    async def open(self) -> Store:
        return await SQLiteStore.open(self._path)


class EtcdBackend(Backend):
    """A server of its own for each test: its revisions begin at 1."""

    is_durable = True

    def __init__(self, directory: Path) -> None:
        self._etcd = Etcd(directory).start()

    async def open(self) -> Store:
        return await EtcdStore.open(EtcdConfig(endpoints=self._etcd.endpoints), SystemClock())

    def stop(self) -> None:
        self._etcd.stop()


class EncryptedBackend(SQLiteBackend):
    """Whatever keeps the data, encrypted."""

    async def open(self) -> Store:
        keys = (Key("new", b"n" * 32), Key("old", b"o" * 32))
        rule = Rule((GroupResource("*", "*"),), (Provider("aesgcm", keys), Provider("identity")))
        return EncryptedStore(await super().open(), Sealings([rule]))


BACKENDS: dict[str, Callable[[Path], Backend]] = {
    "memory": MemoryBackend,
    "sqlite": SQLiteBackend,
    "etcd": EtcdBackend,
    "encrypted": EncryptedBackend,
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    backend = BACKENDS[request.param](tmp_path)
    yield backend
    backend.stop()


@pytest.fixture
async def store(backend: Backend) -> AsyncGenerator[Store, None]:
    """An empty store; what a test has done to it must leave the invariants standing."""
    store = await backend.open()
    yield store
    await check_invariants(store)
    await store.close()


async def check_invariants(store: Store) -> None:
    """One live row per key, revisions strictly rising, and the log played over an old list gives the present one."""
    revision = await store.current_revision()
    compacted = Revision(max(store.statistics().get("compacted", 0), 1))
    base, present = await store.list(b"/registry/core/", revision=compacted), await store.list(b"/registry/core/")
    events = await collect(store, b"/", compacted, revision)
    revisions = [event.revision for event in events]
    assert revisions == sorted(set(revisions)), "the log has a double"
    if store.current_revision_nowait() is not None:  # nobody else writes to it
        assert revisions == list(range(compacted + 1, revision + 1)), "the log has a hole"
    state = {kv.key: (kv.value, kv.mod_revision) for kv in base.items}
    for event in events:
        assert event.prev_value == (state[event.key][0] if event.key in state else None)
        if event.value is None:
            del state[event.key]
        else:
            state[event.key] = (event.value, event.revision)
    assert {kv.key: (kv.value, kv.mod_revision) for kv in present.items} == state
    assert keys(present.items) == sorted(state)
    assert present.revision == revision


async def collect(store: Store, prefix: bytes, after: Revision, until: Revision) -> list[Event]:
    """Every event in (after, until]; something must be written at `until` under the prefix, unless nothing is after `after`."""
    events: list[Event] = []
    if after >= until:
        return events
    async with aclosing(store.watch(prefix, after)) as batches:
        async for batch in batches:
            events += [event for event in batch if event.revision <= until and not event.is_progress]
            if batch[-1].revision >= until:
                break
    return events


async def collect_from(batches: AsyncGenerator[Sequence[Event], None], until: Revision) -> list[Event]:
    events: list[Event] = []
    while not events or events[-1].revision < until:
        events += [event for event in await anext(batches) if not event.is_progress]
    return events


async def take(batches: AsyncGenerator[Sequence[Event], None], count: int) -> list[Event]:
    """The next `count` events."""
    events: list[Event] = []
    async with asyncio.timeout(10):
        while len(events) < count:
            events += [event for event in await anext(batches) if not event.is_progress]
    assert len(events) == count
    return events


def keys(items: Sequence[KeyValue]) -> list[bytes]:
    return [kv.key for kv in items]


# --- create, get, update, delete ---


async def test_an_empty_store_is_at_revision_one_and_lists_nothing(store: Store) -> None:
    page = await store.list(P)
    assert (list(page.items), page.revision, page.remaining) == ([], 1, 0)


async def test_create_gives_the_next_revision_and_get_finds_the_value(store: Store) -> None:
    before = await store.current_revision()
    revision = await store.create(A, b"1")
    assert revision == before + 1
    assert await store.get(A) == KeyValue(A, b"1", revision, revision)
    assert await store.current_revision() == revision


async def test_get_of_an_absent_key_is_none(store: Store) -> None:
    await store.create(A, b"1")
    assert await store.get(B) is None
    assert await store.get(A[:-1]) is None


async def test_create_of_a_live_key_is_refused_and_names_its_revision(store: Store) -> None:
    revision = await store.create(A, b"1")
    with pytest.raises(KeyExists) as refused:
        await store.create(A, b"2")
    assert (refused.value.key, refused.value.revision) == (A, revision)
    assert await store.current_revision() == revision


async def test_create_after_delete_starts_a_new_life(store: Store) -> None:
    first = await store.create(A, b"1")
    await store.delete(A, first)
    second = await store.create(A, b"2")
    assert await store.get(A) == KeyValue(A, b"2", second, second)


async def test_update_keeps_the_revision_of_creation(store: Store) -> None:
    created = await store.create(A, b"1")
    updated = await store.update(A, b"2", created)
    again = await store.update(A, b"3", updated)
    assert await store.get(A) == KeyValue(A, b"3", created, again)


async def test_update_at_another_revision_is_refused_and_shows_what_is_there(store: Store) -> None:
    created = await store.create(A, b"1")
    updated = await store.update(A, b"2", created)
    with pytest.raises(RevisionMismatch) as refused:
        await store.update(A, b"3", created)
    assert refused.value.current == KeyValue(A, b"2", created, updated)


@pytest.mark.parametrize("expected", [0, 1, 7])
async def test_update_of_an_absent_key_is_refused(store: Store, expected: int) -> None:
    with pytest.raises(RevisionMismatch) as refused:
        await store.update(A, b"1", Revision(expected))
    assert refused.value.current is None


async def test_delete_takes_a_revision_of_its_own(store: Store) -> None:
    created = await store.create(A, b"1")
    deleted = await store.delete(A)
    assert deleted == created + 1
    assert await store.get(A) is None
    assert (await store.list(P)).revision == deleted


async def test_delete_at_another_revision_is_refused_and_shows_what_is_there(store: Store) -> None:
    created = await store.create(A, b"1")
    updated = await store.update(A, b"2", created)
    with pytest.raises(RevisionMismatch) as refused:
        await store.delete(A, created)
    assert refused.value.current == KeyValue(A, b"2", created, updated)
    await store.delete(A, updated)


@pytest.mark.parametrize("expected", [None, Revision(0), Revision(2)])
async def test_delete_of_an_absent_key_is_refused(store: Store, expected: Revision | None) -> None:
    await store.delete(A, await store.create(A, b"1"))
    with pytest.raises(RevisionMismatch) as refused:
        await store.delete(A, expected)
    assert refused.value.current is None


async def test_values_are_opaque_and_may_be_empty_or_large(store: Store) -> None:
    large = random.Random(1).randbytes(1_500_000)
    await store.create(A, b"")
    await store.create(B, large)
    assert [kv.value for kv in (await store.list(P)).items] == [b"", large]


async def test_many_writes_to_one_key_at_once_have_one_winner_each(store: Store) -> None:
    results = await asyncio.gather(*(store.create(A, b"%d" % i) for i in range(20)), return_exceptions=True)
    winners = [r for r in results if isinstance(r, int)]
    assert len(winners) == 1
    assert all(isinstance(r, KeyExists) for r in results if not isinstance(r, int))
    results = await asyncio.gather(*(store.update(A, b"%d" % i, Revision(winners[0])) for i in range(20)), return_exceptions=True)
    assert sum(isinstance(r, int) for r in results) == 1
    current = await store.get(A)
    assert all(r.current == current for r in results if isinstance(r, RevisionMismatch))


# --- lists ---


async def test_list_is_ordered_by_key_and_stays_in_its_prefix(store: Store) -> None:
    for key in (C, A, B, b"/registry/core/configmaps0", b"/registry/core/configmap/-/z", P[:-1]):
        await store.create(key, b"x")
    assert keys((await store.list(P)).items) == [A, B, C]
    assert keys((await store.list(P + b"root/default/b")).items) == [B]


async def test_list_leaves_deleted_keys_out(store: Store) -> None:
    for key in (A, B, C):
        await store.create(key, b"x")
    await store.delete(B)
    assert keys((await store.list(P)).items) == [A, C]


async def test_pages_at_one_revision_show_one_state_while_it_changes(store: Store) -> None:
    for i in range(10):
        await store.create(P + b"root/%02d" % i, b"old")
    first = await store.list(P, limit=4)
    assert (len(first.items), first.remaining) == (4, 6)
    await store.delete(P + b"root/05")
    await store.update(P + b"root/06", b"new", (await _get(store, P + b"root/06")).mod_revision)
    await store.create(P + b"root/055", b"new")
    second = await store.list(P, after=first.items[-1].key, limit=4, revision=first.revision)
    third = await store.list(P, after=second.items[-1].key, limit=4, revision=first.revision)
    assert keys([*second.items, *third.items]) == [P + b"root/%02d" % i for i in range(4, 10)]
    assert {kv.value for page in (first, second, third) for kv in page.items} == {b"old"}
    assert (second.remaining, third.remaining) == (2, 0)
    assert second.revision == third.revision == first.revision


async def test_list_after_a_key_that_is_gone_goes_on_behind_it(store: Store) -> None:
    await store.create(A, b"1")
    await store.create(C, b"1")
    assert keys((await store.list(P, after=B)).items) == [C]
    assert keys((await store.list(P, after=C)).items) == []
    assert keys((await store.list(P, after=b"/a")).items) == [A, C]


async def test_list_at_an_old_revision_shows_what_was(store: Store) -> None:
    created = await store.create(A, b"1")
    updated = await store.update(A, b"2", created)
    deleted = await store.delete(A)
    again = await store.create(A, b"3")
    await store.create(B, b"later")

    async def at(revision: int) -> Sequence[KeyValue]:
        return (await store.list(P, revision=Revision(revision))).items

    assert list(await at(created - 1)) == []
    assert list(await at(created)) == [KeyValue(A, b"1", created, created)]
    assert list(await at(updated)) == [KeyValue(A, b"2", created, updated)]
    assert list(await at(deleted)) == []
    assert list(await at(again)) == [KeyValue(A, b"3", again, again)]


async def test_list_at_a_future_revision_is_refused(store: Store) -> None:
    revision = await store.create(A, b"1")
    with pytest.raises(FutureRevision) as refused:
        await store.list(P, revision=Revision(revision + 1))
    assert refused.value.current == revision


# --- watches ---


async def test_watch_delivers_new_writes_with_what_they_replaced(store: Store) -> None:
    async with aclosing(store.watch(P, await store.current_revision())) as batches:
        created = await store.create(A, b"1")
        updated = await store.update(A, b"2", created)
        deleted = await store.delete(A)
        events = await take(batches, 3)
    assert events == [
        Event(A, b"1", None, created),
        Event(A, b"2", b"1", updated),
        Event(A, None, b"2", deleted),
    ]
    assert [(e.is_create, e.is_delete) for e in events] == [(True, False), (False, False), (False, True)]


async def test_a_waiting_watch_wakes_for_each_write(store: Store) -> None:
    async with aclosing(store.watch(P, Revision(0))) as batches:
        for i in range(5):
            waiting = asyncio.ensure_future(take(batches, 1))
            await asyncio.sleep(0)
            revision = await store.create(P + b"root/%d" % i, b"x")
            assert [e.revision for e in await waiting] == [revision]


async def test_watch_stays_in_its_prefix(store: Store) -> None:
    async with aclosing(store.watch(P, Revision(0))) as batches:
        await store.create(b"/registry/core/configmaps0", b"no")
        await store.create(A, b"yes")
        await store.create(b"/registry/core/secrets/-/root/a", b"no")
        await store.create(B, b"yes")
        assert [e.key for e in await take(batches, 2)] == [A, B]


async def test_watch_from_an_old_revision_replays_and_goes_on_live(store: Store) -> None:
    revisions = [await store.create(P + b"root/%d" % i, b"x") for i in range(10)]
    async with aclosing(store.watch(P, revisions[3])) as batches:
        assert [e.revision for e in await take(batches, 6)] == revisions[4:]
        live = await store.delete(P + b"root/0")
        assert [(e.revision, e.prev_value) for e in await take(batches, 1)] == [(live, b"x")]


async def test_watch_from_a_future_revision_delivers_only_what_comes_after_it(store: Store) -> None:
    revision = await store.current_revision()
    async with aclosing(store.watch(P, Revision(revision + 2))) as batches:
        waiting = asyncio.ensure_future(take(batches, 1))
        await asyncio.sleep(0)
        for key in (A, B, C):
            await store.create(key, b"x")
        assert [e.key for e in await waiting] == [C]


async def test_watch_without_previous_values_still_tells_creations_from_changes(store: Store) -> None:
    created = await store.create(A, b"1")
    async with aclosing(store.watch(P, Revision(0), prev_values=False)) as batches:
        replayed = await take(batches, 1)
        await store.update(A, b"2", created)
        await store.delete(A)
        live = await take(batches, 2)
    assert [(e.is_create, e.is_delete, e.prev_value is None) for e in replayed + live] == [
        (True, False, True),
        (False, False, False),
        (False, True, False),
    ]


async def test_many_watchers_each_get_everything_once(store: Store) -> None:
    async def follow(after: int) -> list[int]:
        async with aclosing(store.watch(P, Revision(after))) as batches:
            return [e.revision for e in await take(batches, 61 - after)]

    followers = [asyncio.ensure_future(follow(after)) for after in (1, 1, 1)]
    for i in range(30):
        await store.create(P + b"root/%d" % i, b"x")
    followers += [asyncio.ensure_future(follow(after)) for after in (1, 10, 25)]
    for i in range(30):
        await store.update(P + b"root/%d" % i, b"y", Revision(i + 2))
    seen = await asyncio.gather(*followers)
    assert seen == [list(range(after + 1, 62)) for after in (1, 1, 1, 1, 10, 25)]


async def test_a_watcher_that_does_not_read_is_ended_never_given_a_gap(store: Store) -> None:
    async with aclosing(store.watch(P, await store.current_revision())) as batches:
        waiting = asyncio.ensure_future(take(batches, 1))
        await asyncio.sleep(0)
        await store.create(A, b"x")
        assert len(await waiting) == 1
        for start in range(0, 10_001, 500):
            await asyncio.gather(*(store.create(P + b"root/%d" % i, b"x") for i in range(start, start + 500)))
        last = await store.create(B, b"x")
        if store.current_revision_nowait() is None:  # the queue fills as the events arrive from another process: all of them, or the error
            with suppress(SlowConsumer):
                seen = await collect_from(batches, last)
                assert len(seen) == 10_501
        else:
            with pytest.raises(SlowConsumer):
                await anext(batches)


async def test_closing_the_store_ends_watches_and_refuses_everything_else(backend: Backend) -> None:
    store = await backend.open()
    await store.create(A, b"1")
    batches = store.watch(P, Revision(0))
    assert len(await take(batches, 1)) == 1
    waiting = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    with pytest.raises(StoreClosed):
        await waiting
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.get(A),
        lambda: store.list(P),
        lambda: store.create(B, b"1"),
        lambda: store.update(A, b"2", Revision(2)),
        lambda: store.delete(A),
        lambda: store.compact(Revision(2)),
        lambda: anext(store.watch(P, Revision(0))),
    ]
    for call in calls:
        with pytest.raises(StoreClosed):
            await call()


# --- compaction ---


async def test_lists_and_watches_below_the_compaction_mark_are_refused(store: Store) -> None:
    created = await store.create(A, b"1")
    updated = await store.update(A, b"2", created)
    last = await store.create(B, b"1")
    await store.compact(updated)
    for call in (store.list(P, revision=created), anext(store.watch(P, created)), anext(store.watch(P, Revision(0)))):
        with pytest.raises(Compacted) as refused:
            await call
        assert refused.value.oldest == updated
    assert keys((await store.list(P, revision=updated)).items) == [A]
    async with aclosing(store.watch(P, updated)) as batches:
        assert [e.revision for e in await take(batches, 1)] == [last]


async def test_compaction_keeps_live_values_and_what_was_superseded_later(store: Store) -> None:
    one = await store.create(A, b"1")
    await store.create(B, b"1")
    await store.create(C, b"1")
    await store.delete(C)
    mark = await store.current_revision()
    two = await store.update(A, b"2", one)
    gone = await store.delete(B)
    await store.compact(mark)
    assert {kv.key: kv.value for kv in (await store.list(P, revision=mark)).items} == {A: b"1", B: b"1"}
    async with aclosing(store.watch(P, mark)) as batches:
        assert await take(batches, 2) == [Event(A, b"2", b"1", two), Event(B, None, b"1", gone)]
    await store.compact(gone)
    assert await store.get(A) == KeyValue(A, b"2", one, two)


async def test_compaction_again_or_further_back_changes_nothing(store: Store) -> None:
    for key in (A, B, C):
        await store.create(key, b"1")
    for revision in (3, 3, 2, 0):
        await store.compact(Revision(revision))
    with pytest.raises(Compacted):
        await store.list(P, revision=Revision(2))
    assert len((await store.list(P, revision=Revision(3))).items) == 2


async def test_compaction_of_the_future_is_refused(store: Store) -> None:
    with pytest.raises(FutureRevision):
        await store.compact(Revision(await store.current_revision() + 1))


async def test_a_watch_that_compaction_overtakes_sees_everything_or_is_refused(store: Store) -> None:
    for start in range(0, 3_000, 500):
        await asyncio.gather(*(store.create(P + b"root/%d" % i, b"x") for i in range(start, start + 500)))
    last = await store.current_revision()
    seen: list[int] = []
    async with aclosing(store.watch(P, Revision(1))) as batches:
        seen += [e.revision for e in await anext(batches)]
        await store.compact(last)
        try:
            while seen[-1] < last:
                seen += [e.revision for e in await anext(batches)]
        except Compacted:
            last = Revision(seen[-1])
    assert seen == list(range(2, last + 1))


async def test_a_live_watch_goes_on_over_compactions(store: Store) -> None:
    async with aclosing(store.watch(P, Revision(0))) as batches:
        revision = await store.create(A, b"0")
        assert len(await take(batches, 1)) == 1
        for i in range(5):
            revision = await store.update(A, b"%d" % i, revision)
            assert [e.revision for e in await take(batches, 1)] == [revision]
            await store.compact(revision)


# --- many writers ---


async def test_fifty_writers_lose_and_double_no_event(store: Store) -> None:
    acknowledged: list[int] = []

    async def write(writer: int) -> None:
        last = 0
        for i in range(20):
            revision = await store.create(P + b"root/%d-%d" % (writer, i), b"x")
            assert revision > last
            last = revision
            acknowledged.append(revision)
            assert (await store.current_revision()) >= revision

    async with aclosing(store.watch(P, Revision(0))) as batches:
        following = asyncio.ensure_future(take(batches, 1_000))
        await asyncio.gather(*(write(i) for i in range(50)))
        seen = [e.revision for e in await following]
    assert sorted(acknowledged) == seen


async def test_a_cancelled_writer_leaves_no_hole_and_no_silent_write(store: Store) -> None:
    chance = random.Random(7)

    async def write(i: int) -> None:
        revision = await store.create(P + b"root/%d" % i, b"1")
        await store.update(P + b"root/%d" % i, b"2", revision)

    async with aclosing(store.watch(P, Revision(0))) as batches:
        for i in range(0, 200, 20):
            tasks = [asyncio.ensure_future(write(j)) for j in range(i, i + 20)]
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            for task in chance.sample(tasks, 12):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        last = await store.create(C, b"the end")
        seen: list[Event] = []
        while not seen or seen[-1].revision < last:
            seen += await anext(batches)
    assert [e.revision for e in seen] == list(range(2, last + 1))
    listed = {kv.key: kv.mod_revision for kv in (await store.list(P)).items}
    assert listed == {e.key: e.revision for e in seen}


@pytest.mark.parametrize("seed", range(4))
async def test_random_operations_agree_with_a_plain_model_at_every_revision(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    state: dict[bytes, tuple[bytes, int]] = {}
    states: dict[int, dict[bytes, tuple[bytes, int]]] = {1: {}}
    compacted = 1
    for step in range(300):
        key, value = P + b"root/%02d" % chance.randrange(12), b"%d" % step
        if key not in state:
            state[key] = (value, await store.create(key, value))
        elif chance.random() < 0.35:
            await store.delete(key, Revision(state.pop(key)[1]))
        else:
            state[key] = (value, await store.update(key, value, Revision(state[key][1])))
        states[await store.current_revision()] = dict(state)
        if chance.random() < 0.03:
            compacted = chance.randrange(compacted, step + 3)
            await store.compact(Revision(compacted))
        if chance.random() < 0.2:
            await _check_pages(store, states, chance, chance.randrange(compacted, step + 3))


async def _check_pages(store: Store, states: dict[int, dict[bytes, tuple[bytes, int]]], chance: random.Random, at: int) -> None:
    """Page through the state of revision `at` and compare it with the model's."""
    expected, limit = sorted(states[at].items()), chance.choice([0, 1, 3])
    found: list[tuple[bytes, tuple[bytes, int]]] = []
    while True:
        page = await store.list(P, after=found[-1][0] if found else b"", limit=limit, revision=Revision(at))
        found += [(kv.key, (kv.value, kv.mod_revision)) for kv in page.items]
        assert page.remaining == len(expected) - len(found)
        if not page.remaining:
            break
    assert found == expected


async def _get(store: Store, key: bytes) -> KeyValue:
    found = await store.get(key)
    assert found is not None
    return found


# --- reopening ---


async def test_reopening_finds_everything_and_goes_on_counting(backend: Backend) -> None:
    if not backend.is_durable:
        return
    store = await backend.open()
    one = await store.create(A, b"1")
    two = await store.update(A, b"2", one)
    await store.create(B, b"1")
    gone = await store.delete(B)
    await store.close()

    store = await backend.open()
    assert await store.current_revision() == gone
    assert await store.get(A) == KeyValue(A, b"2", one, two)
    assert [kv.value for kv in (await store.list(P, revision=one)).items] == [b"1"]
    async with aclosing(store.watch(P, one)) as batches:
        assert [(e.revision, e.prev_value) for e in await take(batches, 3)] == [(two, b"1"), (4, None), (gone, b"1")]
    await store.compact(gone)
    await store.close()

    store = await backend.open()
    assert await store.current_revision() == gone
    with pytest.raises(Compacted):
        await store.list(P, revision=two)
    assert await store.create(B, b"2") == gone + 1
    assert await store.get(A) == KeyValue(A, b"2", one, two)
    await store.close()
