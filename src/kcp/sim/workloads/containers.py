"""One simulated container: started, ended, restarted with a growing delay, or waiting for an image that is not there.

`advance` is pure: the container, its present status and the time in, its next status out. All that it remembers is in the status.
Before: `podlife`. After: `programs`. Source: pkg/kubelet/kuberuntime/kuberuntime_manager.go (computePodActions, doBackOff),
pkg/kubelet/kubelet_pods.go (convertToAPIContainerStatuses), pkg/kubelet/images/image_manager.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kcp.aio.clock import parse_rfc3339, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.sim.workloads.podtemplate import safe_suffix
from kcp.sim.workloads.programs import Program, program

READY_ANNOTATION = "sim.kcp.io/ready"
_MISSING_IMAGE = re.compile(r"does-not-exist|non-?existent|(?<![a-z0-9])invalid(?![a-z0-9])|:404$")
"""Images that cannot be pulled, by their names: those that say so, as the names in everybody's tests do."""

KILLED = 137
STOPPED = 143

_FIRST_RESTART_S, _LONGEST_RESTART_S = 10.0, 300.0
"""Source: kubelet's initial and maximum container back-off; the first restart is at once."""
_PULL_BACK_OFF_S = 10.0
_FORGIVEN_S = 600.0
"""A container that ran as long is restarted at once. Source: flowcontrol.Backoff, which forgets after twice the maximum."""


@dataclass(frozen=True, slots=True)
class Remark:
    """An Event on a container."""

    reason: str
    message: str
    container: str = ""
    kind: str = "containers"
    is_warning: bool = False

    @property
    def field_path(self) -> str:
        return f"spec.{self.kind}{{{self.container}}}" if self.container else ""


@dataclass(slots=True)
class Advance:
    """A container's next status, and when to look again."""

    status: JSONObject
    again_in_s: float | None = None
    remarks: list[Remark] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        return "running" in self.status["state"]

    @property
    def exit_code(self) -> int | None:
        """Of a container that has ended and is not restarted."""
        code: int | None = meta.nested(self.status, "state", "terminated", "exitCode")
        return code


@dataclass(frozen=True, slots=True)
class Setting:
    """What a container is part of."""

    pod: Mapping[str, Any]
    now: datetime
    delay_s: float
    kind: str = "containers"
    """Or initContainers, ephemeralContainers."""
    restarts: str = "Always"
    """Always, OnFailure or Never."""
    completes_at_once: bool = False
    """A program that ends at once leaves no trace of having run, for the sake of one write less."""


def advance(container: Mapping[str, Any], held: Mapping[str, Any] | None, at: Setting) -> Advance:
    """Args: held: the container's present status, None if it has none."""
    state = (held or {}).get("state") or {}
    if _MISSING_IMAGE.search(container.get("image") or "") and "terminated" not in state:
        return _unpullable(container, held, at)
    if held is None or "waiting" in state:
        return _waiting(container, held, at)
    if "terminated" in state:
        return Advance(dict(held))
    if (held.get("image") or "") != (container.get("image") or ""):
        return _replaced(container, held, at)
    return _running(container, held, at)


def initial(container: Mapping[str, Any], reason: str) -> JSONObject:
    """The status of a container that waits for its turn."""
    image = container.get("image") or ""
    empty = {"name": container["name"], "image": image, "imageID": "", "lastState": {}, "ready": False, "restartCount": 0, "started": False}
    return {**empty, "state": {"waiting": {"reason": reason}}}


def stopped(container: Mapping[str, Any], held: Mapping[str, Any] | None, at: Setting, code: int) -> JSONObject:
    """The status of a container that is made to end now."""
    if held is None or "running" not in (held.get("state") or {}):
        if held is not None and "terminated" in (held.get("state") or {}):
            return dict(held)
        return initial(container, "ContainerCreating")
    return _ended(at.pod, container, held, Program(0.0, code), at.now)


