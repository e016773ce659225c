"""What a Placement asks for beyond kcp 0.11's fields, as values: constraints, affinity, spread, groups, strategy, replicas, movement.

Pure types without parsing (`spec` reads them from objects) and without decisions (`filters`, `scores` and `selection` use them). The
fields and formulas are told in docs/placement.md. Resource amounts are in base units: cores, bytes, pieces.
Before: `spec`. After: `snapshot`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from kcp.apimachinery.selectors import LabelSelector


class Strategy(StrEnum):
    """How the clusters that fit are ranked. "" is kcp 0.11's: by name."""

    BY_NAME = ""
    SPREAD = "Spread"
    PACK = "Pack"
    BALANCED = "Balanced"
    AFFINITY = "Affinity"
    ROUND_ROBIN = "RoundRobin"
    WEIGHTED = "Weighted"
    CAPACITY = "Capacity"
    PRIORITY = "Priority"
    ONE_TO_ANY = "OneToAny"
    ONE_TO_MANY = "OneToMany"


EVERY_CLUSTER = frozenset({Strategy.SPREAD, Strategy.ONE_TO_MANY})
"""Strategies that take every cluster that fits where `numberOfClusters` is silent."""


class ConstraintType(StrEnum):
    RESOURCE = "Resource"
    CAPACITY = "Capacity"
    """What the cluster has in all, whoever uses it."""
    REGION = "Region"
    ZONE = "Zone"
    LABEL = "Label"
    CAPABILITY = "Capability"
    LATENCY = "Latency"
    COST = "Cost"


NUMERIC = frozenset({ConstraintType.RESOURCE, ConstraintType.CAPACITY, ConstraintType.LATENCY, ConstraintType.COST})
"""Their values are numbers: amounts, milliseconds, prices per hour."""
CHANGING = frozenset({ConstraintType.RESOURCE, ConstraintType.LATENCY, ConstraintType.COST})
"""They vary from minute to minute, so that they keep new work away but move none that runs."""


class Operator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    LESS_THAN = "LessThan"
    GREATER_THAN = "GreaterThan"
    AT_MOST = "AtMost"
    AT_LEAST = "AtLeast"


@dataclass(frozen=True, slots=True)
class Constraint:
    """One statement about a cluster: hard (`required`), or worth `weight` points."""

    type: ConstraintType
    operator: Operator
    field: str = ""
    """Resource name, label key, capability type, peer of a latency, part of the price; "" for Region, Zone and the whole price."""
    values: tuple[str, ...] = ()
    number: float = 0.0
    """The bound of a numeric constraint."""
    required: bool = True
    weight: float = 50.0
    tolerance: float = 0.0
    """Of a soft numeric constraint: how far beyond the bound, as a share of it, is still worth something."""

    def __str__(self) -> str:
        subject = f"{self.type} {self.field}".strip()
        shown = ", ".join(self.values)
        return f"{subject} {self.operator} {shown}".strip()


@dataclass(frozen=True, slots=True)
class ClusterTerm:
    """Clusters by label and by Location."""

    selector: LabelSelector = LabelSelector.EVERYTHING
    locations: frozenset[str] = frozenset()
    """Names of Locations; empty: any."""
    weight: float = 0.0
    """Of a preferred term."""


@dataclass(frozen=True, slots=True)
class PlacementTerm:
    """Near to, or away from, the clusters that other Placements of the workspace have chosen."""

    selector: LabelSelector
    """Labels of those Placements."""
    topology_key: str = ""
    """Clusters count as one place where they share this label or cell; "": the cluster itself."""
    required: bool = True
    weight: float = 50.0
    away: bool = False


@dataclass(frozen=True, slots=True)
class SpreadConstraint:
    """Source for the meaning: k8s.io/api/core/v1 TopologySpreadConstraint, with chosen clusters in the place of Pods."""

    topology_key: str
    max_skew: int = 1
    required: bool = True
    """DoNotSchedule; else ScheduleAnyway."""
    selector: LabelSelector = LabelSelector.EVERYTHING
    """Clusters that the constraint counts and binds."""


