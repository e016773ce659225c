"""x-kubernetes-validations: the rules of one schema, compiled once, and the walk that applies them to an object.

The tree of rules has a node only where there is a rule at or below. Rules that compare with the old value apply where there is one to
compare with: the same field, the same map key, the list element with the same keys.
Before: `registry.schemas` (holds the tree), `registry.writes` (applies it). After: `program`, `declared`.
Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/{compilation,validation}.go, KEP-2876, KEP-4008 (ratcheting).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kcp.apimachinery.cel.checker import Environment
from kcp.apimachinery.cel.costs import PER_OBJECT
from kcp.apimachinery.cel.declared import Declarations
from kcp.apimachinery.cel.errors import CompileError
from kcp.apimachinery.cel.fieldpath import field_names
from kcp.apimachinery.cel.program import Program
from kcp.apimachinery.cel.types import Type, optional_of
from kcp.apimachinery.cel.values import NONE, Optional
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.node import Schema
from kcp.apimachinery.schema.ratchet import by_keys, is_unchanged, keys_of

SELF, OLD_SELF = "self", "oldSelf"
_LONGEST_MESSAGE = 5 * 1024


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule."""

    text: str
    program: Program | None
    """None where `error` says why, or where there is nothing to evaluate."""
    error: str = ""
    message: str = ""
    message_program: Program | None = None
    message_error: str = ""
    reason: str = ""
    path: str = ""
    """What `fieldPath` adds to the path of a fault, as it is shown: `.a.b`."""
    is_old_optional: bool = False

    @property
    def uses_old(self) -> bool:
        return self.program is not None and OLD_SELF in self.program.uses

    @property
    def shown(self) -> str:
        """How errors call the rule."""
        return self.message.strip() or self.text.strip()


@dataclass(frozen=True, slots=True)
class RuleNode:
    """The rules of one schema node and of what is below it."""

    schema: Schema
    type: Type | None
    """Of `self`; None where nothing is known of it, and so no rule can be compiled."""
    rules: tuple[Rule, ...] = ()
    all_of: tuple[RuleNode, ...] = ()
    properties: Mapping[str, RuleNode] = field(default_factory=dict)
    additional: RuleNode | None = None
    items: RuleNode | None = None


def compile_rules(schema: Schema, *, is_root: bool = True) -> RuleNode | None:
    """The rules of a whole resource, or of a part of one; None if it has none."""
    return _Compiler().node(schema, schema, is_root=is_root)


def compile_rule(given: JSONObject, declared: Type | None, schema: Schema) -> Rule:
    """One rule over values of the type `declared`."""
    text, message = str(given.get("rule") or ""), str(given.get("message") or "")
    if declared is None:
        shown = f"type: '{schema.type}' x-kubernetes-preserve-unknown-fields: '{str(schema.preserve).lower()}'"
        return Rule(text, None, f"rule declared on schema that does not support validation rules {shown}", message)
    is_old_optional = given.get("optionalOldSelf") is True
    environment = Environment({SELF: declared, OLD_SELF: optional_of(declared) if is_old_optional else declared})
    program, error = _compiled(text, environment, "bool", "compilation failed: ", "cel expression must evaluate to a bool")
    shown_as = str(given.get("messageExpression") or "")
    message_environment = Environment({SELF: declared, OLD_SELF: declared})
    message_program, message_error = _compiled(
        shown_as, message_environment, "string", "messageExpression compilation failed: ", "messageExpression must evaluate to a string"
    )
    steps = field_names(str(given.get("fieldPath") or ""), schema) or ()
    path = "".join(f".{name}" if is_field else f"[{name}]" for name, is_field in steps)
    reason = str(given.get("reason") or "")
    return Rule(text, program, error, message, message_program, message_error, reason, path, is_old_optional)


def _compiled(text: str, environment: Environment, kind: str, prefix: str, wrong: str) -> tuple[Program | None, str]:
    if not text.strip():
        return None, ""
    try:
        program = Program(text, environment)
    except CompileError as error:
        return None, prefix + str(error)
    return (program, "") if program.type.kind == kind else (None, wrong)