def _running(container: Mapping[str, Any], held: Mapping[str, Any], at: Setting) -> Advance:
    """It goes on, or has come to its end."""
    does = _program(container, held.get("restartCount") or 0, at)
    started = parse_rfc3339(held["state"]["running"]["startedAt"])
    left_s = None if does.seconds is None else does.seconds - (at.now - started).total_seconds()
    if left_s is None or left_s > 0:
        status, ready_in_s = _ready(container, dict(held), started, at)
        return Advance(_resized(container, status), min((s for s in (left_s, ready_in_s) if s is not None), default=None))
    ended = _ended(at.pod, container, held, does, at.now)
    if at.restarts == "Never" or (at.restarts == "OnFailure" and not does.exit_code):
        return Advance(ended)
    return _restart(container, ended, at, ran_s=(at.now - started).total_seconds())


def _program(container: Mapping[str, Any], restarts: int, at: Setting) -> Program:
    ends = at.kind == "initContainers" and at.restarts != "Always" or at.kind == "ephemeralContainers"
    return program(at.pod, container, restarts, runs_once=True if ends else None if at.kind == "containers" else False)


def _waiting(container: Mapping[str, Any], held: Mapping[str, Any] | None, at: Setting) -> Advance:
    """It has not started yet, or was to wait before its restart."""
    last = meta.nested(held or {}, "lastState", "terminated")
    if not last:
        return _start(container, 0, {}, at)
    restarts = (held or {}).get("restartCount") or 0
    due = parse_rfc3339(last["finishedAt"]) + timedelta(seconds=_pause_s(restarts + 1))
    if at.now < due:
        return Advance(dict(held or {}), (due - at.now).total_seconds())
    return _start(container, restarts + 1, {"terminated": last}, at)


def _pause_s(restart: int) -> float:
    """Before the restart with this number."""
    return 0.0 if restart <= 1 else min(_FIRST_RESTART_S * 2 ** min(restart - 2, 10), _LONGEST_RESTART_S)


