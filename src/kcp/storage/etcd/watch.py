"""One watch on an etcd cluster that outlives the member it began with: it goes on from the revision that it has reached.

Before: `storage.etcd.store`. Source: etcd server/etcdserver/api/v3rpc/watch.go (cancel reasons, progress of watch id -1).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from kcp.aio.backoff import Backoff
from kcp.aio.clock import Clock
from kcp.storage.etcd import messages
from kcp.storage.etcd.connection import Connection
from kcp.storage.etcd.messages import Message
from kcp.storage.feed import Watcher
from kcp.storage.interface import Compacted, Event, Revision, StoreError
from kcp.storage.keyspace import TICK

log = logging.getLogger(__name__)

_PATIENT_S = 5.0
"""A watch that cannot be had for this long is worth a line in the log."""


class _EndedError(Exception):
    """etcd ended the watch for a reason that may pass, such as a token that ran out."""


class _MovedError(Exception):
    """The stream was ended by us, to begin it again at another endpoint."""


class EtcdWatch:
    """Reads a stream of events into the queue of one watcher, from which `take` hands them out. Run `run` as a task."""

    def __init__(
        self, connection: Connection, clock: Clock, prefix: bytes, after: Revision, *, prev_values: bool, with_progress: bool,
        hear: Callable[[Revision, bytes], None],
    ) -> None:  # fmt: skip
        self._connection = connection
        self._clock = clock
        self._namespace = len(connection.config.namespace)
        self.prefix = prefix
        self._key = connection.config.namespace.encode() + prefix
        self._prev_values = prev_values
        self._with_progress = with_progress
        self._hear = hear
        self.reached = after
        """Everything up to here has been read."""
        self.queue = Watcher(b"", after)
        self.task: asyncio.Task[None] | None = None
        """Of `run`, once somebody has started it."""
        self._call: Any = None
        self._endpoint = ""
        """Where the stream goes."""
        self._is_moving = False
        """Whether the stream is ended because another endpoint is asked now."""
        self._is_begun = False
        """Whether etcd has said that it takes the watch."""
        self._asked = 0
        """The revision for which news of progress is awaited."""

    async def run(self) -> None:
        """Until cancelled, or the watch fails for good; then the queue has the error."""
        self._connection.moves.add(self._move)
        try:
            await self._persist()
        finally:
            self._connection.moves.discard(self._move)

    async def _persist(self) -> None:
        backoff, since = Backoff(initial_s=0.02, max_s=1.0), self._clock.monotonic()
        while True:
            reached = self.reached
            try:
                await self._follow()
                lost = "the stream ended"
            except grpc.aio.AioRpcError as e:
                lost = e.details() or e.code().name
                self._connection.fail_over(self._endpoint)
                if "auth token" in lost:
                    self._connection.forget_token()
            except TimeoutError:
                lost = "the watch was not begun in time"
                self._connection.fail_over(self._endpoint)
            except _MovedError:
                lost = "another endpoint is asked"
            except _EndedError as e:
                lost = str(e)
                self._connection.forget_token()
            except StoreError as e:
                self.queue.end(e)
                return
            await self._connection.renew()
            if self.reached > reached:
                backoff.reset()
                since = self._clock.monotonic()
            if self._clock.monotonic() - since >= _PATIENT_S:
                since = self._clock.monotonic()
                log.warning("the watch on etcd is away since revision %d and tried again: %s", self.reached, lost)
            await self._clock.sleep(backoff.next_s())

    def stop(self) -> None:
        """End the task; nobody takes any more."""
        if self.task is not None:
            self.task.cancel()

    def _move(self) -> None:
        """Calls fail at the endpoint of the stream: it would be noticed here by its keepalive only."""
        if self._call is not None and self._endpoint != self._connection.endpoint:
            self._is_moving = True
            self._call.cancel()

    async def _follow(self) -> None:
        metadata = await self._connection.metadata()
        self._endpoint, self._is_moving = self._connection.endpoint, False
        open_stream = self._connection.channel().stream_stream(
            messages.WATCH,
            request_serializer=messages.WatchRequest.SerializeToString,
            response_deserializer=messages.WatchResponse.FromString,
        )
        self._call = call = open_stream(metadata=metadata)
        try:
            async with asyncio.timeout(self._connection.config.attempt_s):
                await call.write(self._begin())
                response: Any = await call.read()
            while response is not grpc.aio.EOF:
                if response.created:
                    self._is_begun = True
                    self._asked = 0
                self._receive(response)
                response = await call.read()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._is_moving and task is not None and not task.cancelling():  # it is the stream that was cancelled, not we
                raise _MovedError from None
            raise
        finally:
            self._call, self._is_begun = None, False
            call.cancel()

    def _begin(self) -> Message:
        """From the revision reached itself, which is filtered: from the one after it etcd would not say that it was compacted."""
        return messages.WatchRequest(
            create_request=messages.WatchCreateRequest(
                key=self._key,
                range_end=messages.range_end(self._key),
                start_revision=max(self.reached, 1),
                prev_kv=self._prev_values,
                progress_notify=self._with_progress,
                fragment=True,
            )
        )

    def _receive(self, response: Message) -> None:
        if response.canceled:
            if response.compact_revision:
                raise Compacted(Revision(response.compact_revision))
            raise _EndedError(f"etcd ended the watch: {response.cancel_reason or 'no reason given'}")
        if response.events:
            events = [self._event(event) for event in response.events if event.kv.mod_revision > self.reached]
            if events:
                self.reached = events[-1].revision
                self.queue.offer(events)
        elif not response.created and response.header.revision > self.reached:
            self.reached = Revision(response.header.revision)
            self.queue.offer([Event.progress(self.reached)])

    def _event(self, event: Message) -> Event:
        kv = event.kv
        if kv.key.endswith(TICK):
            if kv.value and event.type != messages.DELETED:
                self._hear(Revision(kv.mod_revision), kv.value)
            return Event.progress(Revision(kv.mod_revision))
        is_delete = event.type == messages.DELETED
        if not is_delete and kv.create_revision == kv.mod_revision:
            before = None
        else:
            before = event.prev_kv.value if self._prev_values else b""
        return Event(kv.key[self._namespace :], None if is_delete else kv.value, before, Revision(kv.mod_revision))

    async def ask_progress(self, revision: int) -> None:
        """Let etcd say how far this watch is: where others write too, `revision` may be none of its events."""
        if not self._is_begun or revision <= max(self.reached, self._asked):
            return
        self._asked = revision
        try:
            await self._call.write(messages.WatchRequest(progress_request=messages.WatchProgressRequest()))
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            self._asked = 0  # the stream is ending: the next one begins with where it is
