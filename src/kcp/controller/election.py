"""`LeaderElector`: of several processes that could do a job, one does, by holding a Lease.

Before: compositions wrap their controllers' `run` in it. After: leases of `coordination.k8s.io`.
Source: k8s.io/client-go/tools/leaderelection (leaderelection.go, resourcelock/leaselock.go).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, rfc3339_micro
from kcp.aio.deadline import within
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.client.transport import TransportError

log = logging.getLogger(__name__)

LEASES = GVR("coordination.k8s.io", "v1", "leases")


@dataclass(frozen=True, kw_only=True, slots=True)
class ElectionTimes:
    lease_duration_s: float = 15.0
    """A lease not renewed for this long may be taken by another."""
    renew_deadline_s: float = 10.0
    """A leader that could not renew for this long stops leading: before anyone else can start."""
    retry_period_s: float = 2.0
    """Between tries to take or renew the lease."""

    def problems(self) -> list[str]:
        found = []
        if self.lease_duration_s <= self.renew_deadline_s:
            found.append("lease_duration_s must be greater than renew_deadline_s")
        if self.renew_deadline_s <= 1.2 * self.retry_period_s:
            found.append("renew_deadline_s must be greater than 1.2 times retry_period_s")
        return found


class LeaderElector:
    """Runs a job while it holds the lease `namespace/name`; ages are measured on its own clock, so clocks need not agree.

    Two processes do not lead at once as long as their clocks run at the same rate: a leader that cannot renew gives up after
    `renew_deadline_s`, and another takes the lease no sooner than `lease_duration_s` after the last renewal that it saw.
    """

    def __init__(
        self, client: Client, *, name: str, namespace: str, identity: str, clock: Clock, times: ElectionTimes | None = None, seed: int = 0
    ) -> None:
        """Args: identity: of this process, unique. seed: of the jitter with which it tries to become leader."""
        self._times = times or ElectionTimes()
        if problems := self._times.problems():
            raise ValueError("; ".join(problems))
        self._leases = client.resource(LEASES)
        self._name, self._namespace, self.identity = name, namespace, identity
        self._clock = clock
        self._rng = random.Random(seed)
        self._seen: JSONObject | None = None
        self._seen_at = 0.0
        self.is_leader = False

    @property
    def holder(self) -> str:
        """Identity of the leader as last seen, "" for none."""
        return str(meta.nested(self._seen or {}, "spec", "holderIdentity", default=""))

    async def run(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Until cancelled: become leader, run `lead()` until leadership is lost, and stand again. Ends when `lead()` returns.

        Cancelling gives the lease back, so that another need not wait for it to run out. Raises what `lead()` raises.
        """
        while not await self.run_once(lead):
            log.warning("%s lost %s/%s", self.identity, self._namespace, self._name)

    async def run_once(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """The same, without standing again: False when leadership was lost, True when `lead()` returned."""
        await self._acquire()
        log.info("%s leads %s/%s", self.identity, self._namespace, self._name)
        try:
            return await self._lead(lead)
        finally:
            self.is_leader = False
            await self._release()

    async def _acquire(self) -> None:
        while not await self._try(self._times.renew_deadline_s):
            await self._clock.sleep(self._times.retry_period_s * (1.0 + 1.2 * self._rng.random()))

    async def _lead(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Whether the job ended by itself; False if leadership was lost."""
        self.is_leader = True
        try:
            async with asyncio.TaskGroup() as group:
                job = group.create_task(lead(), name=f"leading {self._name}")
                renewing = group.create_task(self._renew_while_possible(), name=f"renewing {self._name}")
                await asyncio.wait((job, renewing), return_when=asyncio.FIRST_COMPLETED)
                self.is_leader = not renewing.done()
                job_ended = job.done()
                job.cancel()
                renewing.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return job_ended

    async def _renew_while_possible(self) -> None:
        """Returns when the lease could not be renewed for `renew_deadline_s`, or another has it."""
        renewed_at = self._clock.monotonic()
        while True:
            await self._clock.sleep(self._times.retry_period_s)
            left_s = renewed_at + self._times.renew_deadline_s - self._clock.monotonic()
            tried_at = self._clock.monotonic()
            if left_s > 0 and await self._try(left_s):
                renewed_at = tried_at
            elif left_s <= 0 or self.holder != self.identity or self._clock.monotonic() >= renewed_at + self._times.renew_deadline_s:
                return

    async def _try(self, limit_s: float) -> bool:
        """Take or renew the lease once; whether it is ours now."""
        try:
            return await within(self._clock, limit_s, self._try_acquire_or_renew())
        except (StatusError, TransportError, TimeoutError) as error:
            log.info("%s: lease %s/%s: %s", self.identity, self._namespace, self._name, error)
            return False

    async def _try_acquire_or_renew(self) -> bool:
        try:
            lease = await self._leases.get(self._name, namespace=self._namespace)
        except NotFound:
            self._observe(await self._leases.create(self._new_lease(), namespace=self._namespace))
            return True
        self._observe(lease)
        if self.holder and self.holder != self.identity and not self._is_expired():
            return False
        self._observe(await self._leases.update(self._taken(lease), namespace=self._namespace))
        return True

    def _observe(self, lease: JSONObject) -> None:
        """Note when the lease was last seen to change: only then is its age counted from anew."""
        if self._seen is None or self._seen.get("spec") != lease.get("spec"):
            self._seen_at = self._clock.monotonic()
        self._seen = lease

    def _is_expired(self) -> bool:
        told_s = meta.nested(self._seen or {}, "spec", "leaseDurationSeconds", default=0)
        return self._clock.monotonic() >= self._seen_at + max(float(told_s), 0.0)

    def _new_lease(self) -> JSONObject:
        now = rfc3339_micro(self._clock.now())
        return {
            "apiVersion": LEASES.api_version,
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": int(self._times.lease_duration_s),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }

    def _taken(self, lease: JSONObject) -> JSONObject:
        old = lease.get("spec") or {}
        spec = {**old, **self._new_lease()["spec"], "leaseTransitions": old.get("leaseTransitions") or 0}
        if old.get("holderIdentity") == self.identity:
            spec["acquireTime"] = old.get("acquireTime") or spec["acquireTime"]
        else:
            spec["leaseTransitions"] += 1
        return {**lease, "spec": spec}

    async def _release(self) -> None:
        """Give back a lease that is still ours; if that fails it runs out by itself."""
        lease = self._seen
        if lease is None or self.holder != self.identity:
            return
        now = rfc3339_micro(self._clock.now())
        spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now, "acquireTime": now}
        try:
            async with asyncio.timeout(self._times.retry_period_s):
                self._observe(await self._leases.update({**lease, "spec": spec}, namespace=self._namespace))
        except (StatusError, TransportError, TimeoutError) as error:
            log.info("%s: could not give back lease %s/%s: %s", self.identity, self._namespace, self._name, error)
