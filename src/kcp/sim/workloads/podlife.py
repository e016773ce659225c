"""What a kubelet does next with one of its pods: init containers in order, then the others; restarts, deadlines, the end.

Pure: the pod, how long it has been here and the configured delays in; a status to write or a deletion out. Before: `kubelet`.
What steers it stands in docs/simulated-pods.md. After: `containers`, `podconditions`.
Source: pkg/kubelet/kubelet_pods.go (getPhase, generateAPIPodStatus), pkg/kubelet/active_deadline.go, KEP-753 (sidecars).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kcp.aio.clock import parse_rfc3339, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.sim.workloads.containers import KILLED, STOPPED, Advance, Remark, Setting, advance, initial, stopped
from kcp.sim.workloads.podconditions import mark

STOP_SECONDS_ANNOTATION = "sim.kcp.io/stop-seconds"
_ENDED = ("Succeeded", "Failed")
_SETTLE_S = 0.02
"""Until the watch has brought back how a pod ended, so that it may go."""


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
    remarks: tuple[Remark, ...] = ()


NOTHING_TO_DO = Step()


def step(pod: Mapping[str, Any], place: Place, *, here_for_s: float, ending_for_s: float, delay_s: float, now: datetime) -> Step:
    """The next step for a bound pod.

    Args: here_for_s: since the kubelet first saw it bound. ending_for_s: since it first saw it deleted. delay_s: of a start or a stop.
    """
    phase = meta.nested(pod, "status", "phase", default="Pending")
    if meta.deletion_timestamp(pod):
        return _end(pod, place, ending_for_s, delay_s, now)
    if phase in _ENDED:
        return NOTHING_TO_DO
    if phase == "Pending" and here_for_s < delay_s:
        return Step(again_in_s=delay_s - here_for_s)
    left_s = _deadline_in_s(pod, now)
    if left_s == 0.0:
        message = "Pod was active on the node longer than the specified deadline"
        return failed(pod, place, "DeadlineExceeded", message, now, code=KILLED)
    plan = _go_on(pod, place, delay_s, now)
    if left_s is None:
        return plan
    return Step(plan.status, again_in_s=min(left_s, plan.again_in_s or left_s), remarks=plan.remarks)


def failed(pod: Mapping[str, Any], place: Place, reason: str, message: str, now: datetime, *, code: int) -> Step:
    """The end of a pod that is not allowed to go on, or to begin."""
    status = _base(pod, place, "Failed", now)
    _stop_all(pod, status, now, code)
    mark(pod, status, uninitialized=(), now=now)
    return Step({**status, "reason": reason, "message": message}, remarks=(Remark(reason, message, is_warning=True),))


def _end(pod: Mapping[str, Any], place: Place, ending_for_s: float, delay_s: float, now: datetime) -> Step:
    """Containers stop within the grace period; a pod that somebody's finalizer keeps says how it ended before it goes."""
    grace_s = meta.metadata(pod).get("deletionGracePeriodSeconds") or 0
    wait_s = min(max(delay_s, _stopping_s(pod)), grace_s) - ending_for_s
    phase = meta.nested(pod, "status", "phase", default="Pending")
    if phase not in _ENDED and wait_s > 0:
        return Step(again_in_s=wait_s)
    running = [c for c in _statuses(pod, "containerStatuses") if "running" in c["state"]]
    said = tuple(Remark("Killing", f"Stopping container {c['name']}", c["name"]) for c in running)
    if not meta.finalizers(pod):
        return Step(delete=True, remarks=said)
    if phase not in _ENDED:
        status = _base(pod, place, "Failed", now)
        _stop_all(pod, status, now, STOPPED)
        mark(pod, status, uninitialized=(), now=now)
        return Step(status, again_in_s=_SETTLE_S if grace_s else None, remarks=said)
    return Step(delete=True) if grace_s else NOTHING_TO_DO


def _stopping_s(pod: Mapping[str, Any]) -> float:
    """How long containers take to stop: as an annotation says, or the longest preStop sleep."""
    try:
        told = float(meta.annotations(pod)[STOP_SECONDS_ANNOTATION])
    except (KeyError, ValueError):
        told = 0.0
    sleeps = (float(meta.nested(c, "lifecycle", "preStop", "sleep", "seconds", default=0)) for c in _specs(pod, "containers"))
    return max([told, *sleeps])


def _deadline_in_s(pod: Mapping[str, Any], now: datetime) -> float | None:
    deadline_s = meta.nested(pod, "spec", "activeDeadlineSeconds")
    started = meta.nested(pod, "status", "startTime")
    if deadline_s is None or not started:
        return None if deadline_s is None else float(deadline_s)
    return max((parse_rfc3339(started) + timedelta(seconds=deadline_s) - now).total_seconds(), 0.0)


def _specs(pod: Mapping[str, Any], kind: str) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = meta.nested(pod, "spec", kind, default=()) or ()
    return found


def _statuses(pod: Mapping[str, Any], kind: str) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = meta.nested(pod, "status", kind, default=()) or ()
    return found


