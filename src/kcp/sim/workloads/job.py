"""Jobs: what one needs now, as a pure function over the Job and its pods.

Pods carry a finalizer until they are counted: first their uids are written to `status.uncountedTerminatedPods`, then the finalizer goes,
then the uid becomes a number. So a pod is counted once, whoever deletes it and whenever this process dies. Before: `jobcontroller`.
Source: pkg/controller/job/job_controller.go (syncJob, manageJob, trackJobStatusAndRemoveFinalizers), KEP-2307, 3329, 3850, 3939, 3998.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kcp.aio.clock import parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.sim.workloads.jobpods import INDEX_ANNOTATION, indexed_pods, plain_pods
from kcp.sim.workloads.jobrules import action_for, as_text, delay_s, from_text, has_restarted_too_often, is_success
from kcp.sim.workloads.podview import PodView, least_wanted_first

__all__ = ["INDEX_ANNOTATION", "Plan", "decide", "is_finished", "ttl_in_s"]

_MOST_AT_ONCE = 500
"""Uids in one status, and pods made in one go. Source: MaxUncountedPods, MaxPodCreateDeletePerSync."""

Verdict = tuple[str, str, str]
"""The interim condition that ends a Job (SuccessCriteriaMet or FailureTarget), its reason and message."""
GetPod = Callable[[ObjectKey], JSONObject | None]


@dataclass(frozen=True, slots=True)
class Plan:
    create: tuple[JSONObject, ...]
    delete: tuple[PodView, ...]
    status: JSONObject
    requeue_after_s: float | None = None
    untrack: tuple[PodView, ...] = ()
    """Pods whose finalizer goes once the status is written."""
    remarks: tuple[tuple[bool, str, str], ...] = ()
    uncounted: bool = False
    """The pods to delete are not to be counted: they were too many, or the Job is suspended. Source: deleteJobPods."""
    """Events: (whether it is a warning, reason, message)."""


def is_finished(job: Mapping[str, Any]) -> bool:
    return conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed")


@dataclass(slots=True)
class _Tally:
    """The pods of a Job, sorted by what they mean for it."""

    active: list[PodView]
    terminating: list[PodView]
    succeeded: int
    failed: int
    done: set[int]
    """Indexes that succeeded."""
    broken: set[int]
    """Indexes that failed for good, where failures are counted by index."""
    failures: dict[int, int]
    """Per index: how often it has failed."""
    untrack: list[PodView]
    verdict: Verdict | None = None


def decide(
    job: Mapping[str, Any],
    pods: Sequence[PodView],
    now: datetime,
    get_pod: GetPod = lambda _key: None,
    taken: Container[str] | None = None,
) -> Plan:
    """What a Job needs now.

    Args: pods: all that it controls. get_pod: the whole of a failed pod, for podFailurePolicy. taken: names of pods, whoever's;
            of these pods by default.
    """
    status: JSONObject = meta.copy_json(job.get("status") or {})
    if is_finished(job) or meta.deletion_timestamp(job):
        return Plan((), (), status, untrack=tuple(p for p in pods if p.tracked))
    spec = job.get("spec") or {}
    tally = _count(spec, status, pods, get_pod)
    remarks = _suspension(spec, status, now)
    verdict = _interim(status) or tally.verdict or _end(spec, status, tally, now)
    create: list[JSONObject] = []
    delete: list[PodView] = []
    wait_s = _deadline_in_s(spec, status, now) if verdict is None else None
    if verdict is not None or spec.get("suspend"):
        delete = tally.active
    else:
        create, delete, delayed_s = _manage(job, tally, pods, now, taken if taken is not None else {p.key.name for p in pods})
        wait_s = min((s for s in (wait_s, delayed_s) if s is not None), default=None)
        if _is_complete(spec, tally) and not create:
            verdict = ("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")
    left = [p for p in tally.active if p not in delete]
    tally.terminating += delete
    _write(spec, status, tally, len(left) + len(create), sum(1 for p in left if p.is_ready))
    if verdict is not None:
        remarks += _conclude(status, tally, verdict, now)
    ended_early = bool(delete) and _interim(status) is not None
    return Plan(tuple(create), tuple(delete), status, wait_s, tuple(tally.untrack), tuple(remarks), uncounted=not ended_early)


# Counting


def _count(spec: Mapping[str, Any], status: JSONObject, pods: Sequence[PodView], get_pod: GetPod) -> _Tally:
    """Bring the counters of `status` up to date with pods that have ended, and sort the others."""
    indexed, completions = spec.get("completionMode") == "Indexed", spec.get("completions") or 0
    uncounted = {part: list(uids) for part, uids in (status.get("uncountedTerminatedPods") or {}).items()}
    still = {p.uid for p in pods if p.tracked}
    for part in ("succeeded", "failed"):
        flushed = [uid for uid in uncounted.get(part) or () if uid not in still]
        if flushed:
            uncounted[part] = [uid for uid in uncounted[part] if uid in still]
            status[part] = (status.get(part) or 0) + len(flushed)
    tally = _Tally(
        active=[p for p in pods if p.is_active],
        terminating=[p for p in pods if p.terminating and p.phase not in ("Succeeded", "Failed")],
        succeeded=0,
        failed=0,
        done=from_text(status.get("completedIndexes") or "", completions) if indexed else set(),
        broken=from_text(status.get("failedIndexes") or "", completions) if indexed else set(),
        failures={},
        untrack=[],
    )
    replaced = {p.index for p in tally.active} if _interim(status) is None else range(completions)
    for pod in pods:
        if pod.tracked:
            _note_failure(spec, tally, pod, get_pod)
    for pod in pods:
        if pod.tracked and not _awaits_replacement(spec, tally, pod, replaced):
            _take(spec, tally, uncounted, pod, get_pod)
    status["uncountedTerminatedPods"] = {part: uids for part, uids in uncounted.items() if uids}
    tally.succeeded = len(tally.done) if indexed else (status.get("succeeded") or 0) + len(uncounted.get("succeeded") or ())
    if indexed:
        status["succeeded"] = len(tally.done)
    tally.failed = (status.get("failed") or 0) + len(uncounted.get("failed") or ())
    return tally


def _take(spec: Mapping[str, Any], tally: _Tally, uncounted: dict[str, list[str]], pod: PodView, get_pod: GetPod) -> None:
    """Count a pod that has not been counted, if it has ended."""
    if any(pod.uid in uids for uids in uncounted.values()):
        tally.untrack.append(pod)
        return
    if sum(map(len, uncounted.values())) >= _MOST_AT_ONCE:
        return  # with the next status
    indexed = spec.get("completionMode") == "Indexed"
    is_known = not indexed or 0 <= pod.index < (spec.get("completions") or 0)
    if pod.phase == "Succeeded":
        tally.untrack.append(pod)
        if indexed and is_known:
            tally.done.add(pod.index)
        elif not indexed:
            uncounted.setdefault("succeeded", []).append(pod.uid)
    elif _has_failed(spec, pod):
        tally.untrack.append(pod)
        action, why = _action(spec, pod, get_pod)
        if action == "FailJob":
            tally.verdict = ("FailureTarget", "PodFailurePolicy", why)
        if action != "Ignore" and is_known:
            uncounted.setdefault("failed", []).append(pod.uid)
    elif not indexed or is_known or not pod.terminating:
        return
    else:
        tally.untrack.append(pod)  # of an index that is no longer wanted


def _has_failed(spec: Mapping[str, Any], pod: PodView) -> bool:
    """Whether a pod counts as failed: also one that is on its way out, unless only failed pods are replaced. Source: isPodFailed."""
    if pod.phase == "Failed":
        return True
    return pod.terminating and not _replaces_failed_only(spec)


def _replaces_failed_only(spec: Mapping[str, Any]) -> bool:
    return spec.get("podReplacementPolicy") == "Failed" or spec.get("podFailurePolicy") is not None


def _action(spec: Mapping[str, Any], pod: PodView, get_pod: GetPod) -> tuple[str, str]:
    policy = spec.get("podFailurePolicy")
    return action_for(policy, get_pod(pod.key) or {}) if policy else ("Count", "")


def _note_failure(spec: Mapping[str, Any], tally: _Tally, pod: PodView, get_pod: GetPod) -> None:
    """Where failures are counted by index: how often the pod's index has failed, and whether that is too often."""
    limit = spec.get("backoffLimitPerIndex")
    if limit is None or not 0 <= pod.index < (spec.get("completions") or 0) or not _has_failed(spec, pod):
        return
    action, _ = _action(spec, pod, get_pod)
    failures = pod.index_failures + (action != "Ignore")
    tally.failures[pod.index] = max(tally.failures.get(pod.index, 0), failures)
    if action == "FailIndex" or failures > limit:
        tally.broken.add(pod.index)


