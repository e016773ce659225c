"""When a CronJob makes a Job: schedule, zones, missed times, deadlines, concurrency, history. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.sim.workloads.cronjob import SCHEDULED_ANNOTATION, decide

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def cronjob(schedule: str = "*/10 * * * *", *, created: str = "2026-01-01T11:55:00Z", last: str = "", **spec: Any) -> JSONObject:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "backup", "namespace": "n", "uid": "u", "creationTimestamp": created},
        "spec": {"schedule": schedule, "jobTemplate": template, **spec},
        "status": {"lastScheduleTime": last} if last else {},
    }


def job(name: str, end: str = "", *, started: str = "2026-01-01T00:00:00Z") -> JSONObject:
    status: JSONObject = {"startTime": started}
    if end:
        status["conditions"] = [{"type": end, "status": "True"}]
        status |= {"completionTime": "2026-01-01T11:00:00Z"} if end == "Complete" else {}
    return {"metadata": {"name": name, "namespace": "n", "uid": f"uid-{name}"}, "status": status}


def test_a_job_is_made_at_its_time_and_named_after_it() -> None:
    early = decide(cronjob(), [], NOON - timedelta(seconds=1))
    assert early.create is None
    assert early.again_in_s == 1.1
    plan = decide(cronjob(), [], NOON)
    assert plan.create is not None
    assert meta.name(plan.create) == "backup-29454480"
    assert meta.annotations(plan.create)[SCHEDULED_ANNOTATION] == "2026-01-01T12:00:00Z"
    assert (meta.controller_of(plan.create) or {})["uid"] == "u"
    assert plan.status == {"lastScheduleTime": "2026-01-01T12:00:00Z"}
    assert plan.again_in_s == 600.1
    again = decide({**cronjob(), "status": plan.status}, [job("backup-29454480")], NOON + timedelta(seconds=1))
    assert again.create is None


def test_a_job_made_by_an_attempt_that_did_not_end_is_not_made_twice() -> None:
    plan = decide(cronjob(), [job("backup-29454480")], NOON)
    assert plan.create is None
    assert plan.status["lastScheduleTime"] == "2026-01-01T12:00:00Z"
    assert [ref["name"] for ref in plan.status["active"]] == ["backup-29454480"]


def test_the_zone_shifts_the_time_and_stands_in_the_annotation() -> None:
    plan = decide(cronjob("0 7 * * *", timeZone="America/New_York"), [], NOON)
    assert plan.create is not None
    assert meta.annotations(plan.create)[SCHEDULED_ANNOTATION] == "2026-01-01T07:00:00-05:00"


def test_of_missed_times_the_last_is_made_up_for_unless_it_is_too_late() -> None:
    old = cronjob("*/10 * * * 4", created="2025-06-01T00:00:00Z")
    plan = decide(old, [], NOON + timedelta(seconds=30))
    assert plan.status["lastScheduleTime"] == "2026-01-01T12:00:00Z"
    assert [r[1] for r in plan.remarks] == ["TooManyMissedTimes"]
    late = decide(cronjob("0 * * * *", startingDeadlineSeconds=60), [], NOON + timedelta(seconds=61))
    assert late.create is None
    assert late.remarks == ()
    within = decide(cronjob("0 * * * *", startingDeadlineSeconds=60), [], NOON + timedelta(seconds=30))
    assert within.create is not None


def test_concurrency() -> None:
    running = [job("before")]
    assert decide(cronjob(), running, NOON).create is not None
    forbidden = decide(cronjob(concurrencyPolicy="Forbid"), running, NOON)
    assert forbidden.create is None
    assert forbidden.remarks[0][1] == "JobAlreadyActive"
    replaced = decide(cronjob(concurrencyPolicy="Replace"), running, NOON)
    assert replaced.create is not None
    assert [meta.name(j) for j in replaced.delete] == ["before"]


def test_suspended_deleted_and_faulty_ones_rest() -> None:
    deleted = cronjob()
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for resting in (cronjob(suspend=True), deleted):
        plan = decide(resting, [], NOON)
        assert (plan.create, plan.again_in_s) == (None, None)
    assert decide(cronjob("x"), [], NOON).remarks[0][1] == "UnparseableSchedule"
    assert decide(cronjob(timeZone="Mars/Olympus"), [], NOON).remarks[0][1] == "UnknownTimeZone"
    assert decide(cronjob("59 23 31 2 *"), [], NOON).remarks[0][1] == "InvalidSchedule"


def test_history_keeps_the_latest() -> None:
    ended = [job(f"ok{n}", "Complete", started=f"2026-01-01T0{n}:00:00Z") for n in range(5)]
    ended += [job(f"bad{n}", "Failed", started=f"2026-01-01T0{n}:00:00Z") for n in range(3)]
    plan = decide(cronjob(suspend=True), ended, NOON)
    assert [meta.name(j) for j in plan.delete] == ["ok0", "ok1", "bad0", "bad1"]
    assert plan.status == {"lastSuccessfulTime": "2026-01-01T11:00:00Z"}
    none = decide(cronjob(suspend=True, successfulJobsHistoryLimit=0, failedJobsHistoryLimit=5), ended, NOON)
    assert len(none.delete) == 5
