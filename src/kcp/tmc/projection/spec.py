"""A ResourceProjection as values: which objects, from where, to which clusters, and what is wrong with it. Pure.

Before: `tmc.admission`, the controllers. After: selectors, CEL, `transform`.
Source: tmc reference §4 (projection policy); what a field means where the reference is silent is ours: docs/projection.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from kcp.apimachinery import jsonpath, meta
from kcp.apimachinery.errors import BadRequest, Cause
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import FieldSelector, LabelSelector
from kcp.tmc.model.names import PLACEMENT_TARGETS_ANNOTATION, PROJECTED_ANNOTATION, PROJECTED_LABEL, UNSYNCED_NAMESPACES, keys_with
from kcp.tmc.projection.expressions import text_fault
from kcp.tmc.projection.transform import Transformation

OPT_IN = ("tmc.kcp.io/project", "workload.kcp.io/auto-project", "tmc.projection")
"""Labels of objects that a projection without resourceSelectors takes. Source: tmc reference §4, §13."""
_YES, _NO = frozenset({"", "true", "enabled", "yes"}), frozenset({"false", "disabled", "no"})


class Mode(StrEnum):
    ALL = "All"
    SELECTIVE = "Selective"
    CONDITIONAL = "Conditional"


@dataclass(frozen=True, slots=True)
class ObjectSelector:
    """One of `resourceSelectors`; what it does not say, is anything."""

    group: str | None
    kind: str
    pattern: str
    labels: LabelSelector
    fields: FieldSelector

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> ObjectSelector:
        """Raises: BadRequest."""
        gvk, version = told.get("gvk") or {}, told.get("apiVersion")
        group = gvk.get("group") if gvk.get("kind") else None
        if version:
            group = version.rpartition("/")[0]
        elif gvk.get("kind") and group is None:
            group = ""
        labels = LabelSelector.from_object(told.get("labelSelector") or {})
        fields = FieldSelector.parse(told.get("fieldSelector") or "")
        for field, _, _ in fields.requirements:
            jsonpath.compile("." + field.removeprefix("."))
        return cls(group, told.get("kind") or gvk.get("kind") or "", told.get("namePattern") or "", labels, fields)

    def matches(self, obj: JSONObject) -> bool:
        if self.group is not None and str(obj.get("apiVersion") or "").rpartition("/")[0] != self.group:
            return False
        if self.kind and obj.get("kind") != self.kind:
            return False
        if self.pattern and not fnmatchcase(meta.name(obj), self.pattern):
            return False
        return self.labels.matches(meta.labels(obj)) and self.fields.matches(lambda field: _field(obj, field))


def _field(obj: JSONObject, field: str) -> str | None:
    found = jsonpath.compile("." + field.removeprefix("."))(obj)
    if not found:
        return None
    return str(found[0]).lower() if isinstance(found[0], bool) else str(found[0])


def opted(obj: Mapping[str, Any], projection: str) -> bool | None:
    """What an object's own labels say: True, False, or None where they say nothing.

    >>> opted({"metadata": {"labels": {"tmc.kcp.io/project": "edge"}}}, "edge")
    True
    """
    labels = meta.labels(obj)
    told = [str(labels[name]).lower() for name in OPT_IN if name in labels]
    if not told:
        return None
    return not any(word in _NO for word in told) and any(word in _YES or word == projection for word in told)


@dataclass(frozen=True, slots=True)
class Projection:
    """A ResourceProjection, decoded once for each of its versions."""

    cluster: ClusterName
    name: str
    created: str
    generation: int
    mode: Mode
    sources: tuple[str, ...]
    """Names or patterns of SyncTargets; none: the workspace's own objects."""
    namespaces: tuple[str, ...]
    selectors: tuple[ObjectSelector, ...]
    location_workspace: str
    target_names: tuple[str, ...]
    targets: LabelSelector
    tolerations: tuple[Mapping[str, Any], ...]
    conditional: str
    transformations: tuple[Transformation, ...]
    chosen: tuple[str, ...]
    """K of the targets chosen last."""
    problems: tuple[str, ...] = ()
    """What is wrong with the spec; then it selects nothing."""

    @classmethod
    def of(cls, obj: JSONObject) -> Projection:
        spec = obj.get("spec") or {}
        problems = [str(cause) for cause in faults(obj)]
        sound: Mapping[str, Any] = {} if problems else spec
        return cls(
            cluster=meta.cluster(obj),
            name=meta.name(obj),
            created=meta.creation_timestamp(obj),
            generation=meta.generation(obj),
            mode=Mode(sound.get("mode") or Mode.SELECTIVE),
            sources=tuple((spec.get("source") or {}).get("clusters") or ()),
            namespaces=tuple(spec.get("namespaces") or ()),
            selectors=tuple(ObjectSelector.of(told) for told in sound.get("resourceSelectors") or ()),
            location_workspace=spec.get("locationWorkspace") or "",
            target_names=tuple(spec.get("targetClusters") or ()),
            targets=LabelSelector.from_object(sound.get("targetSelector") or {}),
            tolerations=tuple(spec.get("tolerations") or ()),
            conditional=sound.get("conditional") or "" if sound.get("mode") == Mode.CONDITIONAL else "",
            transformations=tuple(Transformation.of(told) for told in sound.get("transformations") or ()),
            chosen=tuple(k for k in meta.annotations(obj).get(PLACEMENT_TARGETS_ANNOTATION, "").split(",") if k),
            problems=tuple(problems),
        )

    def selects(self, obj: JSONObject, source: str) -> bool:
        """Whether copies of this object are wanted.

        Args: source: name of the SyncTarget that shows it in the workspace, "" for an object of the workspace's own.
        """
        if self.problems or not self._is_from_here(source) or meta.labels(obj).get(PROJECTED_LABEL) == "true":
            return False
        namespace = meta.namespace(obj)
        if namespace in UNSYNCED_NAMESPACES or (self.namespaces and not matches_any(namespace, self.namespaces)):
            return False
        wish = opted(obj, self.name)
        if wish is False:
            return False
        if self.mode is Mode.ALL:
            return True
        return any(s.matches(obj) for s in self.selectors) if self.selectors else wish is True

    def _is_from_here(self, source: str) -> bool:
        return matches_any(source, self.sources) if source else not self.sources


