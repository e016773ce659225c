"""Faults as objects of a simulated cluster: created, the cluster breaks; deleted, it is whole again. So a scenario is a file.

They are seen past the fault itself, and reached at the cluster's control URL whatever its fault is.
Before: `cluster`. After: `faults.FaultSwitch`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339, rfc3339_micro
from kcp.aio.durations import parse_duration
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.controller.informer import Informer
from kcp.sim.faults import Fault, FaultState

FAULTS = GVR("sim.kcp.io", "v1alpha1", "faults")
DEFAULT_LATENCY, DEFAULT_SKEW = "500ms", "10m"
_ALL = ObjectKey(ClusterName(""), "", "faults")


@cache
def definition() -> JSONObject:
    """The API of faults as an established CustomResourceDefinition. It is served without being stored. Shared: not to be changed."""
    import yaml

    crd: JSONObject = yaml.safe_load(files("kcp.sim").joinpath("faults.sim.kcp.io.yaml").read_text())
    return {**crd, "status": {"conditions": [{"type": "Established", "status": "True"}], "storedVersions": ["v1alpha1"]}}


class FaultError(ValueError):
    """A Fault says something that cannot be; the message names the field."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When a Fault counts."""

    begins: datetime
    ends: datetime | None


def state_of(spec: Mapping[str, Any]) -> FaultState:
    """Raises FaultError."""
    fault = Fault(spec["type"])
    latency_s = _seconds(spec, "latency", DEFAULT_LATENCY) if fault is Fault.SLOW else 0.0
    return FaultState(fault, latency_s, _seconds(spec, "skew", DEFAULT_SKEW) if fault is Fault.SKEW else 0.0)


def timing_of(obj: JSONObject, now: datetime) -> Timing:
    """By the right time, of which the cluster's own clock, and so a creationTimestamp, may know nothing. Raises FaultError."""
    spec = obj["spec"]
    begins = _seen(obj, now) + timedelta(seconds=_seconds(spec, "after", "0s"))
    return Timing(begins, begins + timedelta(seconds=_seconds(spec, "duration", "0s")) if spec.get("duration") else None)


def _seen(obj: JSONObject, now: datetime) -> datetime:
    """When it was first seen."""
    seen = meta.nested(obj, "status", "seen", default="")
    return parse_rfc3339(seen) if seen else now


def _seconds(spec: Mapping[str, Any], name: str, default: str) -> float:
    text = str(spec.get(name) or default)
    try:
        return -parse_duration(text[1:]) if text.startswith("-") else parse_duration(text)
    except ValueError as error:
        raise FaultError(f"spec.{name}: {error}") from error


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one Fault now."""

    phase: str
    message: str = ""
    look_again_s: float | None = None
    is_over: bool = False
    state: FaultState | None = None
    """Of one that could count."""


def judge(obj: JSONObject, cluster: str, now: datetime) -> Verdict:
    """Without regard to others. Pure."""
    meant_for = obj["spec"].get("cluster") or cluster
    if meant_for != cluster:
        return Verdict("Ignored", f"meant for cluster {meant_for}; this is {cluster}")
    try:
        state, timing = state_of(obj["spec"]), timing_of(obj, now)
    except FaultError as error:
        return Verdict("Ignored", str(error))
    if timing.begins > now:
        return Verdict("Waiting", f"begins at {rfc3339(timing.begins)}", (timing.begins - now).total_seconds())
    if timing.ends is not None and timing.ends <= now:
        return Verdict("Waiting", is_over=True)
    return Verdict("Active", look_again_s=(timing.ends - now).total_seconds() if timing.ends else None, state=state)


@dataclass
class FaultReconciler:
    """All Faults of a cluster at once, because one of them counts."""

    cluster: str
    faults: Informer
    client: Client
    """Past the faults."""
    set_fault: Callable[[FaultState], Awaitable[None]]
    clock: Clock
    """The right time, whatever the cluster's clock says: an object's own time is what it was when it was made."""
    _is_broken: bool = False
    """By an object; what a command set is left alone."""

    async def reconcile(self, _key: ObjectKey) -> Result:
        now = self.clock.now()
        held = sorted(self.faults.list(), key=lambda obj: (_seen(obj, now), meta.name(obj)))
        verdicts = [(obj, judge(obj, self.cluster, now)) for obj in held if not meta.deletion_timestamp(obj)]
        counting = [obj for obj, verdict in verdicts if verdict.state is not None]
        for obj, verdict in verdicts:
            if verdict.is_over:
                await self._delete(obj)
            elif verdict.state is not None and obj is not counting[-1]:
                await self._tell(obj, Verdict("Waiting", f"{meta.name(counting[-1])} is newer and counts"))
            else:
                await self._tell(obj, verdict)  # before it takes effect: a full cluster takes no status
        await self._apply(next((v.state for o, v in reversed(verdicts) if v.state is not None), None))
        due = [verdict.look_again_s for _, verdict in verdicts if verdict.look_again_s is not None]
        return Result(requeue_after_s=max(min(due), 0.0) + 0.001 if due else None)

    async def _apply(self, state: FaultState | None) -> None:
        if state is None and not self._is_broken:
            return
        self._is_broken = state is not None
        await self.set_fault(state or FaultState())

    async def _tell(self, obj: JSONObject, verdict: Verdict) -> None:
        status = {"phase": verdict.phase, **({"message": verdict.message} if verdict.message else {})}
        now = self.clock.now()
        status["seen"] = rfc3339_micro(_seen(obj, now))
        if status != obj.get("status"):
            await commit(self.client.resource(FAULTS), obj, {**obj, "status": status})

    async def _delete(self, obj: JSONObject) -> None:
        try:
            await self.client.resource(FAULTS).delete(meta.name(obj))
        except NotFound:
            return  # somebody was quicker


async def delete_all(client: Client) -> None:
    """Args: client: past the faults."""
    resource = client.resource(FAULTS)
    for obj in (await resource.list()).items:
        try:
            await resource.delete(meta.name(obj))
        except NotFound:
            continue


def build_fault_controller(
    cluster: str, client: Client, informers: InformerFactory, set_fault: Callable[[FaultState], Awaitable[None]], clock: Clock
) -> Controller:
    """Args: client, informers: past the faults."""
    faults = informers.informer(FAULTS)
    reconciler = FaultReconciler(cluster, faults, client, set_fault, clock)
    made = Controller("faults", reconciler.reconcile, clock=clock, workers=1)
    made.watch(faults, lambda _key, _old, _new: (_ALL,))
    return made
