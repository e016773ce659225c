"""From a Placement's spec, in whichever spelling, to a Policy; and every fault of it, by path.

Both the controller and admission read specs with `read`: what got in while admission was off is told in the Placement's conditions, and the
faulty part counts as not there.
Before: `controller`, `tmc.admission`, previews. After: `policy`. Pure.
Source for the spellings: the TMC reference §2.1, §2.2, §3; k8s.io/api/core/v1 NodeAffinity and TopologySpreadConstraint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from kcp.apimachinery import quantity
from kcp.apimachinery.errors import BadRequest, Cause
from kcp.apimachinery.selectors import LabelSelector
from kcp.tmc.placement.policy import (
    NUMERIC,
    ClusterGroup,
    ClusterRule,
    ClusterTerm,
    Constraint,
    ConstraintType,
    Division,
    Movement,
    Operator,
    Parameters,
    PlacementTerm,
    Policy,
    Preference,
    RebalanceMode,
    Replicas,
    SpreadConstraint,
    Strategy,
)

_DEFAULT_OPERATOR = {
    ConstraintType.RESOURCE: Operator.AT_LEAST,
    ConstraintType.CAPACITY: Operator.AT_LEAST,
    ConstraintType.LATENCY: Operator.AT_MOST,
    ConstraintType.COST: Operator.AT_MOST,
    ConstraintType.CAPABILITY: Operator.EXISTS,
}
"""In for the others."""
_COMPARING = frozenset({Operator.LESS_THAN, Operator.GREATER_THAN, Operator.AT_MOST, Operator.AT_LEAST})
_VALUELESS = frozenset({Operator.EXISTS, Operator.DOES_NOT_EXIST})
_CAPACITY_PREFIX = "capacity."
_BEYOND_LABELS = ("GreaterThan", "LessThan")
_NAMELESS = frozenset({ConstraintType.REGION, ConstraintType.ZONE, ConstraintType.LATENCY, ConstraintType.COST})
"""Constraints that mean something without a field."""
Word = TypeVar("Word", bound=StrEnum)
JSON = Mapping[str, Any]


@dataclass(slots=True)
class Reader:
    """Reads parts of a spec and keeps what is wrong with them."""

    faults: list[Cause] = field(default_factory=list)

    def wrong(self, path: str, value: object, why: str) -> None:
        self.faults.append(Cause.invalid(path, value, why))

    def word(self, kind: type[Word], text: object, path: str, default: Word) -> Word:
        """One of the words of `kind`, in upper or lower case, with or without hyphens."""
        if text in (None, ""):
            return default
        wanted = str(text).replace("-", "").replace("_", "").lower()
        found = next((w for w in kind if w.value.lower() == wanted), None)
        if found is None:
            self.faults.append(Cause.not_supported(path, text, [w for w in kind if w.value]))
        return default if found is None else found

    def selector(self, obj: JSON | None, path: str) -> LabelSelector:
        """Everything where there is none; nothing where it is malformed."""
        try:
            return LabelSelector.EVERYTHING if obj is None else LabelSelector.from_object(obj)
        except (BadRequest, AttributeError, TypeError) as error:  # a term of affinity may be of any shape: its schema says so
            self.wrong(path, obj, str(error) if isinstance(error, BadRequest) else "must be a label selector")
            return LabelSelector.NOTHING

    def amount(self, value: Any, path: str) -> float | None:
        try:
            return float(quantity.parse(value))
        except (quantity.QuantityError, TypeError):
            self.wrong(path, value, quantity.WRONG_FORMAT)
            return None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a spec says, and what is wrong with it."""

    policy: Policy
    faults: tuple[Cause, ...] = ()


def read(spec: JSON) -> Reading:
    """The policy in a Placement's spec."""
    reader = Reader()
    if spec.get("source") and spec.get("namespaceSelector"):
        reader.wrong("spec.namespaceSelector", spec["namespaceSelector"], "may not be set where spec.source names one object")
    constraints = spec.get("constraints") or {}
    affinity = constraints.get("affinity") or {}
    near, away = affinity.get("clusterAffinity") or {}, affinity.get("clusterAntiAffinity") or {}
    at = "spec.constraints.affinity"
    policy = Policy(
        strategy=reader.word(Strategy, spec.get("strategy"), "spec.strategy", Strategy.BY_NAME),
        parameters=_parameters(spec.get("strategyParameters") or {}),
        requests=_requests(reader, constraints),
        constraints=(*cluster_constraints(reader, spec.get("clusterSelector") or {}), *_rules(reader, constraints.get("rules") or ())),
        required_terms=tuple(_required(reader, near, f"{at}.clusterAffinity")),
        forbidden_terms=tuple(_required(reader, away, f"{at}.clusterAntiAffinity")),
        preferred_terms=(
            *_preferred(reader, near, f"{at}.clusterAffinity", "clusterAffinityTerm", 1.0),
            *_preferred(reader, away, f"{at}.clusterAntiAffinity", "clusterAntiAffinityTerm", -1.0),
        ),
        placement_terms=(
            *_placement_terms(reader, spec.get("placementAffinity") or (), "spec.placementAffinity", away=False),
            *_placement_terms(reader, spec.get("placementAntiAffinity") or (), "spec.placementAntiAffinity", away=True),
        ),
        spread=tuple(_spread(reader, constraints, spec)),
        groups=tuple(_groups(reader, spec.get("clusterGroups") or ())),
        rules=tuple(_cluster_rules(reader, spec.get("clusterRules") or ())),
        replicas=_replicas(reader, spec.get("replicas") or {}),
        movement=_movement(reader, spec.get("movement") or {}),
    )
    return Reading(policy, tuple(reader.faults))


