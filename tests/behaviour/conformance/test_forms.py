"""Accept negotiation: whole objects, Tables, metadata only, YAML; and what is not acceptable.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/ (receiving resources as Tables, alternate representations);
apiserver/pkg/endpoints/handlers/response.go, pkg/endpoints/handlers/negotiation.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from tests.behaviour.api.server import Api
from tests.behaviour.conformance.server import PARTIAL, PARTIAL_LIST, TABLE, WIDGETS, widget

from kcp.apimachinery.table import build_table, columns_from_crd

ALL_FORMS = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
STREAMS = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
INITIAL = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


@pytest.fixture
async def filled(api: Api) -> Api:
    for name, color in (("a", "red"), ("b", "blue")):
        await api.made(WIDGETS, widget(name, color=color))
    return api


async def test_a_table_of_a_custom_kind_has_its_columns_described(filled: Api) -> None:
    table = (await filled.get(WIDGETS, TABLE)).body
    columns = table["columnDefinitions"]
    assert [(c["name"], c["type"], c["format"], c["priority"]) for c in columns] == [
        ("Name", "string", "name", 0), ("Color", "string", "", 0), ("Age", "date", "", 0),
    ]  # fmt: skip
    assert columns[1]["description"] == "Custom resource definition column (in JSONPath format): .spec.color"
    assert [row["cells"] for row in table["rows"]] == [["a", "red", "0s"], ["b", "blue", "0s"]]


@pytest.mark.parametrize(
    ("include", "kind"), [("None", None), ("Metadata", "PartialObjectMetadata"), ("", "PartialObjectMetadata"), ("Object", "Widget")]
)
async def test_include_object_says_what_each_row_carries(filled: Api, include: str, kind: str | None) -> None:
    row = (await filled.get(f"{WIDGETS}?includeObject={include}", TABLE)).body["rows"][0]
    assert (row["object"]["kind"] if row["object"] else None) == kind


async def test_another_include_object_is_a_bad_request(filled: Api) -> None:
    answer = await filled.get(f"{WIDGETS}?includeObject=Foo", TABLE)
    fault = "includeObject: Invalid value: \"Foo\": must be 'Metadata', 'Object', 'None', or empty"
    assert (answer.status, answer.message) == (400, f"Unable to convert to Table as requested: {fault}")


async def test_a_table_of_the_beta_version_is_of_that_version_throughout(filled: Api) -> None:
    table = (await filled.get(WIDGETS, "application/json;as=Table;v=v1beta1;g=meta.k8s.io")).body
    assert table["apiVersion"] == table["rows"][0]["object"]["apiVersion"] == "meta.k8s.io/v1beta1"


async def test_an_error_is_a_status_where_a_table_was_asked_for(filled: Api) -> None:
    assert (await filled.get(f"{WIDGETS}/nope", TABLE)).body["kind"] == "Status"


async def test_metadata_only_of_one_and_of_a_list(filled: Api) -> None:
    one = (await filled.get(f"{WIDGETS}/a", PARTIAL)).body
    assert (one["kind"], one["apiVersion"], "spec" in one) == ("PartialObjectMetadata", "meta.k8s.io/v1", False)
    many = (await filled.get(WIDGETS, PARTIAL_LIST)).body
    assert (many["kind"], [item["kind"] for item in many["items"]]) == ("PartialObjectMetadataList", ["PartialObjectMetadata"] * 2)


async def test_a_list_is_no_partial_object(filled: Api) -> None:
    answer = await filled.get(WIDGETS, PARTIAL)
    assert (answer.status, answer.body["reason"]) == (406, "NotAcceptable")
    assert answer.message.startswith("you requested PartialObjectMetadata, but the requested object is a list")


@pytest.mark.parametrize(
    "accept", ["text/plain", "text/*", "application/json;as=Table;v=v2;g=meta.k8s.io", "application/json;as=Foo;v=v1;g=meta.k8s.io"]
)
async def test_what_nobody_offers_is_not_acceptable(filled: Api, accept: str) -> None:
    answer = await filled.get(WIDGETS, accept)
    assert (answer.status, answer.message) == (406, f"only the following media types are accepted: {ALL_FORMS}")


async def test_yaml_is_no_stream(filled: Api) -> None:
    answer = await filled.get(f"{WIDGETS}?watch=1", "application/yaml")
    status = yaml.safe_load(answer.raw)
    assert (answer.status, status["message"]) == (406, f"only the following media types are accepted: {STREAMS}")


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "application/*", "text/plain,application/json", "application/json; charset=utf-8", "application/json;stream=watch"],
)
async def test_json_is_what_else_there_is(filled: Api, accept: str) -> None:
    answer = await filled.get(f"{WIDGETS}/a", accept)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")


async def test_objects_and_errors_come_as_yaml_to_who_accepts_that(filled: Api) -> None:
    answer = await filled.get(f"{WIDGETS}/a", "application/yaml")
    assert (answer.headers["content-type"], yaml.safe_load(answer.raw)["spec"]["color"]) == ("application/yaml", "red")
    refused = await filled.get(f"{WIDGETS}/nope", "application/yaml")
    assert (refused.headers["content-type"], yaml.safe_load(refused.raw)["reason"]) == ("application/yaml", "NotFound")


async def test_writes_and_deletes_answer_in_the_form_asked_for(api: Api) -> None:
    made = await api.call("POST", WIDGETS, widget("t", color="red"), {"accept": TABLE})
    assert (made.status, made.body["rows"][0]["cells"][:2]) == (201, ["t", "red"])
    gone = await api.call("DELETE", f"{WIDGETS}/t", headers={"accept": TABLE})
    assert gone.body["kind"] == "Status"


async def test_a_watch_as_table_sends_its_columns_once(filled: Api) -> None:
    async with filled.watch(WIDGETS, TABLE) as events:
        first, second = await events.next(), await events.next()
    assert [c["name"] for c in first["object"]["columnDefinitions"]] == ["Name", "Color", "Age"]
    assert second["object"]["columnDefinitions"] is None
    assert second["object"]["rows"][0]["cells"][0] == "b"


async def test_a_bookmark_as_table_is_a_row_without_cells(filled: Api) -> None:
    async with filled.watch(
        f"{WIDGETS}?allowWatchBookmarks=true&resourceVersion=0", "application/json;as=Table;v=v1;g=meta.k8s.io"
    ) as events:
        for _ in range(2):
            await events.next()
        await filled.clock.advance(61)
        bookmark = await events.next()
    row = bookmark["object"]["rows"][0]
    assert (bookmark["type"], row["cells"]) == ("BOOKMARK", ["", None, None])
    assert row["object"]["kind"] == "PartialObjectMetadata"
    assert row["object"]["metadata"]["resourceVersion"] == bookmark["object"]["metadata"]["resourceVersion"]


async def test_items_of_a_list_say_their_kind_only_if_it_is_a_custom_one(filled: Api) -> None:
    # In Go the items of a typed list are structs of their type; test/e2e/apimachinery/watchlist.go compares them with what was created.
    await filled.post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}})
    maps, widgets = (await filled.get("/api/v1/namespaces/default/configmaps")).body, (await filled.get(WIDGETS)).body
    assert (maps["kind"], [sorted(item) for item in maps["items"]]) == ("ConfigMapList", [["metadata"]])
    assert {(item["apiVersion"], item["kind"]) for item in widgets["items"]} == {("example.com/v1", "Widget")}


async def test_answers_are_not_to_be_cached_by_others_unless_they_say_so(filled: Api) -> None:
    # test/integration/apiserver/apiserver_test.go (TestCacheControl)
    for path in (WIDGETS, f"{WIDGETS}/none", "/api", "/apis/example.com/v1"):
        assert (await filled.get(path)).headers["cache-control"] == "no-cache, private"


async def test_a_list_is_streamed_as_tables_too(filled: Api) -> None:
    # Source: test/e2e/apimachinery/watchlist.go ("server supports sending resources in Table format").
    async with filled.watch(f"{WIDGETS}?{INITIAL}", "application/json;as=Table;v=v1;g=meta.k8s.io") as events:
        seen = [await events.next() for _ in range(3)]
    assert [(e["type"], e["object"]["kind"], len(e["object"]["rows"])) for e in seen] == [
        ("ADDED", "Table", 1), ("ADDED", "Table", 1), ("BOOKMARK", "Table", 1),
    ]  # fmt: skip
    assert [bool(e["object"]["columnDefinitions"]) for e in seen] == [True, False, False]
    assert seen[2]["object"]["rows"][0]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


@pytest.mark.parametrize(
    "accept",
    ["application/json;as=Table", "application/json;as=Table;v=v1", "application/json;g=meta.k8s.io;v=v1", "application/json;stream=foo"],
)
async def test_a_form_that_is_not_said_in_full_is_not_acceptable(filled: Api, accept: str) -> None:
    # Source: apiserver/pkg/endpoints/handlers/negotiation/negotiate.go (acceptMediaTypeOptions).
    assert (await filled.get(WIDGETS, accept)).status == 406


@pytest.mark.parametrize("media", ["application/yaml", "application/vnd.kubernetes.protobuf"])
async def test_an_error_is_json_to_who_asked_for_something_else_as_a_table(filled: Api, media: str) -> None:
    # Source: test/integration/apiserver/apiserver_test.go (TestTransform); responsewriters/writers.go (WriteObjectNegotiated).
    maps = "/api/v1/namespaces/default/configmaps?watch=true"
    refused = await filled.get(maps, f"{media};as=Table;g=meta.k8s.io;v=v1")
    offered = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    if "protobuf" in media:
        offered = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    assert (refused.status, refused.message) == (406, f"only the following media types are accepted: {offered}")


async def test_a_watch_of_metadata_only(filled: Api) -> None:
    async with filled.watch(f"{WIDGETS}?{INITIAL}", PARTIAL) as events:
        kinds = [(e["type"], e["object"]["kind"]) for e in [await events.next() for _ in range(3)]]
    assert kinds == [("ADDED", "PartialObjectMetadata")] * 2 + [("BOOKMARK", "PartialObjectMetadata")]


async def test_cells_of_a_custom_kind_are_typed_by_their_columns() -> None:
    # Source: apiextensions-apiserver/pkg/registry/customresource/tableconvertor/tableconvertor.go.
    declared = [
        ("S", "string", ".spec.s"), ("I", "integer", ".spec.i"), ("N", "number", ".spec.n"), ("B", "boolean", ".spec.b"),
        ("D", "date", ".spec.d"), ("Names", "string", ".spec.arr[*].name"), ("Found", "string", '.spec.arr[?(@.name=="b")].x'),
        ("Label", "string", ".metadata.labels.x\\.y/z"), ("Beyond", "string", ".spec.arr[5].name"), ("List", "string", ".spec.arr"),
    ]  # fmt: skip
    columns = columns_from_crd({"name": name, "type": kind, "jsonPath": path} for name, kind, path in declared)
    full = {"s": "text", "i": 5.0, "n": 2, "b": True, "d": "2019-12-31T23:59:00Z", "arr": [{"name": "a"}, {"name": "b", "x": 1}]}
    odd: Any = {"s": None, "i": 1e21, "n": "x", "b": "true", "d": "nope", "arr": []}
    items = [
        {"metadata": {"name": name, "labels": {"x.y/z": "l"}}, "spec": spec} for name, spec in (("full", full), ("odd", odd), ("no", {}))
    ]
    rows = build_table(items, columns, now=datetime(2020, 1, 1, tzinfo=UTC))["rows"]
    assert [row["cells"] for row in rows] == [
        ["full", "text", 5, 2.0, True, "60s", "a", "1", "l", None, '[{"name":"a"},{"name":"b","x":1}]'],
        ["odd", "<no value>", -(2**63), None, None, "<invalid>", None, None, "l", None, "[]"],
        ["no", None, None, None, None, None, None, None, "l", None, None],
    ]
