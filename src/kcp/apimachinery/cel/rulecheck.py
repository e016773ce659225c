"""What is wrong with the rules that a CRD's schema declares: they do not compile, may cost too much, or say what they may not.

Before: `apis.kubernetes.crds`, `exports.admission`. After: `rules`, `declared`.
Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/{validation,cel_validation}.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kcp.apimachinery.cel.costs import ESTIMATED_CRD, ESTIMATED_RULE, UNBOUNDED
from kcp.apimachinery.cel.declared import LARGEST_REQUEST, Declarations
from kcp.apimachinery.cel.fieldpath import field_names
from kcp.apimachinery.cel.rules import Rule, compile_rule, compile_rules, validate
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.compile import compile_schema
from kcp.apimachinery.schema.node import Schema

RULES = "x-kubernetes-validations"
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_MOST_BLAMED = 4
"""Of the rules that make a schema too dear, so many are named, if they come to a hundredth of the limit each."""


def rule_faults(openapi: JSONObject, path: str) -> list[Cause]:
    """Every fault of the rules in a structural schema that stands at field `path`.

    >>> schema = {"type": "object", "x-kubernetes-validations": [{"rule": "1 + 1"}]}
    >>> print(rule_faults(schema, "s")[0].message.split(": ")[-1])
    cel expression must evaluate to a bool
    """
    return _Check().run(openapi, path)


class _Check:
    def __init__(self) -> None:
        self._declarations = Declarations()
        self._costs: list[tuple[int, str]] = []
        self._causes: list[Cause] = []
        self._defaults: list[tuple[Schema, Any, str]] = []

    def run(self, openapi: JSONObject, path: str) -> list[Cause]:
        schema = compile_schema(openapi)
        self._node(openapi, schema, path, cardinality=1, uncorrelated="", is_root=True)
        total = min(sum(cost for cost, _ in self._costs), UNBOUNDED)
        if total > ESTIMATED_CRD:
            dear = sorted((held for held in self._costs if held[0] >= ESTIMATED_CRD // 100), key=lambda held: -held[0])
            for _, where in dear[:_MOST_BLAMED]:
                self._causes.append(
                    Cause.forbidden(where, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema")
                )
            name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
            self._causes.append(Cause.forbidden(path, _too_dear(name, total, ESTIMATED_CRD)))
        return self._causes or list(self._default_faults())

    def _node(
        self, openapi: Mapping[str, Any], schema: Schema, path: str, *, cardinality: int | None, uncorrelated: str, is_root: bool
    ) -> None:
        """`cardinality`: how often such a value can occur, None if nothing limits it; `uncorrelated`: the list that hides old values."""
        for name, inner in (openapi.get("properties") or {}).items():
            child = schema.properties.get(name)
            if child is not None and not (is_root and name in ("apiVersion", "kind", "metadata")):
                at = f"{path}.properties[{name}]"
                self._node(inner, child, at, cardinality=cardinality, uncorrelated=uncorrelated, is_root=child.embedded)
        additional = openapi.get("additionalProperties")
        if isinstance(additional, Mapping) and schema.additional is not None:
            self._node(
                additional, schema.additional, f"{path}.additionalProperties", cardinality=_times(cardinality, schema.max_properties),
                uncorrelated=uncorrelated, is_root=schema.additional.embedded,
            )  # fmt: skip
        items = openapi.get("items")
        if isinstance(items, Mapping) and schema.items is not None:
            hidden = uncorrelated or ("" if schema.list_type == "map" else path)
            self._node(
                items, schema.items, f"{path}.items", cardinality=_times(cardinality, schema.max_items), uncorrelated=hidden,
                is_root=schema.items.embedded,
            )  # fmt: skip
        given = openapi.get(RULES)
        if isinstance(given, list) and given:
            self._rules(given, schema, f"{path}.{RULES}", cardinality=cardinality, uncorrelated=uncorrelated, is_root=is_root)
        if openapi.get("default") is not None:
            self._defaults.append((schema, openapi["default"], f"{path}.default"))

    def _default_faults(self) -> Iterator[Cause]:
        """A default must obey the rules as it stands, without the defaults of its own fields. Source: schema/defaulting/validation.go."""
        for schema, value, path in self._defaults:
            compiled = None if schema.validate(value) else compile_rules(schema, is_root=schema.embedded)
            if compiled is not None:
                yield from validate(compiled, value, value, path=path).causes or validate(compiled, value, None, path=path).causes

    def _rules(self, given: list[Any], schema: Schema, path: str, *, cardinality: int | None, uncorrelated: str, is_root: bool) -> None:
        worded = [cause for index, rule in enumerate(given) for cause in _wording_faults(rule, f"{path}[{index}]", schema)]
        self._causes += worded
        if worded:
            return
        declared = self._declarations.of(schema, is_root=is_root)
        often = cardinality
        if often is None:
            often = LARGEST_REQUEST // (self._declarations.least_size(schema, is_root=is_root) + 1)
        for index, one in enumerate(given):
            self._rule(one, compile_rule(one, declared, schema), f"{path}[{index}]", often, uncorrelated)

    def _rule(self, given: JSONObject, rule: Rule, path: str, often: int, uncorrelated: str) -> None:
        if rule.program is not None:
            self._cost(f"{path}.rule", "estimated rule cost", min(rule.program.cost.high * often, UNBOUNDED))
        if rule.error:
            self._causes.append(_invalid_rule(f"{path}.rule", given, rule.error))
        if rule.message_error:
            self._causes.append(_invalid_rule(f"{path}.messageExpression", given, rule.message_error))
        elif rule.message_program is not None:
            self._cost(f"{path}.messageExpression", "estimated messageExpression cost", rule.message_program.cost.high)
        if rule.uses_old and uncorrelated:
            text = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
            self._causes.append(Cause.invalid(f"{path}.rule", rule.text, text))
        elif not rule.uses_old and given.get("optionalOldSelf") is not None:
            detail = "may not be set if oldSelf is not used in rule"
            self._causes.append(Cause.invalid(f"{path}.optionalOldSelf", given["optionalOldSelf"], detail))

    def _cost(self, path: str, name: str, cost: int) -> None:
        self._costs.append((cost, path))
        if cost > ESTIMATED_RULE:
            self._causes.append(Cause.forbidden(path, _too_dear(name, cost, ESTIMATED_RULE)))


def _times(cardinality: int | None, most: int | None) -> int | None:
    return None if cardinality is None or most is None else min(cardinality * max(most, 0), UNBOUNDED)


def _too_dear(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{name} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where "
        "arrays, maps, and strings are declared)"
    )


def _wording_faults(rule: Any, path: str, schema: Schema) -> Iterator[Cause]:
    if not isinstance(rule, Mapping):
        yield Cause.type_invalid(path, rule, "must be an object")
        return
    mistyped = [key for key in _TEXTS if rule.get(key) is not None and not isinstance(rule[key], str)]
    if mistyped:
        yield from (Cause.type_invalid(f"{path}.{key}", rule[key], "must be a string") for key in mistyped)
        return
    yield from _message_faults((rule.get("rule") or "").strip(), rule.get("message") or "", path)
    if rule.get("messageExpression") and not rule["messageExpression"].strip():
        yield Cause.required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
    if rule.get("reason") is not None and rule["reason"] not in _REASONS:
        yield Cause.not_supported(f"{path}.reason", rule["reason"], _REASONS)
    yield from _path_faults(rule.get("fieldPath") or "", f"{path}.fieldPath", schema)


_TEXTS = ("rule", "message", "messageExpression", "fieldPath", "reason")


def _message_faults(text: str, message: str, path: str) -> Iterator[Cause]:
    if not text:
        yield Cause.required(f"{path}.rule", "rule is not specified")
    elif message and not message.strip():
        yield Cause.invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif _has_breaks(message.strip()):
        yield Cause.invalid(f"{path}.message", message, "message must not contain line breaks")
    elif _has_breaks(text) and not message.strip():
        yield Cause.required(f"{path}.message", "message must be specified if rule contains line breaks")


def _path_faults(where: str, at: str, schema: Schema) -> Iterator[Cause]:
    if where and not where.strip():
        yield Cause.invalid(at, where, "fieldPath must be non-empty if specified")
    if _has_breaks(where):
        yield Cause.invalid(at, where, "fieldPath must not contain line breaks")
    if where and field_names(where, schema) is None:
        yield Cause.invalid(at, where, "fieldPath must be a valid path")


def _has_breaks(text: str) -> bool:
    return "\n" in text or "\r" in text


def _invalid_rule(path: str, given: Mapping[str, Any], detail: str) -> Cause:
    """The value is shown as Go prints the struct, as upstream does."""
    old = given.get("optionalOldSelf")
    parts = [f"{field}:{_go_string(str(given.get(key) or ''))}" for field, key in _STRUCT]
    parts.insert(3, "Reason:(*apiextensions.FieldValueErrorReason)(nil)" if given.get("reason") is None else f"Reason:{given['reason']}")
    parts.append("OptionalOldSelf:(*bool)(nil)" if old is None else f"OptionalOldSelf:{str(old).lower()}")
    return Cause(path, "FieldValueInvalid", f"Invalid value: apiextensions.ValidationRule{{{', '.join(parts)}}}: {detail}")


_STRUCT = (("Rule", "rule"), ("Message", "message"), ("MessageExpression", "messageExpression"), ("FieldPath", "fieldPath"))


def _go_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return f'"{escaped}"'
