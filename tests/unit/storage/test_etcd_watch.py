"""What a watch on etcd makes of the answers, one by one: order, doubles after a reconnect, progress, too slow a reader, compaction."""

from __future__ import annotations

import pytest

from kcp.aio.clock import VirtualClock
from kcp.storage.etcd import messages
from kcp.storage.etcd.config import EtcdConfig
from kcp.storage.etcd.connection import Connection
from kcp.storage.etcd.store import is_orderly
from kcp.storage.etcd.watch import EtcdWatch, _EndedError
from kcp.storage.interface import Compacted, Revision, SlowConsumer
from kcp.storage.keyspace import TICK


@pytest.fixture
def notes() -> list[tuple[int, bytes]]:
    """What was heard beside events."""
    return []


@pytest.fixture
def watch(notes: list[tuple[int, bytes]]) -> EtcdWatch:
    connection = Connection(EtcdConfig(endpoints=["http://127.0.0.1:1"], prefix="/mine"), VirtualClock())
    return EtcdWatch(
        connection, VirtualClock(), b"/registry/", Revision(5), prev_values=False, with_progress=True,
        hear=lambda revision, note: notes.append((revision, note)),
    )  # fmt: skip


def answer(*revisions: int, key: bytes = b"/mine/registry/core/pods/-/root/a") -> messages.Message:
    response = messages.WatchResponse()
    for revision in revisions:
        response.events.add(kv={"key": key, "value": b"x", "mod_revision": revision, "create_revision": 6})
    return response


async def test_events_lose_the_prefix_of_this_server_and_come_once(watch: EtcdWatch) -> None:
    watch._receive(answer(5, 6, 7))
    watch._receive(answer(7, 8))
    events = await watch.queue.take()
    assert [(event.revision, event.is_create) for event in events] == [(6, True), (7, False), (8, False)]
    assert {event.key for event in events} == {b"/registry/core/pods/-/root/a"}


async def test_a_note_is_heard_with_the_revision_of_the_write_and_is_no_event_of_its_own(
    watch: EtcdWatch, notes: list[tuple[int, bytes]]
) -> None:
    response = answer(6)
    response.MergeFrom(answer(6, key=b"/mine" + TICK))
    watch._receive(response)
    events = await watch.queue.take()
    assert ([(e.revision, e.is_progress) for e in events], notes) == ([(6, False), (6, True)], [(6, b"x")])


async def test_progress_is_an_event_without_a_key(watch: EtcdWatch) -> None:
    response = messages.WatchResponse(watch_id=-1)
    response.header.revision = 9
    watch._receive(response)
    watch._receive(answer(10, key=b"/mine" + TICK))
    assert [(event.revision, event.is_progress) for event in await watch.queue.take()] == [(9, True), (10, True)]


async def test_whoever_does_not_take_is_ended_never_given_a_gap(watch: EtcdWatch) -> None:
    watch._receive(answer(*range(6, 6 + 10_001)))
    with pytest.raises(SlowConsumer):
        await watch.queue.take()


async def test_a_history_that_is_gone_is_told_with_where_it_begins(watch: EtcdWatch) -> None:
    with pytest.raises(Compacted, match="42"):
        watch._receive(messages.WatchResponse(canceled=True, compact_revision=42))
    with pytest.raises(_EndedError, match="permission denied"):
        watch._receive(messages.WatchResponse(canceled=True, cancel_reason="etcdserver: permission denied"))


@pytest.mark.parametrize(
    ("version", "expected"), [("3.4.30", False), ("3.4.31", True), ("3.5.12", False), ("3.5.13", True), ("3.6.1", True)]
)
async def test_news_of_progress_is_trusted_from_the_version_that_keeps_its_order(version: str, expected: bool) -> None:
    assert is_orderly(version) is expected


async def test_many_calls_that_fail_at_one_endpoint_move_on_by_one() -> None:
    connection = Connection(EtcdConfig(endpoints=[f"http://127.0.0.1:{port}" for port in (1, 2, 3)]), VirtualClock())
    moved: list[str] = []
    connection.moves.add(lambda: moved.append(connection.endpoint))
    for _ in range(8):
        connection.fail_over("http://127.0.0.1:1")
    assert connection.endpoint == "http://127.0.0.1:2"
    assert moved == ["http://127.0.0.1:2"]
