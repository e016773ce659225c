"""v1alpha1 and v1alpha2 of APIExport and APIBinding show the same objects. Source: kcp sdk/apis/apis/v1alpha2/*_conversion_test.go."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kcp.exports.conversion import ACCEPTABLE_CLAIMS, PERMISSION_CLAIMS, RESOURCE_SCHEMAS, V1ALPHA1_CLAIMS, conversion_of

EXPORT, BINDING = (conversion for kind in ("apiexports", "apibindings") if (conversion := conversion_of(kind, "v1alpha1")) is not None)
WIDGETS = {"group": "example.io", "name": "widgets", "schema": "v1.widgets.example.io", "storage": {"crd": {}}}
VIRTUAL = {
    "group": "example.io",
    "name": "maps",
    "schema": "v1.maps.example.io",
    "storage": {"virtual": {"reference": {"kind": "K", "name": "n"}}},
}


def an_export(version: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"apis.kcp.io/{version}", "kind": "APIExport", "metadata": {"name": "e"}, "spec": spec}


def a_binding(version: str, *claims: dict[str, Any]) -> dict[str, Any]:
    spec = {"reference": {"export": {"path": "root", "name": "e"}}, "permissionClaims": list(claims)}
    return {"apiVersion": f"apis.kcp.io/{version}", "kind": "APIBinding", "metadata": {"name": "b"}, "spec": spec}


def test_schemas_of_custom_resources_are_the_latest_resource_schemas() -> None:
    shown = EXPORT.from_stored(an_export("v1alpha2", resources=[WIDGETS, VIRTUAL]))
    assert shown["apiVersion"] == "apis.kcp.io/v1alpha1"
    assert shown["spec"] == {"latestResourceSchemas": ["v1.widgets.example.io"]}
    assert "maps" in shown["metadata"]["annotations"][RESOURCE_SCHEMAS]


def test_the_core_group_is_written_core_in_names_of_schemas() -> None:
    stored = EXPORT.to_stored(an_export("v1alpha1", latestResourceSchemas=["today.services.core"]))
    assert stored["spec"]["resources"] == [{"group": "", "name": "services", "schema": "today.services.core", "storage": {"crd": {}}}]


def test_old_claims_have_every_verb() -> None:
    stored = EXPORT.to_stored(an_export("v1alpha1", permissionClaims=[{"group": "", "resource": "configmaps", "all": True}]))
    assert stored["spec"]["permissionClaims"] == [{"group": "", "resource": "configmaps", "verbs": ["*"]}]


def test_claims_with_other_verbs_travel_in_an_annotation() -> None:
    claim = {"group": "", "resource": "secrets", "verbs": ["get"], "defaultSelector": {"matchLabels": {"a": "b"}}}
    shown = EXPORT.from_stored(an_export("v1alpha2", permissionClaims=[claim]))
    assert shown["spec"]["permissionClaims"] == [{"group": "", "resource": "secrets", "all": True}]
    assert "defaultSelector" in shown["metadata"]["annotations"][PERMISSION_CLAIMS]
    assert EXPORT.to_stored(shown) == an_export("v1alpha2", permissionClaims=[claim])


def test_claims_of_named_objects_keep_their_names() -> None:
    claim = {"group": "", "resource": "secrets", "resourceSelector": [{"namespace": "a"}], "state": "Accepted"}
    stored = BINDING.to_stored(a_binding("v1alpha1", claim))
    assert stored["spec"]["permissionClaims"][0]["selector"] == {"matchAll": False}
    assert "resourceSelector" in stored["metadata"]["annotations"][V1ALPHA1_CLAIMS]
    assert BINDING.from_stored(stored) == a_binding("v1alpha1", claim)


def test_labels_that_a_binding_selects_by_survive_a_write_in_the_old_version() -> None:
    claim = {"group": "", "resource": "secrets", "verbs": ["get"], "selector": {"matchLabels": {"a": "b"}}, "state": "Accepted"}
    shown = BINDING.from_stored(a_binding("v1alpha2", claim))
    assert "matchLabels" in shown["metadata"]["annotations"][ACCEPTABLE_CLAIMS]
    shown["spec"]["permissionClaims"][0]["state"] = "Rejected"
    assert BINDING.to_stored(shown)["spec"]["permissionClaims"] == [{**claim, "state": "Rejected"}]


def test_an_annotation_that_is_no_list_of_claims_is_dropped() -> None:
    shown = an_export("v1alpha1", permissionClaims=[{"resource": "secrets", "all": True}])
    for text in ("{", "{}", "null", "[1]"):
        shown["metadata"]["annotations"] = {PERMISSION_CLAIMS: text}
        assert EXPORT.to_stored(shown)["spec"]["permissionClaims"] == [{"resource": "secrets", "verbs": ["*"]}]


verbs = st.sampled_from([["*"], ["get"], ["get", "list"]])
selectors = st.sampled_from([{"matchAll": True}, {"matchLabels": {"a": "b"}}])
resources = st.lists(st.sampled_from(["configmaps", "secrets", "events"]), unique=True)


@given(resources, st.data())
def test_what_is_stored_comes_back_from_the_old_version(names: list[str], data: st.DataObject) -> None:
    claims = [
        {"group": "", "resource": name, "verbs": data.draw(verbs), "selector": data.draw(selectors), "state": "Accepted"} for name in names
    ]
    stored = a_binding("v1alpha2", *claims)
    assert BINDING.to_stored(BINDING.from_stored(stored)) == stored
    offered = [{key: claim[key] for key in ("group", "resource", "verbs")} for claim in claims]
    export = an_export("v1alpha2", resources=[WIDGETS, VIRTUAL], permissionClaims=offered)
    assert EXPORT.to_stored(EXPORT.from_stored(export)) == export


@given(resources, st.data())
def test_what_was_written_in_the_old_version_is_read_in_it(names: list[str], data: st.DataObject) -> None:
    every: list[dict[str, Any]] = [{"all": True}, {"resourceSelector": [{"name": "x"}]}]
    scopes = st.sampled_from(every)
    claims = [{"group": "", "resource": name, **data.draw(scopes), "state": "Rejected"} for name in names]
    assert BINDING.from_stored(BINDING.to_stored(a_binding("v1alpha1", *claims))) == a_binding("v1alpha1", *claims)
