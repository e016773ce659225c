"""Exclusive objects: in one cluster at a time, whatever happens to the clusters and to the ways to them.

One of the clusters of the namespace has the object. Another one gets it only after every other cluster has let go of it: its syncer says
that the copy is gone, or had never begun one. A cluster that is silent counts as stopped once its syncer's lease has run out, because a
syncer that cannot renew stops its exclusive copies by itself (`syncer.fence`); for `confirmed` objects, and for kinds that cannot be
stopped, only the taint out-of-service says so, set by somebody who has seen to it.

Why two looks: a silent syncer may come back at any instant. It renews its lease first and asks for the object after that; here the object
is marked as leaving first, and the lease is read after that, from the server. So one of the two sees the other.
Before: `resources`. After: nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kcp.aio.clock import parse_rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.kinds import STOPPABLE
from kcp.tmc.model.names import (
    DELETION_ANNOTATION,
    OUT_OF_SERVICE_TAINT,
    STATE_LABEL,
    SYNCER_FINALIZER,
    held_keys,
    is_leaving,
)
from kcp.tmc.model.wishes import Exclusive, exclusive_of

_STOPPABLE = frozenset(gvr.group_resource for gvr in STOPPABLE)
MARGIN_S = 30.0
"""Between the end of a lease and a start elsewhere: clocks run unevenly, a syncer that died takes a moment to be started again."""
GONE_LEASE_S = 120.0
"""The lease of a syncer whose SyncTarget was deleted, which nobody can look up any more."""
_LOOK_AGAIN_S = 5.0
_GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class Lease:
    """What a SyncTarget says about who may be running its copies."""

    name: str
    ends: datetime | None
    """When its syncer's lease has run out, by the server's clock; None: it has none, and never stops anything by itself."""
    is_out_of_service: bool = False

    @classmethod
    def of(cls, target: JSONObject) -> Lease:
        held = meta.nested(target, "status", "syncerLease", default={})
        taints = meta.nested(target, "spec", "taints", default=())
        out = any(taint.get("key") == OUT_OF_SERVICE_TAINT for taint in taints)
        try:
            ends = parse_rfc3339(held["renewTime"]).timestamp() + float(held["durationSeconds"])
        except (KeyError, ValueError, TypeError):
            return cls(meta.name(target), None, out)
        return cls(meta.name(target), datetime.fromtimestamp(ends, parse_rfc3339(held["renewTime"]).tzinfo), out)


Leases = Callable[[str], Awaitable[Lease | None]]
"""K → its lease, from the server; None once the SyncTarget is gone."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose an exclusive object is now."""

    key: str = ""
    """K of the one that has it or may begin; "": nobody yet."""
    dropped: frozenset[str] = frozenset()
    """K of those that never began: they are forgotten at once. Nothing they do later finds the object, as the view shows it no more."""
    waits: str = ""
    """Why nobody may begin."""
    look_again_s: float | None = None


def candidate(obj: JSONObject, staying: Sequence[str], handing_over: Collection[str], names: Mapping[str, str]) -> str:
    """Which of the namespace's targets should have it: the one that has it, or else the first by name. "": none."""
    wanted = [key for key in staying if key not in handing_over] or list(staying)
    holding = [key for key in wanted if STATE_LABEL + key in meta.labels(obj) and not is_leaving(obj, key)]
    return min(holding or wanted, key=lambda key: (names.get(key, key), key), default="")


async def turn_of(resource: GroupResource, obj: JSONObject, wanted: str, leases: Leases, now: datetime) -> Turn:
    """Args: wanted: K of the target that should have it."""
    others = [key for key in held_keys(obj) if key != wanted]
    dropped = frozenset(key for key in others if SYNCER_FINALIZER + key not in meta.finalizers(obj))
    if STATE_LABEL + wanted in meta.labels(obj) and not is_leaving(obj, wanted):
        return Turn(wanted, dropped)
    for key in others:
        if key not in dropped and (problem := _still_there(resource, obj, key, await leases(key), now)):
            return Turn("", dropped, *problem)
    return Turn(wanted, dropped)


def _still_there(resource: GroupResource, obj: JSONObject, key: str, lease: Lease | None, now: datetime) -> tuple[str, float | None] | None:
    """Why the copy on target K may still run, and when to look again; None if it cannot."""
    since = meta.annotations(obj).get(DELETION_ANNOTATION + key)
    name = lease.name if lease is not None else "a cluster whose SyncTarget is gone"
    if not since:
        return f"{name} is being told to remove it", _LOOK_AGAIN_S
    if lease is None:
        left_s = parse_rfc3339(since).timestamp() + GONE_LEASE_S + _leave_s(obj) - now.timestamp()
        return (f"{name} may still run it", left_s) if left_s > 0 else None
    if lease.is_out_of_service:
        return None
    if exclusive_of(obj) is Exclusive.CONFIRMED or resource not in _STOPPABLE or lease.ends is None:
        return (
            f"{name} has not said that its copy is gone; if nothing can run there any more, taint the SyncTarget {OUT_OF_SERVICE_TAINT}",
            _LOOK_AGAIN_S,
        )
    left_s = lease.ends.timestamp() + _leave_s(obj) - now.timestamp()
    return (
        (f"{name} may run it until its syncer's lease has run out and Pods have had time to end", min(left_s, 60.0)) if left_s > 0 else None
    )


def _leave_s(obj: JSONObject) -> float:
    """How long after the end of a lease a Pod may still run."""
    grace = meta.nested(obj, "spec", "template", "spec", "terminationGracePeriodSeconds", default=_GRACE_S)
    return float(grace) + MARGIN_S


def surely_gone(resource: GroupResource, obj: JSONObject, gone: Collection[str], now: datetime) -> list[str]:
    """Of the targets whose SyncTarget was deleted, those whose syncers must have stopped by now."""
    return [key for key in gone if _still_there(resource, obj, key, None, now) is None]