def _go_on(pod: Mapping[str, Any], place: Place, delay_s: float, now: datetime) -> Step:
    """Every container one step on."""
    policy = meta.nested(pod, "spec", "restartPolicy", default="Always")
    inits, incomplete = _initialize(pod, policy, delay_s, now)
    mains: list[Advance] = []
    held = {c.get("name"): c for c in _statuses(pod, "containerStatuses")}
    has_failed_to_begin = policy == "Never" and any(a.exit_code for a in inits)
    for container in _specs(pod, "containers"):
        if incomplete and container["name"] not in _begun(held):
            mains.append(Advance(initial(container, "PodInitializing")))
        else:
            mains.append(advance(container, held.get(container["name"]), Setting(pod, now, delay_s, "containers", policy)))
    others = _ephemeral(pod, delay_s, now)
    phase = "Failed" if has_failed_to_begin else _phase(mains, incomplete=bool(incomplete))
    status = _base(pod, place, phase, now)
    if phase in _ENDED:
        inits = [_let_sidecar_end(pod, c, a, now) for c, a in zip(_specs(pod, "initContainers"), inits, strict=False)]
    for kind, parts in (("initContainerStatuses", inits), ("containerStatuses", mains), ("ephemeralContainerStatuses", others)):
        if parts:
            status[kind] = [part.status for part in parts]
    mark(pod, status, uninitialized=incomplete, now=now)
    everything = [*inits, *mains, *others]
    again_in_s = min((a.again_in_s for a in everything if a.again_in_s is not None), default=None)
    if phase in _ENDED:
        again_in_s = None
    return Step(status, again_in_s=again_in_s, remarks=tuple(r for a in everything for r in a.remarks))


def _begun(held: Mapping[Any, Mapping[str, Any]]) -> set[str]:
    return {name for name, c in held.items() if c.get("containerID")}


def _initialize(pod: Mapping[str, Any], policy: str, delay_s: float, now: datetime) -> tuple[list[Advance], list[str]]:
    """Init containers, each after the one before; sidecars go on. Returns them, and the names of those still to be done."""
    held = {c.get("name"): c for c in _statuses(pod, "initContainerStatuses")}
    found: list[Advance] = []
    incomplete: list[str] = []
    for container in _specs(pod, "initContainers"):
        is_sidecar = container.get("restartPolicy") == "Always"
        if incomplete:
            found.append(Advance(dict(held.get(container["name"]) or initial(container, "PodInitializing"))))
            incomplete.append(container["name"])
            continue
        restarts = "Always" if is_sidecar else "Never" if policy == "Never" else "OnFailure"
        setting = Setting(pod, now, delay_s, "initContainers", restarts, completes_at_once=not is_sidecar)
        made = advance(container, held.get(container["name"]), setting)
        found.append(made)
        is_done = made.status["started"] if is_sidecar else made.exit_code == 0
        was_done = is_sidecar and held.get(container["name"], {}).get("containerID")
        if not is_done and not was_done:
            incomplete.append(container["name"])
    return found, incomplete


def _let_sidecar_end(pod: Mapping[str, Any], container: Mapping[str, Any], held: Advance, now: datetime) -> Advance:
    return Advance(stopped(container, held.status, Setting(pod, now, 0.0, "initContainers"), 0)) if held.is_running else held


def _ephemeral(pod: Mapping[str, Any], delay_s: float, now: datetime) -> list[Advance]:
    """Containers for debugging: never restarted. Source: KEP-277."""
    held = {c.get("name"): c for c in _statuses(pod, "ephemeralContainerStatuses")}
    setting = Setting(pod, now, delay_s, "ephemeralContainers", "Never")
    return [advance(c, held.get(c["name"]), setting) for c in _specs(pod, "ephemeralContainers")]


def _phase(mains: Sequence[Advance], *, incomplete: bool) -> str:
    """Source: getPhase."""
    codes = [a.exit_code for a in mains]
    if mains and all(code is not None for code in codes):
        return "Failed" if any(codes) else "Succeeded"
    if incomplete and not any(a.is_running for a in mains):
        return "Pending"
    waits = [a for a in mains if "waiting" in a.status["state"] and not a.status["lastState"]]
    return "Pending" if waits else "Running"


def _stop_all(pod: Mapping[str, Any], status: JSONObject, now: datetime, code: int) -> None:
    for specs, statuses in (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")):
        held = {c.get("name"): c for c in _statuses(pod, statuses)}
        if held:
            setting = Setting(pod, now, 0.0, specs)
            status[statuses] = [stopped(c, held.get(c["name"]), setting, code) for c in _specs(pod, specs)]


def _base(pod: Mapping[str, Any], place: Place, phase: str, now: datetime) -> JSONObject:
    """The parts of a status that do not depend on the containers; other writers' conditions are kept."""
    before = pod.get("status") or {}
    status: JSONObject = {
        **{k: v for k, v in before.items() if k not in ("reason", "message", "resize")},
        "phase": phase,
        "conditions": meta.copy_json(before.get("conditions") or []),
        "startTime": before.get("startTime") or rfc3339(now),
        "hostIP": place.node_ip,
        "hostIPs": [{"ip": place.node_ip}],
        "podIP": place.pod_ip,
        "podIPs": [{"ip": place.pod_ip}],
    }
    if meta.generation(pod):
        status["observedGeneration"] = meta.generation(pod)
    return status
