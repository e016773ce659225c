"""The log of a simulated container: what its program prints, as far as that is known, else that it started and ended.

Before: `podverbs`, `dialing` (attach). After: `workloads.programs`.
Nothing is stored: the lines follow from the command, the start and the time now.
Source: pkg/registry/core/pod/{rest/log,strategy}.go (LogLocation), pkg/apis/core/validation (ValidatePodLogOptions).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339_micro
from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest, Cause, Invalid
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.handlers.options import number
from kcp.apiserver.request import Request
from kcp.apiserver.requestinfo import is_true
from kcp.sim.podchanges import PodChanges
from kcp.sim.workloads.programs import program

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_LEAST = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}
_AT_LEAST = {0: "must be greater than or equal to 0", 1: "must be greater than 0"}

_LOOK_AGAIN_S = 3600.0
"""Where only a change of the pod can bring something new."""
_A_LITTLE_S = 0.001
"""So that what is due then is due when it is looked at."""

Lines: TypeAlias = list[tuple[datetime, str]]


def options(req: Request) -> dict[str, int]:
    """The numbers that are asked for. Raises: BadRequest, Invalid."""
    found = {name: number(req.query, name) for name in _LEAST if name in req.query}
    causes = [Cause.invalid(name, value, _AT_LEAST[_LEAST[name]]) for name, value in found.items() if value < _LEAST[name]]
    if causes:
        raise Invalid.of(GroupResource("", "pods"), "PodLogOptions", "", causes)
    return found


def log(pod: JSONObject, req: Request, asked: Mapping[str, int], now: datetime) -> bytes:
    """What the container meant has said. Raises: BadRequest. Args: asked: see `options`."""
    wanted = container_name(pod, req.query.get("container") or "")
    if not meta.nested(pod, "spec", "nodeName"):
        return b""  # there is no kubelet to ask
    held = container_status(pod, wanted)
    restarts = held.get("restartCount") or 0
    state = held.get("state") or {}
    if is_true(req.query.get("previous")):
        state, restarts = held.get("lastState") or {}, max(restarts - 1, 0)
        if "terminated" not in state:
            raise BadRequest(f'previous terminated container "{wanted}" in pod "{meta.name(pod)}" not found')
    elif "waiting" in state and "terminated" in (held.get("lastState") or {}):
        state = held["lastState"]  # it waits for its restart: what it said is still there
    lines = _chosen(_lines(pod, wanted, state, restarts, now), req, asked, now)
    text = _text(lines, req)
    return text[: asked["limitBytes"]] if "limitBytes" in asked else text


def _text(lines: Lines, req: Request) -> bytes:
    with_time = is_true(req.query.get("timestamps"))
    return "".join(f"{rfc3339_micro(at)} {line}\n" if with_time else f"{line}\n" for at, line in lines).encode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Following:
    """One container's output from now on, as long as this run of it lasts."""

    pod: JSONObject
    container: str
    get: Callable[[], Awaitable[JSONObject | None]]
    """The pod as it is now."""
    changes: PodChanges
    clock: Clock

    async def lines(self) -> AsyncGenerator[Lines, None]:
        """What is new, whenever there is something."""
        name, pod = self.container, self.pod
        restarts = container_status(pod, name).get("restartCount") or 0
        told = self._of_run(pod, restarts)[0]
        while True:
            lines, is_over = self._of_run(pod, restarts)
            if news := _added(told, lines):
                yield news
                told = lines
            if is_over:
                return
            await self.changes.wait(meta.namespace(pod), meta.name(pod), self.clock, self._next_s(pod, restarts))
            now = await self.get()
            if now is None or meta.uid(now) != meta.uid(self.pod):
                return
            pod = now

    def _of_run(self, pod: JSONObject, restarts: int) -> tuple[Lines, bool]:
        """All lines of this run so far, and whether it has ended."""
        held = container_status(pod, self.container)
        is_former = (held.get("restartCount") or 0) != restarts
        state = (held.get("lastState") if is_former else held.get("state")) or {}
        if "running" not in state and "terminated" not in state:
            return [], True
        return _lines(pod, self.container, state, restarts, self.clock.now()), "terminated" in state

    def _next_s(self, pod: JSONObject, restarts: int) -> float:
        """Seconds until the program prints again, as far as that is known."""
        started = meta.nested(container_status(pod, self.container), "state", "running", "startedAt")
        printed = program(pod, container_spec(pod, self.container), restarts).lines
        if not started or printed is None:
            return _LOOK_AGAIN_S
        passed_s = (self.clock.now() - parse_rfc3339(started)).total_seconds()
        return min((at_s - passed_s for at_s, _ in printed if at_s > passed_s), default=_LOOK_AGAIN_S) + _A_LITTLE_S


