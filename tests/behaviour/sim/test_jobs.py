"""Jobs on a simulated cluster: indexes, failures and their limits, policies, suspension, replacement, who may touch them.

Conformance: sig-apps Job; KEP-2214 (Indexed), KEP-2307 (tracking by finalizers), KEP-3329 (podFailurePolicy), KEP-3850 (backoffLimitPerIndex),
KEP-3939 (podReplacementPolicy), KEP-3998 (successPolicy), KEP-4368 (managedBy).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcp.apimachinery import conditions, meta

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World


def job(*command: str, policy: str = "Never", **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "busybox", "command": list(command) or ["true"]}
    template = {"spec": {"restartPolicy": policy, "containers": [container]}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"}, "spec": {"template": template, **spec}}


async def ends(world: World, kind: str, *, within_s: float = 60.0) -> dict[str, Any]:
    async def has_ended() -> bool:
        return conditions.is_true(await world.get("jobs", "work"), kind)

    await world.until(has_ended, within_s=within_s, step_s=0.5)
    return await world.get("jobs", "work")


def reason(held: dict[str, Any], kind: str) -> str:
    return str((conditions.get(held, kind) or {}).get("reason"))


async def test_indexed_pods_know_their_index_in_every_form(world: World) -> None:
    await world.create(job(completionMode="Indexed", completions=3, parallelism=2))
    held = await ends(world, "Complete")
    assert held["status"]["completedIndexes"] == "0-2"
    assert held["status"]["succeeded"] == 3
    assert held["status"]["uncountedTerminatedPods"] == {}
    assert reason(held, "Complete") == reason(held, "SuccessCriteriaMet") == "CompletionsReached"
    for index, pod in enumerate(sorted(await world.list("pods"), key=meta.name)):
        assert meta.name(pod).startswith(f"work-{index}-")
        assert pod["spec"]["hostname"] == f"work-{index}"
        assert meta.labels(pod)["batch.kubernetes.io/job-completion-index"] == str(index)
        assert meta.annotations(pod)["batch.kubernetes.io/job-completion-index"] == str(index)
        assert pod["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
        assert meta.finalizers(pod) == []


async def test_pods_are_counted_once_whoever_deletes_them(world: World) -> None:
    await world.create(job("sleep", "20", completions=2, parallelism=1))
    await world.clock.advance(2)
    (first,) = await world.list("pods")
    assert meta.finalizers(first) == ["batch.kubernetes.io/job-tracking"]
    await world.clock.advance(20)
    await world.resource("pods").delete(meta.name(first), namespace="default")
    held = await ends(world, "Complete")
    assert held["status"]["succeeded"] == 2


async def test_failures_delay_their_replacement_and_end_the_job_at_the_limit(world: World) -> None:
    await world.create(job("false", backoffLimit=2))
    await world.clock.advance(5)
    assert len(await world.list("pods")) == 1
    held = await ends(world, "Failed")
    assert held["status"]["failed"] == 3
    assert reason(held, "Failed") == reason(held, "FailureTarget") == "BackoffLimitExceeded"
    assert len(await world.list("pods")) == 3
    assert "BackoffLimitExceeded" in {e["reason"] for e in await world.list("events")}


async def test_containers_that_are_restarted_in_place_use_up_the_limit_too(world: World) -> None:
    await world.create(job("false", policy="OnFailure", backoffLimit=1))
    held = await ends(world, "Failed")
    assert reason(held, "Failed") == "BackoffLimitExceeded"


async def test_each_index_has_its_own_limit(world: World) -> None:
    script = "exit $(( JOB_COMPLETION_INDEX % 2 ))"
    await world.create(
        job("sh", "-c", script, completionMode="Indexed", completions=4, parallelism=4, backoffLimitPerIndex=1, backoffLimit=100)
    )
    held = await ends(world, "Failed")
    assert held["status"]["failedIndexes"] == "1,3"
    assert held["status"]["completedIndexes"] == "0,2"
    assert held["status"]["failed"] == 4
    assert reason(held, "Failed") == "FailedIndexes"


async def test_too_many_failed_indexes_end_the_job_early(world: World) -> None:
    spec: dict[str, Any] = {"completions": 6, "parallelism": 2, "backoffLimitPerIndex": 0, "maxFailedIndexes": 1}
    await world.create(job("false", policy="Never", completionMode="Indexed", **spec))
    held = await ends(world, "Failed")
    assert reason(held, "Failed") == "MaxFailedIndexesExceeded"


async def test_a_failure_policy_fails_ignores_or_counts(world: World) -> None:
    on_three = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}
    await world.create(job("sh", "-c", "exit 3", podFailurePolicy={"rules": [on_three]}, backoffLimit=6))
    held = await ends(world, "Failed")
    assert reason(held, "Failed") == "PodFailurePolicy"
    (pod,) = await world.list("pods")
    told = f"Container c for pod default/{meta.name(pod)} failed with exit code 3 matching FailJob rule at index 0"
    assert (conditions.get(held, "Failed") or {})["message"] == told
    await world.resource("jobs").delete("work", namespace="default", propagation="Foreground")
    await world.clock.advance(5)
    ignored = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    await world.create(job("sleep", "30", podFailurePolicy={"rules": [ignored]}, backoffLimit=0))
    await world.clock.advance(3)
    (pod,) = await world.list("pods")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": meta.name(pod)}}
    await world.resource("pods").create(eviction, name=meta.name(pod), namespace="default", subresource="eviction")
    held = await ends(world, "Complete", within_s=90)
    assert "failed" not in held["status"]


async def test_a_success_policy_ends_the_job_when_enough_indexes_have_succeeded(world: World) -> None:
    script = '[ "$JOB_COMPLETION_INDEX" = 0 ] || sleep 1000'
    policy = {"rules": [{"succeededIndexes": "0", "succeededCount": 1}]}
    await world.create(job("sh", "-c", script, completionMode="Indexed", completions=3, parallelism=3, successPolicy=policy))
    held = await ends(world, "Complete")
    assert reason(held, "Complete") == "SuccessPolicy"
    assert held["status"]["succeeded"] == 1
    assert held["status"]["terminating"] == 0
    assert "active" not in held["status"]


async def test_a_job_is_suspended_and_resumed(world: World) -> None:
    await world.create(job("sleep", "5", suspend=True))
    await world.clock.advance(2)
    held = await world.get("jobs", "work")
    assert reason(held, "Suspended") == "JobSuspended"
    assert "startTime" not in held["status"]
    await world.resource("jobs").patch("work", {"spec": {"suspend": False}}, namespace="default")
    await world.clock.advance(2)
    assert (await world.get("jobs", "work"))["status"]["active"] == 1
    await world.resource("jobs").patch("work", {"spec": {"suspend": True}}, namespace="default")
    await world.clock.advance(3)
    held = await world.get("jobs", "work")
    assert await world.list("pods") == []
    assert "failed" not in held["status"]
    await world.resource("jobs").patch("work", {"spec": {"suspend": False}}, namespace="default")
    held = await ends(world, "Complete")
    assert reason(held, "Suspended") == "JobResumed"
    assert {"Suspended", "Resumed", "SuccessfulCreate", "SuccessfulDelete", "Completed"} <= {
        e["reason"] for e in await world.list("events")
    }


async def test_a_deadline_ends_a_job_and_its_pods(world: World) -> None:
    await world.create(job("sleep", "1000", activeDeadlineSeconds=5, parallelism=2))
    held = await ends(world, "Failed")
    assert reason(held, "Failed") == "DeadlineExceeded"
    assert [p for p in await world.list("pods") if not meta.deletion_timestamp(p)] == []


async def test_a_job_of_another_manager_is_left_alone(world: World) -> None:
    await world.create(job(managedBy="example.com/other"))
    await world.clock.advance(5)
    assert (await world.get("jobs", "work")).get("status") in (None, {})
    assert await world.list("pods") == []


async def test_a_job_adopts_and_releases_its_pods(world: World) -> None:
    await world.create(job("sleep", "1000", parallelism=2))
    await world.clock.advance(3)
    pod = (await world.list("pods"))[0]
    name = meta.name(pod)
    await world.resource("pods").patch(name, {"metadata": {"ownerReferences": None}}, namespace="default")
    await world.clock.advance(3)
    assert (meta.controller_of(await world.get("pods", name)) or {}).get("name") == "work"
    labels = dict.fromkeys(meta.labels(pod))
    await world.resource("pods").patch(name, {"metadata": {"labels": labels}}, namespace="default")
    await world.clock.advance(3)
    released = await world.get("pods", name)
    assert meta.controller_of(released) is None
    assert meta.finalizers(released) == []
    assert len(await world.list("pods", "job-name=work")) == 2


async def test_a_deleted_job_takes_its_pods_along_in_every_way(world: World) -> None:
    for propagation in ("Background", "Foreground"):
        await world.create(job("sleep", "1000", parallelism=2))
        await world.clock.advance(3)
        await world.resource("jobs").delete("work", namespace="default", propagation=propagation)

        async def gone() -> bool:
            return not await world.list("jobs") and not await world.list("pods")

        await world.until(gone, within_s=60, step_s=1)


async def test_nothing_is_written_about_jobs_that_have_ended_or_wait(world: World) -> None:
    wanted = {
        "done": job("true", completions=3, parallelism=2), "failed": job("false", backoffLimit=1), "waits": job("true", suspend=True),
        "late": job("sleep", "1000", activeDeadlineSeconds=5), "kept": job("true", ttlSecondsAfterFinished=100_000),
    }  # fmt: skip
    for name, made in wanted.items():
        await world.create({**made, "metadata": {"name": name}})
    await world.clock.advance(60)
    before = {meta.name(held): meta.resource_version(held) for held in await world.list("jobs")}
    assert before.keys() == wanted.keys()
    await world.clock.advance(600)
    assert {meta.name(held): meta.resource_version(held) for held in await world.list("jobs")} == before
