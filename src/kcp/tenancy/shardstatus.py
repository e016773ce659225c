"""What the Shard of this server says of itself: whether it takes workspaces, which limits it keeps, and how many logical clusters it has.

An administrator cordons or limits it through the virtual workspace `admin`; the conditions acknowledge that. The count is written some
seconds late, so that many workspaces together cost one write; the scheduler counts for itself (`workspace.scheduling`).
Before: informer events of Shards, and of LogicalClusters that come and go. After: `commit`.
Source: kcp pkg/reconciler/core/{shard,shardusage}, test/e2e/reconciler/shard/shard_operations_test.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta, quantity
from kcp.apimachinery.keys import ROOT, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tenancy import kinds

SCHEDULABLE, CORDONED = "Schedulable", "Cordoned"
LIMITS_APPLIED, INVALID_LIMITS = "ResourceLimitsApplied", "InvalidResourceLimits"
WORKSPACES = "workspaces"
"""What is limited and counted."""
OWN_SHARD = ObjectKey(ROOT, "", "root")
COUNT_DELAY_S = 10.0


def described(shard: JSONObject, used: int, *, now: str) -> JSONObject:
    """A copy with the status that belongs to it. Pure."""
    wanted: JSONObject = meta.copy_json(shard)
    meta.ensure(wanted, "status")["used"] = {WORKSPACES: str(used)}
    if kinds.UNSCHEDULABLE in meta.annotations(shard):
        why = f"shard is cordoned via the {kinds.UNSCHEDULABLE} annotation, no new workspaces are scheduled onto it"
        said = conditions.build(SCHEDULABLE, conditions.FALSE, reason=CORDONED, message=why, severity="Info", now=now)
    else:
        said = conditions.build(SCHEDULABLE, conditions.TRUE, now=now)
    conditions.set_condition(wanted, said)
    limits = meta.nested(shard, "spec", "resourceLimits", default={})
    applied, unusable = _applied(limits), list(_unusable(limits))
    if unusable:
        why = "; ".join([applied, *unusable])
        kept = conditions.build(LIMITS_APPLIED, conditions.FALSE, reason=INVALID_LIMITS, message=why, severity="Warning", now=now)
    else:
        kept = conditions.build(LIMITS_APPLIED, conditions.TRUE, message=applied, now=now)
    conditions.set_condition(wanted, kept)
    return wanted


def _applied(limits: Mapping[str, Any]) -> str:
    soft, hard = limits.get("soft") or {}, limits.get("hard") or {}
    pairs = [f"{name}={soft.get(name, '-')}/{hard.get(name, '-')}" for name in sorted({*soft, *hard})]
    return f"soft/hard: {', '.join(pairs)}" if pairs else "no limits configured"


def _unusable(limits: Mapping[str, Any]) -> Iterator[str]:
    soft, hard = limits.get("soft") or {}, limits.get("hard") or {}
    for tier, named in (("soft", soft), ("hard", hard)):
        for name in sorted(named):
            if quantity.parse(named[name]) < 0:
                yield f"{tier} {name}={named[name]} is negative and is treated as disabled"
    for name in sorted({*soft} & {*hard}):
        if 0 < quantity.parse(hard[name]) <= quantity.parse(soft[name]):
            yield (
                f"soft {name}={soft[name]} is not below hard {name}={hard[name]}, "
                "so the shard is never deprioritized before it refuses new workspaces"
            )


@dataclass
class ShardReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    count: Callable[[], int]
    """Of logical clusters, now."""
    commit: Callable[[JSONObject, JSONObject], Awaitable[JSONObject]]
    clock: Clock
    _due: dict[ObjectKey, float] = field(default_factory=dict)
    """When another count is to be written."""

    async def reconcile(self, key: ObjectKey) -> Result:
        shard = self.get(key)
        if shard is None or meta.deletion_timestamp(shard):
            self._due.pop(key, None)
            return Result()
        held, count, now = meta.nested(shard, "status", "used", WORKSPACES), self.count(), self.clock.monotonic()
        wait_s = 0.0
        if held is not None and held != str(count):
            wait_s = self._due.setdefault(key, now + COUNT_DELAY_S) - now
        if wait_s <= 0:
            self._due.pop(key, None)
        await self.commit(shard, described(shard, int(held) if wait_s > 0 else count, now=rfc3339(self.clock.now())))
        return Result(requeue_after_s=wait_s if wait_s > 0 else None)


def build_shard_controller(client: Client, informers: InformerFactory, clock: Clock, *, count: Callable[[], int]) -> Controller:
    """`client` may write in every cluster; `count`: how many logical clusters there are."""
    shards = informers.informer(kinds.SHARDS)

    def own(key: ObjectKey, _old: JSONObject | None, _new: JSONObject | None) -> Iterable[ObjectKey]:
        return (key,) if key == OWN_SHARD else ()

    def of_count(_key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return (OWN_SHARD,) if old is None or new is None else ()

    async def write(old: JSONObject, new: JSONObject) -> JSONObject:
        return await commit(client.cluster(ROOT).resource(kinds.SHARDS), old, new)

    controller = Controller("shard", ShardReconciler(shards.get, count, write, clock).reconcile, clock=clock)
    controller.watch(shards, own)
    controller.watch(informers.informer(kinds.LOGICAL_CLUSTERS), of_count)
    return controller
