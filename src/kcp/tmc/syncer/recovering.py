"""What a syncer does when a recovery asks for it, and what it answers.

Before: the engine, which watches its SyncTarget. After: the engine's parts; the heartbeat reports the answer.
Nothing of this is needed for a cluster that comes back: it only ends waits, and looks where nothing told to look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kcp.aio.clock import Clock, rfc3339
from kcp.aio.deadline import within
from kcp.apimachinery import meta
from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.client.transport import TransportError
from kcp.tmc.model.names import RECOVERY_REQUEST_ANNOTATION
from kcp.tmc.permissions import missing_permissions

log = logging.getLogger(__name__)

_REVIEW_LIMIT_S = 10.0


@dataclass(slots=True)
class Recovering:
    """The requests of one SyncTarget; the latest counts."""

    downstream: Client
    clock: Clock
    reconnect: Callable[[], None]
    """Try now whatever waits."""
    resync: Callable[[], None]
    """Look at every object."""
    synced: Callable[[], Iterable[GroupResource]]
    answer: JSONObject | None = None
    """`status.recovery`; None before the first request."""
    _asked: str = ""
    _new: asyncio.Event = field(default_factory=asyncio.Event)

    def seen(self, target: JSONObject) -> None:
        """Told of every state of the SyncTarget. One that was answered before this syncer started is not done again."""
        asked = meta.annotations(target).get(RECOVERY_REQUEST_ANNOTATION, "")
        if asked == self._asked:
            return
        self._asked = asked
        if asked.partition(":")[2] != meta.nested(target, "status", "recovery", "request", default=""):
            self._new.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._new.wait()
            self._new.clear()
            action, _, request = self._asked.partition(":")
            if not request:
                continue
            log.info("a recovery asks to %s", action)
            self.reconnect()
            missing = await self._missing() if action == "authenticate" else []
            if action == "resync":
                self.resync()
            self.answer = {"request": request, "time": rfc3339(self.clock.now())} | ({"missingPermissions": missing} if missing else {})

    async def _missing(self) -> list[str]:
        """A cluster that cannot be asked is reported by the heartbeat."""
        try:
            return await within(self.clock, _REVIEW_LIMIT_S, missing_permissions(self.downstream, self.synced()))
        except (StatusError, TransportError, TimeoutError) as error:
            log.warning("permissions cannot be verified: %s", error)
            return []