def _awaits_replacement(spec: Mapping[str, Any], tally: _Tally, pod: PodView, replaced: Container[int]) -> bool:
    """A failed pod is not counted before its replacement is there, which takes over the number of failures of the index.

    Source: canRemoveFinalizer, getPodsWithDelayedDeletionPerIndex (KEP-3850).
    """
    if spec.get("backoffLimitPerIndex") is None or not _has_failed(spec, pod) or pod.index in replaced:
        return False
    settled = pod.index in tally.broken or pod.index in tally.done or pod.index not in tally.failures
    return not settled and pod.index_failures + 1 >= tally.failures[pod.index]


# What to do


def _manage(
    job: Mapping[str, Any], tally: _Tally, pods: Sequence[PodView], now: datetime, taken: Container[str]
) -> tuple[list[JSONObject], list[PodView], float | None]:
    """Pods to make and to delete, and how long a delay lasts that holds back the making. Source: manageJob."""
    spec = job.get("spec") or {}
    wanted = _wanted(spec, tally)
    surplus = _surplus(spec, tally)
    rest = [p for p in tally.active if p not in surplus]
    delete = surplus + least_wanted_first(rest)[: max(len(rest) - wanted, 0)]
    missing = wanted - len(rest) - (len(tally.terminating) if _replaces_failed_only(spec) else 0)
    if missing <= 0:
        return [], delete, None
    if spec.get("completionMode") != "Indexed":
        if (wait_s := delay_s(pods, now)) > 0:
            return [], delete, wait_s
        return plain_pods(job, taken, min(missing, _MOST_AT_ONCE)), delete, None
    free, wait_free_s = _free_indexes(spec, tally, pods, now)
    return indexed_pods(job, taken, free[: min(missing, _MOST_AT_ONCE)], tally.failures), delete, wait_free_s


