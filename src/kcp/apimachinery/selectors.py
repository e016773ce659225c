"""Label and field selectors: parsed once, matched very often.

Before: list and watch handlers, controllers, placement, virtual workspaces. Malformed text raises BadRequest with upstream's message.
Source: k8s.io/apimachinery/pkg/labels/selector.go, pkg/fields/selector.go, pkg/apis/meta/v1/helpers.go (LabelSelectorAsSelector).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

from kcp.apimachinery import names
from kcp.apimachinery.errors import BadRequest, Cause

Operator: TypeAlias = Literal["in", "notin", "=", "==", "!=", "exists", "!", "gt", "lt"]
_OBJECT_OPERATORS: Mapping[str, Operator] = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
_INT64 = re.compile(r"[+-]?[0-9]+\Z")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a label selector.

    >>> str(Requirement.of("tier", "in", ["web", "db"])), Requirement.of("tier", "!=", ["web"]).matches({})
    ('tier in (db,web)', True)
    """

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    @classmethod
    def of(cls, key: str, operator: Operator, values: Iterable[str] = ()) -> Requirement:
        """A checked requirement. Raises BadRequest naming every fault."""
        wanted = sorted(set(values))
        faults = [Cause.invalid("key", key, "; ".join(f))] if (f := names.qualified_name(key)) else []
        faults += _value_faults(key, operator, wanted)
        if faults:
            raise BadRequest(str(faults[0]) if len(faults) == 1 else f"[{', '.join(map(str, faults))}]")
        return cls(key, operator, frozenset(wanted))

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "==" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        if value is None or not _INT64.match(value):
            return False
        bound = int(next(iter(self.values)))
        return int(value) > bound if self.operator == "gt" else int(value) < bound

    def __str__(self) -> str:
        if self.operator == "!":
            return f"!{self.key}"
        if self.operator == "exists":
            return self.key
        if self.operator in ("in", "notin"):
            return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
        sign = {"gt": ">", "lt": "<"}.get(self.operator, self.operator)
        return f"{self.key}{sign}{next(iter(self.values), '')}"


def _value_faults(key: str, operator: Operator, values: list[str]) -> list[Cause]:
    faults: list[Cause] = []
    if operator in ("in", "notin") and not values:
        faults.append(Cause.invalid("values", values, "for 'in', 'notin' operators, values set can't be empty"))
    elif operator in ("=", "==", "!=") and len(values) != 1:
        faults.append(Cause.invalid("values", values, "exact-match compatibility requires one single value"))
    elif operator in ("exists", "!") and values:
        faults.append(Cause.invalid("values", values, "values set must be empty for exists and does not exist"))
    elif operator in ("gt", "lt"):
        if len(values) != 1:
            faults.append(Cause.invalid("values", values, "for 'Gt', 'Lt' operators, exactly one value is required"))
        for index, value in enumerate(values):
            if not _INT64.match(value):
                faults.append(Cause.invalid(f"values[{index}]", value, "for 'Gt', 'Lt' operators, the value must be an integer"))
    for index, value in enumerate(values):
        if found := names.label_value(value):
            faults.append(Cause.invalid(f"values[{index}][{key}]", value, "; ".join(found)))
    return faults


MOST_REQUIREMENTS = 1_000
"""A selector is matched with every object of a list; one set of values counts once, however large."""
_Term = TypeVar("_Term")


def _at_most(terms: Collection[_Term]) -> Collection[_Term]:
    if len(terms) > MOST_REQUIREMENTS:
        raise BadRequest(f"unable to parse requirement: a selector may have {MOST_REQUIREMENTS} requirements, not {len(terms)}")
    return terms


