"""A store in memory that begins where no earlier one of its address can have been."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.storage.interface import Compacted, FutureRevision, Revision
from kcp.storage.memory import MemoryStore, revision_of
from kcp.storage.watchcache import WatchCache

PREFIX = b"/registry/core/configmaps/-/"
KEY = PREFIX + b"root/default/a"


def test_later_starts_have_later_revisions() -> None:
    first, second = revision_of(datetime(2026, 1, 1, tzinfo=UTC)), revision_of(datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC))
    assert second - first == 1_000
    assert second < 2**53, "JavaScript clients read it exactly"


async def test_whoever_remembers_an_earlier_store_is_told_to_list_again() -> None:
    store = MemoryStore(first_revision=5_000)
    remembered = Revision(4_900)
    with pytest.raises(Compacted):
        async with aclosing(store.watch(PREFIX, remembered)) as batches:
            await anext(batches)
    with pytest.raises(Compacted):
        await store.list(PREFIX, revision=remembered)
    page = await store.list(PREFIX)
    assert (page.items, page.revision) == ([], 5_000)
    assert await store.create(KEY, b"{}") == 5_001
    with pytest.raises(FutureRevision):
        await store.list(PREFIX, revision=Revision(5_002))
    async with aclosing(store.watch(PREFIX, page.revision)) as batches:
        assert [event.revision for event in await anext(batches)] == [5_001]
    async with Supervisor("cache") as tasks:
        cache = WatchCache(store, clock=VirtualClock())
        await cache.start()
        tasks.spawn(cache.run(), name="cache")
        held = await cache.prefix(PREFIX)
        with pytest.raises(Compacted):
            held.subscribe(PREFIX, after=remembered)
    await store.close()
