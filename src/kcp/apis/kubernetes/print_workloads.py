"""Columns of pods and of what runs pods. Source: k8s.io/kubernetes/pkg/printers/internalversion/printers.go."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kcp.apimachinery import conditions
from kcp.apimachinery.meta import JSONObject, deletion_timestamp, nested
from kcp.apimachinery.table import NAME, Column, age_of, human_duration
from kcp.apis.kubernetes.printing import AGE, NONE, UNKNOWN, UNSET, field, number, pod_template_columns, since, text

_TEMPLATE = ("spec", "template")


def _replicas(obj: JSONObject, *path: str) -> int:
    return int(nested(obj, *path, default=0))


def _ready_of_desired(obj: JSONObject, _now: datetime) -> str:
    return f"{_replicas(obj, 'status', 'readyReplicas')}/{_replicas(obj, 'spec', 'replicas')}"


DEPLOYMENT = (
    NAME,
    text("Ready", _ready_of_desired, description="Number of the pod with ready state"),
    number("Up-to-date", "status", "updatedReplicas"),
    number("Available", "status", "availableReplicas"),
    AGE,
    *pod_template_columns(*_TEMPLATE),
)
REPLICA_SET = (
    NAME,
    number("Desired", "spec", "replicas"),
    number("Current", "status", "replicas"),
    number("Ready", "status", "readyReplicas"),
    AGE,
    *pod_template_columns(*_TEMPLATE),
)
STATEFUL_SET = (NAME, text("Ready", _ready_of_desired), AGE, *pod_template_columns(*_TEMPLATE, selector=False))
DAEMON_SET = (
    NAME,
    number("Desired", "status", "desiredNumberScheduled"),
    number("Current", "status", "currentNumberScheduled"),
    number("Ready", "status", "numberReady"),
    number("Up-to-date", "status", "updatedNumberScheduled"),
    number("Available", "status", "numberAvailable"),
    text("Node Selector", lambda obj, _now: _node_selector(obj)),
    AGE,
    *pod_template_columns(*_TEMPLATE),
)


def _node_selector(obj: JSONObject) -> str:
    wanted = nested(obj, "spec", "template", "spec", "nodeSelector", default={})
    return ",".join(f"{k}={v}" for k, v in sorted(wanted.items())) or NONE


def _job_status(job: JSONObject, _now: datetime) -> str:
    for kind, word in (("Complete", "Complete"), ("Failed", "Failed")):
        if conditions.is_true(job, kind):
            return word
    if deletion_timestamp(job):
        return "Terminating"
    if conditions.is_true(job, "Suspended"):
        return "Suspended"
    return "FailureTarget" if conditions.is_true(job, "FailureTarget") else _succeeding(job)


def _succeeding(job: JSONObject) -> str:
    return "SuccessCriteriaMet" if conditions.is_true(job, "SuccessCriteriaMet") else "Running"


def _job_completions(job: JSONObject, _now: datetime) -> str:
    done, wanted = _replicas(job, "status", "succeeded"), nested(job, "spec", "completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    parallel = _replicas(job, "spec", "parallelism")
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _job_duration(job: JSONObject, now: datetime) -> str:
    start, end = nested(job, "status", "startTime", default=""), nested(job, "status", "completionTime", default="")
    if not start:
        return ""
    return human_duration(datetime.fromisoformat(end) - datetime.fromisoformat(start)) if end else age_of(start, now)


JOB = (
    NAME,
    text("Status", _job_status),
    text("Completions", _job_completions),
    text("Duration", _job_duration),
    AGE,
    *pod_template_columns(*_TEMPLATE),
)


def _last_schedule(obj: JSONObject, now: datetime) -> str:
    return since(obj, now, "status", "lastScheduleTime") if nested(obj, "status", "lastScheduleTime") else NONE


CRON_JOB = (
    NAME,
    field("Schedule", "spec", "schedule"),
    field("Timezone", "spec", "timeZone", default=NONE),
    text("Suspend", lambda obj, _now: str(nested(obj, "spec", "suspend", default=UNSET))),
    Column("Active", type="integer", getter=lambda obj, _now: len(nested(obj, "status", "active", default=()))),
    text("Last Schedule", _last_schedule),
    AGE,
    *pod_template_columns("spec", "jobTemplate", "spec", "template"),
)


def _state(status: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = (status.get("state") or {}).get(kind)
    return found


def _ended(prefix: str, state: Mapping[str, Any]) -> str:
    if state.get("reason"):
        return prefix + str(state["reason"])
    return f"{prefix}Signal:{state['signal']}" if state.get("signal") else f"{prefix}ExitCode:{state.get('exitCode', 0)}"


class _PodSummary:
    """READY, STATUS and RESTARTS of one pod, worked out together as upstream does."""

    def __init__(self, pod: JSONObject) -> None:
        spec, status = pod.get("spec") or {}, pod.get("status") or {}
        self._sidecars = {c.get("name") for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
        self._init_count = len(spec.get("initContainers") or ())
        self.total = len(spec.get("containers") or ()) + len(self._sidecars)
        self.ready = self.restarts = self._sidecar_restarts = 0
        self.last_restart = self._last_sidecar_restart = ""
        self.reason = str(status.get("reason") or status.get("phase") or "")
        if any(c.get("type") == "PodScheduled" and c.get("reason") == "SchedulingGated" for c in status.get("conditions") or ()):
            self.reason = "SchedulingGated"
        initializing = self._count_init(status.get("initContainerStatuses") or ())
        if not initializing or conditions.is_true(pod, "Initialized"):
            self._count_containers(pod, status.get("containerStatuses") or ())
        if deletion_timestamp(pod):
            if status.get("reason") == "NodeLost":
                self.reason = "Unknown"
            elif status.get("phase") not in ("Failed", "Succeeded"):
                self.reason = "Terminating"

    def _count_init(self, statuses: Any) -> bool:
        for index, status in enumerate(statuses):
            ended = str((status.get("lastState") or {}).get("terminated", {}).get("finishedAt") or "")
            self.restarts += status.get("restartCount", 0)
            self.last_restart = max(self.last_restart, ended)
            sidecar = status.get("name") in self._sidecars
            if sidecar:
                self._sidecar_restarts += status.get("restartCount", 0)
                self._last_sidecar_restart = max(self._last_sidecar_restart, ended)
            terminated, waiting = _state(status, "terminated"), _state(status, "waiting")
            if terminated is not None and not terminated.get("exitCode"):
                continue
            if sidecar and status.get("started"):
                self.ready += bool(status.get("ready"))
                continue
            if terminated is not None:
                self.reason = _ended("Init:", terminated)
            elif waiting is not None and waiting.get("reason") not in (None, "", "PodInitializing"):
                self.reason = f"Init:{waiting['reason']}"
            else:
                self.reason = f"Init:{index}/{self._init_count}"
            return True
        return False

    def _count_containers(self, pod: JSONObject, statuses: Any) -> None:
        self.restarts, self.last_restart = self._sidecar_restarts, self._last_sidecar_restart
        running = False
        for status in reversed(statuses):
            self.restarts += status.get("restartCount", 0)
            self.last_restart = max(self.last_restart, str((status.get("lastState") or {}).get("terminated", {}).get("finishedAt") or ""))
            waiting, terminated = _state(status, "waiting"), _state(status, "terminated")
            if waiting is not None and waiting.get("reason"):
                self.reason = str(waiting["reason"])
            elif terminated is not None:
                self.reason = _ended("", terminated)
            elif status.get("ready") and _state(status, "running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed" and running:
            self.reason = "Running" if conditions.is_true(pod, "Ready") else "NotReady"


def _restarts(pod: JSONObject, now: datetime) -> str:
    summary = _PodSummary(pod)
    if summary.restarts and summary.last_restart:
        return f"{summary.restarts} ({age_of(summary.last_restart, now)} ago)"
    return str(summary.restarts)


def _ready(pod: JSONObject, _now: datetime) -> str:
    summary = _PodSummary(pod)
    return f"{summary.ready}/{summary.total}"


def _readiness_gates(pod: JSONObject, _now: datetime) -> str:
    gates = nested(pod, "spec", "readinessGates", default=())
    met = sum(conditions.is_true(pod, gate.get("conditionType", "")) for gate in gates)
    return f"{met}/{len(gates)}" if gates else NONE


def _pod_ip(pod: JSONObject, _now: datetime) -> str:
    addresses = nested(pod, "status", "podIPs", default=()) or [{"ip": nested(pod, "status", "podIP", default="")}]
    return str(addresses[0].get("ip") or NONE)


POD = (
    NAME,
    text("Ready", _ready, description="The aggregate readiness state of this pod for accepting traffic."),
    text("Status", lambda pod, _now: _PodSummary(pod).reason, description="The aggregate status of the containers in this pod."),
    text(
        "Restarts", _restarts, description="The number of times the containers in this pod have been restarted and when the last one did."
    ),
    AGE,
    text("IP", _pod_ip, wide=True),
    field("Node", "spec", "nodeName", default=NONE, wide=True),
    field("Nominated Node", "status", "nominatedNodeName", default=NONE, wide=True),
    text("Readiness Gates", _readiness_gates, wide=True),
)


def _disruption_limit(part: str) -> Column:
    name = "Min Available" if part == "minAvailable" else "Max Unavailable"
    return text(name, lambda obj, _now: str(nested(obj, "spec", part, default="N/A")))


POD_DISRUPTION_BUDGET = (
    NAME,
    _disruption_limit("minAvailable"),
    _disruption_limit("maxUnavailable"),
    number("Allowed Disruptions", "status", "disruptionsAllowed"),
    AGE,
)
POD_TEMPLATE = (
    NAME,
    text("Containers", lambda obj, _now: ",".join(c.get("name", "") for c in nested(obj, "template", "spec", "containers", default=()))),
    text("Images", lambda obj, _now: ",".join(c.get("image", "") for c in nested(obj, "template", "spec", "containers", default=()))),
    text("Pod Labels", lambda obj, _now: ",".join(f"{k}={v}" for k, v in sorted(_template_labels(obj).items())) or NONE),
)


def _template_labels(obj: JSONObject) -> Mapping[str, str]:
    labels: Mapping[str, str] = nested(obj, "template", "metadata", "labels", default={})
    return labels


def _metric_value(source: Mapping[str, Any] | None, kind: str) -> str:
    if not source:
        return UNKNOWN
    if kind == "Utilization":
        used = source.get("averageUtilization")
        return UNKNOWN if used is None else f"{used}%"
    return str(source.get("averageValue") or source.get("value") or UNKNOWN)


_METRIC_PARTS = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}


def _targets(hpa: JSONObject, _now: datetime) -> str:
    """Source: printers.go formatHPAMetrics: `cpu: 10%/80%`, two metrics at most."""
    wanted = nested(hpa, "spec", "metrics", default=())
    if not wanted:
        return NONE
    current = nested(hpa, "status", "currentMetrics", default=())
    shown = []
    for index, metric in enumerate(wanted[:2]):
        part = _METRIC_PARTS.get(metric.get("type", ""), "")
        spec, target = metric.get(part) or {}, (metric.get(part) or {}).get("target") or {}
        now_is = (current[index].get(part) or {}).get("current") if index < len(current) else None
        kind = target.get("type", "")
        value = f"{_metric_value(now_is, kind)}/{_metric_value(target, kind)}"
        shown.append(f"{spec['name']}: {value}" if "name" in spec else f"{value} (avg)" if kind == "AverageValue" else value)
    rest = len(wanted) - 2
    return ", ".join(shown) + (f" + {rest} more..." if rest > 0 else "")


def _scale_target(hpa: JSONObject, _now: datetime) -> str:
    target = nested(hpa, "spec", "scaleTargetRef", default={})
    return f"{target.get('kind', '')}/{target.get('name', '')}"


HORIZONTAL_POD_AUTOSCALER = (
    NAME,
    text("Reference", _scale_target),
    text("Targets", _targets),
    text("MinPods", lambda obj, _now: str(nested(obj, "spec", "minReplicas", default=UNSET))),
    number("MaxPods", "spec", "maxReplicas"),
    number("Replicas", "status", "currentReplicas"),
    AGE,
)
