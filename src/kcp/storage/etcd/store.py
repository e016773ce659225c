"""A store on an etcd v3 cluster, which several servers share.

Every write is one transaction of one object: etcd's revision and ours are the same. Reads are linearizable unless a revision is named.
After: `storage.etcd.connection` (endpoints, errors), `storage.etcd.watch`. Source: k8s.io/apiserver/pkg/storage/etcd3/store.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence

import grpc
import grpc.aio

from kcp.aio.clock import Clock
from kcp.aio.supervisor import Supervisor
from kcp.storage.etcd import messages
from kcp.storage.etcd.config import EtcdConfig
from kcp.storage.etcd.connection import Connection
from kcp.storage.etcd.messages import Message
from kcp.storage.etcd.watch import EtcdWatch
from kcp.storage.interface import (
    LATEST,
    Compacted,
    Event,
    FutureRevision,
    KeyExists,
    KeyValue,
    Notes,
    Page,
    Revision,
    RevisionMismatch,
    StoreClosed,
    StoreError,
)
from kcp.storage.keyspace import TICK

log = logging.getLogger(__name__)

_PAGE_KEYS = 5_000
"""Keys asked for at once where a list has no limit: an answer of 50 kB objects stays below 256 MB."""
_UNSOUND = ("3.5.0", "3.5.1", "3.5.2")
"""Versions that may lose data in a crash. Source: https://github.com/etcd-io/etcd/issues/13766."""
_ORDERLY = {(3, 4): 31, (3, 5): 13}
"""From which patch on news of progress never overtakes events. Source: k8s.io/apiserver/pkg/storage/feature/feature_support_checker.go."""
_NUDGE_S = 0.05
"""How long a watch may be behind what a reader needs before etcd is asked how far it is."""