def _wanted(spec: Mapping[str, Any], tally: _Tally) -> int:
    """Pods that should run now. Without completions, one success lets the others finish."""
    parallelism = spec.get("parallelism")
    parallelism = 1 if parallelism is None else int(parallelism)
    completions = spec.get("completions")
    if completions is None:
        return len(tally.active) if tally.succeeded else parallelism
    return min(parallelism, max(int(completions) - tally.succeeded - len(tally.broken), 0))


def _surplus(spec: Mapping[str, Any], tally: _Tally) -> list[PodView]:
    """Active pods that nobody needs: of indexes that are done, failed, beyond the end or held by another pod too."""
    if spec.get("completionMode") != "Indexed":
        return []
    kept: set[int] = set()
    surplus = []
    for pod in sorted(tally.active, key=lambda p: (not p.is_ready, p.created, p.key)):
        if pod.index in kept or pod.index in tally.done or pod.index in tally.broken or not 0 <= pod.index < spec.get("completions", 0):
            surplus.append(pod)
        kept.add(pod.index)
    return surplus


def _free_indexes(spec: Mapping[str, Any], tally: _Tally, pods: Sequence[PodView], now: datetime) -> tuple[list[int], float | None]:
    """Indexes without a pod that may get one now; and the shortest delay among those that may not."""
    busy = {p.index for p in tally.active} | tally.done | tally.broken
    if _replaces_failed_only(spec):
        busy |= {p.index for p in tally.terminating}
    free = [i for i in range(spec.get("completions") or 0) if i not in busy]
    if spec.get("backoffLimitPerIndex") is None:
        wait_s = delay_s(pods, now)
        return (free, None) if wait_s <= 0 else ([], wait_s)
    waits = {i: delay_s([p for p in pods if p.index == i], now) for i in free}
    return [i for i in free if waits[i] <= 0], min((s for s in waits.values() if s > 0), default=None)


# How it ends