class _Compiler:
    def __init__(self) -> None:
        self._declarations = Declarations()
        self._ruled: dict[Schema, bool] = {}

    def node(self, validations: Schema, schema: Schema, *, is_root: bool) -> RuleNode | None:
        """`validations`: whose rules, fields and items count; `schema`: what they are about. They differ inside of allOf."""
        if not self._has_rules(validations):
            return None
        declared = self._declarations.of(schema, is_root=is_root)
        properties = {}
        for name, child in validations.properties.items():
            spine = schema.properties.get(name)
            if spine is not None and (below := self.node(child, spine, is_root=spine.embedded)) is not None:
                properties[name] = below
        return RuleNode(
            schema,
            declared,
            tuple(compile_rule(given, declared, schema) for given in validations.validations),
            tuple(node for part in validations.all_of if (node := self.node(part, schema, is_root=is_root)) is not None),
            properties,
            self._below(validations.additional, schema.additional),
            self._below(validations.items, schema.items),
        )

    def _below(self, validations: Schema | None, schema: Schema | None) -> RuleNode | None:
        if validations is None or schema is None:
            return None
        return self.node(validations, schema, is_root=schema.embedded)

    def _has_rules(self, schema: Schema) -> bool:
        found = self._ruled.get(schema)
        if found is None:
            self._ruled[schema] = False
            below = (*schema.properties.values(), *schema.all_of, schema.items, schema.additional)
            found = bool(schema.validations) or any(
                child.pending is None and self._has_rules(child) for child in below if child is not None
            )
            self._ruled[schema] = found
        return found


