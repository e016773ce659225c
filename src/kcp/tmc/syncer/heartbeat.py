"""Heartbeat and readiness: tells the control plane that the syncer lives and whether its cluster answers.

A cluster that stops answering is reported after two failed probes, within ten seconds and well before a heartbeat would be missed.
Source: kcp release-0.11 pkg/syncer/syncer.go (heartbeat every 20 s); tmc reference §5.2.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.aio.deadline import within
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Conflict, NotFound, StatusError
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.client.transport import TransportError
from kcp.controller.commit import commit
from kcp.tmc.errors import ErrorType, TMCError, classify
from kcp.tmc.model.kinds import SYNC_TARGETS, SYNCER_READY
from kcp.tmc.syncer.identity import Identity, made_anew
from kcp.tmc.syncer.lease import EpochLease

log = logging.getLogger(__name__)

PROBE_PERIOD_S = 2.0
PROBE_LIMIT_S = 2.5
"""A cluster that is cut off refuses nothing: it just does not answer."""
REPORT_LIMIT_S = 10.0
FAILURES_BEFORE_REPORT = 2
WRITE_ATTEMPTS = 3


class Side(StrEnum):
    """Where a syncer's connections go, as its metrics name them."""

    KCP = "kcp"
    CLUSTER = "cluster"


