"""The watch cache over a memory store.

Aspects: filling on first use, also while writes go on; freshness; scans; history; subscriptions by scope, name and label; selectors
(entering and leaving); slow consumers; restarts; stopping; what cannot be decrypted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import orjson
import pytest

from kcp.aio.clock import VirtualClock, settle
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.storage.encryption.ciphers import Sealings
from kcp.storage.encryption.config import Key, Provider, Rule
from kcp.storage.encryption.store import EncryptedStore
from kcp.storage.interface import LATEST, Compacted, Event, Page, Revision, SlowConsumer, StoreClosed, StoreUnavailable, Unreadable
from kcp.storage.item import Item
from kcp.storage.memory import MemoryStore
from kcp.storage.subscriptions import Trait
from kcp.storage.watchcache import CacheEvent, Subscription, WatchCache, WatchCacheConfig

P = b"/registry/core/configmaps/-/"
CONFIG = WatchCacheConfig(history_events=20, queue_events=50)


def value(**labels: str) -> bytes:
    return orjson.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": "", "labels": labels}})


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def cache(store: MemoryStore) -> AsyncGenerator[WatchCache, None]:
    cache = WatchCache(store, clock=VirtualClock(), config=CONFIG)
    await cache.start()
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        yield cache


def name_of(item: Item) -> str:
    return item.key.name


async def take(subscription: Subscription, count: int) -> list[CacheEvent]:
    events: list[CacheEvent] = []
    async with asyncio.timeout(5):
        while len(events) < count:
            events += await anext(subscription)
    assert len(events) == count
    return events


def seen(subscription: Subscription, events: list[CacheEvent]) -> list[tuple[str, str, int]]:
    views = [view for event in events if (view := subscription.translate(event)) is not None]
    return [(view.type, view.item.key.name if view.item else "", view.revision) for view in views]


async def test_a_resource_is_listed_on_first_use_and_then_kept_up_to_date(store: MemoryStore, cache: WatchCache) -> None:
    await store.create(P + b"root/default/a", value())
    objects = await cache.prefix(P)
    item = objects.get(P + b"root/default/a")
    assert item is not None
    assert item.decode()["metadata"]["resourceVersion"] == "2"
    revision = await store.create(P + b"root/default/b", value(app="web"))
    assert await cache.fresh() == revision
    assert [(i.key.name, i.revision, dict(i.labels)) for i in objects.scan(P)] == [("a", 2, {}), ("b", 3, {"app": "web"})]
    await cache.wait_revision(await store.delete(P + b"root/default/a"))
    assert objects.get(P + b"root/default/a") is None
    assert (len(objects), objects.last_change, cache.revision()) == (1, 4, 4)
    assert await cache.prefix(P) is objects is cache.prefix_nowait(P)


async def test_scans_are_ordered_limited_and_scoped(store: MemoryStore, cache: WatchCache) -> None:
    objects = await cache.prefix(P)
    for name in (b"b/ns/y", b"a/ns/x", b"a/ns/z", b"a/other/x", b"a/nsx/x"):
        await store.create(P + name, value())
    await cache.fresh()
    paths = ["a/ns/x", "a/ns/z", "a/nsx/x", "a/other/x", "b/ns/y"]

    def names(items: object) -> list[str]:
        assert isinstance(items, list)
        return [f"{i.key.cluster}/{i.key.namespace}/{i.key.name}" for i in items]

    assert names(objects.scan(P)) == paths
    assert names(objects.scan(P + b"a/")) == paths[:4]
    assert names(objects.scan(P + b"a/ns/")) == paths[:2]
    assert names(objects.scan(P, after=P + b"a/ns/x", limit=2)) == paths[1:3]
    assert objects.count(P, P + b"a/ns/x") == 4


async def test_a_fill_while_writers_write_misses_nothing(store: MemoryStore, cache: WatchCache) -> None:
    async def write(writer: int) -> None:
        for i in range(1_500):
            await store.create(P + b"root/%d-%d" % (writer, i), value())
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(write(0))
        group.create_task(write(1))
        await asyncio.sleep(0)
        caches = [group.create_task(cache.prefix(P)) for _ in range(3)]
    assert len({id(task.result()) for task in caches}) == 1
    await cache.fresh()
    assert [(i.key.name, i.revision) for i in (await cache.prefix(P)).scan(P)] == [
        (kv.key.rpartition(b"/")[2].decode(), kv.mod_revision) for kv in (await store.list(P)).items
    ]


async def test_a_cancelled_first_user_leaves_the_fill_to_the_next(store: MemoryStore, cache: WatchCache) -> None:
    for i in range(5_000):
        await store.create(P + b"root/%d" % i, value())
        if i % 100 == 0:
            await asyncio.sleep(0)
    first = asyncio.ensure_future(cache.prefix(P))
    second = asyncio.ensure_future(cache.prefix(P))
    await asyncio.sleep(0)
    first.cancel()
    assert len(await second) == 5_000
    assert first.cancelled()


class Slow(MemoryStore):
    """A store with so much in it that listing takes as long as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.listed = asyncio.Event()
        self.lists = 0

    async def list(self, prefix: bytes, *, after: bytes = b"", limit: int = 0, revision: Revision = LATEST) -> Page:
        self.lists += 1
        await self.listed.wait()
        return await super().list(prefix, after=after, limit=limit, revision=revision)


