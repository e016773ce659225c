"""What is measured of each kind of component.

    APIServer              a request through the whole path of this server, and how late its event loop is
    Storage                a read of the store
    <controllers>          failed reconciles of the last minutes, and work that stands still
    ClusterHealthTracker   each physical cluster, by its SyncTarget
    SyncTargetController   each syncer, by what it reports and its heartbeat
    PlacementController    Placements that no cluster fits
    RecoveryManager        recoveries that wait, and the share that helped
    ProjectionController   ResourceProjections that some cluster does not have as it should

Before: `server.tmc`. After: `monitor`. Source for names and thresholds of error rates: the TMC reference §5 and §7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kcp.aio.clock import Clock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.informer import Informer
from kcp.storage.interface import Store
from kcp.tmc.health.monitor import HealthConfig, Provider
from kcp.tmc.health.states import Check, Component, Status
from kcp.tmc.health.synctargets import has_reported
from kcp.tmc.model.kinds import HEARTBEAT_HEALTHY, READY, SYNCER_READY
from kcp.tmc.recovery.model import AT_ONCE, Recovery, State

SLOW_S = 1.0
"""An answer, of a request in this process or of the store, that takes longer is Degraded."""
_FEW = 5
"""Reconciles since the last look: of fewer, the share of failed ones says nothing."""
_FAILING, _OFTEN_FAILING = 0.1, 0.5
_SELDOM_HELPS, _HARDLY_HELPS = 0.8, 0.5

API_SERVER, STORAGE = Component("APIServer", "kcp"), Component("Storage", "store")
_TYPES = {"placement": "PlacementController", "projection": "ProjectionController", "synctarget": "SyncTargetController"}


def component_type(controller: str) -> str:
    """Of the controller with this name."""
    return _TYPES.get(controller, "Controller")


class Worker(Protocol):
    """A controller, as far as its health goes."""

    name: str

    def statistics(self) -> Mapping[str, int]: ...


def api_server(client: Client, clock: Clock) -> Provider:
    async def look() -> Sequence[Check]:
        started = clock.monotonic()
        await clock.sleep(0)
        late_s = clock.monotonic() - started
        await client.raw("GET", "/version")
        took_s = clock.monotonic() - started - late_s
        details = {"requestMilliseconds": f"{took_s * 1e3:.0f}", "eventLoopMilliseconds": f"{late_s * 1e3:.0f}"}
        return [_by_time(API_SERVER, max(took_s, late_s), "this server is too busy: it needs more CPU, or fewer clients", details)]

    return Provider(API_SERVER, look)


def storage(store: Store, clock: Clock) -> Provider:
    async def look() -> Sequence[Check]:
        started = clock.monotonic()
        await store.get(b"/registry/health")
        took_s = clock.monotonic() - started
        details = {"readMilliseconds": f"{took_s * 1e3:.0f}", **{key: str(value) for key, value in store.statistics().items()}}
        return [_by_time(STORAGE, took_s, "the store answers slowly: look at its disk, or at etcd", details)]

    return Provider(STORAGE, look)


def _by_time(component: Component, took_s: float, advice: str, details: Mapping[str, str]) -> Check:
    if took_s <= SLOW_S:
        return Check(component, Status.HEALTHY, details=details)
    return Check(component, Status.DEGRADED, f"an answer took {took_s:.1f} s; {advice}", details)


@dataclass(slots=True)
class _Progress:
    """Of one controller, at the last look."""

    done: int = 0
    failed: int = 0
    moved_at: float = 0.0


@dataclass(slots=True)
class Controllers:
    """All controllers of this process that are running now."""

    running: Callable[[], Iterable[Worker]]
    clock: Clock
    config: Callable[[], HealthConfig]
    """Of now: it may change while everything runs."""
    _seen: dict[str, _Progress] = field(default_factory=dict)

    def provider(self) -> Provider:
        return Provider(Component("TMCSystem", "controllers"), self.look)

    async def look(self) -> Sequence[Check]:
        return [self._check(worker.name, worker.statistics()) for worker in self.running()]

    def _check(self, name: str, numbers: Mapping[str, int]) -> Check:
        now = self.clock.monotonic()
        failed = numbers["error"] + numbers["terminal"]
        done = numbers["success"] + numbers["requeue_after"] + failed
        waiting = numbers["depth"] + numbers["processing"]
        seen = self._seen.setdefault(name, _Progress(done, failed, now))
        ran, bad = done - seen.done, failed - seen.failed
        if ran or not waiting:
            seen.moved_at = now
        seen.done, seen.failed = done, failed
        component = Component(component_type(name), name)
        details = {"reconciles": str(done), "errors": str(failed), "waiting": str(waiting)}
        still_s, config = now - seen.moved_at, self.config()
        if still_s > config.degraded_s:
            status = Status.UNHEALTHY if still_s > config.unhealthy_s else Status.DEGRADED
            return Check(component, status, f"{waiting} keys wait and none was done for {still_s:.0f} s", details)
        rate = bad / ran if ran >= _FEW else 0.0
        if rate > _FAILING:
            status = Status.UNHEALTHY if rate > _OFTEN_FAILING else Status.DEGRADED
            return Check(component, status, f"{bad} of the last {ran} reconciles failed: the log says why", details)
        return Check(component, Status.HEALTHY, details=details)


def clusters(targets: Callable[[], Informer]) -> Provider:
    """Each physical cluster, and its syncer."""

    async def look() -> Sequence[Check]:
        informer = targets()
        await informer.wait_synced()
        return [check for target in informer.list() for check in (_cluster(target), _syncer(target))]

    return Provider(Component("ClusterHealthTracker", "clusters"), look)


def _cluster(target: JSONObject) -> Check:
    component = Component("ClusterHealthTracker", f"{meta.name(target)}-{meta.cluster(target)}", meta.name(target))
    details = {"unschedulable": str(bool(meta.nested(target, "spec", "unschedulable", default=False))).lower()}
    if not has_reported(target):
        return Check(component, Status.UNKNOWN, "no syncer has connected yet", details)
    if conditions.is_true(target, READY):
        return Check(component, Status.HEALTHY, details=details)
    return Check(component, Status.UNHEALTHY, _message(target, READY), details)


def _syncer(target: JSONObject) -> Check:
    component = Component("SyncTargetController", f"syncer-{meta.name(target)}-{meta.cluster(target)}", meta.name(target))
    if not has_reported(target):
        return Check(component, Status.UNKNOWN, "it was never started")
    if conditions.is_false(target, HEARTBEAT_HEALTHY):
        return Check(component, Status.UNHEALTHY, _message(target, HEARTBEAT_HEALTHY))
    if conditions.get(target, SYNCER_READY) is not None and not conditions.is_true(target, SYNCER_READY):
        return Check(component, Status.DEGRADED, _message(target, SYNCER_READY))
    if breakers := meta.nested(target, "status", "circuitBreakers", default=()):
        told = "; ".join(f"{b.get('operation')} is {b.get('state')}: {b.get('message') or 'it is tried'}" for b in breakers)
        return Check(component, Status.DEGRADED, f"circuit breaker for {told}")
    return Check(component, Status.HEALTHY)


def _message(obj: JSONObject, condition: str) -> str:
    found = conditions.get(obj, condition) or {}
    return str(found.get("message") or found.get("reason") or f"condition {condition} is not True")


def placements(informer: Callable[[], Informer]) -> Provider:
    component = Component("PlacementController", "placements")

    async def look() -> Sequence[Check]:
        held = informer()
        await held.wait_synced()
        every = held.list()
        waiting = [obj for obj in every if meta.nested(obj, "status", "phase") == "Pending"]
        details = {"placements": str(len(every)), "pending": str(len(waiting))}
        if not waiting:
            return [Check(component, Status.HEALTHY, details=details)]
        names = ", ".join(sorted(f"{meta.cluster(obj)}/{meta.name(obj)}" for obj in waiting)[:3])
        message = f"{len(waiting)} of {len(every)} Placements have no cluster: {names}; `kubectl tmc why` says why"
        return [Check(component, Status.DEGRADED, message, details)]

    return Provider(component, look)


def projections(informer: Callable[[], Informer]) -> Provider:
    component = Component("ProjectionController", "projections")

    async def look() -> Sequence[Check]:
        held = informer()
        await held.wait_synced()
        every = held.list()
        troubled = [obj for obj in every if meta.nested(obj, "status", "phase") in ("Failed", "OutOfSync")]
        details = {"projections": str(len(every)), "troubled": str(len(troubled))}
        if not troubled:
            return [Check(component, Status.HEALTHY, details=details)]
        first = min(troubled, key=lambda obj: (meta.cluster(obj), meta.name(obj)))
        message = (
            f"{len(troubled)} of {len(every)} ResourceProjections fail: {meta.cluster(first)}/{meta.name(first)}: {_message(first, READY)}"
        )
        return [Check(component, Status.DEGRADED, message, details)]

    return Provider(component, look)


def recoveries(informer: Callable[[], Informer]) -> Provider:
    """The recovery manager: whether it has room, and how often it helps."""
    component = Component("RecoveryManager", "recovery")

    async def look() -> Sequence[Check]:
        held = informer()
        await held.wait_synced()
        every = [Recovery.of(obj) for obj in held.list()]
        active = sum(1 for r in every if r.state is State.IN_PROGRESS)
        waiting = sum(1 for r in every if r.state is State.PENDING)
        ended = [r for r in every if r.is_finished and r.state is not State.CANCELLED]
        helped = sum(1 for r in ended if r.state is State.COMPLETED)
        details = {"activeRecoveries": str(active), "pending": str(waiting), "successfulRecoveries": str(helped),
                   "failedRecoveries": str(len(ended) - helped)}  # fmt: skip
        rate = helped / len(ended) if len(ended) >= _FEW else 1.0
        if rate < _SELDOM_HELPS:
            status = Status.UNHEALTHY if rate < _HARDLY_HELPS else Status.DEGRADED
            return [
                Check(component, status, f"only {helped} of {len(ended)} recoveries helped: `kubectl get recoveries` says why", details)
            ]
        if waiting and active >= AT_ONCE:
            return [Check(component, Status.DEGRADED, f"{active} recoveries are in progress and {waiting} wait", details)]
        return [Check(component, Status.HEALTHY, details=details)]

    return Provider(component, look)
