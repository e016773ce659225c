"""How the replicas of a Deployment are divided over the chosen clusters, as the Placement asks for it.

    Placement (policy, chosen clusters, what they have free) → annotation on the Placement → on its namespaces → `share` per Deployment

What clusters have free is written down when they are chosen, and stays: replicas do not follow the weather.
Before: `status` (writes), `namespaces` (carries), `resources` (shares). After: `divide`. Pure.
Source for the ways to divide: the TMC reference §3; Karmada's ReplicaSchedulingStrategy for the vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kcp.apimachinery import meta, quantity
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.names import SPEC_DIFF_ANNOTATION, STATE_LABEL
from kcp.tmc.placement.divide import divide
from kcp.tmc.placement.policy import Division, Policy, Preference, Replicas
from kcp.tmc.placement.schedule import Target
from kcp.tmc.placement.usage import MEASURED


@dataclass(frozen=True, slots=True)
class ClusterShare:
    """What bounds and weighs one cluster."""

    weight: int = 1
    minimum: int = 0
    maximum: int | None = None
    free: Mapping[str, float] = field(default_factory=dict)
    """Resource → what was free when the cluster was chosen."""

    def to_object(self) -> JSONObject:
        shown: JSONObject = {"weight": self.weight, "min": self.minimum, "max": self.maximum, "free": dict(self.free)}
        return {name: value for name, value in shown.items() if value not in (None, {})}

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> ClusterShare:
        return cls(int(obj.get("weight", 1)), int(obj.get("min", 0)), obj.get("max"), obj.get("free") or {})


@dataclass(frozen=True, slots=True)
class Shares:
    """One Placement's way to divide."""

    division: Division
    preference: Preference
    clusters: Mapping[str, ClusterShare]
    """By K."""

    def to_json(self) -> str:
        clusters = {key: share.to_object() for key, share in sorted(self.clusters.items())}
        return json.dumps({"division": self.division, "preference": self.preference, "clusters": clusters}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | None) -> Shares | None:
        """None for what is absent or not to be understood: then replicas are divided evenly."""
        try:
            obj = json.loads(text or "{}")
            clusters = {key: ClusterShare.of(share) for key, share in obj["clusters"].items()}
            return cls(Division(obj["division"]), Preference(obj["preference"]), clusters)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def shares_of(policy: Policy, chosen: Sequence[Target], held: Shares | None, *, anew: bool = False) -> Shares | None:
    """What a Placement's annotation should say; None: evenly. Args: held: what it says now. anew: as if the clusters were chosen now."""
    if policy.replicas == Replicas() and not any(r.weight is not None or r.bounds_replicas for r in policy.rules):
        return None
    known = held.clusters if held is not None else {}
    is_settled = set(known) == {t.key for t in chosen} and not anew
    clusters: dict[str, ClusterShare] = {}
    for target in chosen:
        rule = policy.rule_for(target.name, target.labels)
        least = policy.replicas.minimum if rule.min_replicas is None else rule.min_replicas
        most = policy.replicas.maximum if rule.max_replicas is None else rule.max_replicas
        free = known[target.key].free if is_settled else _free(target, policy.replicas.preference)
        clusters[target.key] = ClusterShare(1 if rule.weight is None else rule.weight, least, most, free)
    return Shares(policy.replicas.division, policy.replicas.preference, clusters)


def _free(target: Target, preference: Preference) -> dict[str, float]:
    if preference is Preference.WEIGHTED:
        return {}
    return {r: free for r in MEASURED if (free := target.free(r)) is not None}


def combine(found: Iterable[Shares]) -> Shares | None:
    """Of several Placements on one namespace: the clusters of all, divided as the first says."""
    listed = list(found)
    if not listed:
        return None
    clusters = {key: share for one in reversed(listed) for key, share in one.clusters.items()}
    return Shares(listed[0].division, listed[0].preference, clusters)


def share(  # noqa: PLR0913 - what decides, spelled out
    total: int,
    keys: Sequence[str],
    shares: Shares | None,
    *,
    current: Mapping[str, int],
    pod: Mapping[str, float],
    names: Mapping[str, str] = {},
) -> dict[str, int]:
    """Replicas for each of `keys`; they sum to `total` unless they are duplicated, or the bounds leave some without a place.

    Args: current: what each runs now. pod: resource → what one replica requests. names: by which clusters are ordered where nothing else
    decides: people know names, and keys are hashes.
    """
    by_name = {key: f"{names.get(key, '')}/{key}" for key in keys}
    held = {by_name[key]: number for key, number in current.items() if key in by_name}
    if shares is not None:
        shares = replace(shares, clusters={by_name[key]: found for key, found in shares.clusters.items() if key in by_name})
    placed = _share(total, list(by_name.values()), shares, held, pod)
    return {key: placed[name] for key, name in by_name.items()}


def _share(total: int, keys: Sequence[str], shares: Shares | None, current: Mapping[str, int], pod: Mapping[str, float]) -> dict[str, int]:
    if shares is None:
        return divide(total, keys, current=current)
    clusters = {key: shares.clusters.get(key, ClusterShare()) for key in sorted(set(keys))}
    if shares.division is Division.DUPLICATED:
        return {key: _most(c, total) for key, c in clusters.items()}
    match shares.preference:
        case Preference.WEIGHTED:
            return _by_weight(total, clusters, current)
        case Preference.CAPACITY:
            return _by_capacity(total, clusters, current, pod)
        case Preference.AGGREGATED:
            return _aggregated(total, clusters, current, pod)


