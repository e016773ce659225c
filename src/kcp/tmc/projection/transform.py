"""What the transformations of a ResourceProjection make of one object for one cluster: a JSON patch, or the reason why there is none. Pure.

    Set       the value is put there; missing parents are made
    Delete    what is there goes
    Replace   as Set, but something must be there
    Template  a text with `{{.TargetCluster}}` and the like is put there

Before: `placement.resources`, which writes the patch on the object; `kubectl tmc render`. After: JSON pointers, CEL.
Source: tmc reference §4 (transformations, template variables).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kcp.apimachinery import jsonplaces, meta
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.jsonpath import JSONPathError
from kcp.apimachinery.jsonplaces import Field, Place, Steps
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import json_patch, pointer
from kcp.apimachinery.patch.errors import PatchError
from kcp.tmc.model.wishes import CONFLICT_RESOLUTION
from kcp.tmc.overrides.policy import is_open
from kcp.tmc.projection.expressions import ExpressionError, holds, text_fault

_VARIABLE = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_PLAIN = ("OriginalName", "OriginalNamespace", "SourceCluster", "TargetCluster", "Projection", "Value")
_KEYED = ("TargetLabels", "Labels", "Annotations")
"""Followed by a dot and a key: of the target, and of the object."""
_LONGEST = 64 * 1024
"""Characters of what a template makes."""


class Change(StrEnum):
    SET = "Set"
    DELETE = "Delete"
    REPLACE = "Replace"
    TEMPLATE = "Template"


class TransformationError(Exception):
    """A transformation cannot be applied to an object; the message names projection, transformation and expression."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Where an object is from and where its copy goes."""

    projection: str
    source: str
    """Name of the SyncTarget that shows it, else the workspace's."""
    cluster: Mapping[str, Any]
    """`expressions.facts_of` the target."""


@dataclass(frozen=True, slots=True)
class Transformation:
    change: Change
    path: str
    steps: Steps
    value: Any
    conditional: str

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Transformation:
        """Args: told: without `faults`."""
        path = str(told["jsonPath"])
        return cls(Change(told["type"]), path, jsonplaces.parse(path), told.get("value"), told.get("conditional") or "")

    @classmethod
    def faults(cls, told: Mapping[str, Any], where: str) -> Iterator[Cause]:
        """What is wrong with it whatever it is applied to."""
        change, path, value = told.get("type"), str(told.get("jsonPath") or ""), told.get("value")
        try:
            steps = jsonplaces.parse(path)
            if not _may_change(steps):
                detail = "only spec, data and the like, and single labels and annotations outside kcp.io, may be changed"
                yield Cause.invalid(f"{where}.jsonPath", path, detail)
        except JSONPathError as error:
            yield Cause.invalid(f"{where}.jsonPath", path, str(error))
        if change in (Change.SET, Change.REPLACE) and "value" not in told:
            yield Cause.required(f"{where}.value", f"type {change} needs it")
        if change == Change.DELETE and "value" in told:
            yield Cause.invalid(f"{where}.value", value, "type Delete takes none")
        if change == Change.TEMPLATE:
            yield from _template_faults(value, f"{where}.value")
        if (text := told.get("conditional")) and (fault := text_fault(text, ("object", "cluster"))):
            yield Cause.invalid(f"{where}.conditional", text, fault)

    def operations(self, obj: JSONObject, original: JSONObject, scene: Scene) -> list[JSONObject]:
        """Raises: ExpressionError, LookupError, PatchError."""
        if self.conditional and not holds(self.conditional, {"object": obj, "cluster": scene.cluster}):
            return []
        if self.change in (Change.SET, Change.TEMPLATE) and (fields := jsonplaces.plain_fields(self.steps)):
            value = self._made(obj, fields, original, scene)
            return [*_parents(obj, fields), {"op": "add", "path": jsonplaces.pointer_of(fields), "value": value}]
        found = jsonplaces.places(self.steps, obj)
        if self.change is Change.DELETE:
            return [{"op": "remove", "path": jsonplaces.pointer_of(place)} for place in reversed(found) if _is_there(obj, place)]
        if self.change is Change.REPLACE:
            found = [place for place in found if _is_there(obj, place)]
        if not found:
            raise LookupError(f"{self.path}: the object has nothing there")
        return [
            {"op": "replace" if _is_there(obj, place) else "add", "path": jsonplaces.pointer_of(place),
             "value": self._made(obj, place, original, scene)}
            for place in found
        ]  # fmt: skip

    def _made(self, obj: JSONObject, place: Place, original: JSONObject, scene: Scene) -> Any:
        if self.change is not Change.TEMPLATE:
            return self.value
        held = pointer.get(obj, place) if _is_there(obj, place) else None
        text = _filled(str(self.value), _variables(original, scene, held))
        return _as_number(text) if isinstance(held, int) and not isinstance(held, bool) else text


