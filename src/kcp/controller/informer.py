"""`Informer`: a local mirror of one resource, kept by list and watch.

Before: reconcilers read it, `controller.Controller.watch` listens to it. After: `client.rest`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from sys import intern
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypedDict

import orjson

from kcp.aio.backoff import Backoff
from kcp.aio.clock import Clock
from kcp.aio.tracecontext import CURRENT, parse
from kcp.aio.turns import take_turn
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Expired, InternalError, ServiceUnavailable, StatusError, Timeout, TooManyRequests
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import PAGE_SIZE, Client, WatchEvent
from kcp.client.transport import TransportError
from kcp.controller.floodgate import Floodgate
from kcp.controller.index import Index, Indexer
from kcp.controller.scopes import Scopes

if TYPE_CHECKING:
    from kcp.apimachinery.selectors import LabelSelector

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[ObjectKey, JSONObject | None, JSONObject | None], None]
"""`(key, old, new)`: old is None for an object not seen before, new is None for one that is gone. It must not change either."""
Transform: TypeAlias = Callable[[JSONObject], JSONObject]
"""What to keep of an object; may change its argument. Identity and resourceVersion must stay."""

Objects: TypeAlias = list[JSONObject]
Keys: TypeAlias = list[ObjectKey]

_TRANSIENT = (TooManyRequests, ServiceUnavailable, InternalError, Timeout)
_WATCH_TIMEOUT_S = 300
_SHORT_WATCH_S = 1.0
_PEEKED = 64
"""Objects that an informer keeps decoded."""
PATIENT_PAGE = 100
"""Objects in a page of a list that nobody waits for: all of them are decoded in one turn of the loop."""
_TURN = 50
"""Objects of a list that are taken in before others get their turn."""


def _may_resume(error: TransportError | StatusError) -> bool:
    """Whether the watch may go on where it ended; else the state has to be listed again.

    A resourceVersion of the future means that the server has lost its history: it was restored, or started anew.
    """
    if isinstance(error, StatusError) and any(cause.reason == "ResourceVersionTooLarge" for cause in error.causes):
        return False
    return isinstance(error, (TransportError, *_TRANSIENT))


class _Scope(TypedDict):
    """What to mirror, as keyword arguments of `pages` and `watch`."""

    namespace: str
    label_selector: str
    field_selector: str


class _Entry(NamedTuple):
    raw: bytes
    resource_version: str


class Informer:
    """A mirror of one resource, in one cluster or all of them, with these promises:

    1. *Eventually equal.* With the server reachable and no writes, the mirror equals what a list would answer.
    2. *Never back in time.* Lists are consistent reads and a watch goes on where the last event ended, so an object is never replaced by
       an older state of itself (client-go's first list, at resourceVersion 0, may be; this one is not).
    3. *Coalescing.* Every state that matters is delivered, not every state there was: after a break, several changes may come as one, and
       an object deleted and made again may come as one change with two uids.
    4. *Deletions arrive.* Also of objects that vanished while the connection was down: the next list finds them missing.
    5. *In order, one at a time.* Handlers run in the informer's own task, in the order they were added, each event after the mirror and its
       indexes show it. A handler must be quick and must not fail; an error from one ends `run`.
    6. *Late handlers see everything.* `add_handler` delivers the present objects first, each as new.
    7. *No shared objects.* State is kept as encoded bytes, and every read decodes afresh: what you get is yours to change. Only `old`
       and `new` of one event are shared by its handlers, and what `peek` answers by all who peek.
    8. *Unchanged is silent.* A list after a break calls no handler for objects whose resourceVersion did not move.
    9. *Synced once.* `wait_synced` returns when the first full list has been delivered to the handlers; breaks later do not undo that:
       reads are then of the last known state.
    10. *Nothing is guessed.* An unreachable server, or a failing list, deletes nothing from the mirror.

    Broken connections are taken up again after a jittered back-off; `Expired` makes a new list. All waiting is on the given clock.
    Source: k8s.io/client-go/tools/cache/shared_informer.go (the promises), reflector.go (the loop).
    """

    def __init__(  # noqa: PLR0913 - what to mirror, spelled out; all but two are keywords with defaults
        self,
        client: Client,
        gvr: GVR,
        *,
        clock: Clock,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        indexers: Mapping[str, Indexer] | None = None,
        metadata_only: bool = False,
        transform: Transform | None = None,
        is_patient: bool = False,
        seed: int = 0,
    ) -> None:
        """Args: client: of one cluster, or of `*`. metadata_only: mirror PartialObjectMetadata. is_patient: its lists let everybody else in
        this process go first. seed: of the jitter of the back-off.
        """
        self.gvr = gvr
        self._resource = client.resource(gvr, metadata_only=metadata_only)
        self._where = client.base_path
        self._clock = clock
        self._scope = _Scope(namespace=namespace, label_selector=label_selector, field_selector=field_selector)
        self._metadata_only = metadata_only
        self._transform = transform
        self._is_patient = is_patient
        self._rng = random.Random(seed)
        self._objects: dict[ObjectKey, _Entry] = {}
        self._scopes = Scopes()
        self._indexes = {name: Index(indexer) for name, indexer in (indexers or {}).items()}
        self._handlers: list[Handler] = []
        self._peeked: dict[ObjectKey, tuple[_Entry, JSONObject]] = {}
        self._deletion_handlers: list[Callable[[JSONObject], None]] = []
        self._resource_version = ""
        self._synced = asyncio.Event()
        self._pause: asyncio.Task[None] | None = None
        self._is_hurried = self._is_cut_off = False
        self._problem: TransportError | StatusError | None = None
        self._opened_s: float | None = None
        self._counts = {"lists": 0, "watches": 0, "events": 0, "breaks": 0}
        self.gate: Floodgate | None = None
        """Asked before each event of the watch; lists are taken in whole, since nobody works before the first one is there."""

    # Reading

    @property
    def resource_version(self) -> str:
        """Of the latest list or event, bookmarks included; opaque. "" before the first list."""
        return self._resource_version

    @property
    def problem(self) -> TransportError | StatusError | None:
        """What keeps it from following the server just now; None while a watch stands, or nothing went wrong yet."""
        return self._problem

    @property
    def has_synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Wait until the first list is in the mirror and delivered."""
        await self._synced.wait()

    def get(self, key: ObjectKey) -> JSONObject | None:
        entry = self._objects.get(key)
        return orjson.loads(entry.raw) if entry is not None else None

    def peek(self, key: ObjectKey) -> JSONObject | None:
        """As `get` for who changes nothing: the same object each time, until the mirror has a newer one."""
        entry = self._objects.get(key)
        if entry is None:
            return None
        seen = self._peeked.get(key)
        if seen is None or seen[0] is not entry:
            if len(self._peeked) >= _PEEKED and seen is None:
                self._peeked.clear()
            seen = self._peeked[key] = entry, orjson.loads(entry.raw)
        return seen[1]

    def version_of(self, key: ObjectKey) -> str | None:
        """The resourceVersion of an object; decodes nothing."""
        entry = self._objects.get(key)
        return entry.resource_version if entry is not None else None

    def __contains__(self, key: ObjectKey) -> bool:
        return key in self._objects

    def __len__(self) -> int:
        return len(self._objects)

    def keys(self, *, cluster: ClusterName | None = None, namespace: str | None = None) -> Keys:
        """Keys in order: all, of one cluster, or of one namespace (of one cluster, or of each). Decodes nothing."""
        return sorted(self._objects if cluster is None and namespace is None else self._scopes.keys(cluster, namespace))

    def count(self, *, cluster: ClusterName, namespace: str | None = None) -> int:
        """How many objects there are in a cluster, or in one namespace of it; looks at none of them."""
        return self._scopes.count(cluster, namespace)

    def list(self, *, cluster: ClusterName | None = None, namespace: str | None = None, selector: LabelSelector | None = None) -> Objects:
        """Objects in the order of their keys."""
        objects = (orjson.loads(self._objects[key].raw) for key in self.keys(cluster=cluster, namespace=namespace))
        return [obj for obj in objects if selector is None or selector.matches(meta.labels(obj))]

    def by_index(self, name: str, value: str) -> Objects:
        """Objects in the order of their keys. Raises KeyError for an index that was not set up."""
        return [orjson.loads(self._objects[key].raw) for key in self._indexes[name].keys(value)]

    def index_keys(self, name: str, value: str) -> Keys:
        """Keys under a value of an index, in order; decodes nothing."""
        return self._indexes[name].keys(value)

    def is_indexed(self, name: str, value: str) -> bool:
        """Whether an index has any object under a value; looks at none of them."""
        return value in self._indexes[name]

    def clusters(self) -> Sequence[ClusterName]:
        """Clusters that have at least one object, in order."""
        return self._scopes.clusters()

    def statistics(self) -> dict[str, int]:
        return {"objects": len(self._objects), "bytes": sum(len(e.raw) for e in self._objects.values()), **self._counts}

    # Listening

    def add_handler(self, handler: Handler) -> None:
        """Call `handler` for every object there is (in order, as new), and then for every change."""
        for key in sorted(self._objects):
            handler(key, None, self.get(key))
        self._handlers.append(handler)

    def add_deletion_handler(self, handler: Callable[[JSONObject], None]) -> None:
        """Call `handler` with each object that the server itself says is gone, after the mirror shows it; never for what a list lacks."""
        self._deletion_handlers.append(handler)

    def remove_handler(self, handler: Handler) -> None:
        self._handlers.remove(handler)

    def add_indexers(self, indexers: Mapping[str, Indexer]) -> None:
        """Add indexes, at any time. One of the same name is kept as it is."""
        for name, indexer in indexers.items():
            if name not in self._indexes:
                index = self._indexes[name] = Index(indexer)
                for key, entry in self._objects.items():
                    index.replace(key, None, orjson.loads(entry.raw))

    # Keeping up

    async def run(self) -> None:
        """List, then watch, until cancelled."""
        backoff = Backoff(rng=self._rng)
        while True:
            try:
                if not self._resource_version:
                    await self._relist()
                await self._watch()
                backoff.reset()
                continue
            except Expired as error:
                log.info("%s%s: %s; listing again", self._where, self.gvr, error)
                self._resource_version = ""
                if not backoff.has_failed:
                    backoff.next_s()  # the first new list comes at once, further ones wait
                    continue
            except (TransportError, StatusError) as error:
                # A server that is away would otherwise be reported by every informer at every try.
                if self._was_steady():
                    backoff.reset()
                self._opened_s = None
                self._problem = error
                self._is_cut_off = isinstance(error, (TransportError, *_TRANSIENT))
                log.log(logging.DEBUG if backoff.has_failed else logging.INFO, "%s%s: %s", self._where, self.gvr, error)
                if not _may_resume(error):
                    self._resource_version = ""
            self._counts["breaks"] += 1
            await self._pause_for(backoff)

    def hurry(self) -> None:
        """The server is known to answer: if it could not be reached before, end the pause, or leave out the next one."""
        if self._is_cut_off:
            self._is_hurried = True
            if self._pause is not None:
                self._pause.cancel()

    async def _pause_for(self, backoff: Backoff) -> None:
        async with asyncio.TaskGroup() as group:
            self._pause = group.create_task(self._clock.sleep(0.0 if self._is_hurried else backoff.next_s()), name="informer pause")
            try:
                await asyncio.wait((self._pause,))
            finally:
                self._pause.cancel()
                self._pause = None
        if self._is_hurried:
            self._is_hurried = False
            backoff.reset()

    async def _relist(self) -> None:
        """Replace the mirror by a list, telling handlers the differences."""
        self._counts["lists"] += 1
        seen: set[ObjectKey] = set()
        version = ""
        await self._let_others_go_first()
        limit = PATIENT_PAGE if self._is_patient else PAGE_SIZE
        async with aclosing(self._resource.pages(limit=limit, **self._scope)) as pages:
            async for page in pages:
                version = page.resource_version
                for number, obj in enumerate(page.items, 1):
                    seen.add(self._put(obj, None))
                    if number % _TURN == 0 or number == len(page.items):
                        await (take_turn() if self._is_patient else self._clock.sleep(0))
                if page.continue_token:
                    await self._let_others_go_first()
        for key in sorted(self._objects.keys() - seen):
            self._drop(key)
        self._resource_version = version
        self._synced.set()

    async def _let_others_go_first(self) -> None:
        """A page holds the loop as long as taking its objects in does."""
        if self._is_patient:
            for _ in range(PATIENT_PAGE // _TURN):
                await take_turn()

    async def _watch(self) -> None:
        """Follow events until the server ends the watch. Raises TransportError for one that ended at once: that is not normal."""
        self._counts["watches"] += 1
        self._opened_s = None
        started, events = self._clock.monotonic(), 0
        timeout_s = int(_WATCH_TIMEOUT_S * (1.0 + self._rng.random()))
        watch = self._resource.watch(resource_version=self._resource_version, timeout_s=timeout_s, opened=self._opened, **self._scope)
        async with aclosing(watch):
            async for event in watch:
                if self.gate is not None and not self.gate.may_pass():
                    await self.gate.wait()
                events += 1
                self._take(event)
        if not events and self._clock.monotonic() - started < _SHORT_WATCH_S:
            raise TransportError("the server ended a watch as soon as it began")

    def _opened(self) -> None:
        self._opened_s = self._clock.monotonic()
        self._is_hurried = self._is_cut_off = False
        self._problem = None

    def _was_steady(self) -> bool:
        """Whether the last watch stood for a while: then its end is a new trouble, not more of the old one."""
        return self._opened_s is not None and self._clock.monotonic() - self._opened_s >= _SHORT_WATCH_S

    def _take(self, event: WatchEvent) -> None:
        """Handlers hear of a change while the span that it belongs to is the current one."""
        token = CURRENT.set(parse(event.trace)) if event.trace else None
        try:
            self._take_in(event)
        finally:
            if token is not None:
                CURRENT.reset(token)

    def _take_in(self, event: WatchEvent) -> None:
        self._counts["events"] += 1
        version = meta.resource_version(event.object)
        if event.type == "DELETED":
            self._drop(meta.key(event.object))
            for handler in self._deletion_handlers:
                handler(event.object)
        elif event.type != "BOOKMARK":
            self._put(event.object, event.raw)
        if version:
            self._resource_version = version

    def _put(self, obj: JSONObject, raw: bytes | None) -> ObjectKey:
        key = meta.key(obj)
        held = self._objects.get(key)
        version = meta.resource_version(obj)
        if held is not None and held.resource_version == version:
            return key
        if self._metadata_only and "metadata" in obj and len(obj) > 3:
            obj, raw = {k: obj[k] for k in ("apiVersion", "kind", "metadata") if k in obj}, None
        if self._transform is not None:
            obj, raw = self._transform(obj), None
        if held is None:
            key = ObjectKey(ClusterName(intern(key.cluster)), intern(key.namespace), key.name)
            self._scopes.add(key)
        self._objects[key] = _Entry(meta.encode(obj) if raw is None else raw, version)
        self._tell(key, held, obj)
        return key

    def _drop(self, key: ObjectKey) -> None:
        held = self._objects.pop(key, None)
        if held is None:
            return
        self._peeked.pop(key, None)
        self._scopes.discard(key)
        self._tell(key, held, None)

    def _tell(self, key: ObjectKey, held: _Entry | None, new: JSONObject | None) -> None:
        """Update indexes, then call handlers."""
        if not self._indexes and not self._handlers:
            return
        old: JSONObject | None = orjson.loads(held.raw) if held is not None else None
        for index in self._indexes.values():
            index.replace(key, old, new)
        for handler in self._handlers:
            handler(key, old, new)
