"""CronJobs: a Job at each time of their schedule, with regard to deadlines and to Jobs that still run; finished ones are cleared away.

`decide` is pure. Before: `sim.cluster`, which starts it. After: Jobs.
Source: pkg/controller/cronjob/{cronjob_controllerv2,utils}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import cron
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.events import NORMAL, WARNING
from kcp.controller.informer import Informer
from kcp.sim.workloads.job import is_finished
from kcp.sim.workloads.jobcontroller import JOB
from kcp.sim.workloads.podtemplate import owner_reference
from kcp.sim.workloads.remarks import Voice
from kcp.sim.workloads.wiring import OWNER_INDEX, Wiring, by_owner, wake_self
from kcp.sim.workloads.writes import create_if_missing, delete_if_there, patch_status

CRONJOBS = GVR("batch", "v1", "cronjobs")
SCHEDULED_ANNOTATION = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_MOST_MISSED = 100
"""Missed times of which nothing more is said. Source: mostRecentScheduleTime."""
_LATE_S = 0.1
"""After its time, so that the time has certainly come. Source: nextScheduleDelta."""


@dataclass(frozen=True, slots=True)
class Plan:
    status: JSONObject
    create: JSONObject | None = None
    delete: tuple[JSONObject, ...] = ()
    """Jobs: finished ones beyond the history, and active ones that are replaced."""
    remarks: tuple[tuple[str, str, str], ...] = ()
    """Events: (type, reason, message)."""
    again_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Times:
    """When a CronJob ought to have run last, and runs next."""

    due: datetime | None
    upcoming: datetime | None
    missed_many: bool = False


def decide(cronjob: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]], now: datetime) -> Plan:
    """What a CronJob needs now. Args: jobs: all that it controls."""
    spec = cronjob.get("spec") or {}
    status = _status(cronjob, jobs)
    delete = tuple(_beyond_history(spec, jobs))
    if meta.deletion_timestamp(cronjob) or spec.get("suspend"):
        return Plan(status, delete=delete)
    zone = cron.time_zone(spec.get("timeZone") or "")
    try:
        schedule = cron.parse(spec.get("schedule") or "")
    except cron.ScheduleError as fault:
        return Plan(status, delete=delete, remarks=((WARNING, "UnparseableSchedule", f"unparseable schedule: {fault}"),))
    if zone is None:
        return Plan(status, delete=delete, remarks=((WARNING, "UnknownTimeZone", f"invalid timeZone: {spec.get('timeZone')}"),))
    times = _times(cronjob, schedule, zone, now)
    if times.due is None and times.upcoming is None:
        text = f"invalid schedule: {spec.get('schedule')} : time difference between two schedules is less than 1 second"
        return Plan(status, delete=delete, remarks=((WARNING, "InvalidSchedule", text),))
    again_in_s = None if times.upcoming is None else (times.upcoming - now).total_seconds() + _LATE_S
    return _start(cronjob, _Standing(jobs, status, delete, again_in_s), times, now)


@dataclass(frozen=True, slots=True)
class _Standing:
    jobs: Sequence[Mapping[str, Any]]
    status: JSONObject
    delete: tuple[JSONObject, ...]
    again_in_s: float | None
    remarks: list[tuple[str, str, str]] = field(default_factory=list)

    def plan(self, *, create: JSONObject | None = None, replaced: Iterable[JSONObject] = ()) -> Plan:
        return Plan(self.status, create, (*self.delete, *replaced), tuple(self.remarks), self.again_in_s)


def _start(cronjob: Mapping[str, Any], held: _Standing, times: _Times, now: datetime) -> Plan:
    """Whether the Job that is due is made now. Source: syncCronJob."""
    spec = cronjob.get("spec") or {}
    if times.missed_many:
        text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        held.remarks.append((WARNING, "TooManyMissedTimes", text))
    due = times.due
    if due is None or held.status.get("lastScheduleTime") == rfc3339(due):
        return held.plan()
    name = job_name(meta.name(cronjob), due)
    if any(meta.name(job) == name for job in held.jobs):
        held.status["lastScheduleTime"] = rfc3339(due)  # made before, but the status was not written
        return held.plan()
    deadline_s = spec.get("startingDeadlineSeconds")
    if deadline_s is not None and due + timedelta(seconds=deadline_s) < now:
        told = due.strftime("%a, %d %b %Y %H:%M:%S %z")
        held.remarks.append((WARNING, "MissSchedule", f"Missed scheduled time to start a job: {told}"))
        return held.plan()
    active = [job for job in held.jobs if not is_finished(job)]
    policy = spec.get("concurrencyPolicy") or "Allow"
    if policy == "Forbid" and active:
        text = "Not starting job because prior execution is running and concurrency policy is Forbid"
        held.remarks.append((NORMAL, "JobAlreadyActive", text))
        return held.plan()
    replaced = [dict(job) for job in active] if policy == "Replace" else []
    if replaced:
        held.status.pop("active", None)  # not missed: given up
    held.status["lastScheduleTime"] = rfc3339(due)
    return held.plan(create=_job(cronjob, due), replaced=replaced)


def _times(cronjob: Mapping[str, Any], schedule: cron.Schedule, zone: tzinfo, now: datetime) -> _Times:
    """Source: nextScheduleTime, mostRecentScheduleTime."""
    since = parse_rfc3339(meta.nested(cronjob, "status", "lastScheduleTime") or meta.creation_timestamp(cronjob))
    deadline_s = meta.nested(cronjob, "spec", "startingDeadlineSeconds")
    if deadline_s is not None:
        since = max(since, now - timedelta(seconds=deadline_s))
    first = schedule.after(since, zone)
    if first is None or first > now:
        return _Times(None, first)
    second = schedule.after(first, zone)
    if second is None or second > now:
        return _Times(first, second)
    gap = second - first
    due, upcoming = _latest(schedule, zone, first, gap, now)
    return _Times(due, upcoming, missed_many=(now - first) / gap >= _MOST_MISSED)


def _latest(schedule: cron.Schedule, zone: tzinfo, first: datetime, gap: timedelta, now: datetime) -> tuple[datetime, datetime | None]:
    """The last time up to `now` and the next; sought from a little before `now`, not through all times since `first`."""
    back = 2 * gap
    while True:
        start = max(first, now - back)
        due, upcoming = first if start == first else None, schedule.after(start, zone)
        while upcoming is not None and upcoming <= now:
            due, upcoming = upcoming, schedule.after(upcoming, zone)
        if due is not None:
            return due, upcoming
        back *= 4


def job_name(cronjob: str, due: datetime) -> str:
    """One name for one time, so that a second attempt meets the first.

    >>> job_name("backup", datetime.fromisoformat("2026-01-01T00:00:00+00:00"))
    'backup-29453760'
    """
    return f"{cronjob}-{int(due.timestamp()) // 60}"


def _job(cronjob: Mapping[str, Any], due: datetime) -> JSONObject:
    """Source: getJobFromTemplate2."""
    template = meta.nested(cronjob, "spec", "jobTemplate", default={})
    reference = owner_reference(cronjob, api_version="batch/v1", kind="CronJob")
    made: JSONObject = {
        "name": job_name(meta.name(cronjob), due),
        "namespace": meta.namespace(cronjob),
        "ownerReferences": [reference],
        "annotations": {**meta.annotations(template), SCHEDULED_ANNOTATION: due.isoformat().replace("+00:00", "Z")},
    }
    if meta.labels(template):
        made["labels"] = dict(meta.labels(template))
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": made, "spec": meta.copy_json(template.get("spec") or {})}


def _status(cronjob: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]) -> JSONObject:
    """What the Jobs there are say: which are active, and when one last succeeded."""
    status: JSONObject = meta.copy_json(cronjob.get("status") or {})
    active = [job for job in sorted(jobs, key=meta.name) if not is_finished(job)]
    status.pop("active", None)
    if active:
        status["active"] = [reference(job) for job in active]
    ends = [meta.nested(job, "status", "completionTime") for job in jobs if conditions.is_true(job, "Complete")]
    latest = max([end for end in (*ends, status.get("lastSuccessfulTime")) if end], default=None)
    if latest is not None:
        status["lastSuccessfulTime"] = latest
    return status


def reference(job: Mapping[str, Any]) -> JSONObject:
    return {"apiVersion": "batch/v1", "kind": "Job", "name": meta.name(job), "namespace": meta.namespace(job), "uid": meta.uid(job)}


def _beyond_history(spec: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]) -> Iterable[JSONObject]:
    """Finished Jobs beyond the limits, the oldest first. Source: cleanupFinishedJobs."""
    for kind, limit in (("Complete", spec.get("successfulJobsHistoryLimit", 3)), ("Failed", spec.get("failedJobsHistoryLimit", 1))):
        ended = [job for job in jobs if conditions.is_true(job, kind) and not meta.deletion_timestamp(job)]
        ended.sort(key=lambda job: (meta.nested(job, "status", "startTime", default=""), meta.name(job)))
        if limit is not None:
            yield from (dict(job) for job in ended[: max(len(ended) - limit, 0)])


@dataclass
class CronJobReconciler:
    cronjobs: Informer
    jobs: Informer
    client: Client
    events: Voice
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        cronjob = self.cronjobs.get(key)
        if cronjob is None:
            return Result()
        held = self.jobs.by_index(OWNER_INDEX, meta.uid(cronjob))
        plan = decide(cronjob, held, self.clock.now())
        await self._tell_of_ended(cronjob, held)
        for kind, reason, message in plan.remarks:
            (self.events.warn if kind == WARNING else self.events.normal)(cronjob, reason, message)
        jobs = self.client.resource(JOB.gvr)
        for job in plan.delete:
            await delete_if_there(jobs, meta.name(job), key.namespace, meta.uid(job), propagation="Background")
        status = plan.status
        if plan.create is not None:
            await self._create(cronjob, plan.create, status)
        await patch_status(self.client.resource(CRONJOBS), cronjob, status)
        return Result(requeue_after_s=plan.again_in_s)

    async def _tell_of_ended(self, cronjob: JSONObject, held: Sequence[Mapping[str, Any]]) -> None:
        """A word about each Job that was active and is not any more. Source: syncCronJob (SawCompletedJob, MissingJob)."""
        by_uid = {meta.uid(job): job for job in held}
        for told in meta.nested(cronjob, "status", "active", default=()):
            job, name = by_uid.get(told.get("uid") or ""), told.get("name") or ""
            if job is not None and is_finished(job):
                kind = "Complete" if conditions.is_true(job, "Complete") else "Failed"
                self.events.normal(cronjob, "SawCompletedJob", f"Saw completed job: {name}, condition: {kind}")
            elif job is None and await self._is_gone(name, meta.namespace(cronjob)):
                self.events.normal(cronjob, "MissingJob", f"Active job went missing: {name}")

    async def _is_gone(self, name: str, namespace: str) -> bool:
        """What the server itself says: a Job that was made just now may not have come to the mirror yet."""
        try:
            await self.client.resource(JOB.gvr).get(name, namespace=namespace)
        except NotFound:
            return True
        return False

    async def _create(self, cronjob: JSONObject, job: JSONObject, status: JSONObject) -> None:
        """Make the Job, and count it as active at once. One of its name that is there belongs to an earlier attempt."""
        jobs = self.client.resource(JOB.gvr)
        made = await create_if_missing(jobs, job)
        if made is None:
            try:
                made = await jobs.get(meta.name(job), namespace=meta.namespace(job))
            except NotFound:
                return  # the namespace goes
            if (meta.controller_of(made) or {}).get("uid") != meta.uid(cronjob):
                return  # somebody else's
        else:
            self.events.normal(cronjob, "SuccessfulCreate", f"Created job {meta.name(made)}")
        status.setdefault("active", []).append(reference(made))


def controller(wiring: Wiring) -> Controller:
    cronjobs = wiring.informers.informer(CRONJOBS)
    jobs = wiring.informers.informer(JOB.gvr, indexers={OWNER_INDEX: by_owner})
    events = wiring.remarks.by("cronjob-controller")
    reconciler = CronJobReconciler(cronjobs, jobs, wiring.client, events, wiring.clock)
    made = Controller("cronjob", reconciler.reconcile, clock=wiring.clock, workers=1)
    wake_self(cronjobs, made)

    def of_owner(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        owner = meta.controller_of(new or old or {})
        return (ObjectKey(key.cluster, key.namespace, owner["name"]),) if owner is not None and owner.get("kind") == "CronJob" else ()

    made.watch(jobs, of_owner)
    return made
