"""POST: what the server fills in, what it refuses and how; names, bodies, field validation, size, dry run."""

from __future__ import annotations

import gzip
import re
from typing import Any

import orjson
import pytest
from tests.behaviour.api.server import ALL_WIDGETS, MAPS, Api, config_map, serving, widget

from kcp.storage.interface import Revision, StoreFull
from kcp.storage.memory import MemoryStore


async def test_a_created_object_has_identity_time_and_a_revision(api: Api) -> None:
    answer = await api.post(MAPS, config_map("a", x="1"))
    assert answer.status == 201
    metadata = answer.body["metadata"]
    assert metadata["namespace"] == "default"
    assert re.fullmatch(r"[0-9a-f-]{36}", metadata["uid"])
    assert metadata["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert int(metadata["resourceVersion"]) > 0
    assert metadata["annotations"] == {"kcp.io/cluster": "root"}
    assert "generation" not in metadata, "config maps have no spec to count"
    assert (await api.get(f"{MAPS}/a")).raw == answer.raw


async def test_the_field_manager_defaults_to_the_first_part_of_the_user_agent(api: Api) -> None:
    made = await api.made(MAPS, config_map("a", x="1"))
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["fieldsV1"]) == ("kubectl", "Update", {"f:data": {".": {}, "f:x": {}}})
    named = await api.made(f"{MAPS}?fieldManager=me", config_map("b", x="1"))
    assert named["metadata"]["managedFields"][0]["manager"] == "me"


async def test_nobody_owns_the_status_of_a_new_object(api: Api) -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    made = await api.made("/api/v1/namespaces/default/pods", pod)
    assert made["status"]["phase"] == "Pending"
    assert [sorted(entry["fieldsV1"]) for entry in made["metadata"]["managedFields"]] == [["f:spec"]]


async def test_status_is_stripped_and_generation_starts_at_one(api: Api) -> None:
    made = await api.made(ALL_WIDGETS, {**widget("w"), "status": {"phase": "Ready"}})
    assert "status" not in made
    assert made["metadata"]["generation"] == 1


async def test_defaults_are_filled_in(api: Api) -> None:
    assert (await api.made(ALL_WIDGETS, widget("w")))["spec"] == {"color": "red", "size": 3}


async def test_kind_and_version_may_be_left_out(api: Api) -> None:
    made = await api.made(MAPS, {"metadata": {"name": "a"}})
    assert (made["apiVersion"], made["kind"]) == ("v1", "ConfigMap")


