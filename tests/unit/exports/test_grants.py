"""What a binding's conditions say of its claims. Source: kcp pkg/reconciler/apis/permissionclaimlabel/permissionclaimlabel_reconcile_test.go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kcp.apimachinery import conditions
from kcp.apimachinery.meta import JSONObject
from kcp.exports.claims import ClaimKey
from kcp.exports.grants import CLAIMS_CHANGED, grant

NOW = "2026-01-01T00:00:00Z"
SECRETS: JSONObject = {"group": "", "resource": "secrets", "verbs": ["get", "list"]}
SHERIFFS: JSONObject = {"group": "wild.west", "resource": "sheriffs", "identityHash": "abc", "verbs": ["*"]}


def accepted(claim: JSONObject, **changes: Any) -> JSONObject:
    return {**claim, "selector": {"matchAll": True}, "state": "Accepted", **changes}


def granted(claims: list[JSONObject], asked: list[JSONObject], is_known: Callable[[ClaimKey], bool] = lambda key: True) -> JSONObject:
    binding: JSONObject = {"metadata": {"name": "b"}, "spec": {"permissionClaims": claims}, "status": {}}
    grant(binding, {"metadata": {"name": "e"}, "spec": {"permissionClaims": asked}}, is_known, NOW)
    return binding


def told(binding: JSONObject, kind: str = "PermissionClaimsValid") -> tuple[str, str, str, str]:
    held = conditions.get(binding, kind) or {}
    return held["status"], held.get("reason", ""), held.get("severity", ""), held.get("message", "")


def test_claims_that_fit_are_valid() -> None:
    binding = granted([accepted(SECRETS), accepted(SHERIFFS, state="Rejected")], [SECRETS, SHERIFFS])
    assert told(binding)[0] == "True"
    assert told(binding, "PermissionClaimsApplied")[:2] == ("False", CLAIMS_CHANGED)
    assert [claim["resource"] for claim in binding["status"]["appliedPermissionClaims"]] == ["secrets"]


@pytest.mark.parametrize(
    ("claims", "asked", "reason", "severity", "message"),
    [
        (
            [accepted(SECRETS)], [], "InvalidPermissionClaims", "Error",
            '1 unexpected and/or invalid permission claims (showing first 1): unexpected/invalid claim for secrets. (identity "")',
        ),
        (
            [accepted(SECRETS), accepted(SHERIFFS)], [], "InvalidPermissionClaims", "Error",
            "2 unexpected and/or invalid permission claims (showing first 2): [unexpected/invalid claim for secrets. "
            '(identity ""), unexpected/invalid claim for sheriffs.wild.west (identity "abc")]',
        ),
        (
            [accepted(SECRETS, verbs=["get"])], [SECRETS], "PermissionClaimsMismatch", "Warning",
            "1 permission claim(s) have mismatched verbs or selectors (showing first 1): "
            "secrets. (verbs: accepted [get], exported [get list])",
        ),
        (
            [accepted(SHERIFFS)], [{**SHERIFFS, "defaultSelector": {"matchLabels": {"a": "b"}}}], "PermissionClaimsMismatch", "Warning",
            "1 permission claim(s) have mismatched verbs or selectors (showing first 1): "
            "sheriffs.wild.west (selector differs from defaultSelector)",
        ),
    ],
)  # fmt: skip
def test_claims_that_do_not_fit_say_how(
    claims: list[JSONObject], asked: list[JSONObject], reason: str, severity: str, message: str
) -> None:
    assert told(granted(claims, asked)) == ("False", reason, severity, message)


@pytest.mark.parametrize(("ours", "theirs"), [(["*"], ["get"]), (["get"], ["*"]), (["get", "list"], ["list", "get"])])
def test_verbs_that_mean_the_same_are_no_mismatch(ours: list[str], theirs: list[str]) -> None:
    assert told(granted([accepted(SECRETS, verbs=ours)], [{**SECRETS, "verbs": theirs}]))[0] == "True"


def test_a_rejected_claim_that_is_not_asked_for_harms_nobody() -> None:
    assert told(granted([accepted(SECRETS, state="Rejected")], []))[0] == "True"


def test_what_nobody_provides_is_not_applied_and_told_once_the_rest_is() -> None:
    binding = granted([accepted(SECRETS), accepted(SHERIFFS)], [SECRETS, SHERIFFS], lambda key: not key.identity)
    assert told(binding, "PermissionClaimsApplied")[1] == CLAIMS_CHANGED
    conditions.set_condition(binding, conditions.build("PermissionClaimsApplied", conditions.TRUE, now=NOW))
    grant(binding, {"metadata": {"name": "e"}, "spec": {"permissionClaims": [SECRETS, SHERIFFS]}}, lambda key: not key.identity, NOW)
    assert told(binding, "PermissionClaimsApplied")[1:] == (
        "InternalError", "Error",
        "Permission claims have not been fully applied: no APIExport with identity abc provides sheriffs.wild.west",
    )  # fmt: skip
    grant(binding, {"metadata": {"name": "e"}, "spec": {"permissionClaims": [SECRETS]}}, lambda key: not key.identity, NOW)
    assert told(binding, "PermissionClaimsApplied")[0] == "True"