class EtcdStore:
    """Open it with `EtcdStore.open`."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._namespace = connection.config.namespace.encode()
        self._tasks = Supervisor("etcd")
        self._watches: set[EtcdWatch] = set()
        self._compacted = 0
        self._is_orderly = False
        """Whether etcd's news of progress can be trusted."""
        self._wanted = 0
        """The revision that some reader waits for."""
        self._is_nudging = False
        self._seen = 1
        """The latest revision in any answer."""
        self.notes: Notes | None = None
        """What is told of a write to the other servers, and heard of theirs."""
        self._closed = False
        self._reading = asyncio.Lock()
        self._asked = 0
        """How many have asked for the revision."""
        self._answered: tuple[int, Revision] = (0, Revision(0))
        """Those whose question the last answer covers, and the answer."""

    @classmethod
    async def open(cls, config: EtcdConfig, clock: Clock) -> EtcdStore:
        """Connect, and read once.

        Raises: StoreError if no endpoint answers, or does not let us in; its text says what to check.
        """
        connection = Connection(config, clock)
        store = cls(connection, clock)
        try:
            await store.current_revision()
            version = (await connection.call(messages.STATUS, messages.StatusRequest(), is_read=True)).version
        except StoreError:
            await connection.close()
            raise
        if version in _UNSOUND:
            log.warning("etcd %s may lose data in a crash (fixed in 3.5.3): use it for tests only", version)
        store._is_orderly = is_orderly(version)
        return store

    # --- writes ---

    async def create(self, key: bytes, value: bytes) -> Revision:
        answer = await self._put(key, value, 0)
        if not answer.succeeded:
            current = self._first(answer)
            raise KeyExists(key, current.mod_revision if current is not None else Revision(0))
        return self._revision(answer)

    async def update(self, key: bytes, value: bytes, expected: Revision) -> Revision:
        if expected <= 0:  # to etcd a key that is not there is at revision 0
            raise RevisionMismatch(key, await self.get(key))
        answer = await self._put(key, value, expected)
        if not answer.succeeded:
            raise RevisionMismatch(key, self._first(answer))
        return self._revision(answer)

    async def delete(self, key: bytes, expected: Revision | None = None) -> Revision:
        if expected is not None and expected <= 0:
            raise RevisionMismatch(key, await self.get(key))
        at = self._namespace + key
        if expected is None:
            compare = messages.Compare(result=messages.GREATER, target=messages.BY_VERSION, key=at, version=0)
        else:
            compare = messages.Compare(result=messages.EQUAL, target=messages.BY_MOD_REVISION, key=at, mod_revision=expected)
        answer = await self._transact(at, compare, messages.RequestOp(request_delete_range=messages.DeleteRangeRequest(key=at)))
        if not answer.succeeded:
            raise RevisionMismatch(key, self._first(answer))
        return self._revision(answer)

    async def touch(self, key: bytes) -> None:
        """Take one revision, for nothing: whatever `key` holds is empty then."""
        put = messages.RequestOp(request_put=messages.PutRequest(key=self._namespace + key))
        await self._connection.call(messages.TXN, messages.TxnRequest(success=[put]), is_read=False)

    async def _put(self, key: bytes, value: bytes, expected: int) -> Message:
        at = self._namespace + key
        compare = messages.Compare(result=messages.EQUAL, target=messages.BY_MOD_REVISION, key=at, mod_revision=expected)
        return await self._transact(at, compare, messages.RequestOp(request_put=messages.PutRequest(key=at, value=value)))

    async def _transact(self, at: bytes, compare: Message, write: Message) -> Message:
        self._check_open()
        read = messages.RequestOp(request_range=messages.RangeRequest(key=at))
        # The note after the write, in the same revision: whoever hears only the first part of it misses no more than the note.
        request = messages.TxnRequest(compare=[compare], success=[write, *self._note()], failure=[read])
        return await self._connection.call(messages.TXN, request, is_read=False)

    def _note(self) -> Sequence[Message]:
        note = self.notes.outgoing() if self.notes is not None else b""
        return [messages.RequestOp(request_put=messages.PutRequest(key=self._namespace + TICK, value=note))] if note else ()

    def _hear(self, revision: Revision, note: bytes) -> None:
        if self.notes is not None:
            self.notes.incoming(revision, note)

    def _first(self, answer: Message) -> KeyValue | None:
        """What the failed comparison of a transaction found."""
        kvs = answer.responses[0].response_range.kvs
        return self._key_value(kvs[0]) if kvs else None

    def _key_value(self, kv: Message) -> KeyValue:
        return KeyValue(kv.key[len(self._namespace) :], kv.value, Revision(kv.create_revision), Revision(kv.mod_revision))

    def _revision(self, answer: Message) -> Revision:
        revision = Revision(answer.header.revision)
        self._seen = max(self._seen, revision)
        return revision

    # --- reads ---

    async def get(self, key: bytes) -> KeyValue | None:
        answer = await self._range(messages.RangeRequest(key=self._namespace + key))
        return self._key_value(answer.kvs[0]) if answer.kvs else None

    async def list(self, prefix: bytes, *, after: bytes = b"", limit: int = 0, revision: Revision = LATEST) -> Page:
        items: list[KeyValue] = []
        start, end = self._namespace + max(prefix, after + b"\0" if after else b""), messages.range_end(self._namespace + prefix)
        at = revision
        while True:
            size = min(limit - len(items), _PAGE_KEYS) if limit else _PAGE_KEYS
            answer = await self._range(messages.RangeRequest(key=start, range_end=end, limit=size, revision=at))
            if not at:
                at = self._revision(answer)
                self._want(at)
            items += [self._key_value(kv) for kv in answer.kvs]
            if not answer.more or len(items) == limit:
                return Page(items, at, answer.count - len(answer.kvs))
            start = answer.kvs[-1].key + b"\0"

    async def _range(self, request: Message) -> Message:
        self._check_open()
        try:
            answer = await self._connection.call(messages.RANGE, request, is_read=True)
        except grpc.aio.AioRpcError as e:
            raise await self._out_of_range(e) from None
        self._revision(answer)
        return answer

    async def _out_of_range(self, error: grpc.aio.AioRpcError) -> StoreError:
        details = error.details() or ""
        if "compacted" in details:
            return Compacted(await self._oldest())
        if "future revision" in details:
            return FutureRevision(await self.current_revision())
        return StoreError(f"etcd: {details}")

    async def _oldest(self) -> Revision:
        """Where the history begins. A watch from the very first revision is told so; nothing else is."""
        watch = self._start_watch(b"/", Revision(1), prev_values=False)
        try:
            async with asyncio.timeout(self._connection.config.attempt_s):
                await watch.queue.take()
        except Compacted as e:
            self._compacted = max(self._compacted, e.oldest)
            return e.oldest
        except TimeoutError:
            log.debug("etcd did not say where its history begins")
        finally:
            self._watches.discard(watch)
            watch.stop()
        return Revision(1)

    async def current_revision(self) -> Revision:
        """Whoever asks while another's question is under way shares the next one: the answer to the first may be older than his writes."""
        self._asked += 1
        ticket = self._asked
        async with self._reading:
            covered, revision = self._answered
            if covered < ticket:
                covered = self._asked
                answer = await self._range(messages.RangeRequest(key=self._namespace + b"/", count_only=True))
                revision = Revision(answer.header.revision)
                self._answered = covered, revision
        self._want(revision)
        return revision

    def _want(self, revision: int) -> None:
        """Somebody has been told of `revision`, and may wait until the watches are there."""
        self._wanted = max(self._wanted, revision)
        if not self._is_nudging and self._behind(revision):
            self._is_nudging = True
            self._tasks.spawn(self._nudge(), name="progress")

    def _behind(self, revision: int) -> Sequence[EtcdWatch]:
        """Watches that are not there yet, and can be brought there: without news of progress, those that see our own key."""
        return [watch for watch in self._watches if watch.reached < revision and (self._is_orderly or TICK.startswith(watch.prefix))]

    async def _nudge(self) -> None:
        """Where others write to the same etcd, the revision that a reader needs may be none of our events: make the watches reach it."""
        try:
            while True:
                wanted = self._wanted
                await self._clock.sleep(_NUDGE_S)
                behind = self._behind(wanted)
                if not behind:
                    return
                if self._is_orderly:
                    for watch in behind:
                        await watch.ask_progress(wanted)
                else:  # an event of our own, which comes in its order
                    await self.touch(TICK)
        except StoreError as e:
            log.debug("nothing is known of the progress of watches: %s", e)
        finally:
            self._is_nudging = False

    def current_revision_nowait(self) -> Revision | None:
        return None

    # --- watches ---

    async def watch(self, prefix: bytes, after: Revision, *, prev_values: bool = True) -> AsyncGenerator[Sequence[Event], None]:
        self._check_open()
        watch = self._start_watch(prefix, after, prev_values=prev_values)
        try:
            while True:
                yield await watch.queue.take()
        finally:
            self._watches.discard(watch)
            watch.stop()

    def _start_watch(self, prefix: bytes, after: Revision, *, prev_values: bool) -> EtcdWatch:
        watch = EtcdWatch(
            self._connection, self._clock, prefix, after, prev_values=prev_values, with_progress=self._is_orderly, hear=self._hear
        )  # fmt: skip
        watch.task = self._tasks.spawn(watch.run(), name=f"watch of {prefix.decode(errors='replace')}")
        self._watches.add(watch)
        return watch

    # --- upkeep ---

    async def compact(self, revision: Revision) -> None:
        self._check_open()
        try:
            await self._connection.call(messages.COMPACT, messages.CompactionRequest(revision=revision), is_read=True)
        except grpc.aio.AioRpcError as e:
            if "future revision" in (e.details() or ""):
                raise FutureRevision(await self.current_revision()) from None
            if "compacted" not in (e.details() or ""):
                raise StoreError(f"etcd: {e.details()}") from None
        self._compacted = max(self._compacted, revision)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for watch in self._watches:
            watch.queue.end(StoreClosed("the store is closed"))
        await self._tasks.stop()
        await self._connection.close()

    def statistics(self) -> dict[str, int]:
        return {"revision": self._seen, "compacted": self._compacted, "watchers": len(self._watches)}

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the store is closed")


def is_orderly(version: str) -> bool:
    """Whether this version's news of progress never overtakes events.

    >>> is_orderly("3.5.12"), is_orderly("3.5.13"), is_orderly("3.6.0")
    (False, True, True)
    """
    major, minor, patch = (int(part) for part in version.split("-")[0].split("."))
    return (major, minor) >= (3, 4) and patch >= _ORDERLY.get((major, minor), 0)