def matches_any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def faults(obj: JSONObject) -> Iterator[Cause]:
    """What is wrong with a projection whatever it is applied to."""
    spec = obj.get("spec") or {}
    if (mode := spec.get("mode") or Mode.SELECTIVE) == Mode.ALL and spec.get("resourceSelectors"):
        yield Cause.invalid("spec.resourceSelectors", len(spec["resourceSelectors"]), "mode All takes everything: use Selective")
    if mode == Mode.CONDITIONAL and not spec.get("conditional"):
        yield Cause.required("spec.conditional", "mode Conditional needs it")
    if mode != Mode.CONDITIONAL and spec.get("conditional"):
        yield Cause.invalid("spec.conditional", spec["conditional"], f"mode {mode} does not look at it: use Conditional")
    if (text := spec.get("conditional")) and (fault := text_fault(text, ("cluster",))):
        yield Cause.invalid("spec.conditional", text, fault)
    for index, told in enumerate(spec.get("resourceSelectors") or ()):
        try:
            ObjectSelector.of(told)
        except (BadRequest, jsonpath.JSONPathError) as error:
            yield Cause.invalid(f"spec.resourceSelectors[{index}]", told, str(error))
    try:
        LabelSelector.from_object(spec.get("targetSelector") or {})
    except BadRequest as error:
        yield Cause.invalid("spec.targetSelector", spec["targetSelector"], str(error))
    for index, told in enumerate(spec.get("transformations") or ()):
        yield from Transformation.faults(told, f"spec.transformations[{index}]")


@dataclass(frozen=True, slots=True)
class Mark:
    """Who wants an object to have a copy on a target; stands on the object."""

    by: tuple[str, ...]
    """Names of ResourceProjections, in order."""
    origin: str
    """Name of the SyncTarget that shows the object, else the logical cluster it is in."""

    def to_json(self) -> str:
        return json.dumps({"by": self.by, "from": self.origin}, separators=(",", ":"))

    @classmethod
    def of(cls, obj: Mapping[str, Any], key: str) -> Mark | None:
        """The mark of target K; None if no projection wants a copy there."""
        text = meta.annotations(obj).get(PROJECTED_ANNOTATION + key)
        return cls.from_json(text) if text else None

    @classmethod
    def from_json(cls, text: str) -> Mark | None:
        try:
            told = json.loads(text)
            return cls(tuple(told["by"]), told["from"])
        except (ValueError, KeyError, TypeError):
            return None  # somebody wrote it by hand: it is written anew


def marks(obj: Mapping[str, Any]) -> dict[str, Mark]:
    """K → mark."""
    texts = keys_with(meta.annotations(obj), PROJECTED_ANNOTATION)
    return {key: mark for key, text in texts.items() if (mark := Mark.from_json(text)) is not None}