async def test_single_objects_are_read_from_the_store_while_their_resource_is_filled() -> None:
    store, a = Slow(), ObjectKey(ClusterName("c1"), "default", "a")
    await store.create(P + b"c1/default/a", value(app="web"))
    cache = WatchCache(store, clock=VirtualClock(), config=CONFIG)
    await cache.start()
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        for _ in range(2):
            found = await cache.stored(P, a)
            assert found is not None
            assert (found.key, found.revision, found.labels) == (a, 2, {"app": "web"})
            assert found.decode()["metadata"]["resourceVersion"] == "2"
        assert await cache.stored(P, a._replace(name="b")) is None
        assert cache.prefix_nowait(P) is None
        store.listed.set()
        held = (await cache.prefix(P)).get(P + b"c1/default/a")
        assert held is not None
        assert found is not None
        assert held.raw == found.raw
        assert store.lists == 1


async def test_a_store_that_closes_during_such_a_fill_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    store = Slow()
    cache = WatchCache(store, clock=VirtualClock(), config=CONFIG)
    await cache.start()
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        assert await cache.stored(P, ObjectKey(ClusterName("c1"), "default", "a")) is None
        await settle()
        await store.close()
        store.listed.set()
        await settle()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_subscriptions_start_in_the_history_and_go_on_live(store: MemoryStore, cache: WatchCache) -> None:
    objects = await cache.prefix(P)
    for i in range(5):
        await store.create(P + b"root/ns/%d" % i, value())
    await cache.fresh()
    with objects.subscribe(P, after=3) as subscription:
        live = await store.delete(P + b"root/ns/0")
        events = await take(subscription, 4)
        assert [(e.type, e.revision) for e in events] == [("ADDED", 4), ("ADDED", 5), ("ADDED", 6), ("DELETED", live)]
        assert events[-1].item.decode()["metadata"]["resourceVersion"] == str(live)
        assert events[-1].prev_item is not None
        assert events[-1].prev_item.revision == 2


async def test_a_subscription_from_before_the_history_is_refused(store: MemoryStore, cache: WatchCache) -> None:
    await store.create(P + b"root/ns/early", value())
    objects = await cache.prefix(P)
    with pytest.raises(Compacted):
        objects.subscribe(P, after=1)
    for i in range(CONFIG.history_events + 5):
        await store.create(P + b"root/ns/%d" % i, value())
    await cache.fresh()
    with pytest.raises(Compacted) as refused:
        objects.subscribe(P, after=6)
    assert refused.value.oldest == 7
    objects.subscribe(P, after=7).close()
    cache.compact(20)
    with pytest.raises(Compacted):
        objects.subscribe(P, after=19)
    objects.subscribe(P, after=20).close()
    assert objects.statistics() == {"objects": 26, "history": 7, "subscriptions": 0}


