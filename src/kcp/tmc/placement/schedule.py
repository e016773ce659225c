"""`schedule(snapshot) → decision`: the placement decision as one pure, deterministic function.

The same function serves the controller, status.decisions on the Placement, previews and tests. It says of every target why it was or was
not taken. No clock, no randomness, no dependence on the order of its inputs: ties fall to the name.

Kept targets are sticky: a target that was chosen stays chosen while it fits, also while it is unready for less than the eviction grace,
because one late heartbeat is no reason to move anybody's workload.
Source for the vocabulary: kcp release-0.11 pkg/reconciler/workload/placement, pkg/reconciler/scheduling/placement (there: a random choice).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from kcp.apimachinery.selectors import LabelSelector


class Reason(StrEnum):
    """Why a target was, or was not, chosen."""

    SELECTED = "Selected"
    KEPT = "Kept"
    """Chosen before and still fit."""
    KEPT_UNREADY = "KeptWhileUnready"
    """Chosen before, not ready now, but for less than the eviction grace."""
    LOCATION_MISMATCH = "LocationNotMatched"
    NOT_READY = "NotReady"
    UNSCHEDULABLE = "Unschedulable"
    EVICTED = "Evicted"
    TAINTED = "TaintNotTolerated"
    API_INCOMPATIBLE = "APINotSupported"
    NOT_NEEDED = "EnoughClustersChosen"


_CHOSEN = frozenset({Reason.SELECTED, Reason.KEPT, Reason.KEPT_UNREADY})


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True, slots=True)
class Toleration:
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        """Source: k8s.io/api/core/v1/toleration.go ToleratesTaint."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.operator == "Exists" or self.value == taint.value


@dataclass(frozen=True, slots=True)
class Target:
    """A SyncTarget as far as placement is concerned."""

    key: str
    """K, see `tmc.model.names.sync_target_key`."""
    name: str
    labels: Mapping[str, str]
    ready: bool
    not_ready_reason: str = ""
    not_ready_for_s: float = 0.0
    """Seconds since it stopped being ready, as of the snapshot; 0 while ready."""
    unschedulable: bool = False
    evicting: bool = False
    """Its spec.evictAfter has passed."""
    taints: tuple[Taint, ...] = ()
    missing_apis: tuple[str, ...] = ()
    """Group-resources that the workspace's compute bindings need and this target does not accept."""


@dataclass(frozen=True, slots=True)
class Location:
    """A Location object: a name and labels for the targets its selector picks."""

    name: str
    labels: Mapping[str, str]
    instances: LabelSelector


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the decision depends on."""

    location_selectors: Sequence[LabelSelector]
    """ORed; none at all matches everything."""
    number_of_clusters: int
    """How many targets to choose."""
    targets: Sequence[Target]
    locations: Sequence[Location] = ()
    current: frozenset[str] = frozenset()
    """K of the targets chosen by the previous decision."""
    tolerations: Sequence[Toleration] = ()
    eviction_grace_s: float = float("inf")
    """A chosen target may be unready for this long before it is replaced; infinite: never replaced for that."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided about one target, and why."""

    target: Target
    location: str
    """Name of the Location through which it matched; "" where its own labels did."""
    reason: Reason
    message: str

    @property
    def chosen(self) -> bool:
        return self.reason in _CHOSEN


@dataclass(frozen=True, slots=True)
class Decision:
    verdicts: tuple[Verdict, ...] = field(default_factory=tuple)
    """One for every target of the snapshot, in name order."""

    @property
    def chosen(self) -> tuple[Target, ...]:
        return tuple(v.target for v in self.verdicts if v.chosen)

    @property
    def location(self) -> str:
        """Location of the first chosen target."""
        return next((v.location for v in self.verdicts if v.chosen and v.location), "")

    def summary(self) -> str:
        """One line that explains the whole decision.

        >>> Decision().summary()
        'no SyncTargets exist in the location workspace'
        """
        if not self.verdicts:
            return "no SyncTargets exist in the location workspace"
        chosen = [v.target.name for v in self.verdicts if v.chosen]
        rejected = [f"{v.target.name}: {v.message}" for v in self.verdicts if not v.chosen]
        head = f"chosen: {', '.join(chosen)}" if chosen else f"none of {len(self.verdicts)} SyncTargets can be used"
        return "; ".join([head, *rejected])


