"""PATCH: JSON patch, merge patch, strategic merge patch, server-side apply."""

from __future__ import annotations

import pytest
from tests.behaviour.api.server import ALL_WIDGETS, MAPS, Api, config_map, widget

GATES = "/apis/example.com/v1/gates"


async def test_a_merge_patch_changes_and_removes(api: Api) -> None:
    await api.made(MAPS, config_map("a", x="1", y="2"))
    answer = await api.patch(f"{MAPS}/a", {"data": {"x": None, "z": "3"}})
    assert (answer.status, answer.body["data"]) == (200, {"y": "2", "z": "3"})


async def test_a_json_patch_is_applied_in_order(api: Api) -> None:
    await api.made(MAPS, config_map("a", x="1"))
    operations = [
        {"op": "test", "path": "/data/x", "value": "1"},
        {"op": "add", "path": "/data/y", "value": "2"},
        {"op": "remove", "path": "/data/x"},
    ]
    answer = await api.patch(f"{MAPS}/a", operations, "json-patch+json")
    assert (answer.status, answer.body["data"]) == (200, {"y": "2"})


async def test_a_json_patch_that_does_not_fit_is_invalid_and_changes_nothing(api: Api) -> None:
    old = await api.made(MAPS, config_map("a", x="1"))
    answer = await api.patch(f"{MAPS}/a", [{"op": "test", "path": "/data/x", "value": "2"}], "json-patch+json")
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert answer.message.startswith("the server rejected our request due to an error in our request")
    assert (await api.get(f"{MAPS}/a")).body == old