async def test_history_is_bounded_in_bytes_too(store: MemoryStore) -> None:
    cache = WatchCache(store, clock=VirtualClock(), config=WatchCacheConfig(history_bytes=1_000))
    await cache.start()
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        objects = await cache.prefix(P)
        for i in range(10):
            await store.create(P + b"root/%d" % i, value(x="y" * 300))
        await cache.fresh()
        assert objects.statistics()["history"] == 2


@pytest.mark.parametrize(
    ("prefix", "name", "label", "expected"),
    [
        (P, "", None, ["a/ns/x", "a/ns/y", "a/other/x", "b/ns/x"]),
        (P + b"a/", "", None, ["a/ns/x", "a/ns/y", "a/other/x"]),
        (P + b"a/ns/", "", None, ["a/ns/x", "a/ns/y"]),
        (P + b"a/ns/", "x", None, ["a/ns/x"]),
        (P, "x", None, ["a/ns/x", "a/other/x", "b/ns/x"]),
        (P, "", ("app", "y"), ["a/ns/y"]),
        (P, "", ("app", "y", "x"), ["a/ns/x", "a/ns/y", "a/other/x", "b/ns/x"]),
        (P, "", ("app",), ["a/ns/x", "a/ns/y", "a/other/x", "b/ns/x"]),
        (P, "", ("team",), []),
        (P + b"a/", "x", ("app", "x"), ["a/ns/x", "a/other/x"]),
        (P + b"a/", "x", ("app", "y"), []),
        (P + b"c/", "", None, []),
    ],
)
async def test_subscriptions_hear_of_what_they_asked_for_live_and_from_history(
    store: MemoryStore, cache: WatchCache, prefix: bytes, name: str, label: tuple[str, ...] | None, expected: list[str]
) -> None:
    objects = await cache.prefix(P)
    live = objects.subscribe(prefix, after=1, name=name, traits=[Trait(label[0], label[1:])] if label else [])
    for path in ("a/ns/x", "a/ns/y", "a/other/x", "b/ns/x"):
        await store.create(P + path.encode(), value(app=path[-1]))
    await cache.fresh()
    replayed = objects.subscribe(prefix, after=1, name=name, traits=[Trait(label[0], label[1:])] if label else [])
    for subscription in (live, replayed):
        events = await take(subscription, len(expected))
        assert [f"{e.item.key.cluster}/{e.item.key.namespace}/{e.item.key.name}" for e in events] == expected
        subscription.close()
        subscription.close()
    await store.delete(P + b"a/ns/x")
    await cache.fresh()
    assert objects.statistics()["subscriptions"] == 0
    assert objects._subscriptions._places == {}


async def test_a_change_from_one_of_the_wanted_values_to_another_is_told_once(store: MemoryStore, cache: WatchCache) -> None:
    objects = await cache.prefix(P)
    subscription = objects.subscribe(P, after=1, traits=[Trait("app", ("a", "b"))])
    revision = await store.create(P + b"root/ns/x", value(app="a"))
    revision = await store.update(P + b"root/ns/x", value(app="b"), revision)
    await store.update(P + b"root/ns/x", value(app="c"), revision)
    await cache.fresh()
    assert [kind for kind, _, _ in seen(subscription, await take(subscription, 3))] == ["ADDED", "MODIFIED", "DELETED"]


@pytest.mark.parametrize("by", ["label", "matches"])
async def test_entering_a_selector_is_added_and_leaving_it_is_deleted(store: MemoryStore, cache: WatchCache, by: str) -> None:
    objects = await cache.prefix(P)

    def matches(item: Item) -> bool:
        return item.labels.get("app") == "web"

    subscription = (
        objects.subscribe(P, after=1, traits=[Trait("app", ("web",))]) if by == "label" else objects.subscribe(P, after=1, matches=matches)
    )
    key = P + b"root/ns/a"
    revision = await store.create(key, value(app="db"))
    entered = await store.update(key, value(app="web"), revision)
    changed = await store.update(key, value(app="web", x="1"), entered)
    left = await store.update(key, value(app="db", x="2"), changed)
    again = await store.update(key, value(app="web", x="3"), left)
    deleted = await store.delete(key)
    await store.create(key, value(app="db"))
    events = await take(subscription, 5)
    assert seen(subscription, events) == [
        ("ADDED", "a", entered),
        ("MODIFIED", "a", changed),
        ("DELETED", "a", left),
        ("ADDED", "a", again),
        ("DELETED", "a", deleted),
    ]
    view = subscription.translate(events[2])
    assert view is not None
    assert view.item is not None
    assert view.item.decode()["metadata"] == {"resourceVersion": str(left), "labels": {"app": "web", "x": "1"}}
    assert view is subscription.translate(events[2]), "views, and so frames, are shared"


