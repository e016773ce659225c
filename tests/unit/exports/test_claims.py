"""Labels and verbs of permission claims."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.exports.claimindex import ClaimIndex
from kcp.exports.claims import CLAIM_LABEL, OWN_BINDING, ClaimKey, applied_claims, claim_label, claim_value, common_verbs
from kcp.exports.conversion import V1ALPHA1_CLAIMS
from kcp.exports.exportindex import ExportIndex
from kcp.exports.names import BINDINGS, EXPORT_LABEL, export_label

CONSUMER, PROVIDER = ClusterName("consumer"), ClusterName("provider")
CONFIG_MAPS = GroupResource("", "configmaps")


def binding(*claims: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    status = {"apiExportClusterName": PROVIDER, "appliedPermissionClaims": list(claims)}
    return {"metadata": {"name": "b", **metadata}, "spec": {"reference": {"export": {"path": "root:p", "name": "e"}}}, "status": status}


def config_map(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", "labels": labels}}


def index_of(held: dict[str, Any] | None) -> ClaimIndex:
    index = ClaimIndex()
    index.changed(CONSUMER, "b", held)
    return index


def test_the_label_of_a_claim_is_that_of_its_export_and_resource() -> None:
    assert claim_label(PROVIDER, "e") == CLAIM_LABEL + export_label(PROVIDER, "e")
    assert len(claim_label(PROVIDER, "e").removeprefix(CLAIM_LABEL)) <= 38
    values = {
        claim_value(ClaimKey(CONFIG_MAPS, "")),
        claim_value(ClaimKey(CONFIG_MAPS, "x")),
        claim_value(ClaimKey(GroupResource("a", "configmaps"), "")),
    }
    assert len(values) == 3


@pytest.mark.parametrize(
    ("asked", "granted", "common"),
    [
        (["*"], ["get"], ["get"]),
        (["get"], ["*"], ["get"]),
        (["*"], ["*"], ["*"]),
        (["get", "list"], ["list"], ["list"]),
        (["get"], ["list"], []),
    ],
)
def test_common_verbs(asked: list[str], granted: list[str], common: list[str]) -> None:
    assert common_verbs(asked, granted) == common


def test_a_claim_counts_when_both_sides_name_it_and_it_is_accepted() -> None:
    asked = {"spec": {"permissionClaims": [{"resource": "configmaps", "verbs": ["*"]}, {"resource": "secrets", "verbs": ["*"]}]}}
    given: list[dict[str, Any]] = [
        {"resource": "configmaps", "verbs": ["get"], "state": "Accepted"},
        {"resource": "secrets", "verbs": ["get"], "state": "Rejected"},
        {"resource": "events", "verbs": ["get"], "state": "Accepted"},
    ]
    applied, unexpected = applied_claims({"spec": {"permissionClaims": given}}, asked)
    assert [(claim["resource"], claim["verbs"]) for claim in applied] == [("configmaps", ["get"])]
    assert list(map(str, unexpected)) == ["events"]


def test_objects_that_a_claim_selects_carry_its_label() -> None:
    index = index_of(binding({"resource": "configmaps", "verbs": ["*"], "selector": {"matchLabels": {"a": "b"}}}))
    assert index.wanted_labels(CONSUMER, CONFIG_MAPS, config_map("x", a="b")) == {
        claim_label(PROVIDER, "e"): claim_value(ClaimKey(CONFIG_MAPS, ""))
    }
    assert index.wanted_labels(CONSUMER, CONFIG_MAPS, config_map("x")) == {}
    assert index.wanted_labels(PROVIDER, CONFIG_MAPS, config_map("x", a="b")) == {}


def test_claims_of_the_old_version_select_by_name() -> None:
    named = '[{"resource":"configmaps","resourceSelector":[{"name":"x"},{"namespace":"all"}],"state":"Accepted"}]'
    held = binding({"resource": "configmaps", "verbs": ["*"], "selector": {"matchAll": False}}, annotations={V1ALPHA1_CLAIMS: named})
    index = index_of(held)
    assert index.wanted_labels(CONSUMER, CONFIG_MAPS, config_map("x"))
    assert not index.wanted_labels(CONSUMER, CONFIG_MAPS, config_map("y"))
    assert index.wanted_labels(CONSUMER, CONFIG_MAPS, {"metadata": {"name": "y", "namespace": "all"}})


def test_a_binding_that_goes_grants_nothing() -> None:
    held = binding({"resource": "configmaps", "verbs": ["*"]}, deletionTimestamp="2026-01-01T00:00:00Z")
    index = index_of(held)
    assert index.is_quiet(CONSUMER)
    assert index.is_bound(CONSUMER, claim_label(PROVIDER, "e"))
    index.changed(CONSUMER, "b", None)
    assert not index.is_bound(CONSUMER, claim_label(PROVIDER, "e"))


def test_bindings_are_marked_for_their_own_export() -> None:
    label = export_label(PROVIDER, "e")
    held = binding(labels={EXPORT_LABEL: label})
    assert ClaimIndex().wanted_labels(CONSUMER, BINDINGS.group_resource, held) == {CLAIM_LABEL + label: OWN_BINDING}


def test_exports_are_found_by_identity_until_they_are_gone() -> None:
    index, key = ExportIndex(), ObjectKey(PROVIDER, "", "e")
    index.changed(key, {"metadata": {"name": "e"}, "spec": {}, "status": {}})
    assert index.of_identity("") == []
    index.changed(key, {"metadata": {"name": "e"}, "spec": {"maximalPermissionPolicy": {"local": {}}}, "status": {"identityHash": "h"}})
    assert [(record.key, record.has_local_policy) for record in index.of_identity("h")] == [(key, True)]
    index.changed(key, None)
    assert index.of_identity("h") == []
    assert index.get(key) is None
