"""What decides which requests are recorded, makes their events, and hands those to the backends.

Before: the filters (`filter`), the authentication filter. After: `policy`, `record`, `backends`.
Source: k8s.io/apiserver/pkg/endpoints/filters/{audit,authn_audit}.go, pkg/audit/metrics.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from kcp.aio.clock import Clock
from kcp.apimachinery.errors import InternalError, StatusError, Unauthorized
from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.audit.backends import Backend, Losses
from kcp.apiserver.audit.policy import NAMES, Policy
from kcp.apiserver.audit.record import Event, Record, micros, opened
from kcp.apiserver.authn.chain import bearer_token
from kcp.apiserver.request import Request, RequestInfo
from kcp.registry.backend import UserInfo

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class Auditor:
    """Audits by one policy into some backends."""

    def __init__(
        self,
        policy: Policy,
        backends: Sequence[Backend],
        losses: Losses,
        clock: Clock,
        *,
        describe: Callable[[ClusterName], Mapping[str, str]] = lambda _: {},
    ) -> None:
        """Args: describe: annotations that say which workspace a request is about."""
        self._policy, self._backends, self._losses, self._clock, self._describe = policy, tuple(backends), losses, clock, describe
        self._counts = {"events": 0, "refused": 0}
        self._levels: dict[str, int] = {}

    async def begin(self, req: Request, info: RequestInfo) -> Record | None:
        """The record of an authenticated request; None where the policy wants none. Raises InternalError: see `blocking-strict`."""
        record = self._open(req, info, req.user)
        if record is None or "RequestReceived" in record.says.omitted:
            return record
        event = record.event("RequestReceived", record.received)
        self._counts["events"] += 1
        waiting = [(backend, backend.submit(event)) for backend in self._backends]
        for backend, stored in waiting:
            if stored is None:
                continue
            if not backend.is_strict:
                record.waiting.append(stored)  # by whoever sends the answer
            elif not await asyncio.shield(stored):
                self._counts["refused"] += 1
                raise InternalError("Internal error occurred: failed to store audit event")
        return record

    def move(self, record: Record, info: RequestInfo) -> None:
        """A request that goes on to another workspace of this server, as through a mount."""
        for key, value in self._describe(info.cluster).items():
            record.notes.add(key, value)

    async def refuse(self, req: Request, info: RequestInfo, refusal: Unauthorized) -> None:
        """A request whose credentials are no good: one event, which names nobody. Source: authn_audit.go."""
        record = self._open(req, info, None)
        if record is not None:
            record.take_status({"message": _attempted(req)})
            await self._store(record, "ResponseStarted", refusal.code)

    async def start(self, record: Record, code: int) -> None:
        """The answer of a watch begins."""
        await self._store(record, "ResponseStarted", code)

    async def complete(self, record: Record, code: int, failure: Exception | None) -> None:
        """The answer is ready to be sent."""
        if isinstance(failure, StatusError):
            record.take_status(failure.to_status())
        elif failure is not None:
            record.take_status({"status": "Failure", "message": f"APIServer panic'd: {failure}", "reason": "InternalError"})
            await self._store(record, "Panic", 500)
            return
        await self._store(record, "ResponseComplete", code)

    def end(self, record: Record, code: int = 0) -> None:
        """A stream is over, or a request was given up; nobody waits any more."""
        if not code:
            code = 200
            record.take_status({"status": "Success", "message": "Connection closed early"})
        if "ResponseComplete" not in record.says.omitted:
            self._submit(record.event("ResponseComplete", self._now(), code))

    def _open(self, req: Request, info: RequestInfo, user: UserInfo | None) -> Record | None:
        says = self._policy.of(user, info)
        level = NAMES[says.level] if says is not None else "None"
        self._levels[level] = self._levels.get(level, 0) + 1
        if says is None:
            return None
        record = opened(req, info, user, says, req.audit_id, self._now())
        record.notes.update(self._describe(info.cluster))
        return record

    async def _store(self, record: Record, stage: str, code: int) -> None:
        if stage not in record.says.omitted:
            record.waiting += self._submit(record.event(stage, self._now(), code))
        for stored in record.waiting:
            if not stored.done():
                await asyncio.shield(stored)
        record.waiting.clear()

    def _submit(self, event: Event) -> list[asyncio.Future[bool]]:
        self._counts["events"] += 1
        return [stored for backend in self._backends if (stored := backend.submit(event)) is not None]

    def _now(self) -> str:
        return micros(self._clock.now())

    async def run(self) -> None:
        """As long as the server: what `batch` takes to send later."""
        async with asyncio.TaskGroup() as group:
            for backend in self._backends:
                group.create_task(backend.run())

    async def close(self) -> None:
        """Everything taken so far is written, or given up."""
        async with AsyncExitStack() as stack:
            for backend in self._backends:
                stack.push_async_callback(backend.close)

    def collect(self) -> Iterable[Metric]:
        """For one scrape, under upstream's names."""
        from prometheus_client.metrics_core import CounterMetricFamily

        yield CounterMetricFamily("apiserver_audit_event", "Audit events made.", value=self._counts["events"])
        yield CounterMetricFamily(
            "apiserver_audit_requests_rejected", "Requests refused because they could not be recorded.", value=self._counts["refused"]
        )
        levels = CounterMetricFamily("apiserver_audit_level", "Requests by the level of their audit policy rule.", labels=("level",))
        for level, count in self._levels.items():
            levels.add_metric((level,), count)
        yield levels
        lost = CounterMetricFamily("apiserver_audit_error", "Audit events that were lost.", labels=("plugin",))
        for plugin, count in self._losses.counts.items():
            lost.add_metric((plugin,), count)
        yield lost


def _attempted(req: Request) -> str:
    header = req.headers.get("authorization", "")
    methods = ["basic"] if header.lower().startswith("basic ") else ["bearer"] if bearer_token(header) else []
    if req.peer_subject is not None or req.peer_fault:
        methods.append("x509")
    return f"Authentication failed, attempted: {', '.join(methods)}" if methods else "Authentication failed, no credentials provided"