def schedule(snapshot: Snapshot) -> Decision:
    """Choose targets for one placement.

    Filters, in order: location, eviction, taints, API compatibility, then for targets not chosen before unschedulable and readiness.
    Of those left, the ones chosen before come first, then those that are ready, then name order; the first `number_of_clusters` are taken.

    >>> east = Target("K1", "east", {"region": "east"}, ready=True)
    >>> west = Target("K2", "west", {"region": "west"}, ready=False, not_ready_reason="no heartbeat for 70 s")
    >>> decision = schedule(Snapshot([LabelSelector.parse("region in (east, west)")], 2, [west, east]))
    >>> [(v.target.name, v.chosen, str(v.reason)) for v in decision.verdicts]
    [('east', True, 'Selected'), ('west', False, 'NotReady')]
    """
    fit: list[Verdict] = []
    refused: list[Verdict] = []
    for target in sorted(snapshot.targets, key=lambda t: (t.name, t.key)):
        location, matched = _match_location(snapshot, target)
        verdict = _refuse(snapshot, target, location) if matched else _no_location(target)
        if verdict is not None:
            refused.append(verdict)
        else:
            fit.append(_accept(snapshot, target, location))
    fit.sort(key=lambda v: (v.target.key not in snapshot.current, not v.target.ready, v.target.name, v.target.key))
    taken, spare = fit[: snapshot.number_of_clusters], fit[snapshot.number_of_clusters :]
    surplus = [Verdict(v.target, v.location, Reason.NOT_NEEDED, f"fits, but {len(taken)} clusters are enough") for v in spare]
    verdicts = sorted([*taken, *surplus, *refused], key=lambda v: (v.target.name, v.target.key))
    return Decision(tuple(verdicts))


def _match_location(snapshot: Snapshot, target: Target) -> tuple[str, bool]:
    """The Location through which a target matches, or "" by its own labels where no Location matches the selectors at all."""
    matching = [loc for loc in sorted(snapshot.locations, key=lambda loc: loc.name) if _any_selects(snapshot, loc.labels)]
    for location in matching:
        if location.instances.matches(target.labels):
            return location.name, True
    if matching:
        return "", False
    return "", _any_selects(snapshot, target.labels)


def _any_selects(snapshot: Snapshot, labels: Mapping[str, str]) -> bool:
    return not snapshot.location_selectors or any(s.matches(labels) for s in snapshot.location_selectors)


def _no_location(target: Target) -> Verdict:
    shown = ", ".join(f"{k}={v}" for k, v in sorted(target.labels.items()) if "kcp.io/" not in k) or "none"
    return Verdict(target, "", Reason.LOCATION_MISMATCH, f"no locationSelector matches (labels: {shown})")


def _refuse(snapshot: Snapshot, target: Target, location: str) -> Verdict | None:
    """The first filter that rules this target out, or None."""

    def no(reason: Reason, message: str) -> Verdict:
        return Verdict(target, location, reason, message)

    held = target.key in snapshot.current
    if target.evicting:
        return no(Reason.EVICTED, "being drained: spec.evictAfter has passed")
    untolerated = [t for t in target.taints if _keeps_out(t, held=held) and not any(x.tolerates(t) for x in snapshot.tolerations)]
    if untolerated:
        first = untolerated[0]
        return no(Reason.TAINTED, f"taint {first.key}={first.value}:{first.effect} is not tolerated")
    if target.missing_apis:
        return no(Reason.API_INCOMPATIBLE, f"does not accept {', '.join(target.missing_apis)}")
    if not held and target.unschedulable:
        return no(Reason.UNSCHEDULABLE, "cordoned: spec.unschedulable is true")
    if not target.ready and not (held and target.not_ready_for_s < snapshot.eviction_grace_s):
        return no(Reason.NOT_READY, f"not ready: {target.not_ready_reason or 'its syncer has not reported yet'}")
    return None


def _keeps_out(taint: Taint, *, held: bool) -> bool:
    """NoExecute moves what runs there; NoSchedule only keeps new work away; PreferNoSchedule never rules out."""
    return taint.effect == "NoExecute" or (taint.effect == "NoSchedule" and not held)


def _accept(snapshot: Snapshot, target: Target, location: str) -> Verdict:
    through = f"location {location}" if location else "its own labels"
    if target.key not in snapshot.current:
        return Verdict(target, location, Reason.SELECTED, f"matched through {through}")
    if target.ready:
        return Verdict(target, location, Reason.KEPT, f"chosen before and still matched through {through}")
    message = f"kept although not ready ({target.not_ready_reason or 'no report'}): workloads stay where they run"
    return Verdict(target, location, Reason.KEPT_UNREADY, message)
