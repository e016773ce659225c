"""The epoch lease: of all syncers that are told to serve one SyncTarget, one does.

It is kept in the SyncTarget's status, so that it holds across clusters, and renewed with the heartbeat. A new holder raises the epoch, and
the syncer's view refuses whoever shows an older one. A holder that cannot renew stops writing to its cluster before anybody else may take
the lease. Ages are measured on each syncer's own clock, so clocks need not agree.
Before: `engine`, `heartbeat`. After: the SyncTarget.
Source: the age rule of k8s.io/client-go/tools/leaderelection; the epoch is ours.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from kcp.aio.clock import Clock, rfc3339
from kcp.aio.deadline import within
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Conflict, NotFound, StatusError
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse, Transport, TransportError
from kcp.controller.commit import commit
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.model.names import EPOCH_HEADER
from kcp.tmc.syncer.identity import Identity, made_anew

log = logging.getLogger(__name__)

FIELD = "syncerLease"
"""Of the SyncTarget's status: holder, epoch, renewTime, durationSeconds."""
_LOOK_S = 2.0
AtEnd: TypeAlias = Callable[[], Awaitable[bool]]
"""What happens in the cluster at the end of a lease; whether it has. Where the cluster does not answer it raises nothing."""
_SURE_S = 10.0
"""Until what has happened is made sure of: a write may have been on its way."""


async def _nothing() -> bool:
    return True


class LeaseLost(Exception):
    """Another syncer serves the target now."""


@dataclass(slots=True)
class EpochLease:
    """One syncer's part in it."""

    identity: Identity
    workspace: Client
    """Of the SyncTarget."""
    clock: Clock
    holder: str
    """Who this syncer is; one that dies and comes back as the same need not wait."""
    duration_s: float
    """A lease that was not renewed for this long may be taken; its holder rests before that."""
    epoch: int = 0
    _valid: asyncio.Event = field(default_factory=asyncio.Event)
    _renewed_s: float = 0.0
    _seen: tuple[object, float] = (None, 0.0)

    async def acquire(self, standing_by: Callable[[bool], None] = lambda _: None, at_end: AtEnd = _nothing) -> None:
        """Wait until the target is ours to serve. Raises: TMCError once it has another uid.

        Args: standing_by: told whether another one serves it. at_end: called, again and again, while nobody can say who serves it, for so
        long that whoever did so cannot have renewed: a third of the lease for a syncer that starts, all of it for one that stands by.
        """
        told, heard_s, patience_s = "", self.clock.monotonic(), self.duration_s / 3
        while True:
            try:
                other = await within(self.clock, self.duration_s / 3, self._ask())
                heard_s, patience_s = self.clock.monotonic(), self.duration_s
                standing_by(bool(other))
                if not other:
                    return
                trouble = f"is served by {other}; standing by"
            except (StatusError, TransportError, TimeoutError) as error:
                trouble = f"cannot be asked who serves it; it is tried again: {error}"
                if self.clock.monotonic() - heard_s >= patience_s:
                    await at_end()
            if trouble != told:
                log.warning("SyncTarget %s %s", self.identity.name, trouble)
            told = trouble
            await self.clock.sleep(_LOOK_S)

    async def _ask(self) -> str:
        """Others write the SyncTarget too: a conflict is no answer."""
        while True:
            try:
                return await self._try()
            except Conflict:
                await self.clock.sleep(0)

    async def _try(self) -> str:
        """Take the lease if it is free. Gives the holder if it is not."""
        targets = self.workspace.resource(SYNC_TARGETS)
        held = await targets.get(self.identity.name)
        if meta.uid(held) != self.identity.uid:
            raise made_anew(held, self.identity.uid)
        lease = meta.nested(held, "status", FIELD, default={})
        if lease.get("holder") not in ("", None, self.holder) and not self._is_old(lease):
            return str(lease["holder"])
        wanted: JSONObject = meta.copy_json(held)
        epoch = int(lease.get("epoch") or 0) + 1
        meta.ensure(wanted, "status")[FIELD] = self._lease(epoch)
        tried_s = self.clock.monotonic()
        await commit(targets, held, wanted, field_manager="workload-syncer")
        self.epoch, self._renewed_s = epoch, tried_s
        self._valid.set()
        log.info("serving SyncTarget %s as %s, epoch %d", self.identity.name, self.holder, epoch)
        return ""

    def _is_old(self, lease: JSONObject) -> bool:
        """Whether it was seen unchanged for as long as its holder has said."""
        now_s = self.clock.monotonic()
        if self._seen[0] != lease:
            self._seen = lease, now_s
        return now_s - self._seen[1] >= float(lease.get("durationSeconds") or self.duration_s)

    def _lease(self, epoch: int) -> JSONObject:
        now = rfc3339(self.clock.now())
        return {"holder": self.holder, "epoch": epoch, "renewTime": now, "durationSeconds": int(self.duration_s)}

    def renew(self, held: JSONObject, wanted: JSONObject) -> None:
        """Put the renewal into a status that is about to be written. Raises: LeaseLost."""
        lease = meta.nested(held, "status", FIELD, default={})
        if lease.get("holder") not in ("", None, self.holder) or int(lease.get("epoch") or 0) > self.epoch:
            self._valid.clear()
            raise LeaseLost(f"{lease.get('holder')} serves SyncTarget {self.identity.name} now, epoch {lease.get('epoch')}")
        meta.ensure(wanted, "status")[FIELD] = self._lease(self.epoch)

    def renewed(self, at_s: float) -> None:
        """A status with the renewal was written. Args: at_s: when it was sent, on the monotonic clock."""
        self._renewed_s = at_s
        self._valid.set()

    async def expire(self, at_end: AtEnd = _nothing) -> None:
        """Until cancelled: rest whenever the lease was not renewed for two thirds of its time.

        Args: at_end: called then, again and again until it is renewed.
        """
        is_again = False
        while True:
            left_s = self._renewed_s + self.duration_s * 2 / 3 - self.clock.monotonic()
            if left_s <= 0:
                if self._valid.is_set():
                    log.warning(
                        "SyncTarget %s: the lease cannot be renewed; nothing is changed in the cluster until it can", self.identity.name
                    )
                self._valid.clear()
                left_s = _SURE_S if await at_end() and is_again else _LOOK_S
                is_again = True
            else:
                is_again = False
            await self.clock.sleep(left_s)

    @property
    def is_valid(self) -> bool:
        return self._valid.is_set()

    async def wait_valid(self) -> None:
        await self._valid.wait()

    async def release(self) -> None:
        """Let the next one have it at once; if that fails it runs out by itself."""
        self._valid.clear()
        targets = self.workspace.resource(SYNC_TARGETS)
        try:
            async with asyncio.timeout(_LOOK_S):
                held = await targets.get(self.identity.name)
                lease = meta.nested(held, "status", FIELD, default={})
                if (lease.get("holder"), lease.get("epoch")) == (self.holder, self.epoch):
                    wanted: JSONObject = meta.copy_json(held)
                    wanted["status"][FIELD] = {**lease, "holder": ""}
                    await commit(targets, held, wanted, field_manager="workload-syncer")
        except (NotFound, Conflict, StatusError, TransportError, TimeoutError) as error:
            log.info("SyncTarget %s: could not give back the lease: %s", self.identity.name, error)