@dataclass(slots=True)
class Heartbeat:
    """Probes the physical cluster and keeps the SyncTarget's status true."""

    identity: Identity
    workspace: Client
    """The workspace of the SyncTarget."""
    downstream: Client
    clock: Clock
    period_s: float
    unserved: Callable[[], Sequence[str] | None]
    """`status.unservedAPIs` as the engine knows it; None: it has not looked yet."""
    observe: Callable[[str, bool], None]
    """For metrics: ("heartbeat" | "kcp" | "cluster", worked)."""
    facts: Callable[[], Coroutine[Any, Any, JSONObject]]
    """Further fields of the status, such as the cluster's capacity."""
    answered: Callable[[Side, bool], None] = lambda _side, _again: None
    """Told of every answer of a side, and whether it had failed before, so that nobody has to wait out their back-off."""
    lease: EpochLease | None = None
    """Renewed with every beat."""
    overload: Callable[[], int] = lambda: 0
    """`status.syncBacklog`: objects that wait, while they are too many; else 0."""
    breakers: Callable[[], Sequence[JSONObject]] = tuple
    """`status.circuitBreakers`: those that are not closed."""
    recovered: Callable[[], JSONObject | None] = lambda: None
    """`status.recovery`: what was done last because a recovery asked for it."""
    held: Callable[[], JSONObject | None] = lambda: None
    """`status.heldDeletions`."""
    _failures: int = field(default=0)
    _beats: int = field(default=0)
    _missed: int = field(default=0)
    _report_failed: bool = field(default=False)
    _problem: TMCError | None = field(default=None)
    _told: object = field(default=(None, False, (), None, 0))
    """What was reported of APIs, overload, circuit breakers, recoveries and held deletions: a change of that does not wait for a beat."""

    async def run(self) -> None:
        """Probe every two seconds; report on change, and at the latest every `period_s`.

        Raises: TMCError once the SyncTarget has been made anew: this syncer can serve it no longer. LeaseLost once another one does.
        """
        next_report = self.clock.monotonic()
        while True:
            started = self.clock.monotonic()
            changed = await self._probe()
            if changed or self._urgent() != self._told or self._report_failed or self.clock.monotonic() >= next_report:
                worked = await self._report()
                self._heard_of_kcp(worked=worked)
                if worked:
                    next_report = self.clock.monotonic() + self._period_s()
            period_s = min(PROBE_PERIOD_S, self.period_s)
            await self.clock.sleep(max(started + period_s - self.clock.monotonic(), 0.1))

    def _period_s(self) -> float:
        return self.period_s if self.lease is None else min(self.period_s, self.lease.duration_s / 3)

    async def _probe(self) -> bool:
        """Whether the cluster's state as reported changed."""
        problem = await self._cluster_problem()
        self.observe("cluster", problem is None)
        failed_before = self._failures > 0
        self._failures = self._failures + 1 if problem is not None else 0
        if problem is None:
            self.answered(Side.CLUSTER, failed_before)
        if problem is not None and self._failures < FAILURES_BEFORE_REPORT:
            return False
        before, self._problem = self._problem, problem
        if problem is not None and before is None:
            log.warning("cluster %s: %s", self.identity.name, problem)
        if problem is None and before is not None:
            log.warning("cluster %s answers again", self.identity.name)
        return (before is None) != (problem is None) or (before is not None and problem is not None and before.type != problem.type)

    async def _cluster_problem(self) -> TMCError | None:
        try:
            await within(self.clock, PROBE_LIMIT_S, self.downstream.raw("GET", "/readyz"))
        except TimeoutError:
            message = f"no answer within {PROBE_LIMIT_S:g} s: the cluster hangs or is cut off from its syncer"
            return TMCError(ErrorType.CLUSTER_UNREACHABLE, message, self.identity.name, "probe", retryable=True)
        except (StatusError, TransportError) as error:
            return classify(error, cluster=self.identity.name, operation="probe")
        return None

    def _heard_of_kcp(self, *, worked: bool) -> None:
        if worked:
            if self._report_failed:
                log.warning("the control plane answers again")
            self.answered(Side.KCP, self._report_failed)
        self._report_failed = not worked

    async def _report(self) -> bool:
        """Write the SyncTarget's status; a failure is logged and tried again at the next probe."""
        try:
            await within(self.clock, REPORT_LIMIT_S, self._write_status())
        except (StatusError, TransportError, TimeoutError) as error:
            level = logging.DEBUG if self._report_failed else logging.WARNING
            told = f"SyncTarget {self.identity.name} is gone; what runs stays" if isinstance(error, NotFound) else "heartbeat failed"
            log.log(level, "%s: %s", told, error)
        else:
            self._beats += 1
            self.observe("heartbeat", True)  # noqa: FBT003 - the callback's own shape
            return True
        self._missed += 1
        self.observe("heartbeat", False)  # noqa: FBT003 - the callback's own shape
        return False

    async def _write_status(self) -> None:
        """Others write the SyncTarget too, so that a conflict is no news of the control plane's health."""
        targets = self.workspace.resource(SYNC_TARGETS)
        facts = await self._facts() if self._problem is None else {}
        for attempts_left in reversed(range(WRITE_ATTEMPTS)):
            sent_s = self.clock.monotonic()
            held = await targets.get(self.identity.name)
            try:
                told = self._urgent()
                await commit(targets, held, self._wanted(held, facts), field_manager="workload-syncer")
                self._told = told
                if self.lease is not None:
                    self.lease.renewed(sent_s)
                return
            except Conflict:
                if not attempts_left:
                    raise

    async def _facts(self) -> JSONObject:
        """Of a cluster that has just been cut off nothing is learnt, and its report must not wait for that."""
        try:
            return await within(self.clock, PROBE_LIMIT_S, self.facts())
        except TimeoutError:
            return {}

    def _urgent(self) -> object:
        breakers = tuple((b["operation"], b["state"]) for b in self.breakers())
        return self.unserved(), self.overload() > 0, breakers, (self.recovered() or {}).get("request"), (self.held() or {}).get("count", 0)

    def _wanted(self, held: JSONObject, facts: JSONObject) -> JSONObject:
        if meta.uid(held) != self.identity.uid:
            raise made_anew(held, self.identity.uid)
        wanted: JSONObject = meta.copy_json(held)
        now = rfc3339(self.clock.now())
        status = meta.ensure(wanted, "status")
        status.update(facts)
        status["lastSyncerHeartbeatTime"] = now
        status["syncerIdentifier"] = self.identity.uid
        status["heartbeat"] = {"count": self._beats + 1, "errors": self._missed, "lastHeartbeat": now}
        if (unserved := self.unserved()) is not None:
            status["unservedAPIs"] = list(unserved)
        status["syncBacklog"] = self.overload()
        if not status["syncBacklog"]:
            del status["syncBacklog"]
        status["circuitBreakers"] = list(self.breakers())
        if not status["circuitBreakers"]:
            del status["circuitBreakers"]
        if recovered := self.recovered():
            status["recovery"] = recovered
        if held_deletions := self.held():
            status["heldDeletions"] = held_deletions
        else:
            status.pop("heldDeletions", None)
        if self._problem is None:
            condition = conditions.build(SYNCER_READY, conditions.TRUE, reason="SyncerConnected", now=now)
        else:
            message = f"{self._problem.message} ({self._problem.hint})" if self._problem.hint else self._problem.message
            condition = conditions.build(
                SYNCER_READY, conditions.FALSE, reason=str(self._problem.type), message=message, severity="Error", now=now
            )
        conditions.set_condition(wanted, condition)
        if self.lease is not None:
            self.lease.renew(held, wanted)
        return wanted