class LabelSelector:
    """All requirements hold. Immutable.

    >>> selector = LabelSelector.parse("app=web,tier notin (db)")
    >>> selector.matches({"app": "web"}), dict(selector.exact_values()), str(selector)
    (True, {'app': 'web'}, 'app=web,tier notin (db)')
    """

    __slots__ = ("_exact", "_rest", "is_nothing", "requirements")

    EVERYTHING: ClassVar[LabelSelector]
    NOTHING: ClassVar[LabelSelector]

    def __init__(self, requirements: Iterable[Requirement] = (), *, is_nothing: bool = False) -> None:
        self.requirements = tuple(sorted(requirements, key=lambda r: r.key))
        self.is_nothing = is_nothing
        exact = [r for r in self.requirements if r.operator in ("=", "==", "in") and len(r.values) == 1]
        self._exact = tuple((r.key, next(iter(r.values))) for r in exact)
        self._rest = tuple(r for r in self.requirements if r not in exact)

    @classmethod
    def parse(cls, text: str) -> LabelSelector:
        """From query text such as `app=web,env in (a,b),!canary`. Raises BadRequest."""
        if not text or text.isspace():
            return cls.EVERYTHING
        return cls(_at_most(dict.fromkeys(_Parser(text).parse())))

    @classmethod
    def from_object(cls, obj: Mapping[str, Any] | None) -> LabelSelector:
        """From a metav1.LabelSelector: None selects nothing, {} everything. Raises BadRequest."""
        if obj is None:
            return cls.NOTHING
        requirements = [Requirement.of(key, "=", [value]) for key, value in (obj.get("matchLabels") or {}).items()]
        for expression in obj.get("matchExpressions") or ():
            operator = _OBJECT_OPERATORS.get(expression.get("operator", ""))
            if operator is None:
                raise BadRequest(f'"{expression.get("operator", "")}" is not a valid label selector operator')
            requirements.append(Requirement.of(expression.get("key", ""), operator, expression.get("values") or ()))
        return cls(requirements) if requirements else cls.EVERYTHING

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> LabelSelector:
        """Everything that carries all of these labels; the values are taken as they are."""
        return cls(Requirement(key, "=", frozenset((value,))) for key, value in labels.items())

    @property
    def is_everything(self) -> bool:
        return not self.requirements and not self.is_nothing

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.is_nothing:
            return False
        for key, value in self._exact:
            if labels.get(key) != value:
                return False
        return all(requirement.matches(labels) for requirement in self._rest)

    def exact_values(self) -> Mapping[str, str]:
        """Labels that a match must carry with exactly this value: for index look-ups."""
        return dict(self._exact)

    def joined(self, other: LabelSelector) -> LabelSelector:
        """What both select."""
        return LabelSelector(self.requirements + other.requirements, is_nothing=self.is_nothing or other.is_nothing)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __repr__(self) -> str:
        return f"LabelSelector({'nothing' if self.is_nothing else str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSelector) and self.is_nothing == other.is_nothing and self.requirements == other.requirements

    def __hash__(self) -> int:
        return hash((self.requirements, self.is_nothing))


LabelSelector.EVERYTHING = LabelSelector()
LabelSelector.NOTHING = LabelSelector(is_nothing=True)

_TOKEN = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!(),<>])|([^=!(),<> \t\r\n]+))")
_BINARY: Mapping[str, Operator] = {"in": "in", "notin": "notin", "=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt"}
_SYMBOLS = frozenset("=!(),<>") | {"==", "!="}