async def test_an_existing_name_answers_409(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    answer = await api.post(MAPS, config_map("a"))
    assert (answer.status, answer.body["reason"], answer.message) == (409, "AlreadyExists", 'configmaps "a" already exists')


async def test_generate_name_adds_five_letters(api: Api) -> None:
    made = await api.made(MAPS, {"metadata": {"generateName": "job-"}})
    assert re.fullmatch(r"job-[bcdfghjklmnpqrstvwxz2456789]{5}", made["metadata"]["name"])
    assert made["metadata"]["generateName"] == "job-"


async def test_generate_name_tries_again_when_the_name_is_taken(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.made(MAPS, config_map("job-taken"))
    names = iter(["job-taken", "job-taken", "job-free"])
    monkeypatch.setattr("kcp.registry.writes.generated_name", lambda base, source: next(names))
    assert (await api.made(MAPS, {"metadata": {"generateName": "job-"}}))["metadata"]["name"] == "job-free"


async def test_generate_name_gives_up_after_eight_collisions(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.made(MAPS, config_map("job-taken"))
    tried: list[str] = []

    def taken(base: str, source: object) -> str:
        tried.append(base)
        return "job-taken"

    monkeypatch.setattr("kcp.registry.writes.generated_name", taken)
    answer = await api.post(MAPS, {"metadata": {"generateName": "job-"}})
    assert (answer.status, answer.body["reason"], len(tried)) == (409, "AlreadyExists", 8)
    assert "was not able to generate a unique name" in answer.message


async def test_an_illegal_name_is_invalid_with_upstreams_text(api: Api) -> None:
    answer = await api.post(MAPS, config_map("Web_1"))
    assert (answer.status, answer.body["reason"]) == (422, "Invalid")
    assert answer.message.startswith(
        'ConfigMap "Web_1" is invalid: metadata.name: Invalid value: "Web_1": a lowercase RFC 1123 subdomain must consist of'
    )
    assert answer.body["details"]["causes"][0]["field"] == "metadata.name"


async def test_a_missing_name_is_named(api: Api) -> None:
    answer = await api.post(MAPS, {"metadata": {}})
    assert "metadata.name: Required value: name or generateName is required" in answer.message


async def test_all_faults_come_at_once(api: Api) -> None:
    wrong = widget("W", color="green", size=0)
    wrong["metadata"]["labels"] = {"a b": "c d"}
    answer = await api.post(ALL_WIDGETS, wrong)
    assert answer.status == 422
    fields = [cause["field"] for cause in answer.body["details"]["causes"]]
    assert sorted(fields) == ["metadata.labels", "metadata.labels", "metadata.name", "spec.color", "spec.size"]
    assert answer.message.startswith('Widget.example.com "W" is invalid: [')


async def test_values_of_the_wrong_type_are_invalid_not_a_crash(api: Api) -> None:
    answer = await api.post(ALL_WIDGETS, {**widget("w"), "spec": "everything"})
    assert answer.status == 422
    assert answer.body["details"]["causes"][0]["field"] == "spec"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            {**config_map("a"), "apiVersion": "apps/v1"},
            "the API version in the data (apps/v1) does not match the expected API version (v1)",
        ),
        ({**config_map("a"), "kind": "Secret"}, 'Secret in version "v1" cannot be handled as a ConfigMap'),
        ({"metadata": "a"}, "json: cannot unmarshal string into Go value of type v1.ObjectMeta"),
        ({"metadata": {"name": 7}}, "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string"),
        (
            {"metadata": {"name": "a", "labels": {"a": 1}}},
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        ({"metadata": {"name": "a", "resourceVersion": "5"}}, "resourceVersion should not be set on objects to be created"),
        (
            {"metadata": {"name": "a", "namespace": "other"}},
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (b"{", "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error"),
        (b"[]", "json: cannot unmarshal array into Go value of type"),
    ],
)
async def test_a_body_that_does_not_fit_is_a_bad_request(api: Api, body: Any, text: str) -> None:
    answer = await api.post(MAPS, body)
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")
    assert text in answer.message


async def test_the_namespace_of_a_cluster_scoped_object_is_dropped(api: Api) -> None:
    made = await api.made("/apis/example.com/v1/gates", {"metadata": {"name": "g", "namespace": "default"}})
    assert "namespace" not in made["metadata"]


# --- bodies ---


async def test_yaml_bodies_are_read(api: Api) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations: {on: 'yes'}\ndata:\n  when: 2026-01-02\n"
    answer = await api.call("POST", MAPS, text, {"content-type": "application/yaml"})
    assert answer.status == 201
    assert answer.body["data"] == {"when": "2026-01-02"}


async def test_broken_yaml_is_a_bad_request(api: Api) -> None:
    answer = await api.call("POST", MAPS, b"a: [", {"content-type": "application/yaml"})
    assert answer.status == 400
    assert "yaml parse error" in answer.message


async def test_gzip_bodies_are_read(api: Api) -> None:
    body = gzip.compress(orjson.dumps(config_map("a")))
    answer = await api.call("POST", MAPS, body, {"content-type": "application/json", "content-encoding": "gzip"})
    assert answer.status == 201
    broken = await api.call("POST", MAPS, body[:-9], {"content-encoding": "gzip"})
    assert broken.status == 400


async def test_protobuf_bodies_are_refused_with_what_is_taken(api: Api) -> None:
    answer = await api.call("POST", MAPS, b"k8s\0", {"content-type": "application/vnd.kubernetes.protobuf"})
    assert (answer.status, answer.body["reason"]) == (415, "UnsupportedMediaType")
    assert "application/json, application/yaml" in answer.message


async def test_a_body_beyond_three_mebibytes_is_refused_unread(api: Api) -> None:
    answer = await api.post(MAPS, config_map("a", x="y" * (3 << 20)))
    assert (answer.status, answer.body["reason"]) == (413, "RequestEntityTooLarge")


async def test_an_object_beyond_one_and_a_half_mebibytes_is_refused(api: Api) -> None:
    answer = await api.post(MAPS, config_map("a", x="y" * (1536 * 1024)))
    assert answer.status == 413
    assert (await api.get(f"{MAPS}/a")).status == 404


# --- field validation ---

WITH_UNKNOWN = b"""{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "color": 1}, "spec": {"color": "red", "color": "blue", "colour": 1,
 "parts": [{"name": "a", "weight": 2}]}}"""


async def test_strict_validation_refuses_unknown_and_duplicate_fields(api: Api) -> None:
    answer = await api.call("POST", f"{ALL_WIDGETS}?fieldValidation=Strict", WITH_UNKNOWN)
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")
    assert (
        'strict decoding error: duplicate field "spec.color", unknown field "metadata.color", unknown field "spec.colour", '
        'unknown field "spec.parts[0].weight"'
    ) in answer.message


async def test_warn_validation_warns_and_drops(api: Api) -> None:
    answer = await api.call("POST", f"{ALL_WIDGETS}?fieldValidation=Warn", WITH_UNKNOWN)
    assert answer.status == 201
    assert answer.body["spec"] == {"color": "blue", "size": 3, "parts": [{"name": "a"}]}
    assert answer.headers["warning"] == '299 - "unknown field \\"spec.parts[0].weight\\""', "the last of several"


async def test_ignore_validation_drops_silently(api: Api) -> None:
    answer = await api.call("POST", f"{ALL_WIDGETS}?fieldValidation=Ignore", WITH_UNKNOWN)
    assert answer.status == 201
    assert "warning" not in answer.headers
    assert "colour" not in answer.body["spec"]


async def test_duplicate_yaml_keys_are_found_too(api: Api) -> None:
    text = b"apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec:\n  color: red\n  color: blue\n"
    answer = await api.call("POST", f"{ALL_WIDGETS}?fieldValidation=Strict", text, {"content-type": "application/yaml"})
    assert 'strict decoding error: yaml: unmarshal errors:\n  line 6: key "color" already set in map' in answer.message


@pytest.mark.parametrize(
    ("query", "field"), [("dryRun=yes", "dryRun"), ("fieldValidation=Loud", "fieldValidation"), ("fieldManager=%0A", "fieldManager")]
)
async def test_options_that_make_no_sense_are_invalid(api: Api, query: str, field: str) -> None:
    answer = await api.post(f"{MAPS}?{query}", config_map("a"))
    assert answer.status == 422
    assert answer.message.startswith('CreateOptions.meta.k8s.io "" is invalid')
    assert answer.body["details"]["causes"][0]["field"] == field


# --- dry run, disk full ---


async def test_dry_run_checks_everything_and_stores_nothing(api: Api) -> None:
    answer = await api.post(f"{ALL_WIDGETS}?dryRun=All", widget("w"))
    assert answer.status == 201
    assert "resourceVersion" not in answer.body["metadata"]
    assert answer.body["spec"]["size"] == 3
    assert (await api.get(f"{ALL_WIDGETS}/w")).status == 404
    assert (await api.post(f"{ALL_WIDGETS}?dryRun=All", widget("w", color="green"))).status == 422
    await api.made(ALL_WIDGETS, widget("w"))
    assert (await api.post(f"{ALL_WIDGETS}?dryRun=All", widget("w"))).status == 409


async def test_a_full_disk_says_that_nothing_was_written() -> None:
    class Full(MemoryStore):
        async def create(self, key: bytes, value: bytes) -> Revision:
            raise StoreFull("no space left on device")

    async with serving(Full()) as api:
        answer = await api.post(MAPS, config_map("a"))
        assert (answer.status, answer.body["reason"]) == (507, "InsufficientStorage")
        assert "nothing was written" in answer.message
        assert "retry-after" not in answer.headers  # a client would wait, and the disk would still be full
        assert (await api.get(MAPS)).body["items"] == []
