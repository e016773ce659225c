"""`Controller`: a queue of keys, workers, and one function that makes the world right for a key.

Before: compositions start it (`run`), informers feed it. After: the reconcile function. See docs/controllers.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, cast

from kcp.aio.clock import Clock
from kcp.aio.logcontext import WORK
from kcp.aio.tracecontext import CURRENT, SpanContext
from kcp.apimachinery.errors import Conflict, NotFound
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.transport import TransportError
from kcp.controller.informer import Informer
from kcp.controller.ratelimit import RateLimiter
from kcp.controller.workqueue import ShutDown, WorkQueue
from kcp.tracing.tracer import Span, Tracer

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    K = TypeVar("K", bound=Hashable, default=ObjectKey)
else:
    from typing import TypeVar

    K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)
_UNTRACED: nullcontext[None] = nullcontext()


@dataclass(frozen=True, slots=True)
class Result:
    """The key is done for now."""

    requeue_after_s: float | None = None
    """Look again after this time, even if nothing happens."""


class TerminalError(Exception):
    """Trying again does not help until something changes: logged and counted, not retried."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one reconcile; for metrics."""

    controller: str
    key: object
    result: Literal["success", "requeue_after", "error", "terminal"]
    duration_s: float
    failures: int
    """Failures of this key in a row, this one included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What an operator may say of controllers, beside what each knows itself."""

    workers: int = 0
    """Of each that may have more than one; 0: as many as it has by itself."""
    slots: asyncio.Semaphore | None = None
    """Shared by controllers: keys in work at once."""
    timeout_s: float | None = None
    """A reconcile that takes longer is given up and tried again."""


MapFunction: TypeAlias = Callable[[ObjectKey, JSONObject | None, JSONObject | None], Iterable[K]]
"""From a change `(key, old, new)` of any object to the keys to look at."""


