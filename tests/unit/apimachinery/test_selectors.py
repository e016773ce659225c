"""Label and field selectors: parsing, upstream's error texts, matching, index values, text round trip."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.apimachinery.errors import BadRequest
from kcp.apimachinery.selectors import FieldSelector, LabelSelector, Requirement


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("app=web", {"app": "web"}, True),
        ("app==web", {"app": "db"}, False),
        ("app!=web", {}, True),
        ("app!=web", {"app": "web"}, False),
        ("app", {"app": ""}, True),
        ("!app", {"app": "web"}, False),
        ("!app", {}, True),
        ("app in (web, db)", {"app": "db"}, True),
        ("app in (web,db)", {}, False),
        ("app notin (web,db)", {}, True),
        ("app notin (web,db)", {"app": "db"}, False),
        ("size>3", {"size": "4"}, True),
        ("size>3", {"size": "3"}, False),
        ("size<3", {"size": "two"}, False),
        ("app=", {"app": ""}, True),
        ("app in ()", {"app": ""}, True),
        ("a=1,b=2,!c", {"a": "1", "b": "2"}, True),
        ("a=1,b=2,!c", {"a": "1", "b": "2", "c": "3"}, False),
        ("example.com/a.b-c=x", {"example.com/a.b-c": "x"}, True),
        ("in=notin", {"in": "notin"}, True),
    ],
)
def test_label_selector_matches_as_upstream_does(text: str, labels: dict[str, str], matches: bool) -> None:
    assert LabelSelector.parse(text).matches(labels) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,", "found '', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a in x", "unable to parse requirement: found 'x' expected: '('"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in (x y)", "unable to parse requirement: found 'y', expected: ',' or ')'"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ],
)
def test_malformed_label_selector_is_refused_in_upstream_words(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        LabelSelector.parse(text)
    assert caught.value.message == message


def test_an_illegal_label_value_names_key_and_rule() -> None:
    with pytest.raises(BadRequest, match=r"values\[0\]\[app\]: Invalid value: \"-x\": a valid label must be an empty string or consist"):
        LabelSelector.parse("app=-x")


def test_absent_object_selects_nothing_and_empty_object_everything() -> None:
    assert not LabelSelector.from_object(None).matches({})
    assert LabelSelector.from_object({}).is_everything
    assert LabelSelector.from_object({"matchLabels": {}}).matches({"a": "b"})


def test_object_selector_joins_labels_and_expressions() -> None:
    selector = LabelSelector.from_object(
        {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["test"]}]}
    )
    assert str(selector) == "app=web,tier notin (test)"
    assert selector.matches({"app": "web"})
    assert not selector.matches({"app": "web", "tier": "test"})


def test_object_selector_with_unknown_operator_is_refused() -> None:
    with pytest.raises(BadRequest, match='"Near" is not a valid label selector operator'):
        LabelSelector.from_object({"matchExpressions": [{"key": "a", "operator": "Near"}]})


def test_exact_values_lead_an_index() -> None:
    assert LabelSelector.parse("a=1,b in (2),c in (3,4),!d").exact_values() == {"a": "1", "b": "2"}


def test_joined_selectors_need_both() -> None:
    both = LabelSelector.parse("a=1").joined(LabelSelector.parse("b"))
    assert both.matches({"a": "1", "b": ""})
    assert not both.matches({"a": "1"})
    assert not both.joined(LabelSelector.NOTHING).matches({"a": "1", "b": ""})


_KEYS = st.from_regex(r"[a-z]([a-z0-9]{0,5}[a-z0-9])?", fullmatch=True)
_LABELS = st.dictionaries(_KEYS, st.from_regex(r"([a-z0-9]{1,4})?", fullmatch=True), max_size=4)


@st.composite
def _requirements(draw: st.DrawFn) -> Requirement:
    operator = draw(st.sampled_from(["in", "notin", "=", "!=", "exists", "!"]))
    values = draw(st.lists(st.from_regex(r"[a-z0-9]{1,4}", fullmatch=True), min_size=1, max_size=3))
    wanted = values if operator in ("in", "notin") else values[:1] if operator in ("=", "!=") else []
    return Requirement.of(draw(_KEYS), operator, wanted)  # type: ignore[arg-type]


@given(st.lists(_requirements(), max_size=4), _LABELS)
def test_printed_selector_parses_to_one_that_matches_alike(requirements: list[Requirement], labels: dict[str, str]) -> None:
    selector = LabelSelector(requirements)
    again = LabelSelector.parse(str(selector))
    assert again.matches(labels) is selector.matches(labels)
    assert selector.matches(labels) is all(r.matches(labels) for r in requirements)


def test_field_selector_splits_unescapes_and_matches() -> None:
    selector = FieldSelector.parse(r"metadata.name=a\,b,status.phase!=Failed")
    assert selector.requirements == (("metadata.name", "=", "a,b"), ("status.phase", "!=", "Failed"))
    assert selector.exact("metadata.name") == "a,b"
    assert selector.exact("status.phase") is None
    assert selector.matches({"metadata.name": "a,b", "status.phase": "Running"}.get)
    assert str(selector) == r"metadata.name=a\,b,status.phase!=Failed"


def test_empty_field_selector_matches_everything() -> None:
    assert FieldSelector.parse("").is_everything


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name", "invalid selector: 'name'; can't understand 'name'"),
        ("a=b=c", "invalid field selector: unescaped character in value: ="),
        (r"a=\x", r"invalid field selector, invalid escape sequence: \x"),
    ],
)
def test_malformed_field_selector_is_refused_in_upstream_words(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        FieldSelector.parse(text)
    assert caught.value.message == message
