"""CronJobs on a simulated cluster: Jobs come at their times, run, are counted, are cleared away; nothing more is written in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcp.apimachinery import conditions, meta

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World


def cronjob(schedule: str = "*/5 * * * *", *, run_s: int = 1, **spec: Any) -> dict[str, Any]:
    pod = {
        "metadata": {"annotations": {"sim.kcp.io/run-seconds": str(run_s)}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]},
    }
    template = {"spec": {"template": pod}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "tick"},
        "spec": {"schedule": schedule, "jobTemplate": template, **spec},
    }


async def test_jobs_come_at_their_times_and_old_ones_go(world: World) -> None:
    await world.create(cronjob(successfulJobsHistoryLimit=2))
    await world.clock.advance(299)
    assert await world.list("jobs") == []
    await world.clock.advance(2)
    assert len(await world.list("jobs")) == 1
    assert len((await world.get("cronjobs", "tick"))["status"]["active"]) == 1
    await world.clock.advance(10)
    held = await world.get("cronjobs", "tick")
    assert "active" not in held["status"]
    assert held["status"]["lastSuccessfulTime"] > held["status"]["lastScheduleTime"] > meta.creation_timestamp(held)
    await world.clock.advance(1200)
    jobs = await world.list("jobs")
    assert len(jobs) == 2
    assert all(conditions.is_true(job, "Complete") for job in jobs)


async def test_a_job_that_still_runs_holds_back_or_is_replaced(world: World) -> None:
    await world.create(cronjob("* * * * *", run_s=200, concurrencyPolicy="Forbid"))
    await world.clock.advance(181)
    assert len(await world.list("jobs")) == 1
    await world.resource("cronjobs").patch("tick", {"spec": {"concurrencyPolicy": "Replace"}}, namespace="default")
    first = [meta.name(job) for job in await world.list("jobs")]
    await world.clock.advance(60)
    second = [meta.name(job) for job in await world.list("jobs")]
    assert len(second) == 1
    assert first != second


async def test_between_times_nothing_is_written_and_a_deleted_one_takes_its_jobs_along(world: World) -> None:
    await world.create(cronjob("0 * * * *"))
    await world.clock.advance(3700)
    before = [meta.resource_version(o) for kind in ("cronjobs", "jobs", "pods") for o in await world.list(kind)]
    await world.clock.advance(3000)
    assert [meta.resource_version(o) for kind in ("cronjobs", "jobs", "pods") for o in await world.list(kind)] == before
    await world.resource("cronjobs").delete("tick", namespace="default")
    await world.clock.advance(30)
    assert await world.list("jobs") == []
    assert await world.list("pods") == []


async def test_it_tells_of_jobs_that_ended_and_of_those_that_went_missing(world: World) -> None:
    """Source: test/e2e/apps/cronjob.go (should remove from active list jobs that have been deleted)."""
    await world.create(cronjob("*/5 * * * *", run_s=100))
    await world.clock.advance(302)
    (name,) = [meta.name(job) for job in await world.list("jobs")]
    await world.resource("jobs").delete(name, namespace="default", propagation="Background")
    await world.clock.advance(10)
    assert "active" not in (await world.get("cronjobs", "tick"))["status"]
    await world.clock.advance(450)
    told = {e["reason"]: e["message"] for e in await world.list("events") if e["involvedObject"]["kind"] == "CronJob"}
    assert told["MissingJob"] == f"Active job went missing: {name}"
    assert told["SawCompletedJob"].endswith(", condition: Complete")
    assert name not in told["SawCompletedJob"]
