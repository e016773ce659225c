"""Rules of what runs pods: deployments, sets, jobs. Before: `validation`.

Source: k8s.io/kubernetes/pkg/apis/{apps,batch,core}/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kcp.apimachinery import names
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks, cron, pod_update, pod_validation
from kcp.apis.kubernetes.checks import obj_at

_MISMATCH = "`selector` does not match template `labels`"


def pod(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    causes = list(pod_validation.spec(obj_at(new, "spec"), "spec"))
    if old is not None:
        causes += pod_update.update(new, old)
    elif checks.list_at(new, "spec", "ephemeralContainers"):
        causes.append(Cause.forbidden("spec.ephemeralContainers", "cannot be set on create"))
    return causes


def template(spec: Mapping[str, Any], at: str, restart: tuple[str, ...] = ("Always",)) -> Iterator[Cause]:
    """What pods are made from."""
    yield from checks.labels(obj_at(spec, "template", "metadata", "labels"), f"{at}.template.labels")
    inner = obj_at(spec, "template", "spec")
    if not inner:
        yield Cause.required(f"{at}.template.spec.containers")
        return
    yield from pod_validation.spec(inner, f"{at}.template.spec")
    if inner.get("ephemeralContainers"):
        yield Cause.forbidden(f"{at}.template.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")
    policy = inner.get("restartPolicy")
    if isinstance(policy, str) and policy not in restart:
        yield Cause.not_supported(f"{at}.template.spec.restartPolicy", policy, restart)


def selection(spec: Mapping[str, Any], kind: str) -> Iterator[Cause]:
    """Which pods are its own: the template's are."""
    held = spec.get("selector")
    if not isinstance(held, Mapping):
        return
    yield from checks.selector(held, "spec.selector")
    if not held.get("matchLabels") and not held.get("matchExpressions"):
        yield Cause.invalid("spec.selector", held, f"empty selector is invalid for {kind}")
    carried = obj_at(spec, "template", "metadata", "labels")
    if isinstance(spec.get("template"), Mapping) and not checks.selects(held, carried):
        yield Cause.invalid("spec.template.metadata.labels", carried, _MISMATCH)


def _selector_kept(new: JSONObject, old: JSONObject | None) -> Iterator[Cause]:
    if old is not None:
        yield from checks.unchanged(obj_at(new, "spec", "selector"), obj_at(old, "spec", "selector"), "spec.selector")


