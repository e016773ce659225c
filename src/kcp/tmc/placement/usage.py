"""How full a cluster is, from what it reports and from what is placed on it.

Before: `filters`, `scores`. After: nothing. Pure.
"""

from __future__ import annotations

from kcp.tmc.placement.snapshot import Snapshot, Target

MEASURED = ("cpu", "memory")
"""What utilisation and free capacity are made of."""
UNKNOWN = 0.5
"""Utilisation of a cluster that does not report: neither good nor bad."""


def utilisation(target: Target) -> float:
    """Mean used share of CPU and memory."""
    known = [u for r in MEASURED if (u := target.utilisation(r)) is not None]
    return sum(known) / len(known) if known else UNKNOWN


def fullness(snapshot: Snapshot, target: Target) -> float:
    """How near it is to the most workloads it can hold: by its Pods, or else by the Placements on it."""
    pods = target.utilisation("pods")
    return pods if pods is not None else min(snapshot.load.get(target.key, 0) / snapshot.policy.parameters.max_workloads, 1.0)


def utilisation_after(snapshot: Snapshot, target: Target) -> float:
    """Mean used share of CPU and memory once the request runs there too."""
    shares = []
    for resource in MEASURED:
        held = target.allocatable.get(resource)
        if held:
            taken = target.used.get(resource, 0.0) + target.reserved.get(resource, 0.0)
            shares.append((taken + snapshot.policy.requests.get(resource, 0.0)) / held)
    return min(sum(shares) / len(shares), 1.0) if shares else UNKNOWN
