"""What one constraint means for one target: met or not, to what degree, and in which words.

Before: `filters` (hard ones), `scores` (soft ones), `spec`. After: nothing. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kcp.tmc.placement.policy import NUMERIC, Constraint, ConstraintType, Operator
from kcp.tmc.placement.snapshot import Target

_BINARY = (("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10))
_BYTES = frozenset({"memory", "storage", "ephemeral-storage"})
GIB = float(1 << 30)


def number_of(constraint: Constraint, target: Target) -> float | None:
    """What a numeric constraint looks at; None if the target does not say."""
    match constraint.type:
        case ConstraintType.RESOURCE:
            return target.free(constraint.field)
        case ConstraintType.CAPACITY:
            return target.allocatable.get(constraint.field)
        case ConstraintType.LATENCY:
            return latency(target, constraint.field)
        case _:
            return price(target, constraint.field)


def latency(target: Target, peer: str) -> float | None:
    """Milliseconds to a peer; without a name, to the farthest there is."""
    return target.latency_ms.get(peer) if peer else max(target.latency_ms.values(), default=None)


def price(target: Target, part: str, requests: Mapping[str, float] | None = None) -> float | None:
    """Price for an hour of one core or GiB; without a part, of the requests, or else of one of each part."""
    if part:
        return target.prices.get(part)
    if not target.prices:
        return None
    amounts = {r: (n / GIB if r in _BYTES else n) for r, n in (requests or {}).items()}
    return sum(p * (amounts.get(name, 0.0) if amounts else 1.0) for name, p in target.prices.items())


def text_of(constraint: Constraint, target: Target) -> str | None:
    """What any other constraint looks at; None if the target has none."""
    match constraint.type:
        case ConstraintType.REGION:
            return target.region or None
        case ConstraintType.ZONE:
            return target.zone or None
        case ConstraintType.LABEL:
            return target.labels.get(constraint.field)
        case _:
            return _capability(target, constraint.field)


def _capability(target: Target, field: str) -> str | None:
    """`gpu` is whether there is one, `gpu.model` what its metadata say."""
    if field in target.capabilities:
        return "true"
    kind, _, detail = field.partition(".")
    return target.capabilities.get(kind, {}).get(detail) if detail else None


def test(constraint: Constraint) -> Callable[[Target], bool]:
    """Whether a target meets it, as a function."""
    if constraint.type in NUMERIC:
        holds = _COMPARE[constraint.operator]
        bound = constraint.number
        return lambda t: (value := number_of(constraint, t)) is not None and holds(value, bound)
    values = frozenset(constraint.values)
    match constraint.operator:
        case Operator.IN:
            return lambda t: text_of(constraint, t) in values
        case Operator.NOT_IN:
            return lambda t: text_of(constraint, t) not in values
        case Operator.EXISTS:
            return lambda t: text_of(constraint, t) is not None
        case Operator.DOES_NOT_EXIST:
            return lambda t: text_of(constraint, t) is None
        case _:
            return lambda t: _as_number(text_of(constraint, t), constraint)


_COMPARE: dict[Operator, Callable[[float, float], bool]] = {
    Operator.LESS_THAN: lambda value, bound: value < bound,
    Operator.GREATER_THAN: lambda value, bound: value > bound,
    Operator.AT_MOST: lambda value, bound: value <= bound,
    Operator.AT_LEAST: lambda value, bound: value >= bound,
}


def _as_number(text: str | None, constraint: Constraint) -> bool:
    """A label or a capability's detail that is a number, compared."""
    try:
        return text is not None and _COMPARE[constraint.operator](float(text), constraint.number)
    except ValueError:
        return False


def degree(constraint: Constraint) -> Callable[[Target], float]:
    """How far a target meets a soft constraint, 0 to 1: in full, not at all, or, within the tolerance, in proportion."""
    meets = test(constraint)
    slack = abs(constraint.number) * constraint.tolerance
    if constraint.type not in NUMERIC or not slack:
        return lambda t: 1.0 if meets(t) else 0.0

    def share(target: Target) -> float:
        value = number_of(constraint, target)
        if value is None:
            return 0.0
        return 1.0 if meets(target) else max(1.0 - abs(value - constraint.number) / slack, 0.0)

    return share


def explanation(constraint: Constraint) -> Callable[[Target], str]:
    """In which words a target that does not meet it is refused."""

    def told(target: Target) -> str:
        if constraint.type in NUMERIC:
            found = number_of(constraint, target)
            shown = "not reported" if found is None else amount(constraint.field, found)
        else:
            shown = text_of(constraint, target) or "none"
        return f"constraint {constraint} is not met (here: {shown})"

    return told


def amount(resource: str, value: float) -> str:
    """A number as people write it.

    >>> amount("cpu", 0.25), amount("cpu", 4.0), amount("memory", 1536.0 * 1024 * 1024)
    ('250m', '4', '1.5Gi')
    """
    if resource == "cpu" and value < 1:
        return f"{value * 1000:.0f}m"
    if resource in _BYTES:
        for suffix, size in _BINARY:
            if value >= size:
                return f"{value / size:.4g}{suffix}"
    return f"{value:.6g}"
