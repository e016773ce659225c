"""Migration controller: takes a Migration to its next phase, or back. All state is in the Migration and on its workload.

A phase is written down before what it asks for is done, and everything done can be done twice: whatever moment the server dies at, the next
look goes on there. Before: Migrations. After: the annotations that `model.moves` names; the placement and the syncers do the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING

import orjson

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.aio.metrics import Meter
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, ResourceClient
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.events import NORMAL, WARNING, EventRecorder
from kcp.controller.informer import Informer
from kcp.registry.resource import Resource
from kcp.tmc.errors import ErrorType, TMCError, told
from kcp.tmc.metrics import families
from kcp.tmc.migration import checks
from kcp.tmc.migration.kinds import Kind
from kcp.tmc.migration.model import (
    LOST_S,
    MIGRATIONS,
    PROGRESS,
    ROLLBACK_TIMEOUT_S,
    Copies,
    Migration,
    Mode,
    Phase,
    back,
    is_over,
    next_stage,
)
from kcp.tmc.migration.model import told as waits_for
from kcp.tmc.model.kinds import NAMESPACES, READY, STATUS_RULES, SyncTarget
from kcp.tmc.model.moves import MOVE_ANNOTATION, Move, Stage, claim, set_pin
from kcp.tmc.model.names import sync_target_key, synced_keys
from kcp.tmc.placement.handover import Workloads

if TYPE_CHECKING:
    from kcp.tmc.overview.rules import StatusRule

log = logging.getLogger(__name__)

FINALIZER = "tmc.kcp.io/migration"
"""On Migrations that are under way: one that is deleted is undone first."""
_LOOK_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class _Sight:
    """What one look at a Migration that is under way finds."""

    obj: JSONObject
    migration: Migration
    kind: Kind
    workload: JSONObject
    first: Move
    """As it began."""
    copies: Copies


@dataclass(frozen=True, slots=True)
class MigrationReconciler:
    migrations: Informer
    where: Callable[[str], ObjectKey | None]
    """K → key of its SyncTarget."""
    target: Callable[[ObjectKey], JSONObject | None]
    resource_of: Callable[[ClusterName, GVK], Resource | None]
    """What a workspace serves."""
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock
    meter: Meter
    events: EventRecorder
    one_by_one: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Of two that would move the same workload, only one begins."""

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.migrations.get(key)
        if obj is None:
            return Result()
        migration = Migration.of(obj)
        if migration.is_active:
            # The mirror may be older than what was written last: after the end, the workload would be marked once more.
            try:
                obj = await self._resource(migration).get(key.name, namespace=key.namespace)
            except NotFound:
                return Result()
            migration = Migration.of(obj)
        if not migration.is_active:
            return await self._settled(obj, migration)
        kind = await self._kind(migration)
        workload = await self._workload(migration, kind)
        if migration.phase is Phase.PENDING:
            async with self.one_by_one:
                return await self._check(obj, migration, kind, workload)
        if kind is None or migration.move is None or workload is None or meta.deletion_timestamp(workload):
            return await self._fail(obj, migration, ErrorType.MIGRATION_FAILURE, "the workload is gone")
        first = migration.move
        copies = {key: kind.copy(workload, key, self._cluster(key)) for key in (first.source, first.target)}
        sight = _Sight(obj, migration, kind, workload, first, copies)
        if migration.phase is Phase.ROLLING_BACK:
            return await self._go_back(sight)
        if why := self._why_undo(obj, migration, migration.move):
            return await self._give_up(obj, migration, why)
        return await self._go_on(sight)

    async def _settled(self, obj: JSONObject, migration: Migration) -> Result:
        if migration.phase is Phase.COMPLETED and migration.is_to_be_undone and not meta.deletion_timestamp(obj):
            return await self._undo(obj, migration, "asked for by spec.rollback", None)
        if FINALIZER in meta.finalizers(obj):
            wanted: JSONObject = meta.copy_json(obj)
            meta.set_finalizers(wanted, [f for f in meta.finalizers(obj) if f != FINALIZER])
            await commit(self._resource(migration), obj, wanted)
        return Result()

    async def _check(self, obj: JSONObject, migration: Migration, kind: Kind | None, workload: JSONObject | None) -> Result:
        """Before anything is touched."""
        if meta.deletion_timestamp(obj):
            return await self._settled(obj, migration)
        source = self._key_of(workload, migration.source) if workload is not None else ""
        home = self.where(source) if source else None
        target = ObjectKey(home.cluster, "", migration.target) if home is not None else None
        found = self.target(target) if target is not None else None
        # Asked for rather than mirrored: two that begin at once must not both find the workload free.
        there = await self._resource(migration).list(namespace=migration.key.namespace)
        listed = [Migration.of(o) for o in there.items]
        others = [m.key.name for m in listed if m.moves_the_same(migration) and m.phase is not Phase.PENDING and m.is_active]
        results = checks.before(migration, checks.Scene(kind, workload, source, found, others, self.clock.now()))
        shown = [check.to_object("before") for check in results]
        if bad := [check for check in results if not check.passed]:
            message = "; ".join(check.message for check in bad)
            return await self._fail(obj, migration, ErrorType.MIGRATION_FAILURE, message, {"checks": shown})
        if FINALIZER not in meta.finalizers(obj):
            wanted: JSONObject = meta.copy_json(obj)
            meta.set_finalizers(wanted, [*meta.finalizers(obj), FINALIZER])
            await commit(self._resource(migration), obj, wanted)
            return Result()  # the change brings us back
        assert kind is not None
        assert workload is not None
        assert target is not None
        snapshot = orjson.dumps(workload.get("spec") or {})
        held = Move.of(workload)
        keys = {"from": source, "to": sync_target_key(target.cluster, target.name), "away": self._away(held, source, target)}
        status = {
            "phase": str(Phase.PREPARING), "progress": PROGRESS[Phase.PREPARING], "startTime": rfc3339(self.clock.now()), "keys": keys,
            "checks": shown, "snapshot": snapshot.decode(), "moveBefore": meta.annotations(workload).get(MOVE_ANNOTATION, ""),
        }  # fmt: skip
        await self._write(obj, status)
        self.meter.observe(families.MIGRATION_DATA, float(len(snapshot)), migration.source, migration.target, str(kind.resource))
        await self.events.record(_about(obj), kind=NORMAL, reason="MigrationStarted", message=_title(migration))
        return Result()

    @staticmethod
    def _away(held: Move | None, source: str, target: ObjectKey) -> list[str]:
        if held is None:
            return []
        to = sync_target_key(target.cluster, target.name)
        left = {*held.away, *((held.source,) if held.stage is Stage.MOVED else ())}
        return sorted(left - {source, to})

    def _why_undo(self, obj: JSONObject, migration: Migration, move: Move) -> TMCError | None:
        """What keeps it from going on."""
        if migration.is_to_be_undone or meta.deletion_timestamp(obj):
            why = "the Migration is being deleted" if meta.deletion_timestamp(obj) else "asked for by spec.rollback"
            return TMCError(ErrorType.MIGRATION_FAILURE, why, migration.target, "migrate")
        now = self.clock.now()
        if migration.started is not None and now >= migration.started + timedelta(seconds=migration.timeout_s):
            message = str(meta.nested(obj, "status", "message", default=""))
            return TMCError(
                ErrorType.MIGRATION_TIMEOUT, f"not done within {migration.timeout_s:g} s: {message}", migration.target, "migrate"
            )
        if self._lost_s(move.target) >= LOST_S:
            return TMCError(ErrorType.MIGRATION_FAILURE, f"{migration.target} is not ready any more", migration.target, "migrate")
        return None

    def _lost_s(self, key: str) -> float:
        """Seconds for which a cluster has not been ready."""
        where = self.where(key)
        target = self.target(where) if where is not None else None
        if target is None:
            return inf
        if conditions.is_true(target, READY):
            return 0.0
        since = (conditions.get(target, READY) or {}).get("lastTransitionTime")
        return (self.clock.now() - parse_rfc3339(since)).total_seconds() if since else 0.0

    async def _go_on(self, sight: _Sight) -> Result:
        obj, migration, first = sight.obj, sight.migration, sight.first
        held = Move.of(sight.workload)
        is_ours = held is not None and (held.source, held.target) == (first.source, first.target)
        move = held if is_ours and held is not None else first
        if is_ours:
            move = move.at(next_stage(sight.copies, move))
        # The workload first: a pin without a workload that claims it is taken for a left-over.
        await self._put(sight, move.to_json())
        await self._pin(sight, first.target, is_on=True)
        if is_over(sight.copies, move, source_is_lost=self._lost_s(move.source) >= LOST_S):
            return await self._complete(sight, move)
        phase = Phase.CUTTING_OVER if move.stage is Stage.MOVED else Phase.MOVING
        message = waits_for(sight.copies, move, {first.source: migration.source, first.target: migration.target})
        await self._write(obj, {**obj["status"], "phase": str(phase), "progress": PROGRESS[phase], "message": message})
        return Result(requeue_after_s=_LOOK_AGAIN_S)

    async def _complete(self, sight: _Sight, move: Move) -> Result:
        obj, migration = sight.obj, sight.migration
        results = checks.after(sight.workload, sight.copies, move, migration)
        if bad := [check for check in results if not check.passed]:
            await self._write(obj, {**obj["status"], "message": "; ".join(check.message for check in bad)})
            return Result(requeue_after_s=_LOOK_AGAIN_S)
        await self._pin(sight, move.source, is_on=False)
        shown = [c for c in obj["status"].get("checks") or () if c.get("when") != "after"] + [c.to_object("after") for c in results]
        is_lost = sight.copies[move.source].exists
        lost = f"; {migration.source} is away, and removes its copy when it is back" if is_lost else ""
        message = f"{migration.target} runs it{lost}"
        return await self._finish(obj, migration, Phase.COMPLETED, message, {"progress": 100, "checks": shown})

    async def _give_up(self, obj: JSONObject, migration: Migration, error: TMCError) -> Result:
        asked = migration.is_to_be_undone or bool(meta.deletion_timestamp(obj))
        if asked or migration.undoes_itself:
            return await self._undo(obj, migration, error.message, None if asked else error)
        return await self._fail(obj, migration, error.type, error.message)

    async def _undo(self, obj: JSONObject, migration: Migration, why: str, error: TMCError | None) -> Result:
        status = {**obj["status"], "phase": str(Phase.ROLLING_BACK), "message": why, "rollbackTime": rfc3339(self.clock.now())}
        status.pop("completionTime", None)
        await self._write(obj, status | ({"error": error.to_object()} if error is not None else {}))
        reason = str(error.type) if error is not None else "Requested"
        self.meter.count(families.MIGRATION_ROLLBACKS, migration.source, migration.target, reason)
        return Result()

    async def _go_back(self, sight: _Sight) -> Result:
        obj, migration, first = sight.obj, sight.migration, sight.first
        way = back(first, runs_once=sight.kind.runs_once)
        held = Move.of(sight.workload)
        is_ours = held is not None and (held.source, held.target) == (way.source, way.target)
        move = way.at(next_stage(sight.copies, held)) if is_ours and held is not None else way
        if is_over(sight.copies, move, source_is_lost=self._lost_s(move.source) >= LOST_S):
            await self._put(sight, migration.before or None)
            was = Move.parse(migration.before)
            await self._pin(sight, first.source, is_on=was is not None and was.target == first.source)
            await self._pin(sight, first.target, is_on=False)
            return await self._finish(obj, migration, Phase.ROLLED_BACK, f"{migration.source} runs it again", {"progress": 0})
        since = migration.undone_since
        if since is not None and self.clock.now() >= since + timedelta(seconds=ROLLBACK_TIMEOUT_S):
            message = f"{migration.source} does not run it again within {ROLLBACK_TIMEOUT_S:g} s; {migration.target} keeps its copy"
            return await self._fail(obj, migration, ErrorType.MIGRATION_ROLLBACK, message)
        await self._put(sight, move.to_json())
        await self._pin(sight, first.source, is_on=True)
        message = waits_for(sight.copies, move, {first.source: migration.source, first.target: migration.target})
        await self._write(obj, {**obj["status"], "message": f"going back: {message}"})
        return Result(requeue_after_s=_LOOK_AGAIN_S)

    async def _fail(
        self, obj: JSONObject, migration: Migration, kind: ErrorType, message: str, more: Mapping[str, object] | None = None
    ) -> Result:  # fmt: skip
        error = TMCError(kind, message, migration.target, "migrate", object=_title(migration))
        result = await self._finish(obj, migration, Phase.FAILED, message, {**(more or {}), "error": error.to_object()})
        self.meter.count(families.MIGRATION_ERRORS, migration.source, migration.target, str(kind), str(migration.phase))
        return result

    async def _finish(self, obj: JSONObject, migration: Migration, phase: Phase, message: str, more: Mapping[str, object]) -> Result:
        now = self.clock.now()
        status = {**(obj.get("status") or {}), **more, "phase": str(phase), "message": message, "completionTime": rfc3339(now)}
        await self._write(obj, status)
        if migration.started is not None:  # one that was refused took no time
            took_s = (now - migration.started).total_seconds()
            self.meter.observe(families.MIGRATION_DURATION, took_s, migration.source, migration.target, str(migration.mode))
        kind, reason = (NORMAL, "MigrationCompleted") if phase is Phase.COMPLETED else (WARNING, f"Migration{phase}")
        text = f"{_title(migration)}: {told(status['error']) if status.get('error') else message}"
        await self.events.record(_about(obj), kind=kind, reason=reason, message=text)
        log.info("migration %s: %s: %s", migration.key, phase, message)
        return Result()

    async def _kind(self, migration: Migration) -> Kind | None:
        """As the workspace serves it now, with its StatusRule where nothing else is known of it."""
        cluster = migration.key.cluster
        found = self.resource_of(cluster, migration.gvk)
        if found is None or not found.namespaced:
            return None
        kind = Kind(found.gvr, migration.gvk.kind, found.has_status)
        return replace(kind, rule=await self._rule(cluster, migration.gvk)) if kind.needs_rule else kind

    async def _rule(self, cluster: ClusterName, gvk: GVK) -> StatusRule | None:
        from kcp.tmc.overview.rules import StatusRule

        try:
            listed = await self.for_cluster(cluster).resource(STATUS_RULES).list()
        except NotFound:
            return None  # the workspace does not bind them
        rules = (StatusRule.of(obj) for obj in listed.items)
        return next((rule for rule in rules if (rule.group, rule.kind) == (gvk.group, gvk.kind) and rule.health), None)

    async def _workload(self, migration: Migration, kind: Kind | None) -> JSONObject | None:
        if kind is None:
            return None
        try:
            return await self._workloads(migration, kind).get(migration.workload, namespace=migration.key.namespace)
        except NotFound:
            return None

    async def _put(self, sight: _Sight, move: str | None) -> None:
        """The annotation; and on the way back of a snapshot, the spec as it was written down."""
        migration, wanted = sight.migration, meta.copy_json(sight.workload)
        meta.set_annotation(wanted, MOVE_ANNOTATION, move)
        if migration.phase is Phase.ROLLING_BACK and migration.mode is Mode.SNAPSHOT and migration.snapshot is not None:
            wanted["spec"] = migration.snapshot
        await commit(self._workloads(migration, sight.kind), sight.workload, wanted, field_manager="tmc-migration")

    async def _pin(self, sight: _Sight, key: str, *, is_on: bool) -> None:
        migration = sight.migration
        namespaces = self.for_cluster(migration.key.cluster).resource(NAMESPACES)
        held = await namespaces.get(migration.key.namespace)
        wanted: JSONObject = meta.copy_json(held)
        set_pin(wanted, key, claim(sight.kind.resource, migration.workload), is_on=is_on)
        await commit(namespaces, held, wanted, field_manager="tmc-migration")

    def _cluster(self, key: str) -> SyncTarget | None:
        where = self.where(key)
        found = self.target(where) if where is not None else None
        return SyncTarget.of(found) if found is not None else None

    def _key_of(self, workload: JSONObject, name: str) -> str:
        """K of the target of this name that runs it; "" if none does."""
        found = ((key, self.where(key)) for key in synced_keys(workload))
        return next((key for key, where in found if where is not None and where.name == name), "")

    async def _write(self, obj: JSONObject, status: JSONObject) -> None:
        await commit(self._resource(Migration.of(obj)), obj, {**obj, "status": status})

    def _resource(self, migration: Migration) -> ResourceClient:
        return self.for_cluster(migration.key.cluster).resource(MIGRATIONS)

    def _workloads(self, migration: Migration, kind: Kind) -> ResourceClient:
        return self.for_cluster(migration.key.cluster).resource(kind.gvr)


