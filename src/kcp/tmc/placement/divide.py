"""Dividing replicas over chosen targets: pure, deterministic, and moving as little as possible.

Largest-remainder division by weight; what does not divide evenly goes first to targets that run it already, then by name. So an unchanged
choice of targets never shuffles replicas, and scaling by one changes one target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction


def divide(
    total: int, targets: Sequence[str], *, weights: Mapping[str, int] | None = None, current: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Replicas for each target; they sum to `total`.

    Args: targets: names or keys, any order. weights: default 1 each; a weight of 0 gets nothing unless all are 0 (then all count 1).
    current: what each runs now, for stable remainders.

    >>> divide(3, ["west", "east"])
    {'east': 2, 'west': 1}
    >>> divide(3, ["west", "east"], current={"east": 1, "west": 2})
    {'east': 1, 'west': 2}
    >>> divide(6, ["east", "west"], weights={"east": 2, "west": 1})
    {'east': 4, 'west': 2}
    """
    ordered = sorted(set(targets))
    if not ordered:
        return {}
    weight = {t: max((weights or {}).get(t, 1), 0) for t in ordered}
    if not any(weight.values()):
        weight = dict.fromkeys(ordered, 1)
    whole = sum(weight.values())
    exact = {t: Fraction(total * weight[t], whole) for t in ordered}
    shares = {t: int(exact[t]) for t in ordered}
    held = current or {}
    by_claim = sorted(ordered, key=lambda t: (-(exact[t] - shares[t]), held.get(t, 0) <= shares[t], -held.get(t, 0), t))
    for target in by_claim[: total - sum(shares.values())]:
        shares[target] += 1
    return shares