@dataclass(frozen=True, slots=True)
class ClusterGroup:
    """One of the ordered groups: a later one is drawn from only when the earlier ones have too few clusters that fit."""

    name: str
    selector: LabelSelector = LabelSelector.EVERYTHING
    names: frozenset[str] = frozenset()

    def holds(self, name: str, labels: Mapping[str, str]) -> bool:
        return (not self.names or name in self.names) and self.selector.matches(labels)


@dataclass(frozen=True, slots=True)
class ClusterRule:
    """What holds for certain clusters: weight, priority, bounds of replicas. The first rule that matches a cluster counts."""

    selector: LabelSelector = LabelSelector.EVERYTHING
    names: frozenset[str] = frozenset()
    weight: int | None = None
    priority: int | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None

    @property
    def bounds_replicas(self) -> bool:
        return self.min_replicas is not None or self.max_replicas is not None

    def holds(self, name: str, labels: Mapping[str, str]) -> bool:
        return (not self.names or name in self.names) and self.selector.matches(labels)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Numbers of the strategies."""

    resource_threshold: float = 0.8
    """Pack: the utilisation that a cluster may reach with the request added."""
    max_workloads: int = 110
    """Spread, Balanced: what a full cluster holds, where it does not report its pods. Kubernetes' pods per node."""
    reference_latency_ms: float = 500.0
    """Balanced: a latency that is worth nothing."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Balanced: of resource, health, capacity and latency; 1 each where it is silent."""


class Division(StrEnum):
    DUPLICATED = "Duplicated"
    DIVIDED = "Divided"


class Preference(StrEnum):
    """How replicas are divided."""

    WEIGHTED = "Weighted"
    CAPACITY = "Capacity"
    AGGREGATED = "Aggregated"


@dataclass(frozen=True, slots=True)
class Replicas:
    """`spec.replicas` of Deployments over the chosen clusters."""

    division: Division = Division.DIVIDED
    preference: Preference = Preference.WEIGHTED
    minimum: int = 0
    maximum: int | None = None


class RebalanceMode(StrEnum):
    NEVER = "Never"
    ALWAYS = "Always"


@dataclass(frozen=True, slots=True)
class Movement:
    """How work may move once it runs."""

    rebalance: RebalanceMode = RebalanceMode.NEVER
    min_gain: float = 10.0
    """Points by which another cluster must be better before rebalancing moves to it."""
    moves_per_minute: int = 1
    max_disrupted: int | None = None
    """Clusters of this Placement that may be losing its work at one time; None: any number."""
    eviction_s: float | None = None
    """How long a chosen cluster may be silent before its work goes elsewhere; None: the server's --tmc-eviction-grace."""


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it; the default asks for nothing."""

    strategy: Strategy = Strategy.BY_NAME
    parameters: Parameters = field(default_factory=Parameters)
    requests: Mapping[str, float] = field(default_factory=dict)
    """Resources that a cluster must have free."""
    constraints: tuple[Constraint, ...] = ()
    required_terms: tuple[ClusterTerm, ...] = ()
    """Cluster affinity: all must match."""
    forbidden_terms: tuple[ClusterTerm, ...] = ()
    """Cluster anti-affinity: none may match."""
    preferred_terms: tuple[ClusterTerm, ...] = ()
    """Negative weights are those of preferred anti-affinity."""
    placement_terms: tuple[PlacementTerm, ...] = ()
    spread: tuple[SpreadConstraint, ...] = ()
    groups: tuple[ClusterGroup, ...] = ()
    rules: tuple[ClusterRule, ...] = ()
    replicas: Replicas = field(default_factory=Replicas)
    movement: Movement = field(default_factory=Movement)

    def rule_for(self, name: str, labels: Mapping[str, str]) -> ClusterRule:
        return next((rule for rule in self.rules if rule.holds(name, labels)), _NO_RULE)


_NO_RULE = ClusterRule()
NOTHING_ASKED = Policy()