def _most(cluster: ClusterShare, number: int) -> int:
    return number if cluster.maximum is None else min(number, cluster.maximum)


def _by_weight(total: int, clusters: Mapping[str, ClusterShare], current: Mapping[str, int]) -> dict[str, int]:
    """Largest remainders by weight, within the bounds: who would get too few gets its minimum, who would get too many its maximum."""
    weights = {key: c.weight for key, c in clusters.items()}
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    open_keys = _with_minimum(total, clusters, weights, current)
    fixed = {key: 0 for key in clusters if key not in open_keys}
    while open_keys:
        shares = divide(total - sum(fixed.values()), open_keys, weights=weights, current=current)
        over = {k: m for k in open_keys if shares[k] > (m := _most(clusters[k], shares[k]))}
        under = {k: clusters[k].minimum for k in open_keys if shares[k] < clusters[k].minimum}
        excess, lack = sum(shares[k] - m for k, m in over.items()), sum(m - shares[k] for k, m in under.items())
        settled = over if excess >= lack else under
        if not settled:
            return {**fixed, **shares}
        fixed |= settled
        open_keys = [k for k in open_keys if k not in settled]
    return fixed


def _with_minimum(total: int, clusters: Mapping[str, ClusterShare], weights: Mapping[str, int], current: Mapping[str, int]) -> list[str]:
    """Clusters that get any: with fewer replicas than their minima need, those that run some already, then the heaviest."""
    found: list[str] = []
    left = total
    for key in sorted((k for k in clusters if weights[k] > 0), key=lambda k: (-current.get(k, 0), -weights[k], k)):
        if clusters[key].minimum <= left:
            found.append(key)
            left -= clusters[key].minimum
    return sorted(found)


def _by_capacity(total: int, clusters: Mapping[str, ClusterShare], current: Mapping[str, int], pod: Mapping[str, float]) -> dict[str, int]:
    """What runs stays; more replicas go where more of them fit, fewer are taken from where more of them run."""
    held = {key: min(current.get(key, 0), _most(c, total)) for key, c in clusters.items()}
    running = sum(held.values())
    if total <= running:
        lowered = {key: ClusterShare(held[key], min(c.minimum, held[key]), held[key]) for key, c in clusters.items()}
        return _by_weight(total, lowered, current)
    raised = {
        key: ClusterShare(fits(c, pod), max(c.minimum - held[key], 0), None if c.maximum is None else c.maximum - held[key])
        for key, c in clusters.items()
    }
    more = _by_weight(total - running, raised, {})
    return {key: held[key] + more[key] for key in clusters}


def _aggregated(total: int, clusters: Mapping[str, ClusterShare], current: Mapping[str, int], pod: Mapping[str, float]) -> dict[str, int]:
    """As few clusters as will do: more goes to those that run some already, then where most fit; fewer leave the smallest first.

    What fits nowhere goes to the first.
    """
    shares = {key: min(current.get(key, 0), _most(c, total)) for key, c in clusters.items()}
    for key in sorted(shares, key=lambda k: (shares[k], k)):
        shares[key] -= min(max(sum(shares.values()) - total, 0), shares[key])
    order = sorted(clusters, key=lambda k: (-shares[k], -fits(clusters[k], pod), k))
    room = {key: max(fits(clusters[key], pod), shares[key]) for key in order}
    for limits in (room, dict.fromkeys(order, total)):
        for key in order:
            left = total - sum(shares.values())
            shares[key] += max(min(_most(clusters[key], limits[key]) - shares[key], left), 0)
    return shares


UNLIMITED = 1_000_000
"""How many replicas fit where nothing is requested or nothing reported."""


def fits(cluster: ClusterShare, pod: Mapping[str, float]) -> int:
    """Replicas for which there was room when the cluster was chosen; without requests, in proportion to its free CPU."""
    rooms = [int(cluster.free[r] // n) for r, n in pod.items() if n > 0 and r in cluster.free]
    if rooms:
        return min(rooms)
    return int(cluster.free["cpu"] * 1000) if "cpu" in cluster.free else UNLIMITED


def pod_requests(obj: JSONObject) -> dict[str, float]:
    """CPU and memory that one replica asks for: the sum over its containers."""
    found: dict[str, float] = {}
    for container in meta.nested(obj, "spec", "template", "spec", "containers", default=()):
        for resource in MEASURED:
            text = meta.nested(container, "resources", "requests", resource)
            if text is not None:
                found[resource] = found.get(resource, 0.0) + float(quantity.parse(text))
    return found


def share_of(obj: JSONObject, key: str) -> int | None:
    """Replicas that target K is asked to run: from its spec diff, or all of them where it has none; None if it is not asked."""
    if SPEC_DIFF_ANNOTATION + key not in meta.annotations(obj):
        return int(meta.nested(obj, "spec", "replicas", default=1)) if STATE_LABEL + key in meta.labels(obj) else None
    try:
        operations = json.loads(meta.annotations(obj).get(SPEC_DIFF_ANNOTATION + key, "[]"))
    except ValueError:
        return None
    return next((int(op["value"]) for op in operations if op.get("path") == "/replicas"), None)


def unplaced(total: int, shares: Shares | None, placed: Mapping[str, int]) -> str | None:
    """What to tell on the object; None: all have a place."""
    missing = total - sum(placed.values())
    if shares is None or shares.division is Division.DUPLICATED or missing <= 0 or not placed:
        return None
    return f"{missing} of {total}: the clusters chosen may run no more (maxPerCluster, maxReplicas, minPerCluster of the placement)"