def _added(told: Lines, lines: Lines) -> Lines:
    """What is new; a last line that has grown since is told once more, as a whole."""
    begun = len(told) - 1
    if 0 <= begun < len(lines) and lines[begun][1] != told[begun][1]:
        return lines[begun:]
    return lines[len(told) :]


async def follow(first: bytes, following: Following, req: Request, asked: Mapping[str, int]) -> AsyncGenerator[bytes, None]:
    """A log and what comes after it. Args: first: what `log` gave."""
    left = asked.get("limitBytes")
    if first:
        yield first
    left = None if left is None else left - len(first)
    async with aclosing(following.lines()) as news:
        async for lines in news:
            text = _text(lines, req)
            if left is not None:
                text, left = text[:left], left - len(text)
            if text:
                yield text
            if left is not None and left <= 0:
                return


def _chosen(lines: Lines, req: Request, asked: Mapping[str, int], now: datetime) -> Lines:
    if "sinceSeconds" in asked:
        lines = [(at, line) for at, line in lines if at >= now - timedelta(seconds=asked["sinceSeconds"])]
    elif since := req.query.get("sinceTime"):
        try:
            first = parse_rfc3339(since)
        except ValueError as error:
            raise BadRequest(f"sinceTime: {error}") from error
        lines = [(at, line) for at, line in lines if at >= first]
    return lines[len(lines) - min(asked["tailLines"], len(lines)) :] if "tailLines" in asked else lines


def container_status(pod: JSONObject, name: str) -> JSONObject:
    found: JSONObject = {c["name"]: c for part in _STATUSES for c in meta.nested(pod, "status", part, default=())}.get(name, {})
    return found


def container_spec(pod: Mapping[str, Any], name: str) -> JSONObject:
    return next((c for part in _CONTAINERS for c in meta.nested(pod, "spec", part, default=()) if c["name"] == name), {})


def container_name(pod: JSONObject, wanted: str) -> str:
    """The container meant. Raises BadRequest. Source: pkg/registry/core/pod/strategy.go (validateContainer)."""
    names, first, others = ([c["name"] for c in meta.nested(pod, "spec", part, default=())] for part in _CONTAINERS)
    if wanted:
        if wanted not in (*names, *first, *others):
            raise BadRequest(f"container {wanted} is not valid for pod {meta.name(pod)}")
        return wanted
    if len(names) == 1:
        return str(names[0])
    more = f" or one of the init containers: [{' '.join(first)}]" if first else ""
    raise BadRequest(f"a container name must be specified for pod {meta.name(pod)}, choose one of: [{' '.join(names)}]{more}")


def _lines(pod: Mapping[str, Any], name: str, state: Mapping[str, Any], restarts: int, now: datetime) -> Lines:
    """Raises: BadRequest while the container waits for the first time."""
    if not state or "waiting" in state:
        reason = meta.nested(state, "waiting", "reason", default="ContainerCreating")
        raise BadRequest(f'container "{name}" in pod "{meta.name(pod)}" is waiting to start: {reason}')
    held = state.get("running") or state.get("terminated") or {}
    started = parse_rfc3339(held["startedAt"]) if held.get("startedAt") else now
    ended = parse_rfc3339(held["finishedAt"]) if held.get("finishedAt") else now
    printed = program(pod, container_spec(pod, name), restarts).lines
    if printed is not None:
        return [(started + timedelta(seconds=s), line) for s, line in printed if started + timedelta(seconds=s) <= ended]
    lines = [(started, f"{held.get('startedAt', '')} container {name} of pod {meta.name(pod)} started (simulated)")]
    if "terminated" in state:
        lines.append((ended, f"{held.get('finishedAt', '')} container {name} ended with exit code {held.get('exitCode', 0)}"))
    return lines
