"""How far the clock of a cluster's syncer is off, read from the heartbeats that it stamps, and told on its SyncTarget. Pure.

Nothing of the control plane counts by that clock, so a wrong one moves no work: ages, leases and tolerations are measured where they are
waited for. But what runs in the cluster does: CronJobs, certificates and tokens. Hence condition ClockSynchronized, for the user to read.
Before: `synctargets`. After: the SyncTarget's status.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from kcp.aio.clock import parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.kinds import CLOCK_SYNCHRONIZED

SKEW_FIELD = "clockSkewSeconds"
"""Of the SyncTarget's status: seconds by which the clock is ahead (negative: behind); absent while it is right."""

_PROMPT_S = 2.0
"""A heartbeat that looks no older came at once: stamps are whole seconds."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A heartbeat as the control plane saw it."""

    uid: str
    heartbeat: str
    seen: datetime | None
    """None: it was found so, late already."""
    skews_s: tuple[float, ...] = ()
    """What the last two that came under its eyes said: their stamp against the time when they were seen."""

    def followed_by(self, heartbeat: str, now: datetime) -> Sight:
        """The same syncer has stamped another one."""
        return replace(self, heartbeat=heartbeat, seen=now, skews_s=(*self.skews_s[-1:], *_off(heartbeat, now)))

    @property
    def skew_s(self) -> float | None:
        """How far the clock is off; None: not known yet.

        A heartbeat that was long on its way looks like a clock that is behind, never like one that is ahead: the later stamp is nearer
        to the truth, and one alone accuses no clock of being behind.
        """
        if len(self.skews_s) > 1 or self.skews_s and self.skews_s[0] > -_PROMPT_S:
            return max(self.skews_s)
        return None


def _off(heartbeat: str, now: datetime) -> tuple[float, ...]:
    try:
        return ((parse_rfc3339(heartbeat) - now).total_seconds(),)
    except ValueError:
        return ()


def tell_clock(wanted: JSONObject, skew_s: float | None, limit_s: float, now: datetime) -> None:
    """Put condition ClockSynchronized into `wanted`, which tells the state until now.

    What wanders by less than half the limit is not told anew, and a clock is right again within half of it: a SyncTarget is not written
    with every heartbeat.
    """
    if skew_s is None:
        return
    status, off, stamp = meta.ensure(wanted, "status"), round(skew_s), rfc3339(now)
    told = status.get(SKEW_FIELD)
    if abs(off) <= (limit_s if told is None else limit_s / 2):
        status.pop(SKEW_FIELD, None)
        conditions.set_condition(wanted, conditions.build(CLOCK_SYNCHRONIZED, conditions.TRUE, now=stamp))
        return
    if told is not None and abs(off - told) <= limit_s / 2:
        off = told
    status[SKEW_FIELD] = off
    reason, where = ("ClockAhead", "ahead of") if off > 0 else ("ClockBehind", "behind")
    message = (
        f"the clock where the syncer runs is {abs(off)} s {where} the control plane's: set it right (NTP, chrony); placement and "
        "synchronisation do not depend on it, but what runs there does (CronJobs, certificates, tokens)"
    )
    condition = conditions.build(CLOCK_SYNCHRONIZED, conditions.FALSE, reason=reason, message=message, severity="Warning", now=stamp)
    conditions.set_condition(wanted, condition)
