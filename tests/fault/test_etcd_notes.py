"""Two servers on one etcd: what the one notes beside a write, the other hears with the write's revision; and what it costs where none is noted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from tests.etcd import Etcd

from kcp.aio.clock import SystemClock
from kcp.aio.metrics import Meter
from kcp.aio.tracecontext import CURRENT, SpanContext
from kcp.storage.etcd.config import EtcdConfig
from kcp.storage.etcd.store import EtcdStore
from kcp.storage.interface import KeyExists, Revision
from kcp.storage.keyspace import ROOT_PREFIX, TICK
from kcp.storage.measures import MeasuredStore
from kcp.storage.tracing import TracedStore, share
from kcp.tracing.revisions import Revisions

KEY = ROOT_PREFIX + b"core/configmaps/-/root/default/a"
SPAN = SpanContext(7, 9)


@asynccontextmanager
async def server(etcd: Etcd) -> AsyncIterator[tuple[TracedStore, Revisions]]:
    """Its store as `server.compose` puts it together."""
    opened, revisions = await EtcdStore.open(EtcdConfig(endpoints=etcd.endpoints), SystemClock()), Revisions()
    store = MeasuredStore(opened, Meter(), SystemClock())
    share(store, revisions)
    yield TracedStore(store, revisions), revisions
    await opened.close()


async def test_another_server_hears_which_span_wrote_a_revision_before_it_hears_of_the_write(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path).start()
    try:
        async with server(etcd) as (mine, own), server(etcd) as (theirs, heard):
            async with aclosing(theirs.watch(ROOT_PREFIX, Revision(0))) as batches:
                token = CURRENT.set(SPAN)
                created = await mine.create(KEY, b"1")
                with pytest.raises(KeyExists):
                    await mine.create(KEY, b"2")
                CURRENT.reset(token)
                events = await anext(batches)
                assert [e.revision for e in events if not e.is_progress] == [created]
                assert (heard.get(created), own.get(created)) == (SPAN, SPAN)
                updated = await mine.update(KEY, b"3", created)
                events = await anext(batches)
                assert [(e.key, e.revision) for e in events] == [(KEY, updated)], "without a trace there is nothing beside the write"
                assert heard.get(updated) is None
            found = await theirs.list(ROOT_PREFIX)
            assert {kv.key for kv in found.items} == {KEY, TICK}
    finally:
        etcd.stop()
