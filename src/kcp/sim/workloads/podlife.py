"""What a kubelet does next with one of its pods: start it, fail to pull its image, complete it, end it.

Pure: the pod, how long it has been here and the configured delays in; a status to write or a deletion out. Before: `kubelet`.
Annotations steer the simulation: `sim.kcp.io/ready: "false"` keeps containers unready, `sim.kcp.io/exit-code: "1"` lets a pod that runs to
completion fail, `sim.kcp.io/run-seconds: "5"` says when it ends.
Source: pkg/kubelet/kubelet_pods.go (getPhase, generateAPIPodStatus), pkg/kubelet/status/generate.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kcp.aio.clock import parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.sim.workloads.podtemplate import safe_suffix

READY_ANNOTATION = "sim.kcp.io/ready"
EXIT_CODE_ANNOTATION = "sim.kcp.io/exit-code"
RUN_SECONDS_ANNOTATION = "sim.kcp.io/run-seconds"

MISSING_IMAGE = "does-not-exist"
"""An image with this in its name cannot be pulled."""

_BACK_OFF_S = 10.0
"""From ErrImagePull to ImagePullBackOff, and from then on between looks whether the image was changed. Source: kubelet's image back-off."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod runs."""

    node_ip: str
    pod_ip: str


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now; `again_in_s` says when to look again even if nothing changes."""

    status: JSONObject | None = None
    delete: bool = False
    again_in_s: float | None = None


NOTHING_TO_DO = Step()


def step(pod: Mapping[str, Any], place: Place, *, here_for_s: float, ending_for_s: float, delay_s: float, now: datetime) -> Step:
    """The next step for a bound pod.

    Args: here_for_s: since the kubelet first saw it bound. ending_for_s: since it first saw it deleted. delay_s: of a start or a stop.
    """
    phase = meta.nested(pod, "status", "phase", default="Pending")
    if meta.deletion_timestamp(pod):
        wait_s = min(delay_s, meta.metadata(pod).get("deletionGracePeriodSeconds") or 0) - ending_for_s
        return Step(again_in_s=wait_s) if wait_s > 0 else Step(delete=True)
    if phase in ("Succeeded", "Failed"):
        return NOTHING_TO_DO
    if phase == "Pending" and here_for_s < delay_s:
        return Step(again_in_s=delay_s - here_for_s)
    missing = [c["name"] for c in _containers(pod) if MISSING_IMAGE in (c.get("image") or "")]
    if missing:
        return _unpullable(pod, place, missing, here_for_s - delay_s, now)
    if phase == "Running" and _runs_once(pod):
        return _completion(pod, now, delay_s)
    status = _running(pod, place, now)
    return Step(status=status, again_in_s=_run_s(pod, delay_s) if _runs_once(pod) else None)


def _containers(pod: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    containers: Sequence[Mapping[str, Any]] = meta.nested(pod, "spec", "containers", default=())
    return containers


def _runs_once(pod: Mapping[str, Any]) -> bool:
    return meta.nested(pod, "spec", "restartPolicy", default="Always") in ("Never", "OnFailure")


def _run_s(pod: Mapping[str, Any], default_s: float) -> float:
    try:
        return float(meta.annotations(pod)[RUN_SECONDS_ANNOTATION])
    except (KeyError, ValueError):
        return default_s


def _running(pod: Mapping[str, Any], place: Place, now: datetime) -> JSONObject:
    """All containers run; ready unless an annotation or a readiness gate says otherwise."""
    ready = meta.annotations(pod).get(READY_ANNOTATION) != "false"
    gates = [g.get("conditionType", "") for g in meta.nested(pod, "spec", "readinessGates", default=())]
    open_gates = [g for g in gates if not conditions.is_true(pod, g)]
    held = {c.get("name"): c for c in meta.nested(pod, "status", "containerStatuses", default=())}
    statuses = [_container_status(pod, c, held.get(c["name"]), ready, now) for c in _containers(pod)]
    status = _base(pod, place, "Running", now)
    status["containerStatuses"] = statuses
    unready = [] if ready else [c["name"] for c in _containers(pod)]
    _mark(status, unready=unready, gates=open_gates, now=now)
    return status


def _base(pod: Mapping[str, Any], place: Place, phase: str, now: datetime) -> JSONObject:
    """The parts of a status that do not depend on the containers; other writers' conditions are kept."""
    before = pod.get("status") or {}
    status: JSONObject = {
        **{k: v for k, v in before.items() if k not in ("reason", "message")},
        "phase": phase,
        "conditions": meta.copy_json(before.get("conditions") or []),
        "startTime": before.get("startTime") or rfc3339(now),
        "hostIP": place.node_ip,
        "hostIPs": [{"ip": place.node_ip}],
        "podIP": place.pod_ip,
        "podIPs": [{"ip": place.pod_ip}],
    }
    init = meta.nested(pod, "spec", "initContainers", default=())
    if init:
        status["initContainerStatuses"] = before.get("initContainerStatuses") or [_finished(pod, c, 0, now, now) for c in init]
    return status


