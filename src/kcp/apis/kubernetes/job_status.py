"""What the status of a Job may say; programs other than the Job controller write it too (`spec.managedBy`).

Before: `status_validation`. After: `checks`. A fault that the stored status has already stops nobody, which is what upstream's options,
worked out from what changes, come to.
Source: k8s.io/kubernetes/pkg/apis/batch/validation/validation.go (ValidateJobStatusUpdate), pkg/registry/batch/job/strategy.go; KEP-4368.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kcp.apimachinery import conditions
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apis.kubernetes.checks import list_at, obj_at

_COUNTERS = ("active", "succeeded", "failed", "ready", "terminating")
_CONDITIONS = "status.conditions"


def faults(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    held = set(_state(old))
    yield from (cause for cause in _state(new) if cause not in held)
    yield from _transition(new, old)


def _state(job: JSONObject) -> Iterator[Cause]:
    status = obj_at(job, "status")
    yield from checks.not_negative(status, "status", *_COUNTERS)
    yield from _uncounted(obj_at(status, "uncountedTerminatedPods"))
    yield from _verdicts(job)
    yield from _times(job)
    if conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed"):
        yield from _finished(status)
    if (status.get("ready") or 0) > (status.get("active") or 0):
        yield Cause.invalid("status.ready", status.get("ready"), "cannot set more ready pods than active")
    yield from _indexes(job)


def _uncounted(held: Mapping[str, Any]) -> Iterator[Cause]:
    seen = set()
    for part in ("succeeded", "failed"):
        for index, uid in enumerate(list_at(held, part)):
            at = f"status.uncountedTerminatedPods.{part}[{index}]"
            if not uid:
                yield Cause.invalid(at, uid, "must not be empty")
            elif uid in seen:
                yield Cause.duplicate(at, uid)
            seen.add(uid)


_CONTRADICTIONS = (
    ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
    ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
    ("SuccessCriteriaMet", "Failed", "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
    ("SuccessCriteriaMet", "FailureTarget", "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
)
_CONSEQUENCES = (
    ("Failed", "FailureTarget", "cannot set Failed=True condition without the FailureTarget=true condition"),
    ("Complete", "SuccessCriteriaMet", "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"),
)


def _verdicts(job: JSONObject) -> Iterator[Cause]:
    for one, other, detail in _CONTRADICTIONS:
        if conditions.is_true(job, one) and conditions.is_true(job, other):
            yield Cause(_CONDITIONS, "FieldValueInvalid", f"Invalid value: {detail}")
    for one, other, detail in _CONSEQUENCES:
        if conditions.is_true(job, one) and not conditions.is_true(job, other):
            yield Cause(_CONDITIONS, "FieldValueInvalid", f"Invalid value: {detail}")


def _times(job: JSONObject) -> Iterator[Cause]:
    status, is_complete = obj_at(job, "status"), conditions.is_true(job, "Complete")
    start, end = status.get("startTime"), status.get("completionTime")
    if end and not is_complete:
        yield Cause.invalid("status.completionTime", end, "cannot set completionTime when there is no Complete=True condition")
    if is_complete and not end:
        yield Cause.required("status.completionTime", "completionTime is required for Complete jobs")
    if start and end and end < start:
        yield Cause.invalid("status.completionTime", end, "completionTime cannot be set before startTime")


def _finished(status: Mapping[str, Any]) -> Iterator[Cause]:
    for counter in ("active", "terminating"):
        if (status.get(counter) or 0) > 0:
            yield Cause.invalid(f"status.{counter}", status[counter], f"{counter}>0 is invalid for finished job")
    if not status.get("startTime"):
        yield Cause.required("status.startTime", "startTime is required for finished job")
    pods = obj_at(status, "uncountedTerminatedPods")
    if any(list_at(pods, part) for part in ("succeeded", "failed")):
        yield Cause.invalid("status.uncountedTerminatedPods", pods, "uncountedTerminatedPods needs to be empty for finished job")


def _indexes(job: JSONObject) -> Iterator[Cause]:
    spec, status = obj_at(job, "spec"), obj_at(job, "status")
    completed, failed = status.get("completedIndexes"), status.get("failedIndexes")
    if completed and spec.get("completionMode") != "Indexed":
        detail = "cannot set non-empty completedIndexes when non-indexed completion mode"
        yield Cause.invalid("status.completedIndexes", completed, detail)
    if failed is not None and spec.get("backoffLimitPerIndex") is None:
        yield Cause.invalid("status.failedIndexes", failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")


def _transition(new: JSONObject, old: JSONObject) -> Iterator[Cause]:
    status, held, spec = obj_at(new, "status"), obj_at(old, "status"), obj_at(new, "spec")
    for kind in ("Failed", "Complete", "FailureTarget"):
        if conditions.is_true(old, kind) and not conditions.is_true(new, kind):
            yield Cause(_CONDITIONS, "FieldValueInvalid", f"Invalid value: cannot disable the terminal {kind}=True condition")
    if conditions.is_true(old, "SuccessCriteriaMet") and not conditions.is_true(new, "SuccessCriteriaMet"):
        yield Cause(_CONDITIONS, "FieldValueInvalid", "Invalid value: cannot disable the SuccessCriteriaMet=True condition")
    is_elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    for counter in ("failed",) if is_elastic else ("failed", "succeeded"):
        if (status.get(counter) or 0) < (held.get(counter) or 0):
            yield Cause.invalid(f"status.{counter}", status.get(counter) or 0, f"cannot decrease the {counter} counter")
    start, end = (status.get(field) for field in ("startTime", "completionTime"))
    if end and held.get("completionTime") and end != held["completionTime"]:
        yield Cause.invalid("status.completionTime", end, "completionTime cannot be mutated")
    if held.get("startTime") and start != held["startTime"] and not spec.get("suspend"):
        yield Cause.required("status.startTime", "startTime cannot be removed for unsuspended job")
