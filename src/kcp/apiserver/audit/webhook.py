"""Events posted to a server, several times if need be.

Before: `backends`. After: `client`, by the kubeconfig that says where to.
Source: k8s.io/apiserver/plugin/pkg/audit/webhook/webhook.go, pkg/util/webhook/webhook.go (WithExponentialBackoff).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from kcp.aio.clock import Clock
from kcp.aio.deadline import within
from kcp.aio.supervisor import Supervisor
from kcp.apiserver.audit.backends import Losses
from kcp.apiserver.audit.record import Event
from kcp.client.transport import RawRequest, Transport, TransportError

_ATTEMPTS = 5
_LAST_S = 5.0
"""What is under way when the server stops may take this long."""
_FACTOR, _JITTER = 1.5, 0.2


class Webhook:
    """Implements `backends.Sink`."""

    name = "webhook"

    def __init__(self, transport: Transport, path: str, losses: Losses, clock: Clock, supervisor: Supervisor, *, backoff_s: float) -> None:
        """Args: path: where to post, on the server of the transport."""
        self._transport, self._path, self._losses, self._clock, self._supervisor = transport, path, losses, clock, supervisor
        self._backoff_s = backoff_s
        self._random = random.Random()
        self._posts: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    def post(self, events: Sequence[Event]) -> asyncio.Future[bool]:
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        task = self._supervisor.spawn(self._answer(events, answer), name="audit webhook")
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)
        return answer

    async def _answer(self, events: Sequence[Event], answer: asyncio.Future[bool]) -> None:
        is_stored = False
        try:
            is_stored = await self._deliver(events)
        finally:
            if not answer.done():
                answer.set_result(is_stored)

    async def _deliver(self, events: Sequence[Event]) -> bool:
        items = b",".join(event.raw for event in events)
        body = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[%s]}' % items
        request = RawRequest("POST", self._path, headers={"content-type": "application/json", "accept": "application/json"}, body=body)
        delay_s, why = self._backoff_s, ""
        for attempt in range(_ATTEMPTS):
            if attempt and not await self._pause(delay_s * (1 + _JITTER * self._random.random())):
                break
            if attempt:
                delay_s *= _FACTOR
            why = await self._try(request)
            if not why:
                self._losses.over(self.name)
                return True
        self._losses.add(self.name, len(events), why)
        return False

    async def _try(self, request: RawRequest) -> str:
        """What went wrong; any error may be over soon. Source: webhook.go, retryOnError."""
        try:
            answer = await self._transport.request(request)
        except TransportError as error:
            return str(error)
        return "" if 200 <= answer.status < 300 else f"the server answered {answer.status}: {answer.body[:200].decode(errors='replace')}"

    async def _pause(self, seconds: float) -> bool:
        """Whether to try again: not while the server stops."""
        if self._closing.is_set():
            return False
        async with asyncio.TaskGroup() as group:
            tasks = (group.create_task(self._clock.sleep(seconds)), group.create_task(self._closing.wait()))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        return not self._closing.is_set()

    async def close(self) -> None:
        self._closing.set()
        if self._posts:
            try:
                await within(self._clock, _LAST_S, asyncio.wait(self._posts))
            except TimeoutError:
                self._losses.add(self.name, len(self._posts), f"no answer within {_LAST_S:g} s after the server began to stop")
        await self._transport.close()