def _interim(status: Mapping[str, Any]) -> Verdict | None:
    """A verdict that was given before; it is not taken back."""
    for kind in ("FailureTarget", "SuccessCriteriaMet"):
        held = conditions.get({"status": status}, kind)
        if held is not None and held.get("status") == "True":
            return kind, str(held.get("reason") or ""), str(held.get("message") or "")
    return None


def _end(spec: Mapping[str, Any], status: Mapping[str, Any], tally: _Tally, now: datetime) -> Verdict | None:
    """Why the Job ends before its pods have all succeeded; None while it goes on."""
    limit = spec.get("backoffLimit")
    if tally.failed > (6 if limit is None else limit) or has_restarted_too_often(spec, tally.active):
        return "FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if not spec.get("suspend") and _deadline_in_s(spec, status, now) == 0.0:
        return "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline"
    completions = spec.get("completions") or 0
    most = spec.get("maxFailedIndexes")
    if most is not None and len(tally.broken) > most:
        return "FailureTarget", "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    if tally.broken and len(tally.broken | tally.done) >= completions:
        return "FailureTarget", "FailedIndexes", "Job has failed indexes"
    if matched := is_success(spec.get("successPolicy"), tally.done, completions):
        return "SuccessCriteriaMet", "SuccessPolicy", matched
    return None


def _is_complete(spec: Mapping[str, Any], tally: _Tally) -> bool:
    completions = spec.get("completions")
    if completions is None:
        return tally.succeeded > 0 and not tally.active
    return tally.succeeded >= completions and not tally.active


def _conclude(status: JSONObject, tally: _Tally, verdict: Verdict, now: datetime) -> list[tuple[bool, str, str]]:
    """The interim condition at once; the last one when no pod is left to end or to be counted (KEP-3998, delayTerminalCondition)."""
    kind, reason, message = verdict
    at, holder = rfc3339(now), {"status": status}
    if not conditions.is_true(holder, kind):
        conditions.set_condition(holder, conditions.build(kind, "True", reason=reason, message=message, now=at))
    if tally.terminating or status.get("uncountedTerminatedPods") or tally.untrack:
        return []
    final = "Complete" if kind == "SuccessCriteriaMet" else "Failed"
    conditions.set_condition(holder, conditions.build(final, "True", reason=reason, message=message, now=at))
    if final == "Complete":
        status["completionTime"] = at
        return [(False, "Completed", "Job completed")]
    return [(True, reason, message)]


def _write(spec: Mapping[str, Any], status: JSONObject, tally: _Tally, active: int, ready: int) -> None:
    """Numbers into the status; zero is left out but where upstream has a pointer."""
    for name, value in (("active", active), ("succeeded", status.get("succeeded") or 0), ("failed", status.get("failed") or 0)):
        if value:
            status[name] = value
        else:
            status.pop(name, None)
    status["ready"] = ready
    status["terminating"] = len({p.uid for p in tally.terminating})
    if spec.get("completionMode") == "Indexed":
        status["completedIndexes"] = as_text(tally.done)
        if not status["completedIndexes"]:
            del status["completedIndexes"]
        if spec.get("backoffLimitPerIndex") is not None:
            status["failedIndexes"] = as_text(tally.broken)


def _suspension(spec: Mapping[str, Any], status: JSONObject, now: datetime) -> list[tuple[bool, str, str]]:
    """Condition Suspended and the start time."""
    holder, at = {"status": status}, rfc3339(now)
    was_suspended = conditions.is_true(holder, "Suspended")
    if spec.get("suspend"):
        status.pop("startTime", None)
        if was_suspended:
            return []
        conditions.set_condition(holder, conditions.build("Suspended", "True", reason="JobSuspended", message="Job suspended", now=at))
        return [(False, "Suspended", "Job suspended")]
    status.setdefault("startTime", at)
    if not was_suspended:
        return []
    conditions.set_condition(holder, conditions.build("Suspended", "False", reason="JobResumed", message="Job resumed", now=at))
    status["startTime"] = at
    return [(False, "Resumed", "Job resumed")]


def _deadline_in_s(spec: Mapping[str, Any], status: Mapping[str, Any], now: datetime) -> float | None:
    if spec.get("activeDeadlineSeconds") is None or not status.get("startTime"):
        return None
    due = parse_rfc3339(status["startTime"]) + timedelta(seconds=spec["activeDeadlineSeconds"])
    return max((due - now).total_seconds(), 0.0)


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