async def test_a_slow_subscriber_is_ended_and_the_others_go_on(store: MemoryStore, cache: WatchCache) -> None:
    objects = await cache.prefix(P)
    slow, quick = objects.subscribe(P, after=1), objects.subscribe(P, after=1)
    for i in range(CONFIG.queue_events + 1):
        await store.create(P + b"root/ns/%d" % i, value())
        await cache.fresh()
        await take(quick, 1)
    with pytest.raises(SlowConsumer):
        await anext(slow)
    await store.create(P + b"root/ns/more", value())
    await take(quick, 1)


async def test_views_of_recent_changes_are_shared_and_those_of_old_ones_are_not_kept() -> None:
    store = MemoryStore()
    cache = WatchCache(store, clock=VirtualClock())
    await cache.start()
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        objects = await cache.prefix(P)
        before = cache.revision()
        for number in range(100):
            await store.create(P + b"root/default/%03d" % number, value())
        await cache.fresh()
        events = await take(objects.subscribe(P, after=before), 100)
        again = await take(objects.subscribe(P, after=before), 100)
    assert events[0].plain() is not again[0].plain()
    assert events[0].plain().frame == again[0].plain().frame
    assert events[99].plain() is again[99].plain()


async def test_progress_is_told_only_when_nothing_waits(store: MemoryStore, cache: WatchCache) -> None:
    objects = await cache.prefix(P)
    subscription = objects.subscribe(P + b"a/", after=1)
    await store.create(P + b"b/ns/x", value())
    await cache.fresh()
    assert subscription.progress() == 2
    await store.create(P + b"a/ns/x", value())
    await cache.fresh()
    assert subscription.progress() == 0
    await take(subscription, 1)
    assert subscription.progress() == 3


async def test_a_cancelled_wait_on_a_subscription_loses_nothing(store: MemoryStore, cache: WatchCache) -> None:
    objects = await cache.prefix(P)
    subscription = objects.subscribe(P, after=1)
    revisions: list[int] = []
    for i in range(30):
        waiting = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        await store.create(P + b"root/ns/%d" % i, value())
        for _ in range(i % 4):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        revisions += [] if waiting.cancelled() else [e.revision for e in waiting.result()]
    await cache.fresh()
    if len(revisions) < 30:
        revisions += [e.revision for e in await anext(subscription)]
    assert revisions == list(range(2, 32))


async def test_an_interrupted_wait_gives_an_empty_batch_and_goes_on(store: MemoryStore, cache: WatchCache) -> None:
    subscription = (await cache.prefix(P)).subscribe(P, after=cache.revision())
    subscription.interrupt()  # nobody waits: nothing happens
    waiting = asyncio.ensure_future(anext(subscription))
    await settle()
    assert not waiting.done()
    subscription.interrupt()
    assert await waiting == []
    waiting = asyncio.ensure_future(anext(subscription))
    await settle()
    await store.create(P + b"c1/default/a", value())
    assert [event.type for event in await waiting] == ["ADDED"]
    waiting = asyncio.ensure_future(anext(subscription))
    await settle()
    subscription.interrupt()
    await store.create(P + b"c1/default/b", value())
    assert len(await waiting) + len(await asyncio.wait_for(anext(subscription), 5)) == 1, "a change that comes with it is not lost"


async def test_a_gap_in_the_stores_watch_restarts_the_cache_and_its_watchers(store: MemoryStore, cache: WatchCache) -> None:
    objects = await cache.prefix(P)
    await store.create(P + b"root/ns/old", value())
    await cache.fresh()
    subscription = objects.subscribe(P, after=cache.revision())
    for i in range(10_002):  # without letting the cache run: more than the store keeps for a watcher
        await store.create(P + b"root/ns/%d" % i, value())
    await store.delete(P + b"root/ns/old")
    assert await cache.fresh() == await store.current_revision()
    assert len(objects) == 10_002
    assert objects.get(P + b"root/ns/old") is None
    with pytest.raises(Compacted):
        await anext(subscription)
    with objects.subscribe(P, after=cache.revision()) as following:
        await store.create(P + b"root/ns/new", value())
        assert [e.item.key.name for e in await take(following, 1)] == ["new"]


