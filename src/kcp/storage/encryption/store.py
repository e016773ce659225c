"""A store that seals what goes into another one, and opens what comes out: nobody above it knows that there is encryption.

A value that no key opens is an error of whoever reads it (`Unreadable`), alone or in a list; a watch hands it on as it is, for the watch
cache to tell those whom it concerns. Deletions need no key.
Before: `server.encryption`. After: any store, `ciphers`.
Source: k8s.io/apiserver/pkg/storage/etcd3/store.go (transformer), watcher.go (transform).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from kcp.storage.around import StoreAround
from kcp.storage.encryption.ciphers import CannotOpenError, Sealing, Sealings
from kcp.storage.interface import LATEST, SEALED, Event, KeyValue, Page, Revision, RevisionMismatch, Store, Unreadable
from kcp.storage.keyspace import resource_of


class EncryptedStore(StoreAround):
    """`use` changes the keys of a store that is in use."""

    def __init__(self, inner: Store, sealings: Sealings) -> None:
        super().__init__(inner)
        self._sealings = sealings
        self._known: dict[bytes, Sealing] = {}
        """By the beginning of a key that names group and resource: as many as there are resources."""

    def use(self, sealings: Sealings) -> None:
        self._sealings = sealings
        self._known = {}

    def _of(self, key: bytes) -> Sealing:
        family = b"/".join(key.split(b"/", 4)[:4])
        found = self._known.get(family)
        if found is None:
            found = self._known[family] = self._sealings.of(resource_of(key))
        return found

    def _open(self, key: bytes, value: bytes) -> bytes:
        try:
            return self._of(key).open(value, key)
        except CannotOpenError as error:
            raise Unreadable(key, str(error)) from None

    def _opened(self, kv: KeyValue) -> KeyValue:
        value = self._open(kv.key, kv.value)
        return kv if value is kv.value else KeyValue(kv.key, value, kv.create_revision, kv.mod_revision)

    async def create(self, key: bytes, value: bytes) -> Revision:
        return await self._inner.create(key, self._of(key).seal(value, key))

    async def update(self, key: bytes, value: bytes, expected: Revision) -> Revision:
        try:
            return await self._inner.update(key, self._of(key).seal(value, key), expected)
        except RevisionMismatch as error:
            raise self._opened_mismatch(error) from None

    async def delete(self, key: bytes, expected: Revision | None = None) -> Revision:
        try:
            return await self._inner.delete(key, expected)
        except RevisionMismatch as error:
            raise self._opened_mismatch(error) from None

    def _opened_mismatch(self, error: RevisionMismatch) -> RevisionMismatch:
        return RevisionMismatch(error.key, self._opened(error.current) if error.current is not None else None)

    async def get(self, key: bytes) -> KeyValue | None:
        found = await self._inner.get(key)
        return self._opened(found) if found is not None else None

    async def list(self, prefix: bytes, *, after: bytes = b"", limit: int = 0, revision: Revision = LATEST) -> Page:
        page = await self._inner.list(prefix, after=after, limit=limit, revision=revision)
        return Page([self._opened(kv) for kv in page.items], page.revision, page.remaining)

    async def watch(self, prefix: bytes, after: Revision, *, prev_values: bool = True) -> AsyncGenerator[Sequence[Event], None]:
        async with aclosing(self._inner.watch(prefix, after, prev_values=prev_values)) as batches:
            async for batch in batches:
                yield [self._opened_event(event) for event in batch]

    def _opened_event(self, event: Event) -> Event:
        value, previous = self._try(event.key, event.value), self._try(event.key, event.prev_value)
        if value is event.value and previous is event.prev_value:
            return event
        return Event(event.key, value, previous, event.revision)

    def _try(self, key: bytes, value: bytes | None) -> bytes | None:
        if not value:
            return value
        try:
            return self._of(key).open(value, key)
        except CannotOpenError:
            return value if value.startswith(SEALED) else SEALED  # what must be encrypted and is not

    async def is_stale(self, key: bytes) -> bool:
        """Whether a key's value would be sealed otherwise now, so that writing it again makes a difference."""
        found = await self._inner.get(key)
        return found is not None and not self._of(key).is_current(found.value)
