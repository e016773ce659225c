"""What is promised of a cluster and not yet part of what it reports as used: two decisions on one report do not spend the same room twice.

A Placement with requests reserves them on each cluster it chooses: from the choice until the cluster reports its usage `SETTLE_S` or more
after it, when the copies run and are counted there. Since when stands in the Placement's status; this mirror of it answers quickly, and
knows what was decided a moment ago and is not back from the server yet.
Before: `controller`. After: nothing.
Source for the idea: kubernetes pkg/scheduler/backend/cache (assumed pods).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from kcp.aio.clock import parse_rfc3339, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.placement.snapshot import Fleet, Target
from kcp.tmc.placement.spec import read

SETTLE_S = 30.0
"""Until copies run and are part of the usage: a change is applied within 5 s, and Pods are bound to nodes soon after."""
Amounts = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Reservation:
    since: datetime
    amounts: Amounts


@dataclass(slots=True)
class Reservations:
    """Of all Placements, by K."""

    _held: dict[str, dict[ObjectKey, Reservation]] = field(default_factory=dict)
    _targets_of: dict[ObjectKey, Collection[str]] = field(default_factory=dict)
    _listed: dict[ObjectKey, dict[str, Reservation]] = field(default_factory=dict)
    """As the server said last."""
    _assumed: dict[ObjectKey, dict[str, Reservation]] = field(default_factory=dict)
    """What was decided and is not back from the server yet."""
    _totals: dict[str, dict[str, float]] = field(default_factory=dict)
    _heard: dict[str, datetime] = field(default_factory=dict)
    """K → when its usage was reported last, by this server's clock: those of clusters may be wrong."""
    _reduced: dict[str, tuple[Target, Amounts, Target]] = field(default_factory=dict)

    # --- what happens ---

    def observe(self, key: ObjectKey, placement: JSONObject | None) -> None:
        """A Placement is as the server says; None: gone."""
        since = chosen_since(placement) if placement is not None else {}
        fresh = {k: time for k, time in since.items() if not self._is_counted(k, time)}
        amounts = read(placement.get("spec") or {}).policy.requests if placement is not None and fresh else {}
        self._listed.pop(key, None)
        if fresh:
            self._listed[key] = {k: Reservation(time, amounts) for k, time in fresh.items()}
        if placement is None or set(self._assumed.get(key, ())) <= set(since):
            self._assumed.pop(key, None)  # else this is an earlier state, and the decision is on its way
        self._enter(key)

    def assume(self, key: ObjectKey, amounts: Amounts, chosen: Collection[str], now: datetime) -> None:
        """A decision was made and is about to be written. Args: chosen: K that were not chosen before."""
        if chosen and amounts:
            self._assumed[key] = {k: Reservation(now, amounts) for k in chosen}
            self._enter(key)

    def withdraw(self, key: ObjectKey) -> None:
        """It could not be written, or nobody knows whether it was: what the server said last counts."""
        if self._assumed.pop(key, None) is not None:
            self._enter(key)

    def reported(self, target: str, now: datetime) -> None:
        """A cluster told what it uses: what was promised long enough ago is part of that."""
        self._heard[target] = now
        for key in [key for key, r in self._held.get(target, {}).items() if self._is_counted(target, r.since)]:
            self._settle(key, target)

    def forget(self, target: str) -> None:
        """Its SyncTarget is gone."""
        self._heard.pop(target, None)
        self._reduced.pop(target, None)
        for key in list(self._held.get(target, ())):
            self._settle(key, target)

    # --- what is asked ---

    def on(self, target: str, *, but: ObjectKey | None = None) -> dict[str, float]:
        """What is reserved on a target by others than `but`."""
        total = self._totals.get(target, {})
        own = self._held.get(target, {}).get(but) if but is not None else None
        if own is None:
            return total
        return {r: left for r, n in total.items() if (left := n - own.amounts.get(r, 0.0)) > _NOTHING}

    def applied(self, fleet: Fleet, key: ObjectKey) -> Fleet:
        """The fleet as the Placement `key` finds it: with what others have reserved."""
        if not self._totals:
            return fleet
        return Fleet(self._with(target, self.on(target.key, but=key)) if target.key in self._totals else target for target in fleet)

    def _with(self, target: Target, amounts: Amounts) -> Target:
        held = self._reduced.get(target.key)
        if held is not None and held[0] is target and held[1] == amounts:
            return held[2]
        reduced = replace(target, reserved=dict(amounts))
        self._reduced[target.key] = target, dict(amounts), reduced
        return reduced

    # --- the books ---

    def _is_counted(self, target: str, since: datetime) -> bool:
        heard = self._heard.get(target)
        return heard is not None and heard >= since + timedelta(seconds=SETTLE_S)

    def _settle(self, key: ObjectKey, target: str) -> None:
        """A reservation is over."""
        for books in (self._listed, self._assumed):
            if target in books.get(key, ()):
                del books[key][target]
                if not books[key]:
                    del books[key]
        self._release(key, target)

    def _enter(self, key: ObjectKey) -> None:
        """Replace the entries of a Placement."""
        for target in list(self._targets_of.get(key, ())):
            self._release(key, target)
        wanted = {**self._listed.get(key, {}), **self._assumed.get(key, {})}
        for target, reservation in wanted.items():
            self._held.setdefault(target, {})[key] = reservation
            total = self._totals.setdefault(target, {})
            for resource, amount in reservation.amounts.items():
                total[resource] = total.get(resource, 0.0) + amount
        if wanted:
            self._targets_of[key] = tuple(wanted)

    def _release(self, key: ObjectKey, target: str) -> None:
        reservation = self._held[target].pop(key)
        left = [k for k in self._targets_of[key] if k != target]
        if left:
            self._targets_of[key] = left
        else:
            del self._targets_of[key]
        if not self._held[target]:
            del self._held[target], self._totals[target]
            return
        total = self._totals[target]
        for resource, amount in reservation.amounts.items():
            total[resource] -= amount


_NOTHING = 1e-9
"""What rounding leaves of a difference."""


def chosen_since(placement: JSONObject) -> dict[str, datetime]:
    """K → when it was chosen, of a Placement that has requests."""
    found: dict[str, datetime] = {}
    for one in meta.nested(placement, "status", "chosenSince", default=()):
        try:
            found[one["key"]] = parse_rfc3339(one["since"])
        except (KeyError, ValueError):
            continue  # written by somebody else
    return found


def told_since(placement: JSONObject, chosen: Sequence[Target], requests: Amounts, now: datetime) -> list[JSONObject]:
    """`status.chosenSince` of a Placement: what was chosen before keeps its time, or has none if it ran already when nothing was asked for.

    Args: requests: none as long as there is nothing that the Placement applies to.
    """
    if not requests:
        return []
    held, status = chosen_since(placement), placement.get("status") or {}
    ran = {d.get("syncTarget") for d in status.get("decisions") or () if d.get("chosen")} if status.get("phase") == "Bound" else set()
    times = {t.key: held.get(t.key) or (None if t.name in ran else now) for t in chosen}
    return [{"syncTarget": t.name, "key": t.key, "since": rfc3339(since)} for t in chosen if (since := times[t.key]) is not None]


def fresh_in(placement: JSONObject, since: Sequence[JSONObject]) -> list[str]:
    """K of what is chosen now and was not before. Args: since: what `told_since` says."""
    held = chosen_since(placement)
    return [one["key"] for one in since if one["key"] not in held]
