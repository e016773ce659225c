"""Jobs: pods that run to completion, as many at once as `parallelism` says, until `completions` have succeeded.

`decide` is pure. NonIndexed and Indexed completion, backoffLimit, activeDeadlineSeconds, suspend and ttlSecondsAfterFinished are kept.
Before: `sim.cluster`, which starts it. After: pods. Source: pkg/controller/job/{job_controller,indexed_job_utils}.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podtemplate import ordinal_names, owner_reference, pod_from_template, safe_suffix
from kcp.sim.workloads.podview import PodView, least_wanted_first
from kcp.sim.workloads.wiring import PODS, OwnerKind, Wiring, wake_owner, wake_self
from kcp.sim.workloads.writes import create_if_missing, delete_if_there, patch_status

JOB = OwnerKind(GVR("batch", "v1", "jobs"), "Job")

INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True, slots=True)
class Plan:
    create: tuple[JSONObject, ...]
    delete: tuple[PodView, ...]
    status: JSONObject
    requeue_after_s: float | None = None


def is_finished(job: Mapping[str, Any]) -> bool:
    return conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed")


def decide(job: Mapping[str, Any], pods: Sequence[PodView], now: datetime) -> Plan:
    """What a Job needs now.

    Args: pods: all that it controls. Finished pods are counted, not remembered: one that is deleted by hand runs again.
    """
    spec = job.get("spec") or {}
    status: JSONObject = meta.copy_json(job.get("status") or {})
    if is_finished(job) or meta.deletion_timestamp(job):
        return Plan((), (), status)
    active = [p for p in pods if p.is_active]
    succeeded = [p for p in pods if p.phase == "Succeeded"]
    failed = [p for p in pods if p.phase == "Failed"]
    if spec.get("suspend"):
        return _suspended(status, active, len(succeeded), len(failed), now)
    status.setdefault("startTime", rfc3339(now))
    _resume(status, now)
    end = _end(spec, status, len(succeeded), len(failed), len(active), now)
    if end is not None:
        kind, reason, message = end
        _finish(status, kind, reason, message, now)
        _count(status, [], len(succeeded), len(failed), spec, succeeded)
        return Plan((), tuple(active), status)
    wanted = _wanted(spec, len(succeeded))
    create = _new_pods(job, pods, succeeded, max(wanted - len(active), 0))
    delete = least_wanted_first(active)[: max(len(active) - wanted, 0)]
    _count(status, active, len(succeeded), len(failed), spec, succeeded)
    status["active"] = len(active) + len(create) - len(delete)
    return Plan(
        tuple(create), tuple(delete), {k: v for k, v in status.items() if v != 0 or k == "ready"}, _deadline_in_s(spec, status, now)
    )


def _wanted(spec: Mapping[str, Any], succeeded: int) -> int:
    """Pods that should run now. Source: manageJob; without completions, one success lets the others finish."""
    parallelism = _parallelism(spec)
    completions = spec.get("completions")
    if completions is None:
        return 0 if succeeded else parallelism
    return min(parallelism, max(int(completions) - succeeded, 0))


def _parallelism(spec: Mapping[str, Any]) -> int:
    value = spec.get("parallelism")
    return 1 if value is None else int(value)


def _end(
    spec: Mapping[str, Any], status: Mapping[str, Any], succeeded: int, failed: int, active: int, now: datetime
) -> tuple[str, str, str] | None:
    """The condition that ends the Job, its reason and message; None while it goes on."""
    limit = spec.get("backoffLimit")
    if failed > (6 if limit is None else limit):
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if _deadline_in_s(spec, status, now) == 0.0:
        return "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
    completions = spec.get("completions")
    if completions is None:
        done = succeeded > 0 and not active
    else:
        done = succeeded >= completions
    return ("Complete", "CompletionsReached", "Reached expected number of succeeded pods") if done else None


def _deadline_in_s(spec: Mapping[str, Any], status: Mapping[str, Any], now: datetime) -> float | None:
    if spec.get("activeDeadlineSeconds") is None or not status.get("startTime"):
        return None
    due = parse_rfc3339(status["startTime"]) + timedelta(seconds=spec["activeDeadlineSeconds"])
    return max((due - now).total_seconds(), 0.0)


def _finish(status: JSONObject, kind: str, reason: str, message: str, now: datetime) -> None:
    """Upstream sets an interim condition (SuccessCriteriaMet, FailureTarget) beside the terminal one."""
    interim = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
    for name in (interim, kind):
        conditions.set_condition({"status": status}, conditions.build(name, "True", reason=reason, message=message, now=rfc3339(now)))
    if kind == "Complete":
        status["completionTime"] = rfc3339(now)


def _count(
    status: JSONObject, active: Sequence[PodView], succeeded: int, failed: int, spec: Mapping[str, Any], done: Sequence[PodView]
) -> None:
    counts = {"active": len(active), "succeeded": succeeded, "failed": failed, "terminating": 0}
    for name, value in counts.items():
        if value:
            status[name] = value
        else:
            status.pop(name, None)
    status["ready"] = sum(1 for p in active if p.is_ready)
    if spec.get("completionMode") == "Indexed":
        status["completedIndexes"] = _ranges(sorted({p.index for p in done if p.index >= 0}))


def _ranges(indexes: Sequence[int]) -> str:
    """Source: indexed_job_utils.go.

    >>> _ranges([0, 1, 2, 5, 7, 8])
    '0-2,5,7,8'
    """
    parts: list[list[int]] = []
    for index in indexes:
        if parts and parts[-1][-1] == index - 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    texts = (f"{p[0]}-{p[-1]}" if len(p) > 2 else ",".join(map(str, p)) for p in parts)
    return ",".join(texts)


def _suspended(status: JSONObject, active: Sequence[PodView], succeeded: int, failed: int, now: datetime) -> Plan:
    status.pop("startTime", None)
    _count(status, [], succeeded, failed, {}, ())
    told = conditions.build("Suspended", "True", reason="JobSuspended", message="Job suspended", now=rfc3339(now))
    conditions.set_condition({"status": status}, told)
    return Plan((), tuple(active), status)


def _resume(status: JSONObject, now: datetime) -> None:
    if conditions.is_true({"status": status}, "Suspended"):
        told = conditions.build("Suspended", "False", reason="JobResumed", message="Job resumed", now=rfc3339(now))
        conditions.set_condition({"status": status}, told)
        status["startTime"] = rfc3339(now)


def _new_pods(job: Mapping[str, Any], pods: Sequence[PodView], succeeded: Sequence[PodView], count: int) -> list[JSONObject]:
    template = meta.nested(job, "spec", "template", default={})
    reference = owner_reference(job, api_version="batch/v1", kind="Job")
    taken = {p.key.name for p in pods}
    if meta.nested(job, "spec", "completionMode") != "Indexed":
        names = islice(ordinal_names(meta.name(job), meta.uid(job), taken), count)
        return [pod_from_template(template, name=name, namespace=meta.namespace(job), owner=reference) for name in names]
    busy = {p.index for p in pods if p.is_active} | {p.index for p in succeeded}
    free = [i for i in range(meta.nested(job, "spec", "completions", default=0)) if i not in busy]
    return [_indexed_pod(job, template, reference, index, taken) for index in free[:count]]


def _indexed_pod(job: Mapping[str, Any], template: Mapping[str, Any], reference: JSONObject, index: int, taken: set[str]) -> JSONObject:
    """A pod that knows its index: name, hostname, annotation, label and environment variable."""
    prefix = f"{meta.name(job)}-{index}"
    attempt = 0
    while (name := f"{prefix}-{safe_suffix(f'{meta.uid(job)}/{index}/{attempt}', 5)}") in taken:
        attempt += 1
    pod = pod_from_template(template, name=name, namespace=meta.namespace(job), owner=reference)
    meta.set_annotation(pod, INDEX_ANNOTATION, str(index))
    meta.set_label(pod, INDEX_ANNOTATION, str(index))
    pod["spec"].setdefault("hostname", prefix)
    for container in pod["spec"].get("containers") or ():
        container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
    return pod


def ttl_in_s(job: Mapping[str, Any], now: datetime) -> float | None:
    """Seconds until a finished Job is deleted; None if never. Source: pkg/controller/ttlafterfinished."""
    ttl_s = meta.nested(job, "spec", "ttlSecondsAfterFinished")
    end = next(
        (c for c in meta.nested(job, "status", "conditions", default=()) if c["type"] in ("Complete", "Failed") and c["status"] == "True"),
        None,
    )
    if ttl_s is None or end is None:
        return None
    return max((parse_rfc3339(end["lastTransitionTime"]) + timedelta(seconds=ttl_s) - now).total_seconds(), 0.0)


@dataclass
class JobReconciler:
    jobs: Informer
    pods: PodBook
    client: Client
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        job = self.jobs.get(key)
        if job is None:
            return Result()
        ttl_s = ttl_in_s(job, self.clock.now())
        if ttl_s == 0.0:
            await delete_if_there(self.client.resource(JOB.gvr), key.name, key.namespace, meta.uid(job), propagation="Background")
            return Result()
        plan = decide(job, self.pods.owned_by(meta.uid(job)), self.clock.now())
        pods = self.client.resource(PODS)
        for pod in plan.create:
            if (made := await create_if_missing(pods, pod)) is not None:
                self.pods.assume(made)
        for view in plan.delete:
            await delete_if_there(pods, view.key.name, view.key.namespace, view.uid)
            self.pods.doom(view)
        await patch_status(self.client.resource(JOB.gvr), job, plan.status)
        return Result(requeue_after_s=ttl_s if ttl_s is not None else plan.requeue_after_s)


def controller(wiring: Wiring) -> Controller:
    jobs = wiring.informers.informer(JOB.gvr)
    reconciler = JobReconciler(jobs, wiring.pods, wiring.client, wiring.clock)
    made = Controller("job", reconciler.reconcile, clock=wiring.clock, workers=2)
    wake_self(jobs, made)
    wake_owner(wiring.pods, made, JOB.kind)
    return made