def deployment(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes = [
        *checks.not_negative(spec, "spec", "replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"),
        *selection(spec, "deployment"),
        *template(spec, "spec"),
        *_strategy(obj_at(spec, "strategy"), "spec.strategy"),
        *_selector_kept(new, old),
    ]
    deadline, ready_after = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if checks.is_int(deadline) and 0 <= deadline <= ready_after:
        causes.append(Cause.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return causes


def _strategy(strategy: Mapping[str, Any], at: str) -> Iterator[Cause]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate" and rolling is not None:
        yield Cause.forbidden(f"{at}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    yield from checks.one_of(strategy, at, "type", ("Recreate", "RollingUpdate"))
    if kind == "RollingUpdate" and isinstance(rolling, Mapping):
        yield from _rolling(rolling, f"{at}.rollingUpdate")


def _rolling(rolling: Mapping[str, Any], at: str) -> Iterator[Cause]:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    yield from checks.int_or_percent(unavailable, f"{at}.maxUnavailable")
    yield from checks.int_or_percent(surge, f"{at}.maxSurge")
    if checks.is_zero(unavailable) and checks.is_zero(surge):
        yield Cause.invalid(f"{at}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")


def replica_set(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    return [
        *checks.not_negative(spec, "spec", "replicas", "minReadySeconds"),
        *selection(spec, "replica set"),
        *template(spec, "spec"),
        *_selector_kept(new, old),
    ]


def replication_controller(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes = [*checks.not_negative(spec, "spec", "replicas", "minReadySeconds"), *template(spec, "spec")]
    wanted = obj_at(spec, "selector")
    if not wanted:
        causes.append(Cause.required("spec.selector"))
    elif not wanted.items() <= obj_at(spec, "template", "metadata", "labels").items():
        causes.append(Cause.invalid("spec.template.metadata.labels", obj_at(spec, "template", "metadata", "labels"), _MISMATCH))
    return causes


def daemon_set(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    update = obj_at(spec, "updateStrategy")
    causes = [
        *checks.not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit"),
        *checks.one_of(update, "spec.updateStrategy", "type", ("OnDelete", "RollingUpdate")),
        *selection(spec, "daemonset"),
        *template(spec, "spec"),
        *_selector_kept(new, old),
    ]
    if update.get("type") == "RollingUpdate":
        causes += _rolling(obj_at(update, "rollingUpdate"), "spec.updateStrategy.rollingUpdate")
    return causes


_JOB_RESTART = ("OnFailure", "Never")
_JOB_NUMBERS = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")


def _job_spec(spec: Mapping[str, Any], at: str) -> Iterator[Cause]:
    yield from checks.not_negative(spec, at, *_JOB_NUMBERS)
    yield from checks.one_of(spec, at, "completionMode", ("Indexed", "NonIndexed"))
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        yield Cause.required(f"{at}.completions", "when completion mode is Indexed")
    yield from template(spec, at, _JOB_RESTART)


def job(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes = list(_job_spec(spec, "spec"))
    if old is not None:
        held = obj_at(old, "spec")
        for field in ("completions", "selector", "template", "completionMode"):
            if field == "template" and held.get("suspend"):
                continue  # a suspended job's scheduling directives may be changed
            causes += checks.unchanged(spec.get(field), held.get(field), f"spec.{field}")
    return causes


def cron_job(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes = [
        *checks.not_negative(spec, "spec", "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"),
        *checks.one_of(spec, "spec", "concurrencyPolicy", ("Allow", "Forbid", "Replace")),
        *_job_spec(obj_at(spec, "jobTemplate", "spec"), "spec.jobTemplate.spec"),
    ]
    schedule = spec.get("schedule")
    if schedule == "":
        causes.append(Cause.required("spec.schedule"))
    elif isinstance(schedule, str):
        causes += _schedule(schedule)
    causes += _time_zone(spec.get("timeZone"))
    name = obj_at(new, "metadata").get("name") or ""
    if len(name) > 52:
        causes.append(Cause.invalid("metadata.name", name, "must be no more than 52 characters"))
    return causes


def _schedule(text: str) -> Iterator[Cause]:
    if "TZ=" in text:
        yield Cause.invalid("spec.schedule", text, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
        return
    try:
        cron.parse(text)
    except cron.ScheduleError as fault:
        yield Cause.invalid("spec.schedule", text, str(fault))


def _time_zone(name: Any) -> Iterator[Cause]:
    """Source: k8s.io/kubernetes/pkg/apis/batch/validation/validation.go (validateTimeZone)."""
    if not isinstance(name, str):
        return
    if not name:
        yield Cause.invalid("spec.timeZone", name, "timeZone must be nil or non-empty string")
    elif name.lower() == "local":
        yield Cause.invalid("spec.timeZone", name, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
    elif not cron.is_time_zone(name):
        yield Cause.invalid("spec.timeZone", name, f"unknown time zone {name}")


def pod_disruption_budget(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes = list(checks.selector(spec.get("selector"), "spec.selector"))
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        causes.append(Cause.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for field in ("minAvailable", "maxUnavailable"):
        causes += checks.int_or_percent(spec.get(field), f"spec.{field}")
    return causes


def horizontal_pod_autoscaler(new: JSONObject, old: JSONObject | None) -> Sequence[Cause]:
    spec = obj_at(new, "spec")
    causes: list[Cause] = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas")
    if checks.is_int(least) and least < 1:
        causes.append(Cause.invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if checks.is_int(most):
        if most < 1:
            causes.append(Cause.invalid("spec.maxReplicas", most, "must be greater than 0"))
        if checks.is_int(least) and most < least:
            causes.append(Cause.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    if target := obj_at(spec, "scaleTargetRef"):
        causes += checks.required(target, "spec.scaleTargetRef", "kind", "name")
        causes += checks.named(target.get("name"), "spec.scaleTargetRef.name", names.path_segment)
    return causes