def _parameters(obj: JSON) -> Parameters:
    default = Parameters()
    return Parameters(
        resource_threshold=float(obj.get("resourceThreshold", default.resource_threshold)),
        max_workloads=int(obj.get("maxWorkloadsPerCluster", default.max_workloads)),
        reference_latency_ms=float(obj.get("referenceLatencyMilliseconds", default.reference_latency_ms)),
        weights={name: float(weight) for name, weight in (obj.get("weights") or {}).items()},
    )


def _requests(reader: Reader, constraints: JSON) -> dict[str, float]:
    """`resources.requests` in quantities, and the fork's `resourceRequirements` in millicores and bytes."""
    found: dict[str, float] = {}
    for name, number in sorted((constraints.get("resourceRequirements") or {}).items()):
        found[name] = number / 1000.0 if name == "cpu" else float(number)
    for name, text in sorted(((constraints.get("resources") or {}).get("requests") or {}).items()):
        value = reader.amount(text, f"spec.constraints.resources.requests[{name}]")
        if value is not None:
            found[name] = value
    return found


def cluster_constraints(reader: Reader, obj: JSON) -> Iterator[Constraint]:
    """Labels, and `capacity.<resource>` in the fork's units; besides the operators of a selector, GreaterThan and LessThan."""
    plain: dict[str, Any] = {"matchLabels": obj.get("matchLabels") or {}, "matchExpressions": []}
    for index, expression in enumerate(obj.get("matchExpressions") or ()):
        key, operator, values = expression.get("key", ""), expression.get("operator", ""), tuple(expression.get("values") or ())
        path = f"spec.clusterSelector.matchExpressions[{index}]"
        if operator not in _BEYOND_LABELS:
            plain["matchExpressions"].append(expression)
            continue
        kind, name, unit = ConstraintType.LABEL, key, 1.0
        if key.startswith(_CAPACITY_PREFIX):
            kind, name = ConstraintType.CAPACITY, key.removeprefix(_CAPACITY_PREFIX)
            unit = 1000.0 if name == "cpu" else 1.0
        number = reader.amount(values[0], f"{path}.values") if len(values) == 1 else None
        if len(values) != 1:
            reader.wrong(f"{path}.values", list(values), f"{operator} compares with exactly one value")
        if number is not None:
            yield Constraint(kind, Operator(operator), name, values, number / unit)
    yield from _as_constraints(reader.selector(plain, "spec.clusterSelector"))


_LABEL_OPERATORS = {"=": Operator.IN, "in": Operator.IN, "notin": Operator.NOT_IN, "exists": Operator.EXISTS, "!": Operator.DOES_NOT_EXIST}


def _as_constraints(selector: LabelSelector) -> Iterator[Constraint]:
    if selector.is_nothing:
        yield Constraint(ConstraintType.LABEL, Operator.IN, "", ())
    for r in selector.requirements:
        yield Constraint(ConstraintType.LABEL, _LABEL_OPERATORS[r.operator], r.key, tuple(sorted(r.values)))


def _rules(reader: Reader, rules: Sequence[JSON]) -> Iterator[Constraint]:
    for index, rule in enumerate(rules):
        if (found := _rule(reader, rule, f"spec.constraints.rules[{index}]")) is not None:
            yield found


def _rule(reader: Reader, rule: JSON, path: str) -> Constraint | None:
    before = len(reader.faults)
    kind = reader.word(ConstraintType, rule.get("type"), f"{path}.type", ConstraintType.LABEL)
    text = {"Equals": "In", "NotEquals": "NotIn"}.get(rule.get("operator", ""), rule.get("operator"))
    operator = reader.word(Operator, text, f"{path}.operator", _DEFAULT_OPERATOR.get(kind, Operator.IN))
    if kind in NUMERIC and text == "In":
        operator = _DEFAULT_OPERATOR[kind]
    name, values = rule.get("field") or "", tuple(str(v) for v in rule.get("values") or ())
    number = 0.0
    if not name and kind not in _NAMELESS:
        reader.wrong(f"{path}.field", name, f"a constraint of type {kind} says which one")
    if kind in NUMERIC and operator not in _COMPARING:
        reader.wrong(f"{path}.operator", text, f"{kind} is a number: use AtLeast, AtMost, GreaterThan or LessThan")
    elif operator in _COMPARING:
        if len(values) != 1:
            reader.wrong(f"{path}.values", list(values), f"{operator} compares with exactly one value")
        else:
            number = reader.amount(values[0], f"{path}.values") or 0.0
    elif operator not in _VALUELESS and not values:
        reader.wrong(f"{path}.values", [], f"{operator} needs at least one value")
    if len(reader.faults) > before:
        return None
    required = bool(rule.get("required", True))
    return Constraint(kind, operator, name, values, number, required, float(rule.get("weight", 50)), float(rule.get("tolerance") or 0.0))


