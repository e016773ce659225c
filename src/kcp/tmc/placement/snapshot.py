"""What a placement decision depends on, as values. Nothing here needs a server: a preview builds a Snapshot as the controller does.

    SyncTargets, Locations → Target, Location ┐
    Placement's spec       → Policy           ├→ Snapshot → `schedule` → Decision
    other Placements       → Neighbour        ┘

Before: `observe`, previews. After: `schedule`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kcp.apimachinery.selectors import LabelSelector
from kcp.tmc.placement.policy import NOTHING_ASKED, Policy

_REGION = ("region", "topology.kubernetes.io/region")
_ZONE = ("zone", "topology.kubernetes.io/zone")


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str = ""
    effect: str = "NoSchedule"
    age_s: float = 0.0
    """Seconds since it was added, as of the snapshot; matters to tolerations for a time."""

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}"


@dataclass(frozen=True, slots=True)
class Toleration:
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    seconds: float | None = None
    """Of NoExecute: how long what runs may stay; None: for ever."""

    def matches(self, taint: Taint) -> bool:
        """Source: k8s.io/api/core/v1/toleration.go ToleratesTaint."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.operator == "Exists" or self.value == taint.value

    def tolerates(self, taint: Taint) -> bool:
        """Whether it matches, and its time is not over."""
        in_time = self.seconds is None or taint.effect != "NoExecute" or taint.age_s < self.seconds
        return in_time and self.matches(taint)


@dataclass(frozen=True, slots=True)
class LabelledWorkspaces:
    """Workspaces by the labels of their Workspace objects, all of them or of those that a name means."""

    selector: LabelSelector
    name: str = ""
    """Path, or last part of a path."""
    told: str = ""

    def hold(self, workspace: str, labels: Mapping[str, str] | None) -> bool:
        """Where labels are not known, nothing speaks against them."""
        if self.name and not _is_below(workspace, self.name):
            return False
        return labels is None or self.selector.matches(labels)


def _is_below(workspace: str, name: str) -> bool:
    """Whether it is the workspace with this path or one below it, or the last part of its path is this name."""
    return workspace == name or workspace.startswith(f"{name}:") or workspace.rpartition(":")[2] == name


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
    evicts_in_s: float | None = None
    """Seconds until it will have passed; None: it has, or there is none."""
    taints: tuple[Taint, ...] = ()
    missing_apis: tuple[str, ...] = ()
    """Group-resources that this target does not accept."""
    api_faults: Mapping[str, str] = field(default_factory=dict)
    """Group-resource → why it is not accepted, such as the fields whose schemas do not agree; what is not there was not said."""
    identities: Mapping[str, str] = field(default_factory=dict)
    """Group-resource → identity hash of the export whose API it accepts; what is not there is not known."""
    cells: Mapping[str, str] = field(default_factory=dict)
    """Such as zone and rack; asked where the labels are silent."""
    capabilities: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Type → metadata, of those that are available."""
    workspaces: tuple[str, ...] = ()
    """Paths, or last parts of paths, of the workspaces it serves."""
    labelled_workspaces: tuple[LabelledWorkspaces, ...] = ()
    """Further ones that it serves; of neither any: it serves all."""
    allocatable: Mapping[str, float] = field(default_factory=dict)
    """Resource → cores, bytes, pieces; what is not there was not reported."""
    used: Mapping[str, float] = field(default_factory=dict)
    reserved: Mapping[str, float] = field(default_factory=dict)
    """Promised to Placements, and not yet part of what is used."""
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    """Peer → milliseconds."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """cpu, memory, storage → price of a core, of a GiB, for an hour."""
    priority: int = 0
    is_plain: bool = field(init=False)
    """Nothing about its state speaks against it: the case of nearly all, told without a look at each part."""

    def __post_init__(self) -> None:
        spoken = self.unschedulable or self.evicting or self.taints or self.missing_apis
        object.__setattr__(self, "is_plain", self.ready and not spoken)

    def topology(self, key: str) -> str:
        """Which part of the topology it lies in; "" if it does not say."""
        return self.labels.get(key) or self.cells.get(key) or ""

    @property
    def region(self) -> str:
        return next((found for key in _REGION if (found := self.topology(key))), "")

    @property
    def zone(self) -> str:
        return next((found for key in _ZONE if (found := self.topology(key))), "")

    def free(self, resource: str) -> float | None:
        """What of a resource is neither used nor promised; None if the cluster does not report it."""
        held = self.allocatable.get(resource)
        return None if held is None else max(held - self.used.get(resource, 0.0) - self.reserved.get(resource, 0.0), 0.0)

    def utilisation(self, resource: str) -> float | None:
        """Used share of a resource, 0 to 1; None if the cluster does not report both numbers."""
        held, used = self.allocatable.get(resource), self.used.get(resource)
        return None if not held or used is None else min((used + self.reserved.get(resource, 0.0)) / held, 1.0)

    def serves(self, workspace: str, labels: Mapping[str, str] | None) -> bool:
        """Whether it may run work of a workspace. Args: workspace: its path. labels: of its Workspace; None: not known."""
        if not self.workspaces and not self.labelled_workspaces:
            return True
        if any(_is_below(workspace, name) for name in self.workspaces):
            return True
        return any(one.hold(workspace, labels) for one in self.labelled_workspaces)

    def served(self) -> str:
        """What it serves, in words."""
        return ", ".join([*self.workspaces, *(one.told for one in self.labelled_workspaces)])


class Fleet(tuple[Target, ...]):
    """Targets in name order. Made once, it serves many decisions."""

    __slots__ = ()

    @classmethod
    def of(cls, targets: Iterable[Target]) -> Fleet:
        return targets if isinstance(targets, Fleet) else cls(sorted(targets, key=lambda t: (t.name, t.key)))


@dataclass(frozen=True, slots=True)
class Location:
    """A Location object: a name and labels for the targets its selector picks."""

    name: str
    labels: Mapping[str, str]
    instances: LabelSelector


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another Placement of the workspace."""

    name: str
    labels: Mapping[str, str]
    chosen: frozenset[str]
    """K of its targets."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the decision depends on."""

    location_selectors: Sequence[LabelSelector]
    """ORed; none at all matches everything."""
    number_of_clusters: int | None
    """How many targets to choose; None: as many as the strategy says, one or all."""
    targets: Sequence[Target]
    """In any order; a Fleet saves the sorting."""
    locations: Sequence[Location] = ()
    current: frozenset[str] = frozenset()
    """K of the targets chosen by the previous decision."""
    tolerations: Sequence[Toleration] = ()
    eviction_grace_s: float = float("inf")
    """A chosen target may be unready for this long before it is replaced; infinite: never replaced for that."""
    policy: Policy = NOTHING_ASKED
    workspace: str = ""
    """Path of the Placement's workspace; "": not known, and then every target serves it."""
    workspace_labels: Mapping[str, str] | None = None
    """Of its Workspace object; None: not known."""
    required_apis: Mapping[str, str] | None = None
    """Group-resource → identity hash, of the compute APIs that the workspace binds; None: not known, and then every API counts."""
    neighbours: Sequence[Neighbour] = ()
    load: Mapping[str, int] = field(default_factory=dict)
    """K → number of other Placements, of any workspace, that have chosen it."""
    policy_changed: bool = False
    """The Placement was edited since the previous decision: what was ignored during execution counts again."""
    moves: int = 0
    """How many targets rebalancing may replace now; 0: it does nothing."""
    disturbed: int = 0
    """How many of the Placement's targets are losing its work just now."""
