"""PlacementPolicies: what whoever runs a workspace adds to its Placements, and how much its workloads may ask for. Pure.

A policy is for namespaces. It is for a Placement that applies to any of them, and then its clusterSelector and spread constraints hold as
if the Placement had them; the quota is `quota`.
Before: `controller`, previews, `tmc.placement.quota`. After: `spec`.
Source: the TMC reference §2.2 (PlacementPolicy); what a field means where it is silent is ours, see docs/placement.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.selectors import LabelSelector
from kcp.tmc.model.kinds import selector_of
from kcp.tmc.placement.policy import Constraint, Policy, SpreadConstraint
from kcp.tmc.placement.spec import Reader, Reading, cluster_constraints, spread_constraints

QUOTA_NAMES = ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "cpu", "memory", "pods")


@dataclass(frozen=True, slots=True)
class PlacementPolicy:
    """One of a workspace."""

    name: str
    namespaces: LabelSelector
    constraints: tuple[Constraint, ...]
    spread: tuple[SpreadConstraint, ...]
    hard: Mapping[str, float]
    """What the workloads of its namespaces may ask for together."""
    faults: tuple[Cause, ...] = ()

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> PlacementPolicy:
        """A faulty part counts as not there; a faulty selector of namespaces selects none."""
        spec, reader = obj.get("spec") or {}, Reader()
        told = spec.get("placement") or {}
        problems: list[str] = []
        namespaces = selector_of(spec.get("namespaceSelector") or {}, problems)
        for problem in problems:
            reader.wrong("spec.namespaceSelector", spec["namespaceSelector"], problem)
        return cls(
            name=meta.name(obj),
            namespaces=namespaces,
            constraints=tuple(cluster_constraints(reader, spec.get("clusterSelector") or {})),
            spread=tuple(spread_constraints(reader, told.get("spreadConstraints") or (), "spec.placement.spreadConstraints")),
            hard=_hard(reader, (spec.get("resourceQuota") or {}).get("hard") or {}),
            faults=tuple(reader.faults),
        )

    def is_for(self, namespaces: Iterable[Mapping[str, Any]]) -> bool:
        """Whether it is for a Placement of these namespaces; with none yet, only if it is for all of the workspace."""
        labels = [meta.labels(ns) for ns in namespaces]
        return any(self.namespaces.matches(one) for one in labels) if labels else self.namespaces.matches({})


def _hard(reader: Reader, told: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, text in sorted(told.items()):
        path = f"spec.resourceQuota.hard[{name}]"
        if name not in QUOTA_NAMES:
            reader.faults.append(Cause.not_supported(path, name, QUOTA_NAMES))
        elif (amount := reader.amount(text, path)) is not None:
            known = f"requests.{name}" if name in ("cpu", "memory") else name
            found[known] = min(amount, found.get(known, amount))
    return found


def under(reading: Reading, policies: Sequence[PlacementPolicy], namespaces: Sequence[Mapping[str, Any]]) -> Reading:
    """What a Placement asks for, with what the policies of its namespaces add."""
    mine = [p for p in policies if (p.constraints or p.spread) and p.is_for(namespaces)]
    if not mine:
        return reading
    policy: Policy = reading.policy
    constraints = (*policy.constraints, *(c for p in mine for c in p.constraints))
    spread = (*policy.spread, *(s for p in mine for s in p.spread))
    return replace(reading, policy=replace(policy, constraints=constraints, spread=spread))
