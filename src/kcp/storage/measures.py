"""A store that measures another one, under the names that dashboards of Kubernetes ask for, whichever backend it is.

    etcd_request_duration_seconds   calls of the store, by operation and resource
    etcd_request_errors_total       those that failed otherwise than by a lost race
    apiserver_storage_objects       objects by resource, from the watch cache

Before: `server.compose`. After: any store; `aio.metrics`.
Source: k8s.io/apiserver/pkg/storage/etcd3/metrics/metrics.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kcp.aio.clock import Clock
from kcp.aio.folding import Fold
from kcp.aio.metrics import Meter, counter, gauge, histogram
from kcp.storage.around import StoreAround
from kcp.storage.interface import LATEST, KeyExists, KeyValue, Page, Revision, RevisionMismatch, Store, StoreError
from kcp.storage.keyspace import resource_of

_LABELS = ("operation", "type")
DURATION = histogram(
    "etcd_request_duration_seconds",
    "Duration of calls of the store.",
    _LABELS,
    buckets=(0.005, 0.025, 0.1, 0.5, 2.5),
    fold=Fold(most=6, often=100, rest={"type": "other"}),
)
ERRORS = counter("etcd_request_errors_total", "Calls of the store that failed.", _LABELS, fold=Fold(most=20, rest={"type": "other"}))
OBJECTS = gauge("apiserver_storage_objects", "Number of stored objects.", ("resource",), fold=Fold(most=60, rest={"resource": "other"}))

FAMILIES = (DURATION, ERRORS, OBJECTS)
_RACES = (KeyExists, RevisionMismatch)
"""Answers, not failures."""


class MeasuredStore(StoreAround):
    """Watches pass through as they are: they last."""

    def __init__(self, inner: Store, meter: Meter, clock: Clock) -> None:
        super().__init__(inner)
        self._meter, self._monotonic = meter, clock.monotonic
        self._types: dict[bytes, str] = {}
        """By the beginning of a key that names group and resource: as many as there are resources."""

    async def create(self, key: bytes, value: bytes) -> Revision:
        started = self._monotonic()
        try:
            revision = await self._inner.create(key, value)
        except StoreError as error:
            self._failed("create", key, started, error)
            raise
        self._done("create", key, started)
        return revision

    async def update(self, key: bytes, value: bytes, expected: Revision) -> Revision:
        started = self._monotonic()
        try:
            revision = await self._inner.update(key, value, expected)
        except StoreError as error:
            self._failed("update", key, started, error)
            raise
        self._done("update", key, started)
        return revision

    async def delete(self, key: bytes, expected: Revision | None = None) -> Revision:
        started = self._monotonic()
        try:
            revision = await self._inner.delete(key, expected)
        except StoreError as error:
            self._failed("delete", key, started, error)
            raise
        self._done("delete", key, started)
        return revision

    async def get(self, key: bytes) -> KeyValue | None:
        started = self._monotonic()
        try:
            found = await self._inner.get(key)
        except StoreError as error:
            self._failed("get", key, started, error)
            raise
        self._done("get", key, started)
        return found

    async def list(self, prefix: bytes, *, after: bytes = b"", limit: int = 0, revision: Revision = LATEST) -> Page:
        started = self._monotonic()
        try:
            page = await self._inner.list(prefix, after=after, limit=limit, revision=revision)
        except StoreError as error:
            self._failed("list", prefix, started, error)
            raise
        self._done("list", prefix, started)
        return page

    def _done(self, operation: str, key: bytes, started: float) -> None:
        self._meter.observe(DURATION, self._monotonic() - started, operation, self._type(key))

    def _failed(self, operation: str, key: bytes, started: float, error: StoreError) -> None:
        self._done(operation, key, started)
        if not isinstance(error, _RACES):
            self._meter.count(ERRORS, operation, self._type(key))

    def _type(self, key: bytes) -> str:
        family = b"/".join(key.split(b"/", 4)[:4])
        found = self._types.get(family)
        if found is None:
            found = self._types[family] = str(resource_of(key)) if family.count(b"/") == 3 else "other"
        return found


def show_objects(meter: Meter, counts: Callable[[], Iterable[tuple[str, int]]]) -> None:
    """Args: counts: resource and number, of what is cached."""
    meter.show(OBJECTS, lambda: [((resource,), float(count)) for resource, count in counts()])