def _restart(container: Mapping[str, Any], ended: JSONObject, at: Setting, *, ran_s: float) -> Advance:
    restarts, last = ended["restartCount"] + 1, {"terminated": ended["state"]["terminated"]}
    pause_s = 0.0 if ran_s >= _FORGIVEN_S else _pause_s(restarts)
    if not pause_s:
        return _start(container, restarts, last, at)
    who = f"{container['name']} pod={meta.name(at.pod)}_{meta.namespace(at.pod)}({meta.uid(at.pod)})"
    told = f"back-off {_duration(pause_s)} restarting failed container={who}"
    status = {**ended, "lastState": last, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": told}}}
    message = f"Back-off restarting failed container {who.replace(' pod=', ' in pod ')}"
    return Advance(status, pause_s, [Remark("BackOff", message, container["name"], at.kind, is_warning=True)])


def _duration(seconds: float) -> str:
    """
    >>> _duration(40), _duration(160)
    ('40s', '2m40s')
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _start(container: Mapping[str, Any], restarts: int, last: JSONObject, at: Setting) -> Advance:
    does = _program(container, restarts, at)
    image, name = container.get("image") or "", container["name"]
    remarks = [
        Remark("Pulled", f'Container image "{image}" already present on machine and can be accessed by the pod', name, at.kind),
        Remark("Created", "Container created", name, at.kind),
        Remark("Started", "Container started", name, at.kind),
    ]
    running = {"running": {"startedAt": rfc3339(at.now)}}
    status = {**_identity(at.pod, container, restarts), "lastState": last, "restartCount": restarts, "state": running}
    if at.completes_at_once and does.seconds == 0.0 and (at.restarts == "Never" or not does.exit_code):
        return Advance(_ended(at.pod, container, status, does, at.now), None, remarks)
    status, ready_in_s = _ready(container, status, at.now, at)
    waits = (None if does.seconds is None else max(does.seconds, at.delay_s), ready_in_s)
    return Advance(_resized(container, status), min((s for s in waits if s is not None), default=None), remarks)


def _replaced(container: Mapping[str, Any], held: Mapping[str, Any], at: Setting) -> Advance:
    """Its image was changed: it ends and comes back with the new one."""
    ended = _ended(at.pod, container, held, Program(0.0, STOPPED), at.now)
    made = _start(container, (held.get("restartCount") or 0) + 1, {"terminated": ended["state"]["terminated"]}, at)
    told = f"Container {container['name']} definition changed, will be restarted"
    made.remarks.insert(0, Remark("Killing", told, container["name"], at.kind))
    return made


def _ready(container: Mapping[str, Any], status: JSONObject, started: datetime, at: Setting) -> tuple[JSONObject, float | None]:
    """Readiness: probes succeed once their initial delay is over, unless the pod's annotation says otherwise."""
    if at.kind == "ephemeralContainers":
        return {**status, "ready": False}, None
    ran_s = (at.now - started).total_seconds()
    starting_s = meta.nested(container, "startupProbe", "initialDelaySeconds", default=0)
    probing_s = max(meta.nested(container, "readinessProbe", "initialDelaySeconds", default=0), starting_s)
    is_ready = meta.annotations(at.pod).get(READY_ANNOTATION) != "false" and not _always_fails(container.get("readinessProbe"))
    next_s = min((s - ran_s for s in (starting_s, probing_s) if s > ran_s), default=None)
    return {**status, "started": ran_s >= starting_s, "ready": is_ready and ran_s >= probing_s}, next_s


def _always_fails(probe: Mapping[str, Any] | None) -> bool:
    command = meta.nested(probe or {}, "exec", "command", default=())
    return list(command) in (["false"], ["/bin/false"])


def _resized(container: Mapping[str, Any], status: JSONObject) -> JSONObject:
    """What the container may use is what its spec says: a resize takes effect at once. Source: KEP-1287."""
    resources = container.get("resources")
    if resources:
        status["resources"] = meta.copy_json(resources)
        if resources.get("requests"):
            status["allocatedResources"] = dict(resources["requests"])
    return status


def _identity(pod: Mapping[str, Any], container: Mapping[str, Any], restarts: int) -> JSONObject:
    image = container.get("image") or ""
    seed = meta.uid(pod) + container["name"] + (str(restarts) if restarts else "")
    return {
        "name": container["name"],
        "image": image,
        "imageID": f"sim.kcp.io/{image}@sim:{safe_suffix(image, 16)}",
        "containerID": f"sim://{safe_suffix(seed, 32)}",
    }


def _ended(pod: Mapping[str, Any], container: Mapping[str, Any], held: Mapping[str, Any], does: Program, now: datetime) -> JSONObject:
    restarts = held.get("restartCount") or 0
    started = meta.nested(held, "state", "running", "startedAt", default=rfc3339(now))
    identity = _identity(pod, container, restarts)
    end = {
        "exitCode": does.exit_code,
        "reason": "Error" if does.exit_code else "Completed",
        "startedAt": started,
        "finishedAt": rfc3339(now),
        "containerID": identity["containerID"],
    }
    if does.message:
        end["message"] = does.message
    done = {"lastState": held.get("lastState") or {}, "restartCount": restarts, "state": {"terminated": end}}
    is_done = not does.exit_code and any(c["name"] == container["name"] for c in meta.nested(pod, "spec", "initContainers", default=()))
    return {**identity, **done, "ready": is_done, "started": False}


def _unpullable(container: Mapping[str, Any], held: Mapping[str, Any] | None, at: Setting) -> Advance:
    """ErrImagePull first, then ImagePullBackOff, until the image is changed."""
    image, name = container.get("image") or "", container["name"]
    status = initial(container, "ErrImagePull")
    fault = f'failed to pull and unpack image "{image}": not found'
    tried = meta.nested(held or {}, "state", "waiting", "reason", default="")
    if tried not in ("ErrImagePull", "ImagePullBackOff"):
        status["state"]["waiting"]["message"] = fault
        said = [
            Remark("Pulling", f'Pulling image "{image}"', name, at.kind),
            Remark("Failed", f'Failed to pull image "{image}": {fault}', name, at.kind, is_warning=True),
            Remark("Failed", "Error: ErrImagePull", name, at.kind, is_warning=True),
        ]
        return Advance(status, _PULL_BACK_OFF_S, said)
    status["state"]["waiting"] = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
    if tried == "ImagePullBackOff":
        return Advance(status)
    said = [
        Remark("BackOff", f'Back-off pulling image "{image}"', name, at.kind),
        Remark("Failed", "Error: ImagePullBackOff", name, at.kind, is_warning=True),
    ]
    return Advance(status, None, said)
