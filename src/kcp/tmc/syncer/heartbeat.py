"""Heartbeat and readiness: tells the control plane that the syncer lives and whether its cluster answers.

A cluster that stops answering is reported after two failed probes, well before a heartbeat would be missed.
Source: kcp release-0.11 pkg/syncer/syncer.go (heartbeat every 20 s); tmc reference §5.2.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Conflict, NotFound, StatusError
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.client.transport import TransportError
from kcp.controller.commit import commit
from kcp.tmc.errors import TMCError, classify
from kcp.tmc.model.kinds import SYNC_TARGETS, SYNCER_READY
from kcp.tmc.syncer.identity import Identity

log = logging.getLogger(__name__)

PROBE_PERIOD_S = 2.0
FAILURES_BEFORE_REPORT = 2


@dataclass(slots=True)
class Heartbeat:
    """Probes the physical cluster and keeps the SyncTarget's status true."""

    identity: Identity
    workspace: Client
    """The workspace of the SyncTarget."""
    downstream: Client
    clock: Clock
    period_s: float
    synced_resources: Callable[[], list[JSONObject]]
    """`status.syncedResources` as the engine knows it."""
    observe: Callable[[str, bool], None]
    """For metrics: ("heartbeat" | "kcp" | "cluster", worked)."""
    _failures: int = field(default=0)
    _problem: TMCError | None = field(default=None)

    async def run(self) -> None:
        """Probe every two seconds; report on change, and at the latest every `period_s`."""
        next_report = self.clock.monotonic()
        while True:
            changed = await self._probe()
            if changed or self.clock.monotonic() >= next_report:
                if await self._report():
                    next_report = self.clock.monotonic() + self.period_s
            await self.clock.sleep(min(PROBE_PERIOD_S, self.period_s))

    async def _probe(self) -> bool:
        """Whether the cluster's state as reported changed."""
        problem: TMCError | None = None
        try:
            await self.downstream.raw("GET", "/readyz")
        except (StatusError, TransportError) as error:
            problem = classify(error, cluster=self.identity.name, operation="probe")
        self.observe("cluster", problem is None)
        self._failures = self._failures + 1 if problem is not None else 0
        if problem is not None and self._failures < FAILURES_BEFORE_REPORT:
            return False
        before, self._problem = self._problem, problem
        if problem is not None and before is None:
            log.warning("cluster %s: %s", self.identity.name, problem)
        if problem is None and before is not None:
            log.warning("cluster %s answers again", self.identity.name)
        return (before is None) != (problem is None) or (before is not None and problem is not None and before.type != problem.type)

    async def _report(self) -> bool:
        """Write the SyncTarget's status; a failure is logged and tried again at the next probe."""
        targets = self.workspace.resource(SYNC_TARGETS)
        try:
            held = await targets.get(self.identity.name)
            await commit(targets, held, self._wanted(held), field_manager="workload-syncer")
        except Conflict:
            return False  # somebody wrote in between: read again at the next probe
        except NotFound:
            log.error("SyncTarget %s is gone; the syncer goes on serving what runs, and reports when it is back", self.identity.name)
            self.observe("heartbeat", False)  # noqa: FBT003 - the callback's own shape
            return False
        except (StatusError, TransportError) as error:
            log.warning("heartbeat of %s failed: %s", self.identity.name, error)
            self.observe("heartbeat", False)  # noqa: FBT003 - the callback's own shape
            return False
        self.observe("heartbeat", True)  # noqa: FBT003 - the callback's own shape
        return True

    def _wanted(self, held: JSONObject) -> JSONObject:
        if meta.uid(held) != self.identity.uid:
            raise NotFound(f'SyncTarget "{self.identity.name}" was made anew with uid {meta.uid(held)}')
        wanted: JSONObject = meta.copy_json(held)
        now = rfc3339(self.clock.now())
        status = meta.ensure(wanted, "status")
        status["lastSyncerHeartbeatTime"] = now
        if resources := self.synced_resources():
            status["syncedResources"] = resources
        if self._problem is None:
            condition = conditions.build(SYNCER_READY, conditions.TRUE, reason="SyncerConnected", now=now)
        else:
            message = f"{self._problem.message} ({self._problem.hint})" if self._problem.hint else self._problem.message
            condition = conditions.build(
                SYNCER_READY, conditions.FALSE, reason=str(self._problem.type), message=message, severity="Error", now=now
            )
        conditions.set_condition(wanted, condition)
        return wanted