class Controller(Generic[K]):
    """Runs `reconcile(key)` for every key that something happened to, never twice at once for one key.

    `reconcile` is level-based: it looks at what is, not at what happened, and may be called at any time. It returns a Result, or raises:
    TerminalError is not retried; anything else is retried with the queue's back-off (5 ms doubling to 1,000 s). A conflict is retried
    as quietly as it is normal.

    Source: sigs.k8s.io/controller-runtime/pkg/internal/controller/controller.go.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[K], Awaitable[Result]],
        *,
        clock: Clock,
        workers: int = 4,
        rate_limiter: RateLimiter | None = None,
        observe: Callable[[Outcome], None] | None = None,
    ) -> None:
        """Args: observe: called after every reconcile, for metrics."""
        self.failed: Callable[[Exception], None] | None = None
        """Called with what a reconcile raised, unless it merely lost a race with another writer."""
        self.name = name
        self._reconcile = reconcile
        self._clock = clock
        self._workers = workers
        self._observe = observe
        self._queue: WorkQueue[K] = WorkQueue(clock=clock, rate_limiter=rate_limiter)
        self._informers: list[Informer] = []
        self._background: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._tracing: tuple[Tracer, str, Callable[[K], SpanContext | None]] | None = None
        self._causes: dict[K, SpanContext] = {}
        """Key that waits → the span that it is looked at for."""
        self._counts = {"success": 0, "requeue_after": 0, "error": 0, "terminal": 0}

    def limit(self, limits: Limits) -> None:
        """Before `run`."""
        if limits.workers and self._workers > 1:
            self._workers = limits.workers
        reconcile, slots, timeout_s = self._reconcile, limits.slots, limits.timeout_s

        async def timed(key: K) -> Result:
            async with asyncio.timeout(timeout_s):
                return await reconcile(key)

        async def in_turn(key: K) -> Result:
            assert slots is not None
            async with slots:
                return await timed(key)

        self._reconcile = in_turn if slots is not None else timed if timeout_s is not None else reconcile

    def trace(self, tracer: Tracer, *, component: str = "", cause_of: Callable[[K], SpanContext | None] = lambda _: None) -> None:
        """Record the reconciles of keys whose change belongs to a trace that is recorded. Before `run`.

        Args: component: "" for one made of the name. cause_of: asked where no event told.
        """
        self._tracing = (tracer, component or _component(self.name), cause_of)

    def _span(self, key: K) -> Span | None:
        if self._tracing is None:
            return None
        tracer, component, cause_of = self._tracing
        cause = self._causes.pop(key, None) or cause_of(key)
        if cause is None:
            return None
        named = key if isinstance(key, ObjectKey) else ObjectKey(ClusterName(""), "", "")
        return tracer.span(
            f"{component}.reconcile", cause, component=component, component_id=self.name, operation="reconcile",
            logical_cluster=named.cluster, namespace=named.namespace, object_name=named.name,
        )  # fmt: skip

    def watch(self, informer: Informer, map: MapFunction[K] | None = None) -> None:  # noqa: A002 - the word for it
        """Look at the keys that `map` names for each change of an object of `informer`; without it, at the object's own key.

        What was there before anything happened (the first list) is looked at in the background.
        """

        def own_key(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[K]:  # noqa: ARG001
            return (cast("K", key),)

        name_keys = map or own_key

        is_replayed = True

        def enqueue(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
            is_background = is_replayed or not informer.has_synced
            cause = CURRENT.get() if self._tracing is not None else None
            for target in name_keys(key, old, new):
                if cause is not None:
                    self._causes[target] = cause
                self._queue.add(target, is_background=is_background)

        informer.add_handler(enqueue)
        is_replayed = False
        self._informers.append(informer)

    def add_background(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `run()` beside the workers, for as long as the controller runs."""
        self._background.append(run)

    def enqueue(self, key: K) -> None:
        self._queue.add(key)

    def enqueue_after(self, key: K, delay_s: float) -> None:
        self._queue.add_after(key, delay_s)

    def hurry(self) -> None:
        """Try now what waits for another try: for when the cause of many failures is known to have gone."""
        self._queue.hurry()

    async def run(self) -> None:
        """Wait for the watched informers, then work until cancelled. The informers are run by whoever made them."""
        async with asyncio.TaskGroup() as group:
            for run in self._background:
                group.create_task(run(), name=f"{self.name} background")
            for informer in self._informers:
                await informer.wait_synced()
            group.create_task(self._queue.run(), name=f"{self.name} delays")
            for number in range(self._workers):
                group.create_task(self._work(), name=f"{self.name} worker {number}")

    async def wait_idle(self) -> None:
        """Wait until no key is queued or worked on; keys that wait for a delay do not count."""
        await self._queue.wait_idle()

    def statistics(self) -> dict[str, int]:
        return {**self._queue.statistics(), **self._counts}

    @property
    def queue(self) -> WorkQueue[K]:
        """For those who measure it."""
        return self._queue

    async def _work(self) -> None:
        while True:
            try:
                key = await self._queue.get()
            except ShutDown:
                return
            try:
                await self._process(key)
            finally:
                self._queue.done(key)
            if len(self._queue):
                await self._clock.sleep(0)  # a reconcile that had to wait for nothing gives nobody else a turn

    async def _process(self, key: K) -> None:
        started = self._clock.monotonic()
        WORK.set(Item(self.name, key))
        try:
            with self._span(key) or _UNTRACED:
                result = await self._reconcile(key)
        except TerminalError as error:
            log.error("%s: %s: %s (not tried again until it changes)", self.name, key, error)
            self._tell(error)
            self._queue.forget(key)
            self._count(key, "terminal", started)
            return
        except Exception as error:  # noqa: BLE001 - the worker loop is one of the four places
            self._log_failure(key, error)
            self._queue.add_rate_limited(key)
            self._count(key, "error", started)
            return
        self._queue.forget(key)
        if result.requeue_after_s is not None:
            self._queue.add_after(key, result.requeue_after_s)
        self._count(key, "requeue_after" if result.requeue_after_s is not None else "success", started)

    def _log_failure(self, key: K, error: Exception) -> None:
        """The first failure of a key in full, the following ones in a line; losing a race with another writer is part of normal work."""
        if isinstance(error, Conflict) or _has_gone(key, error):
            log.debug("%s: %s: %s; trying again", self.name, key, error)
            return
        self._tell(error)
        if isinstance(error, TransportError) or self._queue.failures(key):
            log.warning("%s: %s: %s: %s; trying again", self.name, key, type(error).__name__, error)
        else:
            log.error("%s: %s failed; trying again", self.name, key, exc_info=error)

    def _tell(self, error: Exception) -> None:
        if self.failed is not None:
            self.failed(error)

    def _count(self, key: K, result: Literal["success", "requeue_after", "error", "terminal"], started: float) -> None:
        self._counts[result] += 1
        if self._observe is not None:
            self._observe(Outcome(self.name, key, result, self._clock.monotonic() - started, self._queue.failures(key)))


def _has_gone(key: object, error: Exception) -> bool:
    """Whether the very object that was worked on was deleted meanwhile; its deletion is on its way to the informer."""
    return isinstance(error, NotFound) and bool(error.name) and error.name == getattr(key, "name", "")


@dataclass(frozen=True, slots=True)
class Item:
    """What a worker works on, for the log."""

    controller: str
    key: object

    def log_fields(self) -> Mapping[str, str]:
        if not isinstance(self.key, ObjectKey):
            return {"controller": self.controller, "key": str(self.key)}
        named = {"cluster": self.key.cluster, "namespace": self.key.namespace, "name": self.key.name}
        return {"controller": self.controller, **{name: value for name, value in named.items() if value}}


def _component(name: str) -> str:
    """Who works, for people: few names, whatever the resources.

    >>> [_component(name) for name in ("placement", "tmc-resource-deployments", "garbage-collector")]
    ['PlacementController', 'TmcResourceController', 'GarbageCollectorController']
    """
    words = name.split("-")
    kept = words[:2] if words[0] in ("tmc", "syncer") else words
    return "".join(word.capitalize() for word in kept) + "Controller"
