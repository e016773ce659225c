"""YAML bodies become JSON values."""

from __future__ import annotations

import pytest
import yaml

from kcp.apiserver.yamlbody import describe, load


def test_scalars_are_those_of_json() -> None:
    text = b"a: 1\nb: 1.5\nc: true\nd: null\ne: 2026-01-02\nf: '7'\n7: x\ntrue: z\nlist: [1, {a: b}]\n"
    assert load(text) == (
        {"a": 1, "b": 1.5, "c": True, "d": None, "e": "2026-01-02", "f": "7", "7": "x", "true": "z", "list": [1, {"a": "b"}]},
        (),
    )


def test_repeated_keys_are_named_with_their_line_and_the_last_one_counts() -> None:
    value, duplicates = load(b"a: 1\nspec:\n  items:\n  - name: x\n    name: z\na: 2\n")
    assert value == {"a": 2, "spec": {"items": [{"name": "z"}]}}
    assert duplicates == ('line 5: key "name" already set in map', 'line 6: key "a" already set in map')


def test_anchors_and_merges_are_resolved() -> None:
    value, _ = load(b"base: &b {x: 1}\nmade:\n  <<: *b\n  z: 2\n")
    assert value["made"] == {"x": 1, "z": 2}


@pytest.mark.parametrize("text", [b"a: [", b"a: 1\n---\nb: 2\n", b"!!python/object:os.system x"])
def test_what_is_not_one_plain_document_is_refused(text: bytes) -> None:
    with pytest.raises(yaml.YAMLError):
        load(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"12:30:45", "12:30:45"), (b"y", True), (b"off", False), (b"~", None), (b"0777", 511), (b"0o17", 15), (b"-0x1f", -31),
        (b"0b11", 3), (b"08", 8.0), (b"1_000", 1000), (b".5", 0.5), (b"5.", 5.0), (b"1e3", 1000.0), (b"+1", 1), (b"18446744073709551615", 2**64 - 1),
        (b"1e400", "1e400"), (b"9" * 5000, "9" * 5000), (b"!!str 1", "1"), (b"!!float 1", 1.0), (b"!!binary aGVsbG8=", "hello"),
        (b"- ", [None]), (b"", None),
    ],
)  # fmt: skip
def test_scalars_are_resolved_as_kubernetes_does(text: bytes, value: object) -> None:
    assert load(text)[0] == value


def test_a_merge_gives_way_to_keys_and_to_earlier_merges() -> None:
    value, duplicates = load(b"a: 1\n<<: [{a: 2, b: 3}, {b: 4, c: 5}]\nc: 6\n")
    assert (value, duplicates) == ({"a": 1, "b": 3, "c": 6}, ())


def test_an_alias_is_a_copy() -> None:
    value, _ = load(b"a: &x {k: 1}\nb: *x\n")
    value["a"]["k"] = 2
    assert value["b"] == {"k": 1}


LAUGHS = b"a: &a [lol, lol, lol]\n" + b"".join(b"%c: &%c [%s]\n" % (i + 1, i + 1, b", ".join([b"*%c" % i] * 9)) for i in range(97, 110))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LAUGHS, "document contains excessive aliasing"),
        (b'a: &a "' + b"x" * 100_000 + b'"\nb: [' + b"*a," * 1000 + b"]", "document contains excessive aliasing"),
        (b"a: &a [*a]", "anchor 'a' value contains itself"),
        (b"*a", "unknown anchor 'a' referenced"),
        (b"[" * 100_000, "exceeded max depth of 200"),
        (b"- " * 100_000, "exceeded max depth of 200"),
        (b"{a: " * 100_000, "exceeded max depth of 200"),
        (b"a: &a " + b"[" * 150 + b"]" * 150 + b"\nb: " + b"[" * 100 + b"*a" + b"]" * 100, "exceeded max depth of 200"),
        (b"".join(b"%%TAG !a%d! a\n" % i for i in range(1000)) + b"---\na", "too many %TAG directives"),
        (b"? {a: b}\n: c", "a mapping's key must be a scalar"),
        (b"a: .nan", "json: unsupported value: .nan"),
        (b"<<: 1", "map merge requires map or sequence of maps as the value"),
        (b"!!int x", "cannot decode 'x' as a !!int"),
        (b"\xff\xfe\xff", ""),
        (b"a: b: c", "line 1: mapping values are not allowed in this context"),
    ],
)
def test_what_is_too_much_or_no_json_is_refused_at_once(text: bytes, why: str) -> None:
    with pytest.raises(yaml.YAMLError) as refused:
        load(text)
    assert why in describe(refused.value)
