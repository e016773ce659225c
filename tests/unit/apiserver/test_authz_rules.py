"""Covering: whether rules held include rules wanted, and how what is missing is shown."""

from __future__ import annotations

import pytest

from kcp.apiserver.authz.rules import Rule, uncovered


def rule(verbs: str, resources: str = "", group: str = "", names: str = "", urls: str = "") -> Rule:
    groups = frozenset((group,)) if resources else frozenset[str]()
    return Rule(frozenset(verbs.split()), groups, frozenset(resources.split()), frozenset(names.split()), tuple(urls.split()))


@pytest.mark.parametrize(
    ("wanted", "held"),
    [
        (rule("get", "pods"), [rule("get list", "pods secrets")]),
        (rule("get list", "pods"), [rule("get", "pods"), rule("list", "pods")]),
        (rule("get", "pods", names="a"), [rule("get", "pods")]),
        (rule("get", "pods", names="a b"), [rule("get", "pods", names="a b c")]),
        (rule("get", "deployments/scale", "apps"), [rule("*", "*/scale", "*")]),
        (rule("*", "*", "*"), [rule("*", "*", "*")]),
        (rule("get", urls="/apis/apps"), [rule("get", urls="/apis/*")]),
        (rule("get", urls="/apis/*"), [rule("*", urls="*")]),
    ],
)
def test_covered(wanted: Rule, held: list[Rule]) -> None:
    assert uncovered([wanted], held) == []


@pytest.mark.parametrize(
    ("wanted", "held", "missing"),
    [
        (rule("get list", "pods"), [rule("get", "pods")], '{APIGroups:[""], Resources:["pods"], Verbs:["list"]}'),
        (rule("get", "pods"), [rule("get", "pods", names="a")], '{APIGroups:[""], Resources:["pods"], Verbs:["get"]}'),
        (rule("get", "a", names="b"), [rule("get", "a", names="c")], '{APIGroups:[""], Resources:["a"], ResourceNames:["b"], Verbs:["get"]}'),  # noqa: E501
        (rule("*", "pods"), [rule("get list", "pods")], '{APIGroups:[""], Resources:["pods"], Verbs:["*"]}'),
        (rule("get", "pods/log"), [rule("get", "pods")], '{APIGroups:[""], Resources:["pods/log"], Verbs:["get"]}'),
        (rule("get", urls="/metrics"), [rule("get", urls="/apis/*")], '{NonResourceURLs:["/metrics"], Verbs:["get"]}'),
        (rule("get put", "pods"), [], '{APIGroups:[""], Resources:["pods"], Verbs:["get" "put"]}'),
    ],
)  # fmt: skip
def test_what_is_missing_is_shown_as_upstream_does(wanted: Rule, held: list[Rule], missing: str) -> None:
    assert [str(r) for r in uncovered([wanted], held)] == [missing]
