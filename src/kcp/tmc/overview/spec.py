"""What an AggregatedView asks for, read once: which clusters, which kinds, and how the copies of an object become one. Pure.

Before: `views`, admission. After: selectors.
Source for the vocabulary and the defaults: the TMC reference §4 (virtual workspace manager).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from kcp.aio.durations import parse_duration
from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest, Cause
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import FieldSelector, LabelSelector
from kcp.tmc.model.kinds import selector_of


class Merge(StrEnum):
    """Which clusters' copies make the aggregate."""

    UNION = "Union"
    INTERSECTION = "Intersection"
    PRIORITY = "Priority"
    LATEST = "Latest"


class Resolution(StrEnum):
    """Whose spec is shown where copies differ."""

    LAST_WRITER = "LastWriter"
    FIRST_WRITER = "FirstWriter"
    CLUSTER_WEIGHT = "ClusterWeight"
    MANUAL = "Manual"


class HealthOf(StrEnum):
    """When the whole is healthy."""

    ALL = "All"
    MAJORITY = "Majority"
    ANY = "Any"
    WEIGHTED = "Weighted"


class StatusOf(StrEnum):
    """What the status of the whole is made of."""

    COMBINED = "Combined"
    PRIMARY = "Primary"
    AGGREGATED = "Aggregated"


@dataclass(frozen=True, slots=True)
class Policy:
    """How the objects of one kind become one."""

    group: str = ""
    kind: str = ""
    merge: Merge = Merge.UNION
    conflict: Resolution = Resolution.LAST_WRITER
    health: HealthOf = HealthOf.MAJORITY
    status: StatusOf = StatusOf.COMBINED
    labels: tuple[LabelSelector, ...] = ()
    """Any of these; none: whatever its labels."""
    fields: tuple[FieldSelector, ...] = ()

    @classmethod
    def of(cls, policy: Mapping[str, Any], problems: list[str]) -> Policy:
        return cls(
            policy.get("group") or "",
            policy["kind"],
            Merge(policy.get("mergeStrategy") or Merge.UNION),
            Resolution(policy.get("conflictResolution") or Resolution.LAST_WRITER),
            HealthOf(policy.get("healthAggregation") or HealthOf.MAJORITY),
            StatusOf(policy.get("statusMerging") or StatusOf.COMBINED),
            tuple(selector_of(held, problems) for held in policy.get("labelSelectors") or ()),
            tuple(_fields(policy.get("fieldSelectors") or (), problems)),
        )


def _fields(texts: Iterable[str], problems: list[str]) -> Iterator[FieldSelector]:
    for text in texts:
        try:
            yield FieldSelector.parse(text)
        except BadRequest as error:
            problems.append(str(error))


_DEFAULT = Policy()


@dataclass(frozen=True, slots=True)
class Terms:
    """What a view says of one cluster."""

    priority: int = 0
    weight: float = 1.0


_PLAIN = Terms()


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """An AggregatedView."""

    cluster: ClusterName
    name: str
    uid: str
    generation: int
    placement: str = ""
    labels: LabelSelector | None = None
    """Of SyncTargets; None: all."""
    patterns: tuple[str, ...] = ()
    """Names of SyncTargets; none: all."""
    kinds: frozenset[tuple[str, str]] = frozenset()
    """(group, kind); none: all."""
    policies: Mapping[str, Policy] = field(default_factory=dict)
    """By kind."""
    clusters: Mapping[str, Terms] = field(default_factory=lambda: MappingProxyType({}))
    max_staleness_s: float | None = None
    problems: tuple[str, ...] = ()
    """What means nothing, though the schema lets it pass; the view's conditions tell it."""

    @classmethod
    def of(cls, obj: JSONObject) -> ViewSpec:
        spec = obj.get("spec") or {}
        problems: list[str] = []
        wanted = dict(spec.get("targetSelector") or {})
        patterns = tuple(wanted.pop("matchNames", None) or ())
        return cls(
            cluster=meta.cluster(obj),
            name=meta.name(obj),
            uid=meta.uid(obj),
            generation=meta.generation(obj),
            placement=spec.get("placement") or "",
            labels=selector_of(wanted, problems) if wanted else None,
            patterns=patterns,
            kinds=frozenset((kind.get("group") or "", kind["kind"]) for kind in spec.get("kinds") or ()),
            policies={policy["kind"]: Policy.of(policy, problems) for policy in spec.get("policies") or ()},
            clusters={c["name"]: Terms(int(c.get("priority") or 0), float(c.get("weight", 1))) for c in spec.get("clusters") or ()},
            max_staleness_s=_seconds(spec.get("maxStaleness"), problems),
            problems=tuple(problems),
        )

    def policy(self, group: str, kind: str) -> Policy:
        held = self.policies.get(kind)
        return held if held is not None and held.group in ("", group) else _DEFAULT

    def terms(self, target: str) -> Terms:
        return self.clusters.get(target, _PLAIN)

    def shows(self, group: str, kind: str) -> bool:
        return not self.kinds or (group, kind) in self.kinds

    def selects(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a SyncTarget is wanted by its name and its labels."""
        named = not self.patterns or any(fnmatchcase(name, pattern) for pattern in self.patterns)
        return named and (self.labels is None or self.labels.matches(labels))


def _seconds(text: object, problems: list[str]) -> float | None:
    if not text:
        return None
    try:
        return parse_duration(str(text))
    except ValueError as error:
        problems.append(f"maxStaleness: {error}")
        return None


def faults(view: JSONObject) -> Iterator[Cause]:
    """What no schema can say of an AggregatedView; its label selectors are checked elsewhere."""
    spec = view.get("spec") or {}
    if text := spec.get("maxStaleness"):
        try:
            is_fine = parse_duration(text) > 0
        except ValueError:
            is_fine = False
        if not is_fine:
            yield Cause.invalid("spec.maxStaleness", text, "must be a duration longer than 0s, such as 30s or 2m")
    for number, policy in enumerate(spec.get("policies") or ()):
        for index, selector in enumerate(policy.get("fieldSelectors") or ()):
            try:
                FieldSelector.parse(selector)
            except BadRequest as error:
                yield Cause.invalid(f"spec.policies[{number}].fieldSelectors[{index}]", selector, str(error))


def selectors(view: JSONObject) -> Iterator[tuple[str, Any]]:
    """Every label selector of an AggregatedView and where it stands."""
    spec = view.get("spec") or {}
    if wanted := spec.get("targetSelector"):
        yield "spec.targetSelector", {key: value for key, value in wanted.items() if key != "matchNames"}
    for number, policy in enumerate(spec.get("policies") or ()):
        for index, selector in enumerate(policy.get("labelSelectors") or ()):
            yield f"spec.policies[{number}].labelSelectors[{index}]", selector
