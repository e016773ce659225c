"""Hands committed writes to the watchers of an embedded store.

A watcher first reads the log up to the present, then joins the feed in the same step in which it has caught up: nothing is lost or doubled.
The store publishes from its own commit callback, never from the task of the writer, so a cancelled writer cannot swallow an event.
Before: `memory`, `sqlite`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeAlias

from kcp.storage.interface import Event, Revision, SlowConsumer, StoreError

QUEUE_EVENTS = 10_000
"""Undelivered events at which a watcher is ended with SlowConsumer."""

ReadLog: TypeAlias = Callable[[Revision], Awaitable[tuple[Sequence[Event], Revision]]]
"""From a position to the next part of the log and the position after it. Raises Compacted."""

Prepare: TypeAlias = Callable[[Sequence[Event]], Awaitable[Sequence[Event]]]


class Watcher:
    """One watcher that has caught up: the events it has not taken yet."""

    __slots__ = ("_ended", "_events", "_prefix", "_waiter", "after")

    def __init__(self, prefix: bytes, after: Revision) -> None:
        self.after = after
        self._prefix = prefix
        self._events: list[Event] = []
        self._waiter: asyncio.Future[None] | None = None
        self._ended: StoreError | None = None

    def offer(self, events: Sequence[Event]) -> None:
        if self._ended is not None:
            return
        prefix, after = self._prefix, self.after
        self._events += [event for event in events if event.revision > after and event.key.startswith(prefix)]
        if len(self._events) > QUEUE_EVENTS:
            self.end(SlowConsumer(f"more than {QUEUE_EVENTS} undelivered events under {prefix!r}"))
        elif self._events:
            self._wake()

    def end(self, error: StoreError) -> None:
        """Let the watcher fail with `error`; what it has not taken is dropped."""
        self._ended = error
        self._events.clear()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self) -> Sequence[Event]:
        """Wait for events and take all there are; safe to cancel."""
        while not self._events:
            if self._ended is not None:
                raise self._ended
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        events, self._events = self._events, []
        return events


class Feed:
    """The watchers of one store."""

    def __init__(self, revision: Revision) -> None:
        self.revision = revision
        """Everything up to here has been published."""
        self._watchers: dict[Watcher, None] = {}
        self._closed: StoreError | None = None

    def __len__(self) -> int:
        return len(self._watchers)

    def publish(self, events: Sequence[Event]) -> None:
        """Give consecutive committed writes to everybody they concern."""
        self.revision = events[-1].revision
        for watcher in self._watchers:
            watcher.offer(events)

    def close(self, error: StoreError) -> None:
        """End all watchers, present and future."""
        self._closed = error
        for watcher in self._watchers:
            watcher.end(error)

    async def watch(
        self, prefix: bytes, after: Revision, read_log: ReadLog, prepare: Prepare | None = None
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Events after `after`: first from the log, then live. `prepare` completes live events before they are handed out."""
        position = after
        while self._closed is None and position < self.revision:
            events, position = await read_log(position)
            if events:
                yield events
        watcher = Watcher(prefix, position)
        if self._closed is not None:
            raise self._closed
        self._watchers[watcher] = None
        try:
            while True:
                live = await watcher.take()
                yield live if prepare is None else await prepare(live)
        finally:
            del self._watchers[watcher]
