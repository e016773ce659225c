"""Server-side apply: who owns what after which write, conflicts, and removal.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/; KEP-555; structured-merge-diff; apimachinery/pkg/util/managedfields;
test/integration/apiserver/apply.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.api.server import Api
from tests.behaviour.conformance.server import BETA_WIDGETS, GATES, WIDGETS, apply, causes, managers, widget

OWN: dict[str, Any] = {}
MEMBER = {".": OWN}


async def times(api: Api, name: str) -> dict[str, str]:
    """Manager → time, "" for an entry without one."""
    entries = (await api.get(f"{WIDGETS}/{name}")).body["metadata"]["managedFields"]
    return {entry["manager"]: entry.get("time", "") for entry in entries}


async def test_it_creates_what_is_not_there_and_owns_what_it_said(api: Api) -> None:
    answer = await apply(api, "a", {"color": "red"})
    assert (answer.status, answer.body["spec"]) == (201, {"color": "red", "size": 3})
    assert managers(answer.body) == [("m1", "Apply", "", {"f:spec": {"f:color": OWN}})]


async def test_the_same_again_changes_nothing(api: Api) -> None:
    first = (await apply(api, "a", {"color": "red"})).body
    await api.clock.advance(60)
    assert (await apply(api, "a", {"color": "red"})).body == first


async def test_the_same_value_is_shared_and_another_is_a_conflict(api: Api) -> None:
    await apply(api, "a", {"color": "red"})
    shared = await apply(api, "a", {"color": "red"}, "m2")
    assert [entry[:2] for entry in managers(shared.body)] == [("m2", "Apply"), ("m1", "Apply")], "the one without a time first"
    refused = await apply(api, "a", {"color": "blue"}, "m2")
    assert (refused.status, refused.body["reason"]) == (409, "Conflict")
    assert refused.message == 'Apply failed with 1 conflict: conflict with "m1": .spec.color'
    assert refused.body["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "m1"', "field": ".spec.color"}
    ]


async def test_force_takes_fields_over(api: Api) -> None:
    await apply(api, "a", {"color": "red", "replicas": 1})
    taken = await apply(api, "a", {"color": "blue"}, "m2", query="&force=true")
    assert taken.body["spec"]["color"] == "blue"
    assert managers(taken.body) == [
        ("m1", "Apply", "", {"f:spec": {"f:replicas": OWN}}),
        ("m2", "Apply", "", {"f:spec": {"f:color": OWN}}),
    ]


async def test_what_is_no_longer_applied_goes_unless_another_owns_it(api: Api) -> None:
    await apply(api, "a", {"color": "red", "replicas": 1, "size": 5})
    await apply(api, "a", {"color": "red"}, "m2")
    left = await apply(api, "a", {"size": 5})
    assert left.body["spec"] == {"color": "red", "size": 5}
    again = await apply(api, "a", {"map": {"k": "v"}})
    assert again.body["spec"] == {"color": "red", "size": 3, "map": {"k": "v"}}, "a default comes back"


async def test_a_time_is_that_of_the_last_change_of_the_object(api: Api) -> None:
    # managedfieldsupdater.go: an apply that changes nothing but who owns what sets no time.
    await apply(api, "a", {"color": "red"})
    began = (await times(api, "a"))["m1"]
    await api.clock.advance(60)
    await apply(api, "a", {"color": "red"}, "m2")
    assert await times(api, "a") == {"m1": began, "m2": ""}
    await apply(api, "a", {"color": "red", "replicas": 1}, "m2")
    assert (await times(api, "a"))["m2"] > began


# --- lists and maps ---


async def test_items_of_a_keyed_list_are_owned_one_by_one_defaulted_keys_included(api: Api) -> None:
    await apply(api, "l", {"ports": [{"port": 80, "name": "http"}, {"port": 443, "protocol": "UDP"}]})
    both = await apply(api, "l", {"ports": [{"port": 8080, "opts": {"a": "b"}}]}, "m2")
    assert [p["port"] for p in both.body["spec"]["ports"]] == [80, 443, 8080]
    fields = {entry[0]: entry[3]["f:spec"]["f:ports"] for entry in managers(both.body)}
    assert fields["m1"] == {
        'k:{"port":80,"protocol":"TCP"}': {".": OWN, "f:name": OWN, "f:port": OWN},
        'k:{"port":443,"protocol":"UDP"}': {".": OWN, "f:port": OWN, "f:protocol": OWN},
    }
    fewer = await apply(api, "l", {"ports": [{"port": 443, "protocol": "UDP"}]})
    assert [p["port"] for p in fewer.body["spec"]["ports"]] == [443, 8080]


async def test_a_keyed_list_takes_the_order_of_the_last_apply(api: Api) -> None:
    await apply(api, "l", {"ports": [{"port": 1}, {"port": 2}]})
    assert [p["port"] for p in (await apply(api, "l", {"ports": [{"port": 2}, {"port": 1}]})).body["spec"]["ports"]] == [2, 1]


async def test_an_item_of_another_manager_can_be_added_to_but_not_changed(api: Api) -> None:
    await apply(api, "l", {"ports": [{"port": 80, "opts": {"a": "b"}}]})
    assert (await apply(api, "l", {"ports": [{"port": 80, "opts": {"c": "d"}}]}, "m2")).status == 200
    refused = await apply(api, "l", {"ports": [{"port": 80, "opts": {"a": "x"}}]}, "m2")
    assert [field for field, _ in causes(refused)] == ['.spec.ports[port=80,protocol="TCP"].opts.a']


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"ports": [{"port": 80}, {"port": 80}]}, '.spec.ports: duplicate entries for key [port=80,protocol="TCP"]'),
        ({"tags": ["x", "x"]}, '.spec.tags: duplicate entries for key [="x"]'),
        ({"nope": 1}, ".spec.nope: field not declared in schema"),
        ({"color": 1}, ".spec.color: expected string, got &value.valueUnstructured{Value:1}"),
        ({"map": {"a": True}}, ".spec.map.a: expected string, got &value.valueUnstructured{Value:true}"),
        ({"raw": [{}]}, ".spec.raw[0]: expected string, got &value.valueUnstructured{Value:map[string]interface {}{}}"),
        ({"size": "3"}, ".spec.size: expected numeric (int or float), got string"),
    ],
)
async def test_what_does_not_fit_the_schema_is_refused(api: Api, spec: dict[str, Any], text: str) -> None:
    answer = await apply(api, "l", spec)
    assert answer.status == 400
    assert answer.message == f"failed to create typed patch object (/l; example.com/v1, Kind=Widget): {text}"


async def test_members_of_a_set_are_owned_one_by_one_and_an_atomic_list_as_a_whole(api: Api) -> None:
    await apply(api, "s", {"tags": ["a", "b"], "raw": ["a", "b"]})
    both = await apply(api, "s", {"tags": ["b", "c"]}, "m2")
    assert both.body["spec"]["tags"] == ["a", "b", "c"]
    assert (await apply(api, "s", {"tags": ["b"], "raw": ["a", "b"]})).body["spec"]["tags"] == ["b", "c"]
    assert causes(await apply(api, "s", {"raw": ["a"]}, "m2")) == [(".spec.raw", 'conflict with "m1"')]


async def test_an_atomic_map_is_owned_as_a_whole_and_a_map_key_by_key(api: Api) -> None:
    await apply(api, "n", {"atom": {"a": "1"}, "map": {"k": "v"}, "nested": {"b": {"c": "2"}}})
    assert causes(await apply(api, "n", {"atom": {"b": "1"}}, "m2")) == [(".spec.atom", 'conflict with "m1"')]
    shared = await apply(api, "n", {"map": {"l": "w"}, "nested": {"b": {"c": "2"}}}, "m2")
    assert shared.body["spec"]["map"] == {"k": "v", "l": "w"}
    assert managers(shared.body)[1][3] == {"f:spec": {"f:map": {"f:l": OWN}, "f:nested": {"f:b": {"f:c": OWN}}}}


async def test_without_a_schema_maps_are_split_and_lists_are_not(api: Api) -> None:
    async def gate(spec: dict[str, Any], manager: str = "m1") -> Any:
        body = {"apiVersion": "example.com/v1", "kind": "Gate", "metadata": {"name": "g"}, "spec": spec}
        return await api.patch(f"{GATES}/g?fieldManager={manager}", body, "apply-patch+yaml")

    made = await gate({"list": [1, 2], "m": {"x": {"y": 1}}})
    nested = {".": OWN, "f:x": {".": OWN, "f:y": OWN}}
    assert managers(made.body) == [("m1", "Apply", "", {"f:spec": {".": OWN, "f:list": OWN, "f:m": nested}})]
    assert causes(await gate({"list": [3]}, "m2")) == [(".spec.list", 'conflict with "m1"')]
    assert (await gate({"m": {"x": {"z": 1}}}, "m2")).body["spec"]["m"] == {"x": {"y": 1, "z": 1}}


# --- other writes ---


async def test_an_update_owns_what_it_changes_and_takes_it_from_appliers(api: Api) -> None:
    await apply(api, "u", {"color": "red", "replicas": 1})
    patched = (await api.patch(f"{WIDGETS}/u?fieldManager=up", {"spec": {"color": "blue"}})).body
    assert managers(patched) == [
        ("m1", "Apply", "", {"f:spec": {"f:replicas": OWN}}),
        ("up", "Update", "", {"f:spec": {"f:color": OWN}}),
    ]
    refused = await apply(api, "u", {"color": "red", "replicas": 1})
    assert refused.message == 'Apply failed with 1 conflict: conflict with "up" using example.com/v1: .spec.color'


async def test_a_created_object_belongs_to_its_creator(api: Api) -> None:
    made = (await api.post(f"{WIDGETS}?fieldManager=creator", widget("u", {"labels": {"a": "1"}}, color="red"))).body
    fields = {"f:metadata": {"f:labels": {".": OWN, "f:a": OWN}}, "f:spec": {".": OWN, "f:color": OWN, "f:size": OWN}}
    assert managers(made) == [("creator", "Update", "", fields)]


async def test_the_user_agent_names_a_manager_that_does_not_name_itself(api: Api) -> None:
    assert managers((await api.post(WIDGETS, widget("u"))).body)[0][0] == "tester"


async def test_the_same_name_is_two_managers_for_update_and_apply(api: Api) -> None:
    await api.post(f"{WIDGETS}?fieldManager=me", widget("u", color="red"))
    applied = await apply(api, "u", {"color": "red"}, "me")
    assert [entry[:2] for entry in managers(applied.body)] == [("me", "Apply"), ("me", "Update")]


async def test_status_has_managers_of_its_own_and_the_main_endpoint_owns_none_of_it(api: Api) -> None:
    await apply(api, "u", {"color": "red"}, status={"phase": "ignored"})
    body = {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "u"},
        "spec": {"color": "blue"},
        "status": {"phase": "on"},
    }
    answer = await api.patch(f"{WIDGETS}/u/status?fieldManager=m1", body, "apply-patch+yaml")
    assert (answer.body["spec"]["color"], answer.body["status"]) == ("red", {"phase": "on"})
    assert managers(answer.body) == [
        ("m1", "Apply", "", {"f:spec": {"f:color": OWN}}),
        ("m1", "Apply", "status", {"f:status": {"f:phase": OWN}}),
    ]


async def test_an_applied_scale_owns_the_replicas_and_meets_conflicts(api: Api) -> None:
    await apply(api, "u", {"replicas": 3})
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "u"}, "spec": {"replicas": 5}}
    refused = await api.patch(f"{WIDGETS}/u/scale?fieldManager=sc", scale, "apply-patch+yaml")
    assert causes(refused) == [(".spec.replicas", 'conflict with "m1"')]
    forced = await api.patch(f"{WIDGETS}/u/scale?fieldManager=sc&force=true", scale, "apply-patch+yaml")
    assert (forced.body["kind"], forced.body["spec"]) == ("Scale", {"replicas": 5})
    assert managers((await api.get(f"{WIDGETS}/u")).body) == [("sc", "Apply", "scale", {"f:spec": {"f:replicas": OWN}})]


async def test_an_applier_that_moves_to_another_version_stays_one_manager(api: Api) -> None:
    await apply(api, "r", {"color": "red"})
    body = {"apiVersion": "example.com/v1beta1", "kind": "Widget", "metadata": {"name": "r"}, "spec": {"color": "red", "size": 9}}
    moved = (await api.patch(f"{BETA_WIDGETS}/r?fieldManager=m1", body, "apply-patch+yaml")).body
    assert [(e["manager"], e["apiVersion"]) for e in moved["metadata"]["managedFields"]] == [("m1", "example.com/v1beta1")]


@pytest.mark.parametrize("sent", [[], None])
async def test_an_empty_list_of_managers_is_that_of_a_client_that_knows_none(api: Api, sent: Any) -> None:
    made = (await apply(api, "r", {"color": "red"})).body
    kept = (await api.patch(f"{WIDGETS}/r", {"metadata": {"managedFields": sent}})).body
    assert managers(kept) == managers(made)


async def test_a_list_of_one_empty_entry_resets_and_the_next_apply_begins_anew(api: Api) -> None:
    await apply(api, "r", {"color": "red"})
    assert managers((await api.patch(f"{WIDGETS}/r", {"metadata": {"managedFields": [{}]}})).body) == []
    assert managers((await api.patch(f"{WIDGETS}/r?fieldManager=up", {"spec": {"replicas": 1}})).body) == [], "not tracked any more"
    refused = await apply(api, "r", {"replicas": 2})
    assert refused.message == 'Apply failed with 1 conflict: conflict with "before-first-apply" using example.com/v1: .spec.replicas'


@pytest.mark.parametrize("broken", [{"operation": "Foo"}, {"fieldsType": "FieldsV2"}, {"fieldsV1": {"spec": {}}}])
async def test_entries_that_cannot_be_read_are_ignored(api: Api, broken: dict[str, Any]) -> None:
    made = (await apply(api, "r", {"color": "red"})).body
    entry = {"manager": "z", "operation": "Update", "apiVersion": "example.com/v1", "fieldsType": "FieldsV1", "fieldsV1": {}, **broken}
    assert managers((await api.patch(f"{WIDGETS}/r", {"metadata": {"managedFields": [entry]}})).body) == managers(made)


# --- what is refused ---


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"kind": "Widget", "metadata": {"name": "e"}}, "invalid object type: /, Kind=Widget"),
        ({"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": {"name": "e"}}, "invalid object type: example.com/v1, Kind=Gadget"),
        ({"apiVersion": "example.com/v9", "kind": "Widget", "metadata": {"name": "e"}}, "invalid object type: example.com/v9, Kind=Widget"),
        ({**widget("e"), "metadata": {"name": "e", "managedFields": []}}, "metadata.managedFields must be nil"),
        (widget("other"), "the name of the object (other) does not match the name on the URL (e)"),
        (b"", "invalid object type: /, Kind="),
        (b"[]", "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type "
                "map[string]interface {}"),
    ],
)  # fmt: skip
async def test_a_configuration_that_does_not_fit_is_a_bad_request(api: Api, config: Any, text: str) -> None:
    answer = await api.patch(f"{WIDGETS}/e?fieldManager=m", config, "apply-patch+yaml")
    assert (answer.status, answer.message) == (400, text)


async def test_a_manager_must_be_named(api: Api) -> None:
    answer = await api.patch(f"{WIDGETS}/e", widget("e"), "apply-patch+yaml")
    assert causes(answer) == [("fieldManager", "Required value: is required for apply patch")]


async def test_a_resource_version_is_a_condition_only_of_what_is_there(api: Api) -> None:
    assert (await apply(api, "e", {}, metadata={"resourceVersion": "1"})).status == 201
    stale = await apply(api, "e", {"color": "red"}, metadata={"resourceVersion": "1"})
    assert stale.status == 409
    assert stale.message.endswith("the object has been modified; please apply your changes to the latest version and try again")


async def test_a_dry_run_shows_the_managers_and_stores_nothing(api: Api) -> None:
    answer = await apply(api, "e", {"color": "red"}, query="&dryRun=All")
    assert (answer.status, managers(answer.body)) == (201, [("m1", "Apply", "", {"f:spec": {"f:color": OWN}})])
    assert (await api.get(f"{WIDGETS}/e")).status == 404


async def test_a_default_that_comes_back_into_an_atomic_map_is_no_change(api: Api) -> None:
    # test/integration/apiserver/apply/apply_crd_test.go (TestNoOpApplyWithDefaultsSameResourceVersionCRD)
    first = (await apply(api, "a", {"reference": {"a": "1"}})).body
    await api.clock.advance(60)
    assert (await apply(api, "a", {"reference": {"a": "1"}})).body == first


async def test_of_two_entries_of_one_manager_the_later_counts(api: Api) -> None:
    # test/integration/apiserver/apply/apply_test.go (TestRenamingAppliedFieldManagers)
    await apply(api, "a", {"color": "red"})
    body = (await apply(api, "a", {"replicas": 1}, "m2")).body
    for entry in body["metadata"]["managedFields"]:
        entry["manager"] = "one"
    renamed = await api.put(f"{WIDGETS}/a", body)
    assert managers(renamed.body) == [("one", "Apply", "", {"f:spec": {"f:replicas": OWN}})]


async def test_an_empty_list_ends_the_tracking_of_kinds_with_a_go_type(api: Api) -> None:
    # test/integration/apiserver/apply/apply_test.go (TestClearManagedFieldsWithUpdateEmptyList)
    body = (await api.post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}, "data": {"k": "v"}})).body
    assert body["metadata"].pop("managedFields")
    again = await api.put("/api/v1/namespaces/default/configmaps/a", {**body, "metadata": {**body["metadata"], "managedFields": []}})
    assert "managedFields" not in again.body["metadata"]