def patch_for(name: str, transformations: Sequence[Transformation], obj: JSONObject, scene: Scene) -> list[JSONObject]:
    """The operations of one projection for one cluster; [] for none. `obj` is not changed.

    Raises: TransformationError.
    """
    operations: list[JSONObject] = []
    here = obj
    for number, transformation in enumerate(transformations):
        try:
            step = transformation.operations(here, obj, scene)
            here = json_patch.apply(here, step) if step else here
        except (ExpressionError, LookupError, PatchError) as error:
            message = f"ResourceProjection {name}, transformation {number} ({transformation.change} {transformation.path}): {error}"
            raise TransformationError(message) from error
        operations += step
    return operations


_RESOLUTION = ("metadata", "annotations", CONFLICT_RESOLUTION)
"""What is asked of a syncer for single copies."""


def _may_change(steps: Steps) -> bool:
    first = steps[0]
    if fields := jsonplaces.plain_fields(steps):
        return is_open(fields) or tuple(fields) == _RESOLUTION
    return isinstance(first, Field) and first.name != "metadata" and is_open((first.name,))


def _is_there(obj: JSONObject, place: Place) -> bool:
    try:
        pointer.get(obj, place)
    except (LookupError, PatchError):
        return False
    return True


def _parents(obj: JSONObject, fields: Place) -> Iterator[JSONObject]:
    """Operations that make the maps on the way to a field that are not there."""
    for depth in range(1, len(fields)):
        if not _is_there(obj, fields[:depth]) or pointer.get(obj, fields[:depth]) is None:
            yield {"op": "add", "path": jsonplaces.pointer_of(fields[:depth]), "value": {}}


def _variables(original: JSONObject, scene: Scene, held: Any) -> Mapping[str, Any]:
    return {
        "OriginalName": meta.name(original), "OriginalNamespace": meta.namespace(original), "SourceCluster": scene.source,
        "TargetCluster": scene.cluster["name"], "Projection": scene.projection, "Value": "" if held is None else held,
        "TargetLabels": scene.cluster["labels"], "Labels": meta.labels(original), "Annotations": meta.annotations(original),
    }  # fmt: skip


def _filled(template: str, variables: Mapping[str, Any]) -> str:
    def value(found: re.Match[str]) -> str:
        name, _, key = found.group(1).removeprefix(".").partition(".")
        held = variables[name]
        if name not in _KEYED:
            return str(held)
        if key not in held:
            raise LookupError(f"{found.group(0)}: there is no {key}")
        return str(held[key])

    text = _VARIABLE.sub(value, template)
    if len(text) > _LONGEST:
        raise LookupError(f"the template makes {len(text)} characters; {_LONGEST} are allowed")
    return text


def _as_number(text: str) -> Any:
    """What stands in for a number, as one; a text that is none is left for the schema to refuse."""
    return int(text) if re.fullmatch(r"-?\d{1,18}", text.strip()) else text


def _template_faults(value: Any, where: str) -> Iterator[Cause]:
    if not isinstance(value, str):
        yield Cause.invalid(where, value, "a template is a text")
        return
    for found in _VARIABLE.finditer(value):
        name, dot, key = found.group(1).removeprefix(".").partition(".")
        keyed = name in _KEYED and dot and key
        if not found.group(1).startswith(".") or not (keyed or (name in _PLAIN and not dot)):
            known = ", ".join([*(f".{name}" for name in _PLAIN), *(f".{name}.KEY" for name in _KEYED)])
            yield Cause.invalid(where, value, f"{found.group(0)} is none of {known}")
    if "{{" in _VARIABLE.sub("", value):
        yield Cause.invalid(where, value, "{{ is not closed")