def _terms(reader: Reader, term: JSON | Sequence[JSON], path: str, weight: float = 0.0) -> Iterator[ClusterTerm]:
    """A single term, as in the fork, or a list."""
    for one in term if isinstance(term, list) else [term]:
        if not isinstance(one, dict) or not isinstance(one.get("locations") or [], list):
            reader.wrong(path, one, "must be a term with labelSelector and locations")
            continue
        yield ClusterTerm(reader.selector(one.get("labelSelector"), f"{path}.labelSelector"), frozenset(one.get("locations") or ()), weight)


def _required(reader: Reader, affinity: JSON, path: str) -> Iterator[ClusterTerm]:
    name = "requiredDuringSchedulingIgnoredDuringExecution"
    if term := affinity.get(name):
        yield from _terms(reader, term, f"{path}.{name}")


def _preferred(reader: Reader, affinity: JSON, path: str, inner: str, sign: float) -> Iterator[ClusterTerm]:
    name = "preferredDuringSchedulingIgnoredDuringExecution"
    for index, weighted in enumerate(affinity.get(name) or ()):
        term = weighted.get(inner) or weighted.get("clusterAffinityTerm") or {}
        yield from _terms(reader, term, f"{path}.{name}[{index}]", sign * float(weighted.get("weight", 1)))


def _placement_terms(reader: Reader, terms: Sequence[JSON], path: str, *, away: bool) -> Iterator[PlacementTerm]:
    for index, term in enumerate(terms):
        selector = reader.selector(term.get("placementSelector"), f"{path}[{index}].placementSelector")
        yield PlacementTerm(selector, term.get("topologyKey") or "", bool(term.get("required", True)), float(term.get("weight", 50)), away)


def _spread(reader: Reader, constraints: JSON, spec: JSON) -> Iterator[SpreadConstraint]:
    listed = (
        ("spec.constraints.topologySpreadConstraints", constraints.get("topologySpreadConstraints") or ()),
        ("spec.spreadConstraints", spec.get("spreadConstraints") or ()),
    )
    for path, held in listed:
        yield from spread_constraints(reader, held, path)


def spread_constraints(reader: Reader, listed: Sequence[JSON], path: str) -> Iterator[SpreadConstraint]:
    for index, one in enumerate(listed):
        selector = reader.selector(one.get("labelSelector"), f"{path}[{index}].labelSelector")
        required = one.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"
        yield SpreadConstraint(one["topologyKey"], int(one.get("maxSkew", 1)), required, selector)


def _groups(reader: Reader, groups: Iterable[JSON]) -> Iterator[ClusterGroup]:
    for index, group in enumerate(groups):
        selector = reader.selector(group.get("clusterSelector"), f"spec.clusterGroups[{index}].clusterSelector")
        yield ClusterGroup(group.get("name") or str(index + 1), selector, frozenset(group.get("clusterNames") or ()))


def _cluster_rules(reader: Reader, rules: Iterable[JSON]) -> Iterator[ClusterRule]:
    for index, rule in enumerate(rules):
        path = f"spec.clusterRules[{index}]"
        least, most = rule.get("minReplicas"), rule.get("maxReplicas")
        if least is not None and most is not None and least > most:
            reader.wrong(f"{path}.minReplicas", least, f"must not be greater than maxReplicas, {most}")
        yield ClusterRule(
            reader.selector(rule.get("clusterSelector"), f"{path}.clusterSelector"),
            frozenset(rule.get("clusterNames") or ()),
            rule.get("weight"), rule.get("priority"), least, most,
        )  # fmt: skip


def _replicas(reader: Reader, obj: JSON) -> Replicas:
    least, most = int(obj.get("minPerCluster") or 0), obj.get("maxPerCluster")
    if most is not None and least > most:
        reader.wrong("spec.replicas.minPerCluster", least, f"must not be greater than maxPerCluster, {most}")
    return Replicas(
        reader.word(Division, obj.get("division"), "spec.replicas.division", Division.DIVIDED),
        reader.word(Preference, obj.get("preference"), "spec.replicas.preference", Preference.WEIGHTED),
        least,
        most,
    )


def _movement(reader: Reader, obj: JSON) -> Movement:
    default = Movement()
    return Movement(
        rebalance=reader.word(RebalanceMode, obj.get("rebalance"), "spec.movement.rebalance", RebalanceMode.NEVER),
        min_gain=float(obj.get("minimumGain", default.min_gain)),
        moves_per_minute=int(obj.get("movesPerMinute", default.moves_per_minute)),
        max_disrupted=obj.get("maxDisruptedClusters"),
        eviction_s=obj.get("evictionSeconds"),
    )
