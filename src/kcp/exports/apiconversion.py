"""APIConversion: rules of a provider that convert objects between the versions of an APIResourceSchema, field by field.

Rules belong to the schema of the same name in the same workspace. What the other version has no field for is kept in an annotation and put
back on the way home. Pure; CEL is imported with the first rules that are compiled.
Before: `registry.versions` (converts), `conversionadmission` (checks), `server.foundation` (joins them). After: `apimachinery.cel`.
Source: kcp pkg/conversion/{conversion_rules,converter}.go, docs/content/concepts/apis/api-conversion.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Unexplained
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apis.kubernetes.checks import list_at, numbered
from kcp.exports.names import APIS_GROUP

if TYPE_CHECKING:
    from kcp.apimachinery.cel.program import Program
    from kcp.apimachinery.cel.types import Type
    from kcp.apimachinery.schema.node import Schema

CONVERSIONS = GVR(APIS_GROUP, "v1alpha1", "apiconversions")
PRESERVED = "preserve.conversion.apis.kcp.io/"
"""Prefix of the annotation with the fields of one version that the others do not have; the version follows."""
UNITS_PER_S = 3_000_000
"""Cost of CEL that is worked off in a second at least (docs/adr/0009): time as a measure that is the same on every machine."""

Schemas: TypeAlias = Mapping[str, "Callable[[], Schema | None]"]
"""Of every version of an APIResourceSchema, by name."""
Path: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FieldRule:
    """One compiled rule."""

    source: Path
    destination: Path
    program: Program | None
    """None: the value is copied."""
    type: Type | None


@dataclass(frozen=True, slots=True)
class Step:
    """The way from one version to another."""

    rules: Sequence[FieldRule]
    preserved: Sequence[Path]


Steps: TypeAlias = Mapping[tuple[str, str], Step]
"""By version converted from and to."""


def compile_conversion(conversion: JSONObject, schemas: Schemas) -> tuple[Steps, list[Cause]]:
    """The steps of an APIConversion, and everything that is wrong with it."""
    steps: dict[tuple[str, str], Step] = {}
    faults: list[Cause] = []
    for at, entry in numbered(meta.nested(conversion, "spec", default={}), "conversions", "spec.conversions"):
        versions = entry["from"], entry["to"]
        unknown = [
            Cause.invalid(f"{at}.{side}", entry[side], "unable to find structural schema for version")
            for side in ("from", "to")
            if entry[side] not in schemas
        ]
        if unknown:
            faults += unknown
            continue
        rules: list[FieldRule] = []
        for rule_at, rule in numbered(entry, "rules", f"{at}.rules"):
            made = _rule(rule, schemas[versions[0]](), rule_at)
            if isinstance(made, FieldRule):
                rules.append(made)
            else:
                faults.append(made)
        preserved = [(text, _path(text)) for text in list_at(entry, "preserve")]
        for n, (text, path) in enumerate(preserved):
            if why := _untouchable(path):
                faults.append(Cause.invalid(f"{at}.preserve[{n}]", text, why))
        steps[versions] = Step(rules, [path for _, path in preserved])
    return steps, faults


def _rule(rule: Mapping[str, Any], schema: Schema | None, at: str) -> FieldRule | Cause:
    source, destination = _path(rule["field"]), _path(rule["destination"])
    if why := _untouchable(destination):
        return Cause.invalid(f"{at}.destination", rule["destination"], why)
    found = _schema_at(schema, source)
    if isinstance(found, str):
        return Cause.invalid(f"{at}.field", rule["field"], found)
    text = rule.get("transformation") or ""
    if not text:
        return FieldRule(source, destination, None, None)
    from kcp.apimachinery.cel.checker import Environment
    from kcp.apimachinery.cel.declared import Declarations
    from kcp.apimachinery.cel.errors import CompileError
    from kcp.apimachinery.cel.program import Program

    declared = Declarations().of(found, is_root=True)
    if declared is None:
        return Cause.invalid(f"{at}.field", rule["field"], f"unable to find CEL decl type for {found.type or 'a value of any type'}")
    try:
        return FieldRule(source, destination, Program(text, Environment({"self": declared})), declared)
    except CompileError as error:
        return Cause.invalid(f"{at}.transformation", text, f"error compiling CEL program: {error}")


def _path(text: str) -> Path:
    """
    >>> _path(".spec.name.first")
    ('spec', 'name', 'first')
    """
    return tuple(text.removeprefix(".").split("."))


def _untouchable(path: Path) -> str:
    """Why a conversion may not write there; "" if it may."""
    if "" in path:
        return "must be the path of a field, such as .spec.name.first"
    return "must not be apiVersion, kind or part of metadata" if path[0] in ("apiVersion", "kind", "metadata") else ""


def _schema_at(schema: Schema | None, path: Path) -> Schema | str:
    """The schema of a field, or what is wrong with its path."""
    for depth, name in enumerate(path):
        if schema is None or schema.type != "object":
            return f'expected field "{".".join(path[:depth])}" to be an object'
        schema = schema.child(name)
        if schema is None:
            return f'''field "{".".join(path[: depth + 1])}" doesn't exist'''
    assert schema is not None, "a path has at least one part"
    return schema


class RuleConversion:
    """Converts objects by the rules of one APIConversion, which are compiled with the first object."""

    def __init__(self, conversion: JSONObject, schemas: Schemas, *, timeout_s: float) -> None:
        """Args: timeout_s: how long the transformations of one object may take."""
        self._conversion = conversion
        self._schemas = schemas
        self._budget = int(timeout_s * UNITS_PER_S)
        self._steps: Steps | None = None

    def __call__(self, obj: JSONObject, api_version: str) -> JSONObject:
        """The object in another version, not yet pruned. Raises Unexplained."""
        if self._steps is None:
            steps, faults = compile_conversion(self._conversion, self._schemas)
            if faults:  # the schema is another than the one they were checked against
                raise Unexplained(f'APIConversion "{meta.name(self._conversion)}": error compiling conversion rules: {faults[0]}')
            self._steps = steps
        held, wanted = obj["apiVersion"].rpartition("/")[2], api_version.rpartition("/")[2]
        converted: JSONObject = copy_json(obj)
        step = self._steps.get((held, wanted), _NOTHING)
        try:
            for path, value in _values(step.rules, obj, self._budget):
                _put(converted, path, value)
            self._restore(converted, wanted)
        except _Failed as failure:
            about = f'{obj.get("kind")} "{meta.name(obj)}" from {held} to {wanted} by APIConversion "{meta.name(self._conversion)}"'
            raise Unexplained(f"error converting {about}: {failure}") from None
        kept = {".".join(path): value for path in step.preserved if (value := meta.nested(obj, *path)) is not None}
        meta.set_annotation(converted, PRESERVED + held, json.dumps(kept, separators=(",", ":")) if kept else None)
        return converted

    def _restore(self, converted: JSONObject, version: str) -> None:
        """Put back what this version's objects had when they were last shown in another one; only fields that the rules name."""
        text = meta.annotations(converted).get(PRESERVED + version)
        if text is None:
            return
        meta.set_annotation(converted, PRESERVED + version, None)
        try:
            kept = json.loads(text)
        except ValueError:
            return  # somebody else's words: nothing to put back
        steps = [step for (held, _), step in (self._steps or {}).items() if held == version]
        for path in {path for step in steps for path in step.preserved}:
            if isinstance(kept, dict) and ".".join(path) in kept:
                _put(converted, path, kept[".".join(path)])


