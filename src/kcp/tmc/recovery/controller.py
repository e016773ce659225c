"""Recovery controller: lets recoveries begin, takes their next step, ends them. Whatever it knows stands in the objects.

A step is short: a strategy looks, asks for what is missing, and says whether to look again; so a recovery can be cancelled or run out of
time between any two, a hanging one is cut off, and a server that is started anew goes on with the next.
Before: Recoveries, made by `trigger` and by people. After: `strategies`. Source for limits and events: the TMC reference §9, §5.2.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from kcp.aio.clock import Clock, rfc3339
from kcp.aio.deadline import within
from kcp.aio.metrics import Meter
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound, StatusError
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, ResourceClient
from kcp.client.transport import TransportError
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.events import NORMAL, WARNING, EventRecorder
from kcp.controller.informer import Informer
from kcp.tmc.errors import TMCError, classify, told
from kcp.tmc.metrics import families
from kcp.tmc.recovery.model import (
    RECOVERIES,
    Done,
    NeedsPerson,
    Recovery,
    State,
    Step,
    StrategyName,
    admitted,
    surplus,
    with_actions,
)
from kcp.tmc.retry import RetryPolicy

log = logging.getLogger(__name__)

STEP_LIMIT_S = 15.0
"""A step that takes longer hangs: it is cut off, and counts as failed."""
ATTEMPT_LIMIT_S = 10.0
"""What was asked for should have helped by then; otherwise the next attempt asks anew."""


class Strategy(Protocol):
    async def step(self, recovery: Recovery) -> Step:
        """Look, and do what is missing. Called again and again; asking twice for the same does nothing.

        Raises: StatusError, TransportError, TMCError.
        """

    def next_steps(self, recovery: Recovery, error: TMCError) -> list[str]:
        """What a person should do when all attempts are used up."""


@dataclass(frozen=True, slots=True)
class RecoveryReconciler:
    recoveries: Informer
    strategies: Mapping[StrategyName, Strategy]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock
    meter: Meter
    events: EventRecorder
    policy: RetryPolicy = RetryPolicy()
    rng: random.Random = field(default_factory=lambda: random.Random("recovery"))
    begun: set[ObjectKey] = field(default_factory=set)
    """Those that were let in, and are not known to be in progress yet."""

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.recoveries.get(key)
        if obj is None or meta.deletion_timestamp(obj):
            self.begun.discard(key)
            return Result()
        recovery, now = Recovery.of(obj), self.clock.now()
        if recovery.state is State.IN_PROGRESS:
            # The mirror may be older than what was written last: after the end, a strategy would take one more step.
            try:
                obj = await self._resource(key).get(key.name)
            except NotFound:
                return Result()
            recovery = Recovery.of(obj)
        if recovery.state is not State.PENDING:
            self.begun.discard(key)
        if recovery.is_finished:
            return await self._tidy(recovery)
        if recovery.is_cancelled:
            return await self._end(obj, recovery, State.CANCELLED, "cancelled by spec.cancel")
        if recovery.state is State.PENDING:
            return await self._begin(obj, recovery)
        if recovery.started is not None and now >= recovery.started + timedelta(seconds=recovery.timeout_s):
            return await self._run_out(obj, recovery)
        if recovery.due is not None:
            if now < recovery.due:
                left_s = recovery.started + timedelta(seconds=recovery.timeout_s) - now if recovery.started else recovery.due - now
                return Result(requeue_after_s=min((recovery.due - now).total_seconds(), left_s.total_seconds()) + 0.01)
            return await self._attempt(obj, recovery, now)
        return await self._step(obj, recovery, now)

    async def _begin(self, obj: JSONObject, recovery: Recovery) -> Result:
        everybody = [Recovery.of(other) for other in self.recoveries.list()]
        begun = [replace(r, state=State.IN_PROGRESS) if r.key in self.begun and r.state is State.PENDING else r for r in everybody]
        if recovery.key in self.begun or not admitted(recovery, begun):
            return Result(requeue_after_s=5.0)
        self.begun.add(recovery.key)
        try:
            await self._write_begin(obj, recovery)
        except (StatusError, TransportError):
            self.begun.discard(recovery.key)
            raise
        await self._tell(obj, NORMAL, "RecoveryStarted", f"{recovery.strategy} of {recovery.subject}")
        return Result()

    async def _write_begin(self, obj: JSONObject, recovery: Recovery) -> None:
        now = rfc3339(self.clock.now())
        status = {
            "state": str(State.IN_PROGRESS),
            "strategy": str(recovery.strategy),
            "attempts": 1,
            "startTime": now,
            "lastAttemptTime": now,
        }
        await self._write(obj, status)
        self.meter.count(families.RECOVERY_ATTEMPTS, *self._labels(recovery))
        self.meter.count(families.ERROR_RECOVERY_ATTEMPTS, str(recovery.error_type), str(recovery.strategy))

    async def _attempt(self, obj: JSONObject, recovery: Recovery, now: datetime) -> Result:
        status = {**obj["status"], "attempts": recovery.attempts + 1, "lastAttemptTime": rfc3339(now)}
        status.pop("nextAttemptTime", None)
        await self._write(obj, status)
        return Result()

    async def _step(self, obj: JSONObject, recovery: Recovery, now: datetime) -> Result:
        try:
            step = await within(self.clock, STEP_LIMIT_S, self.strategies[recovery.strategy].step(recovery))
        except (StatusError, TransportError, TMCError, TimeoutError) as raised:
            error = classify(raised, cluster=recovery.subject.cluster, operation="recover")
            if not error.retryable:
                steps = self.strategies[recovery.strategy].next_steps(recovery, error)
                return await self._end(obj, recovery, State.FAILED, "trying again does not help", error, steps)
            return await self._try_again(obj, recovery, error)
        status = with_actions(obj["status"], step.actions, now)
        if isinstance(step, Done):
            return await self._end(obj, recovery, State.COMPLETED, step.message, status=status)
        if isinstance(step, NeedsPerson):
            return await self._end(obj, recovery, State.FAILED, "a person must act", step.error, step.next_steps, status=status)
        began = recovery.attempted or now
        if (now - began).total_seconds() >= ATTEMPT_LIMIT_S:
            return await self._try_again(obj, recovery, step.error, status)
        await self._write(obj, status)
        return Result(requeue_after_s=step.look_again_s)

    async def _try_again(self, obj: JSONObject, recovery: Recovery, error: TMCError, status: JSONObject | None = None) -> Result:
        """After a while, if there are attempts left."""
        if recovery.attempts >= recovery.max_attempts:
            steps = self.strategies[recovery.strategy].next_steps(recovery, error)
            return await self._end(obj, recovery, State.FAILED, f"{recovery.attempts} attempts did not help", error, steps, status=status)
        due = self.clock.now() + timedelta(seconds=self.policy.delay_s(recovery.attempts, self.rng))
        message = f"attempt {recovery.attempts}: {error.message}"
        await self._write(
            obj, {**(status or obj["status"]), "nextAttemptTime": rfc3339(due), "error": error.to_object(), "message": message}
        )
        return Result()

    async def _run_out(self, obj: JSONObject, recovery: Recovery) -> Result:
        message = f"not done within {recovery.timeout_s:g} s"
        error = TMCError(recovery.error_type, message, recovery.subject.cluster, "recover")
        steps = self.strategies[recovery.strategy].next_steps(recovery, error)
        return await self._end(obj, recovery, State.TIMEOUT, message, None, steps)

    async def _end(  # noqa: PLR0913 - what is written down at the end
        self, obj: JSONObject, recovery: Recovery, state: State, message: str, error: TMCError | None = None, steps: Sequence[str] = (),
        *, status: JSONObject | None = None,
    ) -> Result:  # fmt: skip
        final: JSONObject = {**(status or obj.get("status") or {}), "state": str(state), "message": message}
        final["completionTime"] = rfc3339(self.clock.now())
        final.pop("nextAttemptTime", None)
        if error is not None:
            final["error"] = error.to_object()
        if state is State.COMPLETED:
            final.pop("error", None)
        if steps:
            final["nextSteps"] = list(steps)
        await self._write(obj, final)
        await self._account(obj, recovery, state, final)
        return Result()

    async def _account(self, obj: JSONObject, recovery: Recovery, state: State, final: JSONObject) -> None:
        """Metrics, Event and log of an end."""
        worked, subject = state is State.COMPLETED, f"{recovery.strategy} of {recovery.subject}"
        why = f"; {told(final['error'])}" if final.get("error") else ""
        todo = f"; to do: {'; '.join(final['nextSteps'])}" if final.get("nextSteps") else ""
        text = f"{subject}: {final['message']}{why}{todo}"
        log.log(logging.INFO if worked else logging.WARNING, "recovery %s: %s: %s", recovery.key, state, text)
        if state is State.CANCELLED:
            return
        now = self.clock.now()
        took_s = (now - (recovery.started or now)).total_seconds()
        self.meter.observe(families.RECOVERY_DURATION, took_s, str(recovery.error_type), str(recovery.strategy))
        self.meter.count(families.RECOVERY_SUCCESSES if worked else families.RECOVERY_FAILURES, *self._labels(recovery))
        await self._tell(obj, NORMAL if worked else WARNING, "RecoveryCompleted" if worked else "RecoveryFailed", text)

    async def _tidy(self, recovery: Recovery) -> Result:
        for old in surplus(recovery.key.cluster, [Recovery.of(other) for other in self.recoveries.list(cluster=recovery.key.cluster)]):
            try:
                await self._resource(old.key).delete(old.key.name, uid=old.uid)
            except NotFound:
                log.debug("gone already: %s", old.key)
        return Result()

    async def _write(self, obj: JSONObject, status: JSONObject) -> None:
        await commit(self._resource(meta.key(obj)), obj, {**obj, "status": status})

    def _resource(self, key: ObjectKey) -> ResourceClient:
        return self.for_cluster(key.cluster).resource(RECOVERIES)

    async def _tell(self, obj: JSONObject, kind: str, reason: str, message: str) -> None:
        about = {"apiVersion": RECOVERIES.api_version, "kind": "Recovery", **obj}
        await self.events.record(about, kind=kind, reason=reason, message=message)

    def _labels(self, recovery: Recovery) -> tuple[str, str, str]:
        return str(recovery.error_type), str(recovery.strategy), recovery.subject.component or recovery.subject.cluster or "object"


def build_recovery_controller(
    recoveries: Informer,
    strategies: Mapping[StrategyName, Strategy],
    for_cluster: Callable[[ClusterName], Client],
    *,
    clock: Clock,
    meter: Meter,
) -> Controller:
    events = EventRecorder(for_cluster, component="tmc-recovery", clock=clock)
    reconciler = RecoveryReconciler(recoveries, strategies, for_cluster, clock, meter, events)
    controller: Controller = Controller("tmc-recovery", reconciler.reconcile, clock=clock, workers=5)

    def who_waits(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """The object itself; and once one ends, whoever waits for room."""
        yield key
        if new is None or Recovery.of(new).is_finished:
            yield from (meta.key(obj) for obj in recoveries.list() if Recovery.of(obj).state is State.PENDING)

    controller.watch(recoveries, who_waits)

    def in_progress() -> float:
        return float(sum(1 for obj in recoveries.list() if Recovery.of(obj).state is State.IN_PROGRESS))

    meter.show(families.ACTIVE_RECOVERIES, lambda: [((), in_progress())])
    return controller