async def test_too_many_operations_are_refused(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    answer = await api.patch(f"{MAPS}/a", [{"op": "test", "path": "", "value": 1}] * 10_001, "json-patch+json")
    assert answer.status == 413
    assert answer.message == "The allowed maximum operations in a JSON patch is 10000, got 10001"


async def test_a_strategic_patch_merges_lists_by_key(api: Api) -> None:
    await api.made(GATES, {"metadata": {"name": "g"}, "spec": {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}})
    answer = await api.patch(f"{GATES}/g", {"spec": {"ports": [{"name": "b", "port": 9}]}}, "strategic-merge-patch+json")
    assert answer.status == 200
    assert sorted((p["name"], p["port"]) for p in answer.body["spec"]["ports"]) == [("a", 1), ("b", 9)]


async def test_a_strategic_patch_of_a_built_in_kind_without_schema_merges(api: Api) -> None:
    await api.made(MAPS, config_map("a", x="1"))
    answer = await api.patch(f"{MAPS}/a", {"data": {"y": "2"}}, "strategic-merge-patch+json")
    assert answer.body["data"] == {"x": "1", "y": "2"}


async def test_custom_resources_refuse_strategic_patches_and_say_what_they_take(api: Api) -> None:
    await api.made(ALL_WIDGETS, widget("w"))
    answer = await api.patch(f"{ALL_WIDGETS}/w", {}, "strategic-merge-patch+json")
    assert (answer.status, answer.body["reason"]) == (415, "UnsupportedMediaType")
    assert answer.message == (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )


@pytest.mark.parametrize(("body", "kind"), [(b"{", "merge-patch+json"), ([], "merge-patch+json"), ({}, "json-patch+json")])
async def test_a_patch_of_the_wrong_shape_is_a_bad_request(api: Api, body: object, kind: str) -> None:
    await api.made(MAPS, config_map("a"))
    answer = await api.patch(f"{MAPS}/a", body, kind)
    assert answer.status == 400
    assert "error decoding patch" in answer.message


async def test_a_patch_cannot_turn_the_object_into_another(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    assert (await api.patch(f"{MAPS}/a", {"kind": "Secret"})).status == 400
    assert (await api.patch(f"{MAPS}/a", {"metadata": {"name": "b"}})).status == 400
    assert (await api.patch(f"{MAPS}/a", {"metadata": {"uid": "x"}})).status == 422
    assert (await api.patch(f"{MAPS}/a", {"metadata": {"resourceVersion": "1"}})).status == 409


async def test_a_patch_of_an_absent_object_is_not_found(api: Api) -> None:
    assert (await api.patch(f"{MAPS}/a", {})).status == 404


async def test_force_is_for_apply_only(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    answer = await api.patch(f"{MAPS}/a?force=true", {})
    assert answer.message == 'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch'


async def test_strict_validation_looks_at_the_patched_object(api: Api) -> None:
    await api.made(ALL_WIDGETS, widget("w"))
    answer = await api.patch(f"{ALL_WIDGETS}/w?fieldValidation=Strict", {"spec": {"colour": "red"}})
    assert answer.status == 422
    assert 'strict decoding error: unknown field "spec.colour"' in answer.message
    twice = await api.patch(f"{ALL_WIDGETS}/w?fieldValidation=Strict", b'{"spec": {"size": 1, "size": 2}}')
    assert 'duplicate field "spec.size"' in twice.message


# --- server-side apply ---

APPLY = "apply-patch+yaml"


async def test_apply_creates_then_changes_then_does_nothing(api: Api) -> None:
    config = widget("w", replicas=2)
    first = await api.patch(f"{ALL_WIDGETS}/w?fieldManager=me", config, APPLY)
    assert first.status == 201
    (entry,) = first.body["metadata"]["managedFields"]
    owned: dict[str, object] = {"f:spec": {"f:color": {}, "f:replicas": {}}}
    assert (entry["manager"], entry["operation"], entry["fieldsV1"]) == ("me", "Apply", owned)
    again = await api.patch(f"{ALL_WIDGETS}/w?fieldManager=me", config, APPLY)
    assert (again.status, again.revision) == (200, first.revision)
    changed = await api.patch(f"{ALL_WIDGETS}/w?fieldManager=me", widget("w", size=5), APPLY)
    assert (changed.status, changed.body["spec"]) == (200, {"color": "red", "size": 5})


async def test_apply_reads_yaml(api: Api) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1'}\n"
    assert (await api.patch(f"{MAPS}/a?fieldManager=me", text, APPLY)).status == 201


async def test_a_conflicting_apply_names_the_other_manager_and_force_takes_over(api: Api) -> None:
    await api.patch(f"{MAPS}/a?fieldManager=first", config_map("a", x="1"), APPLY)
    answer = await api.patch(f"{MAPS}/a?fieldManager=second", config_map("a", x="2"), APPLY)
    assert (answer.status, answer.body["reason"]) == (409, "Conflict")
    assert answer.message == 'Apply failed with 1 conflict: conflict with "first": .data.x'
    assert answer.body["details"]["causes"][0]["reason"] == "FieldManagerConflict"
    forced = await api.patch(f"{MAPS}/a?fieldManager=second&force=true", config_map("a", x="2"), APPLY)
    assert (forced.status, forced.body["data"]) == (200, {"x": "2"})


async def test_apply_needs_a_field_manager(api: Api) -> None:
    answer = await api.patch(f"{MAPS}/a", config_map("a"), APPLY)
    assert answer.status == 422
    assert answer.message == ('PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch')


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"metadata": {"name": "a"}}, "invalid object type: /, Kind="),
        (config_map("b"), "does not match the name on the URL"),
        ({**config_map("a"), "kind": "Secret"}, "invalid object type: v1, Kind=Secret"),
        (
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "managedFields": [{"manager": "x"}]}},
            "metadata.managedFields must be nil",
        ),
        ([], "cannot unmarshal array into Go value"),
    ],
)
async def test_an_apply_configuration_that_does_not_fit_is_a_bad_request(api: Api, config: object, text: str) -> None:
    answer = await api.patch(f"{MAPS}/a?fieldManager=me", config, APPLY)
    assert answer.status == 400
    assert text in answer.message


async def test_an_apply_with_a_uid_never_recreates(api: Api) -> None:
    config = config_map("a", x="1")
    config["metadata"]["uid"] = "123"
    answer = await api.patch(f"{MAPS}/a?fieldManager=me", config, APPLY)
    assert answer.status == 409
    assert "no existing object was found" in answer.message


async def test_an_apply_with_a_stale_resource_version_is_a_conflict(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    config = config_map("a", x="1")
    config["metadata"]["resourceVersion"] = "1"
    assert (await api.patch(f"{MAPS}/a?fieldManager=me", config, APPLY)).status == 409


async def test_applied_status_stays_off_the_main_endpoint(api: Api) -> None:
    config = {**widget("w"), "status": {"phase": "Ready"}}
    made = await api.patch(f"{ALL_WIDGETS}/w?fieldManager=me", config, APPLY)
    assert made.status == 201
    assert "status" not in made.body
    assert "f:status" not in made.body["metadata"]["managedFields"][0]["fieldsV1"]
    status = await api.patch(f"{ALL_WIDGETS}/w/status?fieldManager=me", config, APPLY)
    assert status.body["status"] == {"phase": "Ready"}
    assert {e.get("subresource", "") for e in status.body["metadata"]["managedFields"]} == {"", "status"}
