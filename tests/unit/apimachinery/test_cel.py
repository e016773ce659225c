"""CEL as Kubernetes configures it: its libraries, its types, what things cost, and that nothing an expression says can hang the server.

What the language itself means is compared with Google's implementation in `test_cel_oracle.py`.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from kcp.apimachinery.cel.checker import Environment
from kcp.apimachinery.cel.costs import PER_CALL, UNBOUNDED
from kcp.apimachinery.cel.errors import CompileError
from kcp.apimachinery.cel.program import Evaluated, Program
from kcp.apimachinery.cel.types import DYN, INT, STRING, list_of

_ANYTHING = Environment({"self": DYN})
_TYPED = Environment({"n": INT, "s": STRING, "l": list_of(INT)})


def run(text: str, value: Any = None, **limits: int) -> Evaluated:
    return Program(text, _ANYTHING).evaluate({"self": value}, **limits)


def fault(text: str, environment: Environment = _TYPED) -> str:
    with pytest.raises(CompileError) as refused:
        Program(text, environment)
    return str(refused.value)


# --- libraries ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, 2, 3].sum() + [2, 1].max() + [4, 5].min()", 12),
        ("[1.5, 2.5].sum()", 4.0),
        ("duration('1h') + [duration('30m'), duration('30m')].sum() == duration('2h')", True),
        ("['a', 'b', 'a'].lastIndexOf('a') - ['a', 'b'].indexOf('b')", 1),
        ("[3, 1].isSorted() || ['a', 'b'].isSorted()", True),
        ("sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 1], [1]) && !sets.intersects([1], [2])", True),
        ("'abc 123'.find('[0-9]+')", "123"),
        ("'123 abc 456'.findAll('[0-9]+', 1)", ["123"]),
        ("url('https://user:pass@example.com:80/path?k=1&k=2#f').getHost()", "example.com:80"),
        ("url('https://[::1]:80/').getHostname() + url('https://a/b c').getEscapedPath()", "::1/b%20c"),
        ("url('https://a/?k=1&k=2').getQuery()['k']", ["1", "2"]),
        ("isURL('/path') && !isURL('../x') && !isURL('https://a:b:c/')", True),
        ("ip('127.0.0.1').isLoopback() && ip('::1').family() == 6 && ip('10.1.2.3').isGlobalUnicast()", True),
        ("isIP('1.2.3.4') && !isIP('::ffff:1.2.3.4') && !isIP('fe80::1%eth0') && !isIP('01.2.3.4')", True),
        ("ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD')", True),
        ("cidr('192.168.0.0/24').containsIP('192.168.0.9') && cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16'))", True),
        ("string(cidr('10.1.2.3/8').masked()) + string(cidr('10.1.2.3/8').ip())", "10.0.0.0/810.1.2.3"),
        ("cidr('10.0.0.0/8').prefixLength()", 8),
        ("quantity('1.5Gi').isGreaterThan(quantity('1G')) && quantity('50k').add(quantity('20k')) == quantity('70k')", True),
        ("quantity('50M').sub(10000).compareTo(quantity('49990k')) + quantity('-3').sign()", -1),
        ("quantity('100m').asApproximateFloat()", 0.1),
        ("isQuantity('1.3Zi') || quantity('2').asInteger() == 2", True),
        ("semver('1.2.3-rc1').isLessThan(semver('1.2.3')) && isSemver('v1.2', true) && semver('1.10.0').minor() == 10", True),
        ("format.dns1123Label().validate('my-label').hasValue()", False),
        (
            "format.named('nope').hasValue() || format.named('uuid').value().validate('x').value() == ['does not match the UUID format']",
            True,
        ),
        ("'%s has %d items: %.1f%%'.format(dyn([dyn('x'), dyn(3), dyn(12.34)]))", "x has 3 items: 12.3%"),
        ("jsonpatch.escapeKey('a/b~c')", "a~1b~0c"),
        ("strings.quote('a\\n\"b\"')", '"a\\n\\"b\\""'),
        ("type(quantity('1')) == kubernetes.Quantity && type(ip('1.1.1.1')) == net.IP", True),
        ("{'a': 1, 'b': 2}.all(k, v, v > 0) && [1, 2].exists(i, v, i == v - 1)", True),
        ("{'a': 1}.transformMap(k, v, v + 1)", {"a": 2}),
        ("['a', 'b'].transformMapEntry(i, v, {v: i})", {"a": 0, "b": 1}),
        ("[5, 6].transformList(i, v, i > 0, v * 2)", [12]),
        ("[1, 2, 3].existsOne(v, v == 2)", True),
        ("1 < 1.5 && 2u > 1 && 1 in [1, 2]", True),
        ("[optional.of(1), optional.none()].unwrapOpt()", [1]),
        ("[1, 2].first().orValue(0) + [1, 2].last().orValue(0)", 3),
    ],
)
def test_what_kubernetes_adds_to_the_language(text: str, value: object) -> None:
    found = run(text)
    assert not found.error
    assert found.value == value


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[].min()", "min called on empty list"),
        ("url('../x')", 'URL parse error during conversion from string: parse "../x": invalid URI for request'),
        ("ip('::ffff:1.2.3.4')", 'IPv4-mapped IPv6 address "::ffff:1.2.3.4" is not allowed'),
        ("quantity('1x')", "unable to parse quantity's suffix"),
        ("quantity('1.5').asInteger()", "cannot convert value to integer"),
        ("self.missing", "no such key: missing"),
        ("self.a[3]", "index out of bounds: 3"),
        ("'a'.matches(self.bad)", "error parsing regexp: missing ]: ["),
        ("self.a + 'x'", "no such overload"),
        ("optional.none().value()", "optional.none() dereference"),
    ],
)
def test_errors_are_worded_as_upstream(text: str, error: str) -> None:
    assert run(text, {"a": [1], "bad": "["}).error == error


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("n == s", "ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, string)'\n | n == s\n | ..^"),
        ("s.foo", "ERROR: <input>:1:2: type 'string' does not support field selection\n | s.foo\n | .^"),
        ("unknown + 1", "ERROR: <input>:1:1: undeclared reference to 'unknown' (in container '')\n | unknown + 1\n | ^"),
        ("l.all(1, true)", "ERROR: <input>:1:7: argument must be a simple name\n | l.all(1, true)\n | ......^"),
        ("n.all(x, true)", "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)"),
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'"),
        ("duration('1 day')", "invalid duration argument"),
        ("s.matches('[')", "invalid matches argument"),
        ("namespace", "reserved identifier: namespace"),
        ("n = 1", "Syntax error: token recognition error at: '= '"),
        ("\n\nn +", "ERROR: <input>:3:4: Syntax error: mismatched input '<EOF>' expecting an expression\n | n +\n | ...^"),
    ],
)
def test_faults_point_at_their_place(text: str, shown: str) -> None:
    assert shown in fault(text)


# --- what things cost, in cel-go's units ---


@pytest.mark.parametrize(
    ("text", "value", "cost"),
    [
        ("true", None, 0),
        ("self.a.b", {"a": {"b": 1}}, 3),
        ("has(self.a)", {"a": 1}, 1),
        ("self.a == 1", {"a": 1}, 3),
        ("self.a == 1 || self.b == 2", {"a": 1}, 3),
        ("self.a == 1 && self.b == 2", {"a": 1, "b": 2}, 6),
        ("self.all(x, x > 0)", [1, 2, 3], 17),
        ("self.exists(x, x == 1)", [1, 2, 3], 8),
        ("self.map(x, x)", [1], 25),
        ("'x' in self", ["x"] * 100, 101),
        ("self.contains('abc')", "x" * 100, 11),
        ("self.matches('^[a-z]+$')", "x" * 99, 21),
        ("[1, 2, 3]", None, 10),
        ("{'a': 1}", None, 30),
    ],
)
def test_costs_are_those_of_upstream(text: str, value: object, cost: int) -> None:
    assert run(text, value).cost == cost


def test_an_estimate_is_unbounded_where_nothing_bounds_the_input() -> None:
    assert Program("l.all(x, x > 0)", _TYPED).cost.high == UNBOUNDED
    assert Program("n + 1 == 2", _TYPED).cost == (3, 3)


# --- abuse ---


def test_an_evaluation_ends_at_its_cost_limit() -> None:
    found = run("self.all(a, self.all(b, self.all(c, a + b + c >= 0)))", list(range(400)))
    assert found.is_exceeded
    assert found.error == "operation cancelled: actual cost limit exceeded"
    assert PER_CALL < found.cost < PER_CALL + 1000


@pytest.mark.parametrize(
    "text",
    [
        "self.l.map(a, self.l.map(b, self.l)).map(c, c).map(d, [d, d]) == [[[[1]]]]",
        "self.l.all(a, self.big == self.big)",
        "self.l.all(a, self.l.all(b, [self.big] == [self.big]))",
        "self.l.map(a, self.l.map(b, self.l.map(c, self.s))).map(x, '%s'.format([x])).size() > 0",
        "self.l.map(a, self.s).join(self.s).size() > 0",
        "self.s.replace('', self.s).size() > 0",
        "self.s.matches('(a+)+$')",
        "self.l.map(a, self.s.replace('a', self.s)).size() > 0",
        "sets.equivalent(self.l, self.l) && self.l.all(x, sets.contains(self.big, self.big))",
        "self.l.map(x, self.l + self.l).map(y, y + y).size() > 0",
    ],
)
def test_no_expression_runs_for_long_or_fills_memory(text: str) -> None:
    value = {"l": list(range(1000)), "s": "a" * 20_000, "big": [[n, str(n)] for n in range(5000)]}
    began = time.process_time()
    run(text, value)
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize(
    "text", ["(" * 5000 + "1" + ")" * 5000, "[" * 5000, "a" + ".b" * 5000, "1" + "+1" * 5000, "{" * 100, "x" * 100_001]
)  # fmt: skip
def test_deep_and_long_expressions_are_refused(text: str) -> None:
    with pytest.raises(CompileError):
        Program(text, Environment({"a": DYN}))


def test_many_terms_are_no_depth() -> None:
    assert run(" || ".join(["self == 1"] * 2000) + " || true", 2).value is True