class _Parser:
    """Recursive descent over the tokens; the error texts are upstream's, literally."""

    def __init__(self, text: str) -> None:
        self._tokens = [symbol or word for symbol, word in _TOKEN.findall(text)]
        self._at = 0

    def parse(self) -> list[Requirement]:
        requirements: list[Requirement] = []
        while True:
            token = self._peek()
            if not token:
                return requirements
            if token != "!" and token in _SYMBOLS:
                raise BadRequest(f"found '{token}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self._requirement())
            except BadRequest as fault:
                raise BadRequest(f"unable to parse requirement: {fault.message}") from None
            token = self._next()
            if not token:
                return requirements
            if token != ",":
                raise BadRequest(f"found '{token}', expected: ',' or 'end of string'")
            if (after := self._peek()) != "!" and (not after or after in _SYMBOLS):
                raise BadRequest(f"found '{after}', expected: identifier after ','")

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _requirement(self) -> Requirement:
        absent = self._peek() == "!"
        if absent:
            self._next()
        key = self._identifier()
        if faults := names.qualified_name(key):
            raise BadRequest(f"<nil>: {Cause.invalid('', key, '; '.join(faults))}")
        if absent and self._peek() in ("", ","):
            return Requirement(key, "!")
        if self._peek() in ("", ","):
            return Requirement(key, "exists")
        token = self._next()
        operator = _BINARY.get(token)
        if operator is None:
            raise BadRequest(f"found '{token}', expected: in, notin, =, ==, !=, gt, lt")
        return Requirement.of(key, operator, self._set() if operator in ("in", "notin") else [self._exact_value()])

    def _identifier(self) -> str:
        token = self._next()
        if not token or token in _SYMBOLS:
            raise BadRequest(f"found '{token}', expected: identifier")
        return token

    def _exact_value(self) -> str:
        return "" if self._peek() in ("", ",") else self._identifier()

    def _set(self) -> list[str]:
        """`(a,b)`; an empty place between commas is the empty value."""
        if (token := self._next()) != "(":
            raise BadRequest(f"found '{token}' expected: '('")
        values: list[str] = []
        value = ""
        while True:
            token = self._next()
            if token in (",", ")"):
                values.append(value)
                value = ""
                if token == ")":
                    return values
            elif not token or token in _SYMBOLS:
                raise BadRequest(f"found '{token}', expected: ',', ')' or identifier")
            elif value:
                raise BadRequest(f"found '{token}', expected: ',' or ')'")
            else:
                value = token


FieldTerm: TypeAlias = tuple[str, Literal["=", "!="], str]


class FieldSelector:
    """All terms hold. Immutable.

    >>> selector = FieldSelector.parse("metadata.name=web,status.phase!=Failed")
    >>> selector.exact("metadata.name"), selector.matches({"metadata.name": "web"}.get)
    ('web', True)
    """

    __slots__ = ("requirements",)

    def __init__(self, requirements: Iterable[FieldTerm] = ()) -> None:
        self.requirements = tuple(requirements)

    @classmethod
    def parse(cls, text: str) -> FieldSelector:
        """Raises BadRequest. Whether a resource supports the fields is the registry's question."""
        terms: dict[FieldTerm, None] = {}
        for part in sorted(_split_terms(text)):
            found = re.search(r"!=|==|=", part)
            if found is None:
                raise BadRequest(f"invalid selector: '{text}'; can't understand '{part}'")
            value = _unescape(part[found.end() :])
            terms[part[: found.start()], "!=" if found.group() == "!=" else "=", value] = None
        return cls(_at_most(terms))

    @property
    def is_everything(self) -> bool:
        return not self.requirements

    def matches(self, get: Callable[[str], str | None]) -> bool:
        """`get` gives a field's value, "" or None where it is absent."""
        return all(((get(field) or "") == value) is (op == "=") for field, op, value in self.requirements)

    def exact(self, field: str) -> str | None:
        """The value that this field must have, or None."""
        return next((value for name, op, value in self.requirements if name == field and op == "="), None)

    def __str__(self) -> str:
        return ",".join(f"{field}{op}{_escape(value)}" for field, op, value in self.requirements)


def _split_terms(text: str) -> list[str]:
    """Split at commas that no backslash escapes."""
    return [part for part in re.findall(r"(?:\\.|[^,\\]|\\$)+", text, re.DOTALL) if part]


def _unescape(text: str) -> str:
    if "\\" not in text and "=" not in text:
        return text
    out: list[str] = []
    rest = iter(text)
    for char in rest:
        if char == "\\":
            escaped = next(rest, "")
            if escaped not in ("\\", ",", "="):
                raise BadRequest(f"invalid field selector, invalid escape sequence: \\{escaped}")
            out.append(escaped)
        elif char in ",=":
            raise BadRequest(f"invalid field selector: unescaped character in value: {char}")
        else:
            out.append(char)
    return "".join(out)


def _escape(text: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", text)