def _mark(status: JSONObject, *, unready: Sequence[str], gates: Sequence[str], now: datetime, completed: bool = False) -> None:
    """The five conditions of a pod. Source: pkg/kubelet/status/generate.go."""
    at = rfc3339(now)
    holder = {"status": status}
    done = "PodCompleted" if completed else ""
    if completed:
        ready = conditions.build("Ready", "False", reason="PodCompleted", now=at)
        contained = conditions.build("ContainersReady", "False", reason="PodCompleted", now=at)
    elif unready:
        told = f"containers with unready status: [{' '.join(unready)}]"
        ready = conditions.build("Ready", "False", reason="ContainersNotReady", message=told, now=at)
        contained = conditions.build("ContainersReady", "False", reason="ContainersNotReady", message=told, now=at)
    else:
        contained = conditions.build("ContainersReady", "True", now=at)
        told = "\n".join(f'the status of pod readiness gate "{g}" is not "True", but False' for g in gates)
        ready = conditions.build(
            "Ready", "False" if gates else "True", reason="ReadinessGatesNotReady" if gates else "", message=told, now=at
        )
    for condition in (
        conditions.build("PodReadyToStartContainers", "False" if completed else "True", now=at),
        conditions.build("Initialized", "True", reason=done, now=at),
        ready,
        contained,
        conditions.build("PodScheduled", "True", now=at),
    ):
        conditions.set_condition(holder, condition)


def _container_status(
    pod: Mapping[str, Any], container: Mapping[str, Any], held: Mapping[str, Any] | None, ready: bool, now: datetime  # noqa: FBT001
) -> JSONObject:  # fmt: skip
    started = meta.nested(held or {}, "state", "running", "startedAt", default=rfc3339(now))
    return {
        **_identity(pod, container),
        "lastState": {},
        "ready": ready,
        "restartCount": (held or {}).get("restartCount") or 0,
        "started": True,
        "state": {"running": {"startedAt": started}},
    }


def _identity(pod: Mapping[str, Any], container: Mapping[str, Any]) -> JSONObject:
    image = container.get("image") or ""
    return {
        "name": container["name"],
        "image": image,
        "imageID": f"sim.kcp.io/{image}@sim:{safe_suffix(image, 16)}",
        "containerID": f"sim://{safe_suffix(meta.uid(pod) + container['name'], 32)}",
    }


def _finished(pod: Mapping[str, Any], container: Mapping[str, Any], code: int, started: datetime, now: datetime) -> JSONObject:
    identity = _identity(pod, container)
    ended = {
        "exitCode": code,
        "reason": "Error" if code else "Completed",
        "startedAt": rfc3339(started),
        "finishedAt": rfc3339(now),
        "containerID": identity["containerID"],
    }
    return {**identity, "lastState": {}, "ready": False, "restartCount": 0, "started": False, "state": {"terminated": ended}}


def _completion(pod: Mapping[str, Any], now: datetime, delay_s: float) -> Step:
    """The end of a pod that runs once; OnFailure's restarts are not simulated: what fails, fails."""
    status = meta.copy_json(pod.get("status") or {})
    started = parse_rfc3339(status.get("startTime") or rfc3339(now))
    wait_s = _run_s(pod, 0.0) - (now - started).total_seconds()
    if wait_s > 0:
        return Step(again_in_s=wait_s)
    code = meta.annotations(pod).get(EXIT_CODE_ANNOTATION, "0")
    number = int(code) if code.isdigit() else 1
    status["phase"] = "Failed" if number else "Succeeded"
    status["containerStatuses"] = [_finished(pod, c, number, started, now) for c in _containers(pod)]
    _mark(status, unready=(), gates=(), now=now, completed=True)
    return Step(status=status)


def _unpullable(pod: Mapping[str, Any], place: Place, missing: Sequence[str], tried_for_s: float, now: datetime) -> Step:
    """Pending, with the waiting reasons of containers whose image is not there."""
    backing_off = tried_for_s >= _BACK_OFF_S
    status = _base(pod, place, "Pending", now)
    held = {c.get("name"): c for c in meta.nested(pod, "status", "containerStatuses", default=())}
    statuses = []
    for container in _containers(pod):
        if container["name"] not in missing:
            statuses.append(_container_status(pod, container, held.get(container["name"]), ready=True, now=now))
            continue
        waiting = _waiting(container.get("image") or "", backing_off=backing_off)
        identity = {"name": container["name"], "image": container.get("image") or "", "imageID": ""}
        statuses.append({**identity, "lastState": {}, "ready": False, "restartCount": 0, "started": False, "state": {"waiting": waiting}})
    status["containerStatuses"] = statuses
    _mark(status, unready=missing, gates=(), now=now)
    return Step(status=status, again_in_s=_BACK_OFF_S)


def _waiting(image: str, *, backing_off: bool) -> JSONObject:
    if backing_off:
        return {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
    return {"reason": "ErrImagePull", "message": f'failed to pull and unpack image "{image}": not found'}
