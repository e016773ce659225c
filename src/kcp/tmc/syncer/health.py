"""How a syncer fares: the criteria of the TMC reference §5.2, measured on the syncer's own record.

Before: the endpoints that `cli.syncer_endpoints` serves. After: `record`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kcp.aio.clock import rfc3339
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.syncer.record import Record

_NO_HEARTBEAT_S = 300.0
_NO_SYNC_S = 600.0
_MANY_ERRORS, _SOME_ERRORS = 0.5, 0.1


class Status(StrEnum):
    HEALTHY = "Healthy"
    DEGRADED = "Degraded"
    UNHEALTHY = "Unhealthy"


@dataclass(frozen=True, slots=True)
class Assessment:
    status: Status
    message: str


@dataclass(frozen=True, slots=True)
class SyncerHealth:
    """Assesses one syncer."""

    name: str
    """Of its SyncTarget."""
    record: Record
    heartbeat_period_s: float
    backlog_limit: int

    def assess(self) -> Assessment:
        """The worst that is true. A cluster or control plane that is away makes a syncer Degraded: starting it again would not help."""
        found = self._worst()
        return found if found is not None else Assessment(Status.HEALTHY, "syncing")

    def _worst(self) -> Assessment | None:
        record, now_s = self.record, self.record.clock.monotonic()
        if record.is_standing_by:
            return Assessment(Status.HEALTHY, "standing by: another syncer serves the target")
        if record.started_s is None:
            return Assessment(Status.UNHEALTHY, "the engine has not started")
        if (rate := record.error_rate()) > _MANY_ERRORS:
            return Assessment(Status.UNHEALTHY, f"{rate:.0%} of the syncs of the last minutes failed")
        quiet_s = now_s - (record.last_heartbeat_s if record.last_heartbeat_s is not None else record.started_s)
        if quiet_s > max(_NO_HEARTBEAT_S, 2 * self.heartbeat_period_s):
            return Assessment(Status.UNHEALTHY, f"no heartbeat was written for {quiet_s:.0f} s")
        if away := sorted(side for side, answers in record.reachable.items() if not answers):
            return Assessment(Status.DEGRADED, f"{' and '.join(away)} cannot be reached")
        if record.open_breakers:
            return Assessment(Status.DEGRADED, f"circuit breaker open: {', '.join(sorted(record.open_breakers))}")
        if quiet_s > 2 * self.heartbeat_period_s:
            return Assessment(Status.DEGRADED, f"no heartbeat was written for {quiet_s:.0f} s")
        if not record.controllers:
            return Assessment(Status.DEGRADED, "no resource is synced yet")
        if rate > _SOME_ERRORS:
            return Assessment(Status.DEGRADED, f"{rate:.0%} of the syncs of the last minutes failed")
        return self._backlog(now_s)

    def _backlog(self, now_s: float) -> Assessment | None:
        record = self.record
        backlog = record.backlog()
        if record.held:
            return Assessment(Status.DEGRADED, f"watches are not read until fewer objects wait: {backlog} do")
        if backlog > self.backlog_limit:
            return Assessment(Status.DEGRADED, f"{backlog} objects wait to be synced, more than {self.backlog_limit}")
        if backlog and record.last_sync_s is not None and now_s - record.last_sync_s > _NO_SYNC_S:
            return Assessment(Status.DEGRADED, f"{backlog} objects wait, and none was synced for {now_s - record.last_sync_s:.0f} s")
        return None

    def not_ready(self) -> str:
        """Why this syncer cannot serve its cluster just now; "" if it can, or stands by for another."""
        record = self.record
        if record.is_standing_by:
            return ""
        if record.started_s is None:
            return "the engine has not started"
        if record.last_heartbeat_s is None:
            return "no heartbeat was written yet"
        if away := sorted(side for side, answers in record.reachable.items() if not answers):
            return f"{' and '.join(away)} cannot be reached"
        return "" if record.controllers else "no resource is synced yet"

    def report(self) -> JSONObject:
        """The health of the syncer as the TMC reference shows it."""
        found, record = self.assess(), self.record
        now_s = record.clock.monotonic()
        since = {"timeSinceLastSync": f"{now_s - record.last_sync_s:.0f}s"} if record.last_sync_s is not None else {}
        uptime_s = now_s - record.started_s if record.started_s is not None else 0.0
        return {
            "componentType": "SyncTargetController",
            "componentID": f"syncer-{self.name}",
            "status": str(found.status),
            "message": found.message,
            "timestamp": rfc3339(record.clock.now()),
            "details": {
                "engineStarted": record.started_s is not None,
                "resourceControllers": len(record.controllers),
                "syncCount": record.syncs,
                "errorCount": record.errors,
                "errorRate": round(record.error_rate(), 4),
                "backlog": record.backlog(),
                "uptime": f"{uptime_s:.0f}s",
                **since,
                "statusReporter": {
                    "started": record.started_s is not None,
                    "heartbeatCount": record.heartbeats,
                    "errorCount": record.heartbeat_errors,
                    "connectionHealthy": all(record.reachable.values()),
                },
            },
        }
