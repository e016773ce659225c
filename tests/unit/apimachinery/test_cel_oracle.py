"""Our CEL against Google's own (cel-cpp, by its Python binding): the same values, the same errors, the same refusals to compile.

Expressions are generated from the language's grammar, well typed and not. Left out is what Kubernetes configures otherwise: comparing
numbers of different types, literals of mixed types, and durations and timestamps that are checked when they are written out.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kcp.apimachinery.cel.checker import Environment
from kcp.apimachinery.cel.errors import CompileError
from kcp.apimachinery.cel.program import Program
from kcp.apimachinery.cel.types import DYN, INT, STRING, list_of, map_of
from kcp.apimachinery.cel.values import Duration, Optional, TypeValue, equals

cel = pytest.importorskip("cel_expr_python.cel", reason="cel-expr-python is not installed")

_VALUES: dict[str, Any] = {
    "x": 3,
    "s": "hello",
    "l": [3, 1, 2],
    "m": {"a": 1, "b": 2},
    "d": {"a": [1, "x"], "n": None, "f": 1.5, "t": True},
}
_OURS = Environment({"x": INT, "s": STRING, "l": list_of(INT), "m": map_of(STRING, INT), "d": DYN})


def _theirs() -> Any:
    from cel_expr_python.ext import ext_optional, ext_strings

    kinds = cel.Type
    variables = {
        "x": kinds.INT, "s": kinds.STRING, "l": kinds.List(kinds.INT), "m": kinds.Map(kinds.STRING, kinds.INT), "d": kinds.DYN,
    }  # fmt: skip
    return cel.NewEnv(variables=variables, extensions=[ext_optional.ExtOptional(), ext_strings.ExtStrings(2)])


_ENVIRONMENT = _theirs()

ints = st.sampled_from(
    ["0", "1", "-7", "3", "x", "size(l)", "l[0]", "m.a", "m['b']", "9223372036854775807", "int('12')", "d.a[0]", "s.size()"]
)
doubles = st.sampled_from(["1.5", "-0.0", "2.0", "double(x)", "d.f", "1e3"])
strings = st.sampled_from(
    ["''", "'a'", "s", "'héllo'", "string(x)", "s.upperAscii()", "s.substring(1)", "'a,b'.replace(',', '-')", "d.a[1]"]
)
bools = st.sampled_from(["true", "false", "x > 2", "has(d.a)", "has(d.zz)", "'a' in m", "1 in l", "d.missing == 1", "s.startsWith('h')"])
lists = st.sampled_from(["l", "[]", "[1, 2]", "l + [x]", "d.a", "'a-b'.split('-')", "l.filter(i, i > 1)", "l.map(i, i * 2)"])


def _combined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    unary = st.builds(lambda o, a: f"{o}({a})", st.sampled_from(["!", "-", "size", "string", "type"]), parts)
    binary = st.builds(
        lambda a, o, b: f"({a} {o} {b})", parts,
        st.sampled_from(["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"]), parts,
    )  # fmt: skip
    ternary = st.builds(lambda c, a, b: f"({c} ? {a} : {b})", parts, parts, parts)
    macro = st.builds(
        lambda a, name, b: f"{a}.{name}(i, {b})", lists, st.sampled_from(["all", "exists", "exists_one", "map", "filter"]), parts
    )
    index = st.builds(lambda a, b: f"{a}[{b}]", parts, parts)
    member = st.builds(lambda a, name, b: f"({a}).{name}({b})", parts, st.sampled_from(["contains", "startsWith", "charAt"]), parts)
    literal = st.builds(lambda a: f"[{a}, {a}]", parts)
    optional = st.builds(lambda a, b: f"d.?{a}.orValue({b})", st.sampled_from(["a", "n", "zz"]), parts)
    return st.one_of(unary, binary, ternary, macro, index, member, literal, optional)


expressions = st.recursive(st.one_of(ints, doubles, strings, bools, lists), _combined, max_leaves=6)


def _evaluate_ours(text: str) -> tuple[str, Any]:
    try:
        program = Program(text, _OURS)
    except CompileError as error:
        return "refused", str(error)
    found = program.evaluate(_VALUES)
    return ("error", found.error) if found.error else ("value", found.value)


def _evaluate_theirs(text: str) -> tuple[str, Any]:
    try:
        program = _ENVIRONMENT.compile(text)
    except RuntimeError as error:
        return "refused", str(error)
    try:
        value = program.eval(data=_VALUES)
        return ("error" if str(value.type()) == "ERROR" else "value"), value.plain_value()
    except RuntimeError as error:
        return "error", str(error)
    except TypeError:
        return "unshown", None  # a value that the binding cannot give to Python


def _comparable(value: Any) -> Any:
    if isinstance(value, Duration):
        return timedelta(microseconds=value.ns // 1000)
    if isinstance(value, Optional):
        return _comparable(value.value) if value.has_value else None
    if isinstance(value, (TypeValue, cel.Type)):
        return "a type"
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    return value


_CROSSED = re.compile(r"'_[<>]=?_' applied to '\((int|uint|double), (int|uint|double)\)'")


def _agree(text: str) -> None:
    ours, theirs = _evaluate_ours(text), _evaluate_theirs(text)
    if theirs[0] == "unshown" or (theirs[0] == "refused" and _CROSSED.search(theirs[1])):
        return
    assert ours[0] == theirs[0], f"{text}: ours {ours}, theirs {theirs}"
    if ours[0] == "value":
        left, right = _comparable(ours[1]), _comparable(theirs[1])
        assert equals(left, right) or left == right or left != left, f"{text}: ours {left!r}, theirs {right!r}"


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(expressions)
@example("(d.missing == 1 || true)")
@example("[1, 2].exists_one(i, i / 0 == 1)")
def test_generated_expressions_mean_the_same(text: str) -> None:
    _agree(text)


@pytest.mark.parametrize(
    "text",
    [
        "'\\u00e9\\x41\\101'", "r'\\d' + b'a'", "b'\\xff\\u00e9'", "1u + 2u", "1u - 2u", "-9223372036854775808", "9223372036854775808", "0x1F",
        "7 / -2", "-7 / 2", "-7 % 3", "7 % 0", "1 / 0", "1.0 / 0.0", "{'a': 1}.a", "{1: 'x'}[1]", "{'a': 1, 'a': 2}", "{}", "l.map(i, i > 1, i)",
        "[1, 2] == [1, 2]", "[1] == [1.0]", "{'a': 1} == {'a': 1}", "duration('1h30m')",
        "timestamp('2024-02-29T12:00:00Z') + duration('24h')", "timestamp('2024-01-01T00:00:00Z').getDayOfYear()", "duration('90m').getHours()",
        "timestamp('2024-05-05T01:02:03Z').getDayOfWeek()", "timestamp('2024-01-01T05:00:00Z').getHours('+02:00')", "string(1.5)", "string(true)",
        "int(1.9)", "int(-1.9)", "int('x')", "uint(-1)", "double('1.5')", "bool('true')", "bool('x')", "string(b'abc')", "bytes('é')", "type(1) == int",
        "type([]) == list", "type(null) == null_type", "'a'.matches('^a$')", "'%s %d'.format(['a', 'b'])", "'%d'.format([1])", "'%.2f'.format([1.005])",
        "'%s'.format([[1, 2]])", "'%x'.format([255])", "'%b'.format([5])", "' a '.trim()", "'abc'.charAt(1)", "'abc'.charAt(9)", "'abc'.substring(1, 2)",
        "'abc'.substring(2, 1)", "'abcabc'.lastIndexOf('b')", "'abc'.indexOf('c', 1)", "'a,b,c'.split(',', 2)", "'aaa'.replace('a', 'b', 2)",
        "['a', 'b'].join('-')", "optional.of(1).hasValue()", "optional.none().orValue(1)", "optional.of(1).or(optional.of(2)).value()", "d[?'a']",
        "d.?a[?0].orValue(9)", "{?'k': optional.none()}", "[?optional.of(1), 2]", "optional.of(2).optMap(v, v + 1).value()", "d.?n.hasValue()",
        "optional.ofNonZeroValue('').hasValue()", "x.y", "s.nope", "unknown", "nope(1)", "has(x)", "l.all(1, true)", "1 +", "a b", "(1", "[1", "'abc",
        "1 < 'a'", "x == 'a'", "d == 'a'", "null == d.n", "!x", "-s", "true && 1", "x ? 1 : 2", "true ? 1 : 'a'",
        "m.all(k, k != 'z')", "m.exists(k, m[k] == 2)", "m.c", "m['c']", "'c' in m", "l[5]", "l[-1]", "size(m)", "m.size() + l.size()", "l.size() == 3u",
        "[[1], [2, 3]].map(i, i.size())", "// comment\n1", "1 // comment", "x > 1 && x < 5 || false", "!(x > 1) == false", "1 - -1", "- 1", "--1", "!!true",
    ],
)  # fmt: skip
def test_expressions_mean_the_same(text: str) -> None:
    _agree(text)
