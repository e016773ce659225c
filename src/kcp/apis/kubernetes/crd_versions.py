"""Rules of one version of a CustomResourceDefinition or an APIResourceSchema: schema, subresources, columns, selectable fields.

Before: `crds`, `exports.admission`. After: `apimachinery.schema`, and CEL where a schema has rules.
Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go; KEP-4358 (selectable fields).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.apimachinery import jsonpath
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.schema.declarations import schema_faults
from kcp.apis.kubernetes.checks import list_at, numbered, obj_at

_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_SELECTABLE_TYPES = ("string", "boolean", "integer")
_MOST_SELECTABLE = 8
_LONGEST_WARNING = 256


@dataclass(frozen=True, slots=True)
class Places:
    """The fields that the faults of a version's parts are told of; "" for a part that is told of elsewhere."""

    schema: str
    subresources: str
    columns: str
    selectable: str

    @classmethod
    def of(cls, version: str) -> Places:
        return cls(
            f"{version}.schema.openAPIV3Schema",
            f"{version}.subresources",
            f"{version}.additionalPrinterColumns",
            f"{version}.selectableFields",
        )


SHARED = Places("spec.validation.openAPIV3Schema", "spec.subresources", "spec.additionalPrinterColumns", "spec.selectableFields")
"""A part that all versions have alike is one of the whole CRD to upstream."""


def version_faults(version: Mapping[str, Any], at: Places) -> Iterator[Cause]:
    """Of the parts that have a place."""
    schema, subresources = obj_at(version, "schema").get("openAPIV3Schema"), obj_at(version, "subresources")
    if at.schema and isinstance(schema, dict):
        yield from _schema(schema, at.schema, has_status=isinstance(subresources.get("status"), Mapping))
    if at.subresources and isinstance(subresources.get("scale"), Mapping):
        yield from _scale(subresources["scale"], f"{at.subresources}.scale")
    if at.columns:
        for path, column in numbered(version, "additionalPrinterColumns", at.columns):
            yield from _column(column, path)
    if at.selectable and (fields := list_at(version, "selectableFields")):
        yield from _selectable(fields, schema if isinstance(schema, dict) else {}, at.selectable)


def _schema(schema: dict[str, Any], at: str, *, has_status: bool) -> Iterator[Cause]:
    wrong = schema_faults(schema, at, has_status=has_status)
    yield from wrong
    if not wrong and declares_rules(schema):
        from kcp.apimachinery.cel.rulecheck import rule_faults

        yield from rule_faults(schema, at)


def declares_rules(schema: Any) -> bool:
    """Whether a schema has x-kubernetes-validations anywhere: without them nothing of CEL is loaded."""
    waiting = [schema]
    while waiting:
        held = waiting.pop()
        if isinstance(held, Mapping):
            if "x-kubernetes-validations" in held:
                return True
            waiting += held.values()
        elif isinstance(held, list):
            waiting += held
    return False


def deprecation_faults(version: Mapping[str, Any], at: str) -> Iterator[Cause]:
    warning, at = version.get("deprecationWarning"), f"{at}.deprecationWarning"
    if not isinstance(warning, str):
        return
    if not version.get("deprecated"):
        yield Cause.invalid(at, warning, "can only be set for deprecated versions")
        return
    if len(warning.encode()) > _LONGEST_WARNING:
        yield Cause.invalid(at, warning, "must be <= 256 characters long")
    if not warning:
        yield Cause.invalid(at, warning, "must not be an empty string")
    wrong = next((i for i, char in enumerate(warning) if not char.isprintable()), None)
    if wrong is not None:
        index = len(warning[:wrong].encode())
        detail = f"must only contain printable UTF-8 characters; non-printable character found at index {index}"
        yield Cause.invalid(at, warning, detail)


def _scale(scale: Mapping[str, Any], at: str) -> Iterator[Cause]:
    for field, roots in (
        ("specReplicasPath", (".spec.",)),
        ("statusReplicasPath", (".status.",)),
        ("labelSelectorPath", (".spec.", ".status.")),
    ):
        text, where = scale.get(field) or "", f"{at}.{field}"
        if not text:
            if field != "labelSelectorPath":
                yield Cause.required(where)
        elif not text.startswith("."):
            yield Cause.invalid(where, text, "must be a simple json path starting with .")
        elif not text.startswith(roots):
            wanted = roots[0].strip(".") if len(roots) == 1 else ""
            detail = f"should be a json path under .{wanted}" if wanted else "should be a json path under either .spec or .status"
            yield Cause.invalid(where, text, detail)


def _column(column: Mapping[str, Any], at: str) -> Iterator[Cause]:
    if not column.get("name"):
        yield Cause.required(f"{at}.name")
    kind, form, path = column.get("type") or "", column.get("format") or "", column.get("jsonPath") or ""
    types = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not kind:
        yield Cause.required(f"{at}.type", types)
    elif kind not in _COLUMN_TYPES:
        yield Cause.invalid(f"{at}.type", kind, types)
    if form and form not in _COLUMN_FORMATS:
        yield Cause.invalid(f"{at}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}")
    where = f"{at}.JSONPath"
    if not path:
        yield Cause.required(where)
    elif not path.startswith("."):
        yield Cause.invalid(where, path, "must be a simple json path starting with .")
    else:
        try:
            jsonpath.compile(path)
        except jsonpath.JSONPathError as fault:  # upstream takes it, and then shows no column of the kind
            yield Cause.invalid(where, path, f"is an invalid json path: {fault}")


def _selectable(fields: Sequence[Any], schema: Mapping[str, Any], at: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, field in enumerate(fields):
        where, path = f"{at}[{index}].jsonPath", str(obj_at({"": field}, "").get("jsonPath") or "")
        if not path:
            yield Cause.required(where)
            continue
        found, fault = _place(path, schema)
        if fault:
            yield Cause.invalid(where, path, f"is an invalid path: {fault}")
            continue
        if path.startswith(".metadata"):
            yield Cause.invalid(where, path, "must not point to fields in metadata")
        if found.get("type") not in _SELECTABLE_TYPES:
            detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            yield Cause.invalid(where, path, detail)
        if path in seen:
            yield Cause.duplicate(where, path)
        seen.add(path)
    if len(seen) > _MOST_SELECTABLE:
        yield Cause(at, "FieldValueTooMany", f"Too many: {len(seen)}: must have at most {_MOST_SELECTABLE} items")


def _place(path: str, schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The schema of a field, and what keeps it from being found. Source: pkg/apiserver/schema/cel/validation.go, ValidFieldPath."""
    if "[" in path or "]" in path:
        return {}, "array notation is not allowed"
    if not path.startswith("."):
        return {}, f"expected [ or . but got: {path.partition('.')[0]}"
    here: Any = schema
    for step in path[1:].split("."):
        if not step:
            return {}, "unexpected end of JSON path"
        properties, additional = here.get("properties"), here.get("additionalProperties")
        here = properties.get(step) if properties else additional
        if not isinstance(here, Mapping):
            return {}, "does not refer to a valid field"
    return here, ""
