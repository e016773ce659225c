"""The syncer put together: which resources both sides serve, and a pair of controllers for each.

Before: `cli.workload_syncer` and the sandbox. After: `spec`, `status`, `namespaces`, `heartbeat`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from kcp.aio.clock import Clock
from kcp.aio.deadline import within
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Conflict, NotFound, StatusError, Unauthorized
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.client.transport import TransportError, UntrustedServer
from kcp.controller.controller import Controller
from kcp.controller.factory import InformerFactory, without_managed_fields
from kcp.controller.floodgate import Floodgate
from kcp.controller.informer import Informer
from kcp.tmc.breaker import Breakers, CircuitBreaker, State
from kcp.tmc.errors import ErrorType, TMCError
from kcp.tmc.model.kinds import NAMESPACES, SYNC_TARGETS
from kcp.tmc.model.names import DOWNSTREAM_CLUSTER_LABEL
from kcp.tmc.syncer.access import BY_TOKEN, SECRETS, TEMPLATED, Tokens, index_by_token, is_token
from kcp.tmc.syncer.adoption import is_nobodys
from kcp.tmc.syncer.capacity import Capacity
from kcp.tmc.syncer.fence import Fence
from kcp.tmc.syncer.fetching import build_fetch_controller
from kcp.tmc.syncer.former import BY_ORIGIN, FormerReconciler, build_former_controller, index_by_origin
from kcp.tmc.syncer.heartbeat import Heartbeat, Side
from kcp.tmc.syncer.held import restoration
from kcp.tmc.syncer.identity import Identity, made_anew
from kcp.tmc.syncer.importer import CRDS, Importer, listed_apis
from kcp.tmc.syncer.lease import EpochLease, EpochTransport, LeaseLost, held
from kcp.tmc.syncer.namespaces import NamespaceKeeper, NamespaceReconciler, build_namespace_controller
from kcp.tmc.syncer.parts import Parts, Turns, turns_of
from kcp.tmc.syncer.record import Record
from kcp.tmc.syncer.recovering import Recovering
from kcp.tmc.syncer.settings import SyncerConfig
from kcp.tmc.syncer.spec import SpecReconciler, build_spec_controller
from kcp.tmc.syncer.status import StatusReconciler, build_status_controller
from kcp.tmc.syncer.tracing import SyncerTracing
from kcp.tmc.syncer.transformations import Transformations
from kcp.tmc.syncer.tunnel import Tunnel
from kcp.tmc.syncer.upsync import Upsyncing
from kcp.tracing.tracer import Tracer

log = logging.getLogger(__name__)

_FIRST_LOOK_S = 5.0
CONFIG_MAPS = GVR("", "v1", "configmaps")
_WORKSPACES = GroupResource("tenancy.kcp.io", "workspaces")
_RESYNC_SLICES = 16
_SECOND_LOOK_S = 1.0
_HOLD_TOLD_S = 60.0
_GATHER_S = 0.05
"""Seconds in which several APIs that appear make one look."""


async def find_target(control_plane: Client, workspace: str, name: str, uid: str, downstream: Client | None = None) -> Identity:
    """The SyncTarget that a syncer is told to serve.

    Args: control_plane: base path "" (the server). workspace: path or cluster name. uid: "" for whichever it has. downstream: where it
    shows whether another uid was ever a SyncTarget's; one that was nobody's is no reason not to start. None: any other is refused.
    Raises: TMCError with what to do: no such workspace or target, or another uid.
    """
    home = control_plane.cluster(workspace)
    try:
        target = await home.resource(SYNC_TARGETS).get(name)
    except NotFound as error:
        if error.is_of(_WORKSPACES, workspace):
            raise TMCError(ErrorType.CONFIGURATION, f"{error.message}, or check --workspace-cluster", workspace, "start") from error
        message = (
            f'SyncTarget "{name}" in workspace "{workspace}" not found: create it there first, or check --workspace-cluster '
            "and --sync-target-name"
        )
        raise TMCError(ErrorType.CONFIGURATION, message, name, "start") from error
    if uid and meta.uid(target) != uid:
        if downstream is None or not await is_nobodys(uid, name, home, downstream):
            raise made_anew(target, uid)
        advice = "with it, or without --sync-target-uid, this line is not written"
        log.warning("no SyncTarget has uid %s: SyncTarget %s is served under its own, %s; %s", uid, name, meta.uid(target), advice)
    return Identity(meta.cluster(target), name, meta.uid(target))


async def first_contact(  # noqa: PLR0913 - what a syncer is told, spelled out
    control_plane: Client, downstream: Client, clock: Clock, config: SyncerConfig, *, workspace: str, name: str, uid: str
) -> Identity:
    """`find_target` of a syncer that starts. Where it cannot ask, it stops the exclusive copies of an earlier one: nobody else would.

    It tries for a third of a lease before it does so; where there is nothing to stop it raises at once.
    Raises: as `find_target`; TransportError, StatusError.
    """
    fence, ends_s = Fence.by_name(name, downstream, clock), clock.monotonic() + config.lease_s / 3
    while True:
        try:
            return await within(clock, config.lease_s / 3, find_target(control_plane, workspace, name, uid, downstream))
        except (TransportError, StatusError, TimeoutError) as error:
            needed = await fence.is_needed()
            if needed and clock.monotonic() < ends_s:
                log.warning("kcp cannot be asked for SyncTarget %s; it is tried again: %s", name, error)
                await clock.sleep(_SECOND_LOOK_S)
                continue
            if needed:
                await fence.stop()
            if isinstance(error, TimeoutError):
                raise TransportError(f"kcp does not answer when asked for SyncTarget {name}", where=workspace) from error
            raise


async def check_cluster(downstream: Client, identity: Identity, clock: Clock) -> None:
    """Look whether the physical cluster lets this syncer in.

    A cluster that is away is no reason not to start: its SyncTarget says so until it is back.
    Raises: StatusError, UntrustedServer where only another kubeconfig helps.
    """
    try:
        await within(clock, _FIRST_LOOK_S, downstream.raw("GET", "/version"))
    except (UntrustedServer, Unauthorized):
        raise
    except (StatusError, TransportError, TimeoutError) as error:
        log.warning("cluster %s cannot be used yet, it is tried again: %s", identity.name, error)


class Pair(NamedTuple):
    """What syncs one resource."""

    above: Informer
    below: Informer
    spec: Controller
    status: Controller


class Looks(NamedTuple):
    """What discovery looks at, and what it tells."""

    supervisor: Supervisor
    view: Client
    upstream: InformerFactory
    downstream: InformerFactory
    importer: Importer
    upsyncing: Upsyncing | None


@dataclass(slots=True)
class Syncer:
    """One running syncer. Run `run()` until cancelled; killing it at any point loses nothing."""

    identity: Identity
    control_plane: Client
    """The kcp server, base path ""."""
    downstream: Client
    clock: Clock
    config: SyncerConfig = field(default_factory=SyncerConfig)
    record: Record | None = None
    """The account of its work; one of its own if none is given."""
    holder: str = ""
    """Who this is, for the epoch lease; "": no lease, as where nobody else can serve the target."""
    announce: Callable[[str], None] = lambda _: None
    """Told, in a sentence, what a user watching the syncer wants to know."""
    tracer: Tracer | None = None
    """None: nothing is traced."""
    _tracing: SyncerTracing | None = None
    _synced: dict[GVR, Pair] = field(default_factory=dict)
    _unserved: list[str] | None = None
    """Group-resources of the target's exports that the cluster does not serve; None: not looked yet."""
    _parts: Parts = field(init=False)
    _turns: Turns = field(init=False)
    _gate: Floodgate = field(init=False)
    """Of the watches of resources."""
    _hold_told_s: float = -inf
    _capacity: Capacity = field(init=False)
    _controllers: list[Controller] = field(default_factory=list)
    _discovery_problem: str = ""
    _look_now: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when discovery should not wait for its turn."""
    _missing: set[GroupResource] = field(default_factory=set)
    _recovering: Recovering = field(init=False)

    def __post_init__(self) -> None:
        if self.tracer is not None:
            self._tracing = SyncerTracing(self.tracer, self.clock, self.identity.name)
            self.downstream = self._tracing.client(self.downstream)

    async def run(self) -> None:
        if not self.holder:
            await self._serve(None)
        lease = EpochLease(self.identity, self._workspace(), self.clock, self.holder, self.config.lease_s)
        while True:
            await lease.acquire(self._account().stand_by, self._fence().stop)
            try:
                async with held(lease):
                    await self._serve(lease)
            except LeaseLost as lost:
                log.warning("%s; standing by", lost)

    def _fence(self) -> Fence:
        return Fence.of(self.identity, self.downstream, self.clock)

    def _account(self) -> Record:
        if self.record is None:
            self.record = Record(self.clock)
        return self.record

    async def _serve(self, lease: EpochLease | None) -> None:
        """Until it fails, or the lease is lost."""
        for held_before in (self._synced, self._controllers, self._account().controllers):
            held_before.clear()
        self._unserved = None
        async with Supervisor(f"syncer {self.identity.name}") as supervisor:
            transport = EpochTransport(self.control_plane.transport, lease) if lease is not None else self.control_plane.transport
            control_plane = self.control_plane
            shown = Client(transport, clock=self.clock, user_agent=control_plane.user_agent, origin=control_plane.origin)
            view = shown.at(self.identity.view_path())
            upstream = InformerFactory(view, clock=self.clock)
            downstream = InformerFactory(self.downstream, clock=self.clock, transform=without_managed_fields)
            record = self._account()
            limit = self.config.backlog_limit
            self._gate = Floodgate(2 * limit, limit, record.pressing, self._hold)
            record.worked = self._gate.look
            self._start_namespaces(supervisor, view, upstream, downstream, record)
            self._turns = turns_of(self.config.max_concurrent_syncs, lease.wait_valid if lease is not None else None)
            self._capacity = Capacity(self.downstream, self.clock)
            self._capacity.start(supervisor)
            if self.config.transformations:
                await self._follow_transformations(supervisor)
            upstream.run_all(supervisor)
            downstream.run_all(supervisor)
            self._recovering = self._recover(downstream)
            supervisor.spawn(self._recovering.run(), name="recovering")
            supervisor.spawn(self._heartbeat(upstream, downstream, lease).run(), name="heartbeat")
            if lease is not None:
                supervisor.spawn(lease.expire(self._fence().stop), name="lease")
            upsyncing = self._upsyncing(supervisor, shown.at(self.identity.view_path("upsyncer")), downstream)
            importer = self._importer(supervisor, downstream)
            self._fetch(supervisor, downstream)
            looks = Looks(supervisor, view, upstream, downstream, importer, upsyncing)
            supervisor.spawn(self._follow_discovery(looks), name="discovery")
            if self.config.resync_period_s < inf:
                supervisor.spawn(self._resync(), name="resync")
            if self.config.tunnel:
                tunnel = Tunnel(self.identity, control_plane, self.downstream, self.clock, self._parts.namespaces.locator, self.announce)
                supervisor.spawn(tunnel.run(), name="tunnel")
            record.started_s = self.clock.monotonic()
            raise await supervisor.wait_failed()

    def statistics(self) -> dict[str, int]:
        return {"resources": len(self._synced)}

    async def _follow_transformations(self, supervisor: Supervisor) -> None:
        """Read them before anything is synced, if they can be read soon; and look at everything again when they change."""
        namespace, _, name = self.config.transformations.rpartition("/")
        factory = InformerFactory(self._workspace(), clock=self.clock)
        maps = factory.informer(CONFIG_MAPS, namespace=namespace, field_selector=f"metadata.name={name}")

        def changed(_key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> None:
            self._parts.transformations.read(new)
            for pair in self._synced.values():
                for key in pair.above.keys():
                    pair.spec.enqueue(key)

        maps.add_handler(changed)
        factory.run_all(supervisor)
        try:
            await within(self.clock, _FIRST_LOOK_S, maps.wait_synced())
        except TimeoutError:
            log.warning("ConfigMap %s cannot be read: objects are synced without transformations until it can", self.config.transformations)

    async def _resync(self) -> None:
        """Look at every object once in a period, a slice at a time: what no event told of is found, and no burst of work comes of it."""
        while True:
            for number in range(_RESYNC_SLICES):
                await self.clock.sleep(self.config.resync_period_s / _RESYNC_SLICES)
                for pair in self._synced.values():
                    for controller, informer in ((pair.spec, pair.above), (pair.status, pair.below)):
                        for key in informer.keys()[number::_RESYNC_SLICES]:
                            controller.enqueue(key)

    def _start_namespaces(
        self, supervisor: Supervisor, view: Client, upstream: InformerFactory, downstream: InformerFactory, record: Record
    ) -> None:
        below = downstream.informer(NAMESPACES, label_selector=self._label(), indexers={BY_ORIGIN: index_by_origin})
        keeper = NamespaceKeeper(self.identity, self.downstream, below.peek)
        self._parts = Parts(
            self.identity, view.cluster, self.downstream, keeper, self.clock, self.config, record, Transformations(self.identity.name),
            Tokens(upstream.informer(SECRETS, indexers={BY_TOKEN: index_by_token})),
            Breakers(self.identity.name, self.clock, self.config.breaker, self._breaker_changed),
        )  # fmt: skip
        above = upstream.informer(NAMESPACES)
        reconciler = NamespaceReconciler(
            self.identity,
            keeper,
            above.get,
            view.cluster,
            self.downstream,
            self._is_used,
            self.config.namespace_clean_delay_s,
            self._parts.held,
        )
        self._run(supervisor, build_namespace_controller(reconciler, above, below, clock=self.clock))
        former = FormerReconciler(
            self.identity,
            below.get,
            lambda name: self._is_used(ObjectKey(ClusterName(""), "", name)),
            self._workspace(),
            self.downstream,
            self._may_delete,
        )
        self._run(supervisor, build_former_controller(former, below, clock=self.clock))

    def _upsyncing(self, supervisor: Supervisor, view: Client, downstream: InformerFactory) -> Upsyncing | None:
        """What shows objects of the cluster in workspaces, if it should."""
        if not self.config.upsync:
            return None
        shown = InformerFactory(view, clock=self.clock)
        shown.run_all(supervisor)
        return Upsyncing(self._parts, view, shown, downstream, self._turns, lambda controller: self._run(supervisor, controller))

    def _fetch(self, supervisor: Supervisor, downstream: InformerFactory) -> None:
        """What shows single objects of the cluster in the SyncTarget's workspace."""
        factory, workspace = InformerFactory(self._workspace(), clock=self.clock), self._workspace()
        crds = downstream.informer(CRDS, metadata_only=True)
        self._run(supervisor, build_fetch_controller(self.identity.name, factory, crds, workspace, self.downstream, clock=self.clock))
        factory.run_all(supervisor)

    def _importer(self, supervisor: Supervisor, downstream: InformerFactory) -> Importer:
        """What tells the control plane of the cluster's APIs; and what wakes discovery when either side gets another one."""
        factory = InformerFactory(self._workspace(), clock=self.clock)
        target = factory.informer(SYNC_TARGETS, field_selector=f"metadata.name={self.identity.name}")
        crds = downstream.informer(CRDS, metadata_only=True)

        def listed(_key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
            if new is not None:
                self._recovering.seen(new)
            if old is None or new is None or listed_apis(old) != listed_apis(new):
                self._look_now.set()

        target.add_handler(listed)
        crds.add_handler(lambda _key, _old, _new: self._look_now.set())
        factory.run_all(supervisor)
        return Importer(self.identity, self._workspace(), self.downstream, target, crds, self.clock)

    async def _follow_discovery(self, looks: Looks) -> None:
        """Start syncing every resource that both sides serve, now and later."""
        is_told = False
        while True:
            self._look_now.clear()
            delay_s = self.config.discovery_period_s
            try:
                await self._look(looks)
            except (StatusError, TransportError) as error:
                self._tell_discovery_problem(str(error))
                delay_s = 1.0
            else:
                self._discovery_problem = ""
            try:
                # What was told of may be served a moment later: look once more before resting.
                await within(self.clock, min(delay_s, _SECOND_LOOK_S) if is_told else delay_s, self._look_now.wait())
            except TimeoutError:
                is_told = False  # the usual case: time to look again
            else:
                is_told = True
                await self.clock.sleep(_GATHER_S)

    async def _look(self, looks: Looks) -> None:
        offered = {r.gvr: r for r in await looks.view.discover() if r.namespaced and "watch" in r.verbs}
        found = {r.gvr: r for r in await self.downstream.discover() if "patch" in r.verbs}
        served = set(found)
        self._tell_unserved(served)
        self._tell_missing({gvr.group_resource for gvr in set(offered) & served})
        for gvr in sorted(set(offered) & served - set(self._synced)):
            self._start_resource(gvr, looks.supervisor, looks.upstream, looks.downstream)
        if looks.upsyncing is not None:
            await looks.upsyncing.follow(served)
        self._unserved = await looks.importer.tell(self.config.wanted, found)

    def _tell_unserved(self, served: set[GVR]) -> None:
        """Every object of a resource that went, or came back, is looked at: its user should know."""
        unserved = set(self._synced) - served
        changed = unserved ^ self._parts.unserved
        self._parts.unserved.clear()
        self._parts.unserved.update(unserved)
        for gvr in changed:
            log.warning("cluster %s %s %s", self.identity.name, "serves no more" if gvr in unserved else "serves again", gvr)
            for key in self._synced[gvr].above.keys():
                self._synced[gvr].spec.enqueue(key)

    def _tell_missing(self, synced: set[GroupResource]) -> None:
        """Name, once for each change, what the user counts on and one of the sides does not serve."""
        wanted = {
            GroupResource("" if group == "core" else group, name) for name, _, group in (w.partition(".") for w in self.config.wanted)
        }
        missing = wanted - synced
        if missing - self._missing:
            names = ", ".join(sorted(map(str, missing)))
            log.warning("cannot sync %s: they must be served by the physical cluster, and in kcp by a bound APIExport", names)
        self._missing = missing

    def _tell_discovery_problem(self, problem: str) -> None:
        """Once, not every second."""
        if problem != self._discovery_problem:
            log.warning("discovery for %s failed; it is tried again: %s", self.identity.name, problem)
        self._discovery_problem = problem

    def _start_resource(self, gvr: GVR, supervisor: Supervisor, upstream: InformerFactory, downstream: InformerFactory) -> None:
        above, below = upstream.informer(gvr), downstream.informer(gvr, label_selector=self._label())
        above.gate = below.gate = self._gate
        spec = build_spec_controller(SpecReconciler(gvr, self._parts, above.get, below.get), above, below, self._turns)
        status = build_status_controller(StatusReconciler(gvr, self._parts, below.get, above.get), below, above, self._turns)
        self._synced[gvr] = Pair(above, below, spec, status)
        if self._tracing is not None:
            self._tracing.follow(spec)
            self._tracing.follow(status, answers_for=gvr)
        if gvr == SECRETS:
            above.add_handler(self._token_changed)
        for controller in (spec, status):
            self._run(supervisor, controller)
            self._parts.record.add_controller(str(gvr.group_resource), controller)
        log.info("syncing %s to %s", gvr, self.identity.name)
        self.announce(f"syncing {gvr.group_resource}")

    def _token_changed(self, key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> None:
        """Workloads of its namespace get it, or go without it."""
        if any(obj is not None and is_token(obj) for obj in (old, new)):
            for gvr, pair in self._synced.items():
                for workload in pair.above.keys(cluster=key.cluster, namespace=key.namespace) if gvr.group_resource in TEMPLATED else ():
                    pair.spec.enqueue(workload)

    def _recover(self, downstream: InformerFactory) -> Recovering:
        """What recoveries may ask for."""

        def reconnect() -> None:
            downstream.hurry()
            self._parts.breakers.half_open()
            for controller in self._controllers:
                controller.hurry()
            self._look_now.set()

        def resync() -> None:
            for pair in self._synced.values():
                for controller, informer in ((pair.spec, pair.above), (pair.status, pair.below)):
                    for key in informer.keys():
                        controller.enqueue(key)

        return Recovering(self.downstream, self.clock, reconnect, resync, lambda: [gvr.group_resource for gvr in self._synced])

    def _breaker_changed(self, breaker: CircuitBreaker) -> None:
        """Told by a breaker; once it lets calls through, nobody has to wait any longer."""
        log.warning(
            "circuit breaker for %s on %s: %s; %s", breaker.operation, self.identity.name, breaker.state, breaker.reason or "it works again"
        )
        self._account().observe_breaker(breaker)
        if breaker.state is not State.OPEN:
            for pair in self._synced.values():
                pair.spec.hurry()

    def _run(self, supervisor: Supervisor, controller: Controller) -> None:
        self._controllers.append(controller)
        supervisor.spawn(controller.run(), name=controller.name)

    def _heartbeat(self, upstream: InformerFactory, downstream: InformerFactory, lease: EpochLease | None) -> Heartbeat:
        def answered(side: Side, again: bool) -> None:  # noqa: FBT001 - the callback's own shape
            """Whoever waits for this side need not wait longer: an outage of an hour must not cost minutes more."""
            (downstream if side is Side.CLUSTER else upstream).hurry()
            if side is Side.CLUSTER:
                self._parts.breakers.answered()
            for controller in self._controllers if again else ():
                controller.hurry()
            if any(isinstance(p.below.problem, NotFound) != (gvr in self._parts.unserved) for gvr, p in self._synced.items()):
                self._look_now.set()

        return Heartbeat(
            self.identity,
            self._workspace(),
            self.downstream,
            self.clock,
            self.config.heartbeat_period_s,
            lambda: self._unserved,
            self._parts.record.observe_connection,
            self._capacity.status,
            answered,
            lease,
            self._overload,
            lambda: [breaker.to_object() for breaker in self._parts.breakers.not_closed()],
            lambda: self._recovering.answer,
            lambda: self._parts.held.report(),
        )

    async def _may_delete(self) -> bool:
        """Asked about a namespace that there cannot be."""
        try:
            await self._parts.upstream(self.identity.cluster).resource(NAMESPACES).get(self.identity.uid)
        except Conflict as error:
            if restoration(error):
                return False
            raise
        except NotFound as error:
            return error.is_of(NAMESPACES.group_resource, self.identity.uid)
        return True

    def _hold(self, waiting: int) -> None:
        """The watches are held because so many objects wait; 0: they are read again."""
        now_s = self.clock.monotonic()
        if waiting and now_s >= self._hold_told_s + _HOLD_TOLD_S:  # a cluster that is a little too slow holds and catches up all the time
            self._hold_told_s = now_s
            log.warning("%d objects wait for cluster %s: watches are not read until fewer do", waiting, self.identity.name)
        self._account().hold(waiting)

    def _overload(self) -> int:
        backlog = self._account().backlog()
        return backlog if backlog > self.config.backlog_limit else 0

    def _workspace(self) -> Client:
        """Of the SyncTarget."""
        return self.control_plane.cluster(str(self.identity.cluster))

    def _is_used(self, where: ObjectKey) -> bool:
        """Whether this namespace holds an object: above for a key with a cluster, below for one without."""
        above = bool(where.cluster)
        namespace = where.namespace if above else where.name
        cluster = where.cluster if above else ClusterName("")
        return any((pair.above if above else pair.below).count(cluster=cluster, namespace=namespace) > 0 for pair in self._synced.values())

    def _label(self) -> str:
        return f"{DOWNSTREAM_CLUSTER_LABEL}={self.identity.key}"
