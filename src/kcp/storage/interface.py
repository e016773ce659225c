"""The `Store` interface and its errors; every backend passes `tests/contract/test_store.py`.

etcd's model: one global revision per store, every write takes the next one; create, update and delete compare on the revision of the
key; a prefix can be listed at a revision and watched from one; old revisions are compacted away. The log is the truth, a notification
only a nudge: an event reaches watchers because its row is in the log, never because a writer happened to publish it.

    StoreError
    ├── KeyExists            create of a live key
    ├── RevisionMismatch     update or delete of a key that moved or is gone (carries what is there)
    ├── Compacted            list or watch below the compaction mark
    ├── FutureRevision       list at a revision that does not exist yet
    ├── SlowConsumer         a watcher fell behind its bounded queue
    ├── Unreadable           a value that is encrypted, and not by a key that is known
    ├── StoreFull            the disk (or quota) is full; nothing was written
    ├── StoreUnavailable     nobody answers; a write may have been done or not
    └── StoreClosed          after close
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import NewType, Protocol

Revision = NewType("Revision", int)
"""Greater than every revision given out before. 0 means "none" or "latest", by context; an empty store is at 1, as in etcd."""

LATEST = Revision(0)
"""Stands for the latest revision in a list."""


SEALED = b"k8s:enc:"
"""How an encrypted value begins. In an event: nobody could open it, see `storage.encryption.store`."""


class StoreError(Exception):
    """Anything a store may answer other than success."""


class KeyExists(StoreError):
    """The key to create has a live value."""

    def __init__(self, key: bytes, revision: Revision) -> None:
        super().__init__(f"{key!r} exists at revision {revision}")
        self.key, self.revision = key, revision


class RevisionMismatch(StoreError):
    """The key is not at the expected revision; `current` is what is there, None if it is gone."""

    def __init__(self, key: bytes, current: KeyValue | None) -> None:
        super().__init__(f"{key!r} is at {current.mod_revision if current else 'no'} revision")
        self.key, self.current = key, current


class Compacted(StoreError):
    """The revision asked for is older than `oldest`."""

    def __init__(self, oldest: Revision) -> None:
        super().__init__(f"compacted: the oldest revision kept is {oldest}")
        self.oldest = oldest


class FutureRevision(StoreError):
    """The revision asked for has not happened; `current` is the latest."""

    def __init__(self, current: Revision) -> None:
        super().__init__(f"future revision: the latest is {current}")
        self.current = current


class SlowConsumer(StoreError):
    """The watcher did not keep up with its queue and was ended; it must list again."""


class Unreadable(StoreError):
    """What is stored under the key cannot be decrypted. Other keys can be read."""

    def __init__(self, key: bytes, why: str) -> None:
        super().__init__(f"unable to transform key {key.decode(errors='replace')!r}: {why}; see --encryption-provider-config")
        self.key = key


class StoreFull(StoreError):
    """No room for the write; it did not happen, reads go on."""


class StoreUnavailable(StoreError):
    """Whoever keeps the data did not answer in time. A read may be tried again; of a write nobody knows whether it was done."""


class StoreClosed(StoreError):
    """The store is shut."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    key: bytes
    value: bytes
    create_revision: Revision
    mod_revision: Revision


@dataclass(frozen=True, slots=True)
class Event:
    """One write. A deletion has `value` None and carries what was there in `prev_value`."""

    key: bytes
    value: bytes | None
    prev_value: bytes | None
    """The value before this write; None for a creation. Where the watch asked for no previous values, b"" stands for any."""
    revision: Revision

    @property
    def is_create(self) -> bool:
        return self.value is not None and self.prev_value is None

    @property
    def is_delete(self) -> bool:
        return self.value is None

    @property
    def is_progress(self) -> bool:
        """No write: everything up to `revision` has been delivered. Sent by stores whose revision moves without events of ours."""
        return not self.key

    @classmethod
    def progress(cls, revision: Revision) -> Event:
        return cls(b"", None, None, revision)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a prefix, all of it at one revision, ordered by key."""

    items: Sequence[KeyValue]
    revision: Revision
    """The store revision that the page shows."""
    remaining: int
    """How many more keys follow; 0 at the end."""


class Notes(Protocol):
    """What servers that share a store tell each other of their writes."""

    def outgoing(self) -> bytes:
        """Of the write that the running task is about to make; b"": nothing."""

    def incoming(self, revision: int, note: bytes) -> None:
        """Of a write, whoever made it."""


class Store(Protocol):
    """Keys are b"/registry/…" (see `storage.keyspace`), values are opaque bytes of at most 1.5 MiB."""

    async def create(self, key: bytes, value: bytes) -> Revision:
        """Insert `key` if it has no live value. Returns once durable.

        Raises: KeyExists, StoreFull. Source: etcd Txn(ModRevision(key) == 0); kine pkg/server/create.go.
        """

    async def update(self, key: bytes, value: bytes, expected: Revision) -> Revision:
        """Replace the value of a key whose mod revision is `expected`. Returns once durable.

        Raises: RevisionMismatch, StoreFull.
        """

    async def delete(self, key: bytes, expected: Revision | None = None) -> Revision:
        """Remove a key, if `expected` is given only at that mod revision. Returns the revision of the deletion, once durable.

        Raises: RevisionMismatch (also for an absent key: `current` None).
        """

    async def get(self, key: bytes) -> KeyValue | None:
        """The live value, at least as new as every write acknowledged before the call (linearizable)."""

    async def list(self, prefix: bytes, *, after: bytes = b"", limit: int = 0, revision: Revision = LATEST) -> Page:
        """Keys that start with `prefix` and sort after `after`, as they were at `revision` (0: latest, linearizable).

        Args: after: a full key, exclusive. limit: 0 for all.
        Raises: Compacted, FutureRevision.
        """

    def watch(self, prefix: bytes, after: Revision, *, prev_values: bool = True) -> AsyncGenerator[Sequence[Event], None]:
        """Batches of events under `prefix` with revision > `after`: in order, each once, until the iterator is closed.

        Args: prev_values: False spares the store reading what each write replaced; see `Event.prev_value`.
        Raises (from iteration): Compacted if `after` is below the compaction mark; SlowConsumer after 10,000 undelivered events
        (never a silent gap); StoreClosed.
        """

    async def current_revision(self) -> Revision:
        """The latest revision, linearizable: at least that of every write acknowledged before the call."""

    def current_revision_nowait(self) -> Revision | None:
        """The same where the store can know it without asking anybody (embedded stores); else None."""

    async def compact(self, revision: Revision) -> None:
        """Forget versions superseded at or before `revision`; lists and watches below it answer Compacted.

        Raises: FutureRevision. A revision that is compacted already is no error.
        """

    async def close(self) -> None:
        """Finish acknowledged work and release everything. Idempotent."""

    def statistics(self) -> dict[str, int]:
        """Counters for metrics: revision, compacted, keys, watchers, bytes (where known)."""