class _Failed(Exception):
    """What cannot be done with one object; the text says why."""


_NOTHING = Step((), ())
_MISSING = object()


def _values(rules: Sequence[FieldRule], obj: JSONObject, budget: int) -> Iterator[tuple[Path, Any]]:
    """What goes where. Fields that are not there go nowhere."""
    for rule in rules:
        value = _at(obj, rule.source)
        if value is None or rule.program is None:
            if value is not _MISSING:
                yield rule.destination, copy_json(value)
            continue
        if value is _MISSING:
            continue
        result, cost = _evaluated(rule, rule.program, value, budget)
        budget -= cost
        if result is not None:
            yield rule.destination, result


def _evaluated(rule: FieldRule, program: Program, value: Any, budget: int) -> tuple[Any, int]:
    """The result as JSON, and its cost."""
    from kcp.apimachinery.cel.asjson import as_json
    from kcp.apimachinery.cel.errors import EvaluationError

    try:
        current = rule.type.convert(value) if rule.type is not None and rule.type.convert is not None else value
        found = program.evaluate({"self": current}, limit=budget)
        if not found.error:
            return as_json(found.value), found.cost
        told = "operation cancelled: it took longer than --conversion-cel-transformation-timeout" if found.is_exceeded else found.error
    except EvaluationError as error:
        told = str(error)
    raise _Failed(f"error executing transformation of {'.'.join(rule.source)}: {told}")


def _at(obj: JSONObject, path: Path) -> Any:
    here: Any = obj
    for name in path:
        if type(here) is not dict or name not in here:
            return _MISSING
        here = here[name]
    return here


def _put(obj: JSONObject, path: Path, value: Any) -> None:
    here = obj
    for depth, name in enumerate(path[:-1]):
        here = here.setdefault(name, {})
        if type(here) is not dict:
            where = ".".join(path[: depth + 1])
            raise _Failed(f'error setting destination field "{".".join(path)}": value cannot be set because .{where} is not an object')
    here[path[-1]] = value
