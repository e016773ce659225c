"""The audit policy: what is wrong in a file, which rule decides, and what it says.

Source: k8s.io/apiserver/pkg/audit/policy/{checker,reader}_test.go, pkg/apis/audit/validation/validation_test.go.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcp.apiserver.audit.policy import AuditError, Level, load_policy, parse_policy
from kcp.apiserver.requestinfo import parse
from kcp.registry.backend import UserInfo

TIM = UserInfo("tim@k8s.io", ("humans", "developers"))
PODS = {"resources": ["pods"]}
FIELDS = [
    "level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages", "omitManagedFields", "group",
    "resourceNames", "x",
]  # fmt: skip


def policy(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more}


def level(rule: dict[str, Any], method: str, path: str, user: UserInfo | None = TIM) -> str:
    said = parse_policy(policy({"level": "Metadata", **rule})).of(user, parse(method, path, {}))
    return "None" if said is None else said.level.name


@pytest.mark.parametrize(
    ("rule", "path", "matches"),
    [
        ({}, "/api/v1/namespaces/default/pods/busybox", True),
        ({"users": ["tim@k8s.io"]}, "/api/v1/namespaces/default/pods/busybox", True),
        ({"users": ["bob"]}, "/api/v1/namespaces/default/pods/busybox", False),
        ({"userGroups": ["developers", "x"]}, "/version", True),
        ({"userGroups": ["x"]}, "/version", False),
        ({"verbs": ["get"]}, "/api/v1/namespaces/default/pods/busybox", True),
        ({"verbs": ["list"]}, "/api/v1/namespaces/default/pods/busybox", False),
        ({"namespaces": ["default"]}, "/api/v1/namespaces/default/pods/busybox", True),
        ({"namespaces": [""]}, "/api/v1/nodes", True),
        ({"namespaces": ["default"]}, "/api/v1/nodes", False),
        ({"namespaces": ["default"]}, "/version", False),
        ({"resources": [PODS]}, "/api/v1/namespaces/default/pods/busybox", True),
        ({"resources": [PODS]}, "/api/v1/namespaces/default/pods/busybox/log", False),
        ({"resources": [{"resources": ["pods/log"]}]}, "/api/v1/namespaces/default/pods/busybox/log", True),
        ({"resources": [{"resources": ["pods/*"]}]}, "/api/v1/namespaces/default/pods/busybox/log", True),
        ({"resources": [{"resources": ["*/log"]}]}, "/api/v1/namespaces/default/pods/busybox/log", True),
        ({"resources": [{"resources": ["*/scale"]}]}, "/api/v1/namespaces/default/pods/busybox/log", False),
        ({"resources": [{"resources": ["*"]}]}, "/api/v1/namespaces/default/pods/busybox/log", True),
        ({"resources": [{"group": "apps"}]}, "/apis/apps/v1/deployments", True),
        ({"resources": [{"group": "apps"}]}, "/api/v1/pods", False),
        ({"resources": [{}]}, "/api/v1/pods", True),
        ({"resources": [{**PODS, "resourceNames": ["busybox"]}]}, "/api/v1/namespaces/default/pods/busybox", True),
        ({"resources": [{**PODS, "resourceNames": ["edit"]}]}, "/api/v1/namespaces/default/pods/busybox", False),
        ({"nonResourceURLs": ["/healthz*"]}, "/healthz/ping", True),
        ({"nonResourceURLs": ["/healthz"]}, "/healthz/ping", False),
        ({"nonResourceURLs": ["*"]}, "/logs", True),
        ({"nonResourceURLs": ["*"]}, "/api/v1/pods", False),
        ({"resources": [PODS]}, "/logs", False),
    ],
)
def test_a_rule_matches_what_it_names(rule: dict[str, Any], path: str, matches: bool) -> None:
    assert level(rule, "GET", path) == ("METADATA" if matches else "None")


def test_a_workspace_is_no_part_of_the_path_that_rules_see() -> None:
    assert level({"nonResourceURLs": ["/version"]}, "GET", "/clusters/root:a/version") == "METADATA"
    assert level({"resources": [PODS]}, "GET", "/clusters/root:a/api/v1/pods") == "METADATA"


def test_rules_about_users_match_nobody_who_is_not_authenticated() -> None:
    assert level({"users": ["tim@k8s.io"]}, "GET", "/version", None) == "None"
    assert level({"userGroups": ["humans"]}, "GET", "/version", None) == "None"
    assert level({}, "GET", "/version", None) == "METADATA"


def test_the_first_rule_that_matches_decides_and_none_is_the_default() -> None:
    rules: list[dict[str, Any]] = [{"level": "None", "users": ["tim@k8s.io"]}, {"level": "RequestResponse", "verbs": ["get"]}]
    read = parse_policy(policy(*rules))
    info = parse("GET", "/version", {})
    assert read.of(TIM, info) is None
    said = read.of(UserInfo("bob"), info)
    assert said is not None
    assert said.level is Level.RESPONSE
    assert read.of(UserInfo("bob"), parse("POST", "/version", {})) is None


def test_omitted_stages_add_up_and_a_rule_overrules_the_policy_on_managed_fields() -> None:
    rules: list[dict[str, Any]] = [
        {"level": "Request", "verbs": ["get"], "omitStages": ["Panic"], "omitManagedFields": False},
        {"level": "Request"},
    ]
    read = parse_policy(policy(*rules, omitStages=["RequestReceived"], omitManagedFields=True))
    first, second = read.of(TIM, parse("GET", "/version", {})), read.of(TIM, parse("POST", "/version", {}))
    assert first is not None
    assert second is not None
    assert (set(first.omitted), first.omits_managed_fields) == ({"RequestReceived", "Panic"}, False)
    assert (set(second.omitted), second.omits_managed_fields) == ({"RequestReceived"}, True)


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({}, "rules[0].level: Required value"),
        ({"level": "All"}, 'rules[0].level: Unsupported value: "All": supported values: "None", "Metadata", "Request", "RequestResponse"'),
        ({"level": "None", "omitStages": ["Done"]}, "rules[0].omitStages[0]: Invalid value"),
        ({"level": "None", "nonResourceURLs": ["logs"]}, "non-resource URL rules must begin with a '/' character"),
        ({"level": "None", "nonResourceURLs": ["/a*b"]}, "non-resource URL wildcards '*' must be the final character of the rule"),
        ({"level": "None", "nonResourceURLs": ["/a"], "namespaces": ["b"]}, "rules cannot apply to both regular resources and"),
        ({"level": "None", "resources": [{"group": "rbac.authorization.k8s.io/v1beta1"}]}, "rules[0].resources.group: Invalid value"),
        ({"level": "None", "resources": [{"resourceNames": ["a"]}]}, "using resourceNames requires at least one resource"),
        ({"level": "None", "resources": ["pods"]}, "must be an object with group, resources and resourceNames"),
        ({"level": "None", "verbs": "get"}, "rules[0].verbs: Invalid value"),
        ({"level": "None", "verb": ["get"]}, "rules[0].verb: Invalid value"),
        ({"level": ["None"]}, "rules[0].level: Unsupported value"),
        ({"level": "None", "users": [{}]}, "rules[0].users: Invalid value"),
        ({"level": "None", "omitManagedFields": "yes"}, "rules[0].omitManagedFields: Invalid value"),
        ({"level": "None", "resources": [{"group": 1}]}, "rules[0].resources.group: Invalid value"),
        ({"level": "None", "resources": [{"resources": "pods"}]}, "rules[0].resources.resources: Invalid value"),
        (3, "rules[0]: Invalid value"),
    ],
)
def test_faults_of_a_rule_are_told_by_their_path(rule: Any, fault: str) -> None:
    with pytest.raises(AuditError) as refused:
        parse_policy(policy(rule))
    assert fault in str(refused.value)


def test_a_policy_must_say_what_it_is_and_have_rules() -> None:
    with pytest.raises(AuditError, match=r"audit\.k8s\.io/v1"):
        parse_policy({**policy({"level": "None"}), "apiVersion": "audit.k8s.io/v1beta1"})
    with pytest.raises(AuditError, match="loaded illegal policy with 0 rules"):
        parse_policy(policy())


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["None", "Metadata", "*", "/a", "pods", "Panic", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=4), max_size=2), ANYTHING, ANYTHING)
def test_whatever_a_policy_holds_it_is_read_or_refused(rules: list[Any], stages: Any, switch: Any) -> None:
    try:
        read = parse_policy(policy(*rules, omitStages=stages, omitManagedFields=switch))
    except AuditError:
        return
    for path in ("/version", "/api/v1/namespaces/x/pods/a/log"):
        read.of(TIM, parse("GET", path, {}))


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("rules: [")
    with pytest.raises(AuditError, match="--audit-policy-file=.*policy.yaml"):
        load_policy(file)