async def test_a_store_that_does_not_answer_while_the_cache_restarts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    store, clock, away = MemoryStore(), VirtualClock(), [StoreUnavailable("away")] * 3
    cache = WatchCache(store, clock=clock, config=CONFIG)
    await cache.start()
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        objects = await cache.prefix(P)
        await store.create(P + b"root/ns/first", value())
        await cache.fresh()
        list_ = store.list

        async def failing(*args: Any, **kwargs: Any) -> Page:
            if away:
                raise away.pop()
            return await list_(*args, **kwargs)

        monkeypatch.setattr(store, "list", failing)
        for i in range(10_002):
            await store.create(P + b"root/ns/%d" % i, value())
        await clock.advance(1.0)
        assert not away
        await cache.fresh()
        assert len(objects) == 10_003


async def test_keys_that_no_object_can_have_are_left_out(store: MemoryStore, cache: WatchCache, caplog: pytest.LogCaptureFixture) -> None:
    await store.create(P + b"just-one-part", value())
    objects = await cache.prefix(P)
    await store.create(P + b"a/b/c/d", value())
    await store.create(b"/registry/masterleases", b"x")
    await cache.fresh()
    assert len(objects) == 0
    assert "just-one-part" in caplog.text
    assert "a/b/c/d" in caplog.text


async def test_stopping_ends_subscriptions_and_waiters(store: MemoryStore) -> None:
    cache = WatchCache(store, clock=VirtualClock())
    await cache.start()
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        subscription = (await cache.prefix(P)).subscribe(P, after=1)
        waiting = asyncio.ensure_future(cache.wait_revision(100))
        await asyncio.sleep(0)
    for ended in (waiting, anext(subscription), cache.prefix(P), cache.wait_revision(100)):
        with pytest.raises(StoreClosed):
            await ended


async def test_a_closed_store_ends_the_cache_without_an_error(store: MemoryStore, cache: WatchCache) -> None:
    waiting = asyncio.ensure_future(cache.wait_revision(100))
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(StoreClosed):
        await waiting


async def test_many_watchers_that_do_not_match_cost_nothing(store: MemoryStore, cache: WatchCache) -> None:
    objects = await cache.prefix(P)
    offered = 0

    def count(item: Item) -> bool:
        nonlocal offered
        offered += 1
        return True

    for i in range(300):
        objects.subscribe(P + b"other/", after=1, matches=count, name=f"n{i}")
        objects.subscribe(P + b"cluster%d/" % i, after=1, matches=count)
        objects.subscribe(P, after=1, matches=count, traits=[Trait("app", (f"{i}",))])
        objects.subscribe(P, after=1, matches=count, traits=[Trait("app", ("none",)), Trait("number", (f"{i}",))])
        objects.subscribe(P, after=1, matches=count, traits=[Trait("app", ("none",)), Trait("metadata.name", (f"{i}",), name_of)])
    await store.create(P + b"mine/ns/x", value(app="none"))
    await cache.fresh()
    assert offered <= 2, "of each kind, the first to come stands under its first label"


async def test_revisions_without_events_are_reached_through_progress(cache: WatchCache) -> None:
    assert Event.progress(Revision(9)).is_progress
    cache._dispatch([Event.progress(Revision(9))])
    assert cache.revision() == 9


ALL = GroupResource("*", "*")


def sealings(*names: str) -> Sealings:
    keys = tuple(Key(name, name.encode() * 32) for name in names)
    return Sealings([Rule((ALL,), (Provider("aesgcm", keys), Provider("identity")))])