# --- applying them ---


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say about an object."""

    causes: list[Cause]
    warnings: list[str]
    """Faults that an update leaves as they were. Source: KEP-4008."""


def validate(root: RuleNode, new: Any, old: Any | None, *, path: str = "", budget: int = PER_OBJECT) -> Verdict:
    """Apply all rules; at the end of the budget the rest of them are left out, and that is a fault. `path`: where `new` stands."""
    walk = _Walk(budget)
    walk.node(root, new, old, path, _Ratchet(root.schema, new, old, None))
    return Verdict(walk.causes, walk.warnings)


@dataclass(frozen=True, slots=True)
class _Ratchet:
    """What a value is compared with to see whether an update left it alone."""

    schema: Schema
    new: Any
    old: Any
    parent: _Ratchet | None
    is_correlated: bool = True

    @property
    def is_unchanged(self) -> bool:
        if self.is_correlated:
            return self.old is not None and is_unchanged(self.schema, self.new, self.old)
        return self.parent is not None and self.parent.is_unchanged

    def below(self, schema: Schema, new: Any, old: Any, *, is_correlated: bool) -> _Ratchet:
        if not self.is_correlated:
            return self
        return _Ratchet(schema, new, old, self, is_correlated)


class _Walk:
    def __init__(self, budget: int) -> None:
        self._left = budget
        self.causes: list[Cause] = []
        self.warnings: list[str] = []

    @property
    def _is_over(self) -> bool:
        return self._left < 0

    def node(self, node: RuleNode, new: Any, old: Any, path: str, ratchet: _Ratchet) -> None:
        if new is None or self._is_over:
            return
        if node.rules:
            self._rules(node, new, old, path, ratchet)
        for part in node.all_of:
            self.node(part, new, old, path, _Ratchet(part.schema, new, None, ratchet.parent, is_correlated=False))
        if type(new) is dict:
            self._fields(node, new, old if type(old) is dict else {}, path, ratchet)
        elif type(new) is list and node.items is not None:
            self._items(node, node.items, new, old if type(old) is list else [], path, ratchet)

    def _fields(self, node: RuleNode, new: JSONObject, old: JSONObject, path: str, ratchet: _Ratchet) -> None:
        for name, held in new.items():
            child = node.properties.get(name)
            where = f"{path}.{name}" if path else name
            if child is None and node.additional is not None and name not in node.schema.properties:
                child, where = node.additional, f"{path}[{name}]"
            if child is not None:
                before = old.get(name)
                self.node(child, held, before, where, ratchet.below(child.schema, held, before, is_correlated=True))

    def _items(self, node: RuleNode, items: RuleNode, new: list[Any], old: list[Any], path: str, ratchet: _Ratchet) -> None:
        before = by_keys(node.schema, old)
        is_map = node.schema.list_type == "map"
        for index, item in enumerate(new):
            partner = before.get(keys_of(node.schema, item)) if before else None
            self.node(items, item, partner, f"{path}[{index}]", ratchet.below(items.schema, item, partner, is_correlated=is_map))

    # --- the rules of one node ---

    def _rules(self, node: RuleNode, new: Any, old: Any, path: str, ratchet: _Ratchet) -> None:
        convert = node.type.convert if node.type is not None else None
        current = convert(new) if convert is not None else new
        before = convert(old) if convert is not None and old is not None else old
        shown = node.schema.type
        for rule in node.rules:
            if rule.error:
                self._add(Cause.invalid(path or "<nil>", shown, f"rule compile error: {rule.error}"))
            if rule.program is None or (rule.uses_old and old is None and not rule.is_old_optional):
                continue
            if self._left <= 0:
                self._stop(path, shown, "validation failed due to running out of cost budget, no further validation rules will be run")
                return
            self._rule(rule, {SELF: current, OLD_SELF: before}, new, path, shown, ratchet)
            if self._is_over:
                return

    def _add(self, cause: Cause) -> None:
        self.causes.append(cause)

    def _stop(self, path: str, shown: str, text: str) -> None:
        self._add(Cause.invalid(path or "<nil>", shown, text))
        self._left = -1

    def _rule(self, rule: Rule, values: JSONObject, raw: Any, path: str, shown: str, ratchet: _Ratchet) -> None:
        assert rule.program is not None
        old = values[OLD_SELF]
        given = {**values, OLD_SELF: NONE if old is None else Optional(old)} if rule.is_old_optional else values
        found = rule.program.evaluate(given)
        if found.is_exceeded:
            text = f"'{found.error}': no further validation rules will be run due to call cost exceeds limit for rule: {rule.shown}"
            self._stop(path, shown, text)
            return
        self._left -= found.cost
        if self._is_over:
            self._stop(path, shown, "validation failed due to running out of cost budget, no further validation rules will be run")
        elif found.error.startswith("no such overload"):
            text = f"'{found.error}': call arguments did not match a supported operator, function or macro signature for rule: {rule.shown}"
            self._add(Cause.invalid(path or "<nil>", shown, text))
        elif found.error:
            self._add(Cause.invalid(path or "<nil>", shown, f"{found.error} evaluating rule: {rule.shown}"))
        elif found.value is not True:
            self._refuse(rule, values, raw, path, ratchet)

    def _refuse(self, rule: Rule, values: JSONObject, raw: Any, path: str, ratchet: _Ratchet) -> None:
        worded = self._message(rule, values)
        detail = worded or rule.message.strip() or f"failed rule: {rule.shown}"
        where = (path + rule.path).lstrip(".") or "<nil>"
        cause = _refusal(where, None if worded or isinstance(raw, (dict, list)) else raw, detail, rule.reason)
        if not rule.uses_old and ratchet.is_unchanged:
            self.warnings.append(str(cause))
        else:
            self._add(cause)

    def _message(self, rule: Rule, values: JSONObject) -> str:
        """What messageExpression says; "" where it fails, or says what a message may not be."""
        if rule.message_program is None:
            return ""
        found = rule.message_program.evaluate(values)
        self._left -= found.cost
        text = found.value.strip() if type(found.value) is str else ""
        return text if len(text.encode()) <= _LONGEST_MESSAGE and "\n" not in text else ""


def _refusal(path: str, value: Any, detail: str, reason: str) -> Cause:
    """Scalars are shown; objects, lists, and what a messageExpression words itself are not (`value` is None), as since Kubernetes 1.34."""
    match reason:
        case "FieldValueForbidden":
            return Cause.forbidden(path, detail)
        case "FieldValueRequired":
            return Cause.required(path, detail)
        case "FieldValueDuplicate":
            return Cause.duplicate(path, value) if value is not None else Cause(path, reason, "Duplicate value")
    return Cause.invalid(path, value, detail) if value is not None else Cause(path, "FieldValueInvalid", f"Invalid value: {detail}")


def all_rules(root: RuleNode) -> Iterator[Rule]:
    """Every rule of a tree."""
    yield from root.rules
    below = (*root.all_of, *root.properties.values(), root.additional, root.items)
    for child in below:
        if child is not None:
            yield from all_rules(child)