def _title(migration: Migration) -> str:
    return f"{migration.title} from {migration.source} to {migration.target}"


def _about(obj: JSONObject) -> JSONObject:
    return {"apiVersion": MIGRATIONS.api_version, "kind": "Migration", **obj}


def build_migration_controller(  # noqa: PLR0913 - what it looks at
    migrations: Informer, workloads: Workloads, where: Callable[[str], ObjectKey | None], target: Callable[[ObjectKey], JSONObject | None],
    resource_of: Callable[[ClusterName, GVK], Resource | None], for_cluster: Callable[[ClusterName], Client], *, clock: Clock, meter: Meter,
) -> Controller:  # fmt: skip
    events = EventRecorder(for_cluster, component="tmc-migration", clock=clock)
    reconciler = MigrationReconciler(migrations, where, target, resource_of, for_cluster, clock, meter, events)
    controller: Controller = Controller("tmc-migration", reconciler.reconcile, clock=clock, workers=3)

    def of_workload(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """Migrations that move it, or did; hardly ever any."""
        if not migrations.count(cluster=key.cluster, namespace=key.namespace):
            return []
        found = (Migration.of(obj) for obj in migrations.list(cluster=key.cluster, namespace=key.namespace))
        return [m.key for m in found if m.workload == key.name and m.is_active]

    controller.watch(migrations)
    workloads.follow(lambda informer: controller.watch(informer, of_workload))
    meter.show(families.MIGRATIONS, lambda: _counted([Migration.of(obj) for obj in migrations.list()]))
    return controller


def _counted(listed: Sequence[Migration]) -> list[tuple[tuple[str, ...], float]]:
    return [((m.source, m.target, str(m.phase)), 1.0) for m in listed]