async def test_what_cannot_be_decrypted_fails_its_readers_until_the_key_is_there(store: MemoryStore) -> None:
    clock, mine, theirs = VirtualClock(), EncryptedStore(store, sealings("a")), EncryptedStore(store, sealings("b"))
    cache, secret, other = WatchCache(mine, clock=clock), P + b"root/default/secret", b"/registry/core/pods/-/root/default/a"
    await cache.start()
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        first = await mine.create(P + b"root/default/kept", value(a="1"))
        maps, pods = await cache.prefix(P), await cache.prefix(b"/registry/core/pods/-/")
        heard: list[CacheEvent] = []
        maps.listen(heard.append)
        watching = maps.subscribe(P, after=first)
        revision = await theirs.create(secret, value(b="2"))
        await cache.wait_revision(revision)
        assert cache.prefix_nowait(P) is None
        with pytest.raises(Unreadable, match="/root/default/secret"):
            await anext(watching)
        with pytest.raises(Unreadable, match='provider aesgcm with key "b"'):
            await cache.prefix(P)
        await cache.wait_revision(await mine.create(other, value()))
        assert pods.get(other) is not None, "others go on"
        late = await mine.create(P + b"root/default/late", value())
        await cache.wait_revision(late)
        mine.use(sealings("a", "b"))
        with pytest.raises(Unreadable):
            await cache.prefix(P)  # not tried again at once
        await clock.advance(5)
        assert await cache.prefix(P) is maps
        assert [item.key.name for item in maps.scan(P)] == ["kept", "late", "secret"]
        assert [(event.type, event.item.key.name) for event in heard[1:]] == [("MODIFIED", "kept"), ("ADDED", "late"), ("ADDED", "secret")]
        with pytest.raises(Compacted):
            maps.subscribe(P, after=first)


async def test_a_resource_that_cannot_be_decrypted_from_the_start_is_tried_again(store: MemoryStore) -> None:
    clock, theirs, mine = VirtualClock(), EncryptedStore(store, sealings("b")), EncryptedStore(store, sealings("a"))
    await theirs.create(P + b"root/default/secret", value())
    cache = WatchCache(mine, clock=clock)
    await cache.start()
    async with Supervisor() as supervisor:
        supervisor.spawn(cache.run(), name="watch cache")
        found = await asyncio.gather(*(cache.prefix(P) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(error, Unreadable) for error in found)
        await theirs.delete(P + b"root/default/secret")
        await clock.advance(5)
        assert len(await cache.prefix(P)) == 0


async def test_a_first_watch_from_an_earlier_revision_hears_what_happened_since(store: MemoryStore, cache: WatchCache) -> None:
    await store.create(P + b"a/default/kept", value())
    gone = await store.create(P + b"a/default/gone", value())
    since = await store.create(b"/registry/core/secrets/-/a/default/other", value())
    await store.delete(P + b"a/default/gone", gone)
    await store.create(P + b"a/default/new", value())
    await store.create(b"/registry/core/secrets/-/a/default/another", value())
    await cache.fresh()
    subscription = (await cache.prefix(P, since=since)).subscribe(P, after=since)
    assert [(event.type, name_of(event.item)) for event in await take(subscription, 2)] == [("DELETED", "gone"), ("ADDED", "new")]
    await store.create(P + b"a/default/later", value())
    assert [name_of(event.item) for event in await take(subscription, 1)] == ["later"]


async def test_a_first_watch_from_too_far_back_is_told_so(store: MemoryStore, cache: WatchCache) -> None:
    since = await store.create(P + b"a/default/first", value())
    for number in range(CONFIG.history_events + 2):
        await store.create(P + b"a/default/%d" % number, value())
    await cache.fresh()
    with pytest.raises(Compacted):
        (await cache.prefix(P, since=since)).subscribe(P, after=since)


async def test_writes_during_such_a_first_watch_are_heard_once(store: MemoryStore, cache: WatchCache) -> None:
    since = await store.create(P + b"a/default/first", value())
    await store.create(P + b"a/default/second", value())
    await cache.fresh()
    async with asyncio.TaskGroup() as group:
        filling = group.create_task(cache.prefix(P, since=since))
        for number in range(5):
            await store.create(P + b"a/default/%d" % number, value())
    await cache.fresh()
    subscription = (await filling).subscribe(P, after=since)
    assert [name_of(event.item) for event in await take(subscription, 6)] == ["second", "0", "1", "2", "3", "4"]