@dataclass(frozen=True, slots=True)
class EpochTransport:
    """Shows the epoch with every request, so that the view can refuse one that has passed."""

    inner: Transport
    lease: EpochLease

    def _shown(self, request: RawRequest) -> RawRequest:
        headers = {**request.headers, EPOCH_HEADER: str(self.lease.epoch)}
        return RawRequest(request.method, request.path, request.query, headers, request.body)

    async def request(self, request: RawRequest) -> RawResponse:
        return await self.inner.request(self._shown(request))

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        return self.inner.stream(self._shown(request))

    async def close(self) -> None:
        await self.inner.close()


@contextmanager
def alone_here(identity: Identity) -> Iterator[str]:
    """A holder's name for the one process on this machine that serves a target; for a further one, a name of its own.

    A process that was killed leaves nothing behind, so the next one is the same holder and goes on at once.
    """
    host = socket.gethostname()
    if sys.platform != "linux":
        yield f"{host}-{id(identity):x}"
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mark:
        try:
            mark.bind(f"\0kcp-syncer/{identity.key}/{identity.uid}")  # the abstract namespace: gone with its process
        except OSError:
            yield f"{host}-{mark.fileno()}-{id(mark):x}"
        else:
            yield host


@asynccontextmanager
async def held(lease: EpochLease) -> AsyncIterator[None]:
    """The lease is given back at the end, unless somebody else has it."""
    try:
        yield
    finally:
        await asyncio.shield(lease.release())
