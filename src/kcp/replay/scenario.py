"""What happens in a replay, and when: faults of the fleet and acts of users, made from a seed or read from a YAML file.

A scenario is data: the same one always plays the same. Before: `cli.sim_replay`. After: `player`, which carries the steps out.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kcp.aio.durations import format_duration, parse_duration
from kcp.sim.faults import Fault

API_VERSION = "sim.kcp.io/v1alpha1"

CONTROL_PLANE = "control-plane"
"""As the `target` of a fault: the server itself instead of a cluster."""

CLUSTER_FAULTS = ("kill", "pause", "partition", "slow", "fill", "skew", "stop-syncer", "cut-off")
CONTROL_PLANE_FAULTS = ("kill", "pause", "slow")
ACTS = ("deploy", "scale", "image", "delete", "config", "drift", "remove-copy", "cordon", "uncordon")

_COUNTED = ("deploy", "scale", "image", "drift")
"""Acts with a number: of replicas, or of the image's version."""
_HOUR_S = 3600.0
EXCLUSIVE_APP = "app-only"
"""Of scenarios from a seed: it runs in one cluster at a time."""


class ScenarioError(ValueError):
    """A file is no scenario; the message names the field."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens. For a fault: `target`, and `for_s` until it is mended; for an act of a user: `name`, and what it needs."""

    at_s: float
    verb: str
    target: str = ""
    """A cluster, or `control-plane`."""
    for_s: float = 0.0
    amount: float = 0.0
    """Seconds of latency (`slow`) or of clock error (`skew`)."""
    name: str = ""
    replicas: int = 0
    exclusive: str = ""
    """Of a Deployment: `lease` or `confirmed`, where it may run in one cluster at a time only."""

    @property
    def is_fault(self) -> bool:
        return self.verb in CLUSTER_FAULTS

    def __str__(self) -> str:
        parts = [self.verb, self.target, self.name]
        if self.verb in ("deploy", "scale"):
            parts.append(f"to {self.replicas}")
        if self.verb in ("slow", "skew"):
            parts.append(f"by {format_duration(self.amount)}")
        if self.is_fault:
            parts.append(f"for {format_duration(self.for_s)}")
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps in the order of time. Times are seconds from the start of the fleet."""

    seed: int
    duration_s: float
    clusters: tuple[str, ...] = ("cluster-1", "cluster-2", "cluster-3")
    number_of_clusters: int = 2
    """Of the one Placement, over all clusters."""
    steps: tuple[Step, ...] = field(default=())


def from_seed(seed: int, *, hours: float, clusters: int = 3, per_hour: float = 12.0) -> Scenario:
    """A day, or less, in the life of a fleet: on average `per_hour` faults and as many acts of users, at random times.

    The same arguments give the same scenario.
    """
    rng = random.Random(f"scenario {seed}")
    names = tuple(f"cluster-{n}" for n in range(1, clusters + 1))
    duration_s = hours * _HOUR_S
    steps = [*_faults(rng, names, duration_s, per_hour), *_acts(rng, names, duration_s, per_hour)]
    return Scenario(seed, duration_s, names, rng.randint(1, min(clusters, 3)), in_order(steps))


CHAPTER_CLUSTERS = ("east", "west")


def chapter_from_seed(seed: int) -> Scenario:
    """A minute or two: one fault, or two at once, and a few acts of users meanwhile. Short enough for a thousand of them in a row."""
    rng = random.Random(f"chapter {seed}")
    steps = [Step(0.0, "deploy", name="app-1", replicas=rng.randint(1, 4))]
    steps.append(Step(0.0, "deploy", name=EXCLUSIVE_APP, replicas=rng.randint(1, 2), exclusive=("lease", "confirmed")[seed // 2 % 2]))
    pairs = ((CHAPTER_CLUSTERS, 6), ((rng.choice(CHAPTER_CLUSTERS), CONTROL_PLANE), 3), ((rng.choice(CHAPTER_CLUSTERS),), 6))
    (targets,) = rng.choices([pair for pair, _ in pairs], [weight for _, weight in pairs])
    for target in targets:
        verb = rng.choice(CONTROL_PLANE_FAULTS if target == CONTROL_PLANE else CLUSTER_FAULTS)
        lengths = (rng.uniform(0.1, 3.0), rng.uniform(3.0, 10.0), rng.uniform(30.0, 150.0))
        for_s = round(rng.choices(lengths, (8, 6, 2))[0], 3)
        amount = {"slow": round(rng.uniform(0.05, 2.0), 3), "skew": rng.choice((-600.0, -30.0, 30.0, 600.0))}.get(verb, 0.0)
        steps.append(Step(round(rng.uniform(1.0, 5.0), 3), verb, target, for_s, amount))
    steps += _acts_among(rng, CHAPTER_CLUSTERS, ["app-1", "app-2", EXCLUSIVE_APP], count=rng.randint(1, 4), until_s=8.0)
    return Scenario(seed, max(step.at_s + step.for_s for step in steps) + 1.0, CHAPTER_CLUSTERS, 2, in_order(steps))


def in_order(steps: Iterable[Step]) -> tuple[Step, ...]:
    """As they happen; those at one time always in the same order."""
    return tuple(sorted(steps, key=_order))


def _order(step: Step) -> tuple[float, str, str, str]:
    return step.at_s, step.verb, step.target, step.name


def _faults(rng: random.Random, clusters: Sequence[str], duration_s: float, per_hour: float) -> list[Step]:
    steps = []
    for _ in range(max(1, round(duration_s / _HOUR_S * per_hour))):
        at_s = round(rng.uniform(5.0, duration_s), 3)
        if rng.random() < 0.2:
            target, verb = CONTROL_PLANE, rng.choice(CONTROL_PLANE_FAULTS)
        else:
            target, verb = rng.choice(clusters), rng.choice(CLUSTER_FAULTS)
        # Mostly blips and a minute or two; now and then longer than any grace period.
        for_s = round(rng.choice((rng.uniform(0.1, 5.0), rng.uniform(5.0, 120.0), rng.uniform(120.0, 1200.0))), 3)
        amount = round(rng.uniform(0.05, 3.0), 3) if verb == "slow" else rng.choice((-600.0, -30.0, 30.0, 600.0))
        steps.append(Step(at_s, verb, target, for_s, amount if verb in ("slow", "skew") else 0.0))
    return steps


def _acts(rng: random.Random, clusters: Sequence[str], duration_s: float, per_hour: float) -> list[Step]:
    """Users work on five Deployments; whoever has access to a cluster meddles with the copies."""
    names = [f"app-{n}" for n in range(1, 6)]
    steps = [Step(float(index + 1), "deploy", name=name, replicas=rng.randint(1, 6)) for index, name in enumerate(names[:3])]
    steps.append(Step(4.0, "deploy", name=EXCLUSIVE_APP, replicas=rng.randint(1, 3), exclusive=rng.choice(("lease", "confirmed"))))
    names.append(EXCLUSIVE_APP)
    count = max(1, round(duration_s / _HOUR_S * per_hour))
    return [*steps, *_acts_among(rng, clusters, names, count=count, until_s=duration_s)]


def _acts_among(rng: random.Random, clusters: Sequence[str], names: Sequence[str], *, count: int, until_s: float) -> list[Step]:
    steps = []
    for _ in range(count):
        at_s, verb, name = round(rng.uniform(min(5.0, until_s / 2), until_s), 3), rng.choice(ACTS), rng.choice(names)
        wants_cluster = verb in ("drift", "remove-copy", "cordon", "uncordon")
        target = rng.choice(clusters) if wants_cluster else ""
        replicas = rng.randint(0, 8)
        of_target = verb in ("cordon", "uncordon")
        steps.append(Step(at_s, verb, target, name="" if of_target else name, replicas=replicas if verb in _COUNTED else 0))
    return steps


# Files


def to_document(scenario: Scenario) -> dict[str, Any]:
    """The scenario as a YAML file would hold it."""
    spec: dict[str, Any] = {
        "seed": scenario.seed,
        "duration": format_duration(scenario.duration_s),
        "clusters": list(scenario.clusters),
        "numberOfClusters": scenario.number_of_clusters,
        "steps": [_step_document(step) for step in scenario.steps],
    }
    return {"apiVersion": API_VERSION, "kind": "Scenario", "metadata": {"name": f"seed-{scenario.seed}"}, "spec": spec}


def _step_document(step: Step) -> dict[str, Any]:
    held: dict[str, Any] = {"at": format_duration(step.at_s), "do": step.verb}
    if step.target:
        held["target"] = step.target
    if step.is_fault:
        held["for"] = format_duration(step.for_s)
    if step.amount:
        held["by"] = format_duration(step.amount)
    if step.name:
        held["name"] = step.name
    if step.verb in _COUNTED:
        held["replicas"] = step.replicas
    if step.exclusive:
        held["exclusive"] = step.exclusive
    return held


def from_document(document: Any) -> Scenario:
    """Raises ScenarioError naming the field."""
    if not isinstance(document, Mapping) or document.get("kind") != "Scenario" or document.get("apiVersion") != API_VERSION:
        raise ScenarioError(f"not a scenario: apiVersion must be {API_VERSION} and kind Scenario")
    spec = document.get("spec") or {}
    clusters = tuple(str(name) for name in spec.get("clusters") or ("cluster-1", "cluster-2", "cluster-3"))
    count = spec.get("numberOfClusters", 1)
    if not isinstance(count, int) or not 1 <= count <= len(clusters):
        raise ScenarioError(f"spec.numberOfClusters: {count!r} must be between 1 and {len(clusters)}, the number of clusters")
    steps = [_step(held, f"spec.steps[{index}]", clusters) for index, held in enumerate(spec.get("steps") or ())]
    scenario = Scenario(int(spec.get("seed") or 0), _seconds(spec, "duration", "spec"), clusters, count)
    return replace(scenario, steps=in_order(steps))


def _step(held: Any, at: str, clusters: Sequence[str]) -> Step:
    if not isinstance(held, Mapping):
        raise ScenarioError(f"{at}: must be a mapping with at, do and what that needs")
    verb, target, name = str(held.get("do") or ""), str(held.get("target") or ""), str(held.get("name") or "")
    if verb not in (*CLUSTER_FAULTS, *ACTS):
        raise ScenarioError(f"{at}.do: {verb!r} is none of {', '.join((*CLUSTER_FAULTS, *ACTS))}")
    if target == CONTROL_PLANE and verb not in CONTROL_PLANE_FAULTS:
        raise ScenarioError(f"{at}.do: the control plane knows {', '.join(CONTROL_PLANE_FAULTS)} only")
    if target not in ("", CONTROL_PLANE, *clusters) or (
        not target and verb in (*CLUSTER_FAULTS, "drift", "remove-copy", "cordon", "uncordon")
    ):
        raise ScenarioError(f"{at}.target: {target!r} must be {CONTROL_PLANE} or one of {', '.join(clusters)}")
    if not name and verb in ("deploy", "scale", "image", "delete", "config", "drift", "remove-copy"):
        raise ScenarioError(f"{at}.name: required: of the Deployment (or ConfigMap)")
    for_s = _seconds(held, "for", at) if verb in CLUSTER_FAULTS else 0.0
    amount = _seconds(held, "by", at) if verb in ("slow", "skew") else 0.0
    exclusive = str(held.get("exclusive") or "")
    if exclusive not in ("", "lease", "confirmed"):
        raise ScenarioError(f"{at}.exclusive: {exclusive!r} is neither lease nor confirmed")
    replicas = held.get("replicas", int(verb in _COUNTED))
    if not isinstance(replicas, int) or replicas < 0:
        raise ScenarioError(f"{at}.replicas: {replicas!r} must be a number, not negative")
    return Step(_seconds(held, "at", at), verb, target, for_s, amount, name, replicas, exclusive)


def _seconds(held: Mapping[str, Any], name: str, at: str) -> float:
    try:
        text = str(held[name])
        return round(-parse_duration(text[1:]) if text.startswith("-") else parse_duration(text), 3)
    except KeyError:
        raise ScenarioError(f"{at}.{name}: required: a duration such as 30s, 5m or 1h30m") from None
    except ValueError as error:
        raise ScenarioError(f"{at}.{name}: {error}") from error


def fault_of(step: Step) -> Fault:
    """The switch of the simulator behind a step."""
    return Fault(step.verb)
