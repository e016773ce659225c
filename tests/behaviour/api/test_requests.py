"""What is not a verb of its own: routes, clusters, negotiation, compression, Tables, errors, warnings, identity, create by PUT."""

from __future__ import annotations

import gzip
import logging
from typing import Any

import pytest
import yaml
from tests.behaviour.api.server import ALL_WIDGETS, KINDS, MAPS, Api, config_map, serving, widget

from kcp.apiserver.authz.attributes import AuthzAttributes, Decision, Verdict
from kcp.apiserver.request import Request, Response
from kcp.registry.backend import Scope
from kcp.registry.generic import Registry
from kcp.storage.item import Item

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


# --- routes and clusters ---


@pytest.mark.parametrize(
    "path",
    [
        "/apis/example.com/v1/gadgets",
        "/apis/example.com/v2/widgets",
        "/api/v1/configmaps/a",
        "/apis/example.com/v1/namespaces/default/gates",
    ],
)
async def test_what_is_not_served_is_not_found(api: Api, path: str) -> None:
    answer = await api.get(path)
    assert answer.status == 404
    assert answer.body["reason"] == "NotFound"
    assert answer.message == "the server could not find the requested resource"


@pytest.mark.parametrize("path", ["/nothing/here", "/clusters/root/clusters/root/api/v1/configmaps"])
async def test_what_is_no_path_of_the_api_is_not_found_as_text(api: Api, path: str) -> None:
    """Source: k8s.io/apiserver/pkg/util/notfoundhandler/not_found_handler.go."""
    answer = await api.get(path)
    assert (answer.status, answer.raw) == (404, b"404 page not found\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/v1/configmaps"), ("POST", f"{MAPS}/a"), ("PUT", MAPS), ("OPTIONS", MAPS)])
async def test_a_method_that_a_url_does_not_take_is_405(api: Api, method: str, path: str) -> None:
    answer = await api.call(method, path, {})
    assert (answer.status, answer.body["reason"]) == (405, "MethodNotAllowed")


async def test_an_unknown_workspace_is_forbidden_and_says_what_to_do(api: Api) -> None:
    answer = await api.get("/clusters/root:nope/api/v1/configmaps")
    assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
    assert answer.message.startswith('workspace "root:nope" not found or not accessible')
    assert "kubectl ws tree" in answer.message


async def test_a_refused_look_at_aggregated_discovery_is_told_in_plain_text_which_kubectl_shows(api: Api) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    answer = await api.get("/clusters/root:nope/api", accept)
    assert (answer.status, answer.headers["content-type"]) == (403, "text/plain; charset=utf-8")
    assert answer.raw.decode().startswith('workspace "root:nope" not found or not accessible')
    assert (await api.get("/clusters/root:nope/api")).body["kind"] == "Status"


@pytest.mark.parametrize("path", ["/clusters/Root/api/v1/configmaps", "/clusters/root::a/api", "/clusters//api"])
async def test_a_malformed_workspace_path_is_a_bad_request(api: Api, path: str) -> None:
    assert (await api.get("/" + path if path.startswith("/clusters//") else path)).status == 400


async def test_nothing_is_written_across_all_workspaces(api: Api) -> None:
    assert (await api.post("/clusters/*" + MAPS, config_map("a"))).status == 405
    assert (await api.delete("/clusters/*" + MAPS)).status == 405
    assert (await api.get(f"/clusters/*{MAPS}/a")).status == 405


async def test_a_connector_answers_in_place_of_the_store() -> None:
    async def review(req: Request) -> Response:
        return Response(201, b'{"kind":"Review"}')

    async with serving(connectors={("example.com", "reviews", ""): review, ("", "pods", "log"): review}) as api:
        assert (await api.post("/apis/example.com/v1/reviews", {})).status == 201
        assert (await api.get("/api/v1/namespaces/default/pods/p/log")).status == 201
        assert (await api.get("/apis/example.com/v1/reviews")).status == 404
        # Source: test/e2e/apimachinery/table_conversion.go ("should return a 406 for a backend which does not implement metadata").
        refused = await api.post("/apis/example.com/v1/reviews", {}, accept=TABLE)
        assert (refused.status, refused.body["reason"]) == (406, "NotAcceptable")
        assert (await api.post("/apis/example.com/v1/reviews", {}, accept=f"{TABLE},application/json")).status == 201


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_a_namespace_is_finalized_by_a_put_and_nothing_else(api: Api, method: str) -> None:
    # Source: pkg/registry/core/namespace/storage/storage.go (FinalizeREST).
    await api.made("/api/v1/namespaces", {"metadata": {"name": "n"}})
    headers = {"content-type": "application/merge-patch+json"} if method == "PATCH" else {}
    answer = await api.call(method, "/api/v1/namespaces/n/finalize", {} if method == "PATCH" else None, headers)
    assert (answer.status, answer.body["reason"]) == (405, "MethodNotAllowed")


# --- negotiation ---


async def test_yaml_is_answered_where_it_is_asked_for(api: Api) -> None:
    await api.made(MAPS, config_map("a", x="1"))
    answer = await api.get(f"{MAPS}/a", "application/yaml")
    assert answer.headers["content-type"] == "application/yaml"
    assert yaml.safe_load(answer.raw)["data"] == {"x": "1"}


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "application/*",
        "application/json;as=Mirror;v=v1;g=meta.k8s.io,application/json",
        "application/json;as=Table;v=v9;g=meta.k8s.io,application/json",
    ],
)
async def test_json_is_the_answer_where_it_is_acceptable(api: Api, accept: str) -> None:
    made = await api.made(MAPS, config_map("a"))
    answer = await api.get(f"{MAPS}/a", accept)
    assert (answer.status, answer.body) == (200, made)


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0"])
async def test_a_form_that_is_not_offered_is_406(api: Api, accept: str) -> None:
    answer = await api.get(MAPS, accept)
    assert (answer.status, answer.body["reason"]) == (406, "NotAcceptable")
    assert (
        answer.message
        == "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )


async def test_a_table_has_columns_and_metadata_of_each_row(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    await api.made(MAPS, config_map("b"))
    table = (await api.get(f"{MAPS}?limit=1", f"{TABLE},application/json")).body
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Age"]
    assert [row["cells"][0] for row in table["rows"]] == ["a"]
    assert table["rows"][0]["object"]["metadata"]["name"] == "a"
    assert table["metadata"]["remainingItemCount"] == 1
    one = (await api.get(f"{MAPS}/a?includeObject=None", TABLE)).body
    assert one["rows"][0].get("object") is None
    assert (await api.get(f"{MAPS}/a?includeObject=Some", TABLE)).status == 400


async def test_metadata_alone_is_cut_out_of_the_object(api: Api) -> None:
    made = await api.made(MAPS, config_map("ä".encode("ascii", "ignore").decode() or "a", x="ü"))
    one = (await api.get(f"{MAPS}/a", PARTIAL)).body
    assert one == {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": made["metadata"]}
    many = (await api.get(MAPS, PARTIAL_LIST)).body
    assert (many["kind"], many["items"]) == ("PartialObjectMetadataList", [one])


async def test_large_answers_are_compressed_on_request(api: Api) -> None:
    for i in range(4):
        await api.made(MAPS, config_map(f"a-{i}", x="y" * 50_000))
    plain = await api.get(MAPS)
    packed = await api.call("GET", MAPS, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.raw) == plain.raw
    small = await api.call("GET", f"{MAPS}/a-0", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in small.headers


async def test_people_get_indented_json(api: Api) -> None:
    made = await api.made(MAPS, config_map("a"))
    assert b"\n  " in (await api.get(f"{MAPS}/a?pretty=true")).raw
    api.agent = "curl/8.0"
    answer = await api.get(f"{MAPS}/a")
    assert b"\n  " in answer.raw
    assert answer.body == made
    assert b"\n  " not in (await api.get(f"{MAPS}/a?pretty=false")).raw


async def test_a_get_serves_the_very_bytes_of_the_cache(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.made(MAPS, config_map("a"))

    def never(self: Item) -> dict[str, Any]:
        raise AssertionError("decoded on the read path")

    monkeypatch.setattr(Item, "decode", never)
    assert (await api.get(f"{MAPS}/a")).status == 200
    assert (await api.get(MAPS)).status == 200


# --- errors ---


async def test_a_bug_is_a_500_logged_once(api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(self: Registry, scope: Scope, *, resource_version: str = "") -> Item:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Registry, "get", broken)
    with caplog.at_level(logging.ERROR):
        answer = await api.get(f"{MAPS}/a")
    assert (answer.status, answer.body["reason"]) == (500, "InternalError")
    assert answer.message == "Internal error occurred: RuntimeError: a bug"
    assert len([r for r in caplog.records if r.exc_info]) == 1


async def test_statuses_are_json_whatever_was_asked_for(api: Api) -> None:
    answer = await api.get(f"{MAPS}/none", TABLE)
    assert (answer.status, answer.body["kind"]) == (404, "Status")
    assert answer.body["details"] == {"name": "none", "kind": "configmaps"}


async def test_a_write_that_takes_too_long_is_a_504(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever(self: Registry, *args: Any) -> Any:
        await api.clock.sleep(1e9)

    monkeypatch.setattr(Registry, "create", forever)
    answer = await api.post(f"{MAPS}?timeout=10ms", config_map("a"))
    assert (answer.status, answer.body["reason"]) == (504, "Timeout")
    for unreadable in ("soon", "1%C2%B2", "-1s", "."):
        assert (await api.post(f"{MAPS}?timeout={unreadable}", config_map("a"))).status == 400


async def test_a_store_that_is_closed_is_a_503(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    await api.store.close()
    assert (await api.post(MAPS, config_map("b"))).status == 503


# --- creating through other verbs ---


async def test_a_put_or_apply_that_creates_asks_for_the_right_to_create() -> None:
    class NoCreates:
        asked: list[AuthzAttributes] = []

        async def authorize(self, attributes: AuthzAttributes) -> Decision:
            self.asked.append(attributes)
            return Decision(Verdict.NO_OPINION)

    authorizer = NoCreates()
    async with serving(authorizer=authorizer) as api:
        answer = await api.patch(f"{MAPS}/a?fieldManager=me", config_map("a"), "apply-patch+yaml")
        assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
        assert 'cannot create resource "configmaps"' in answer.message
        await api.made(MAPS, config_map("a"))
        assert (await api.patch(f"{MAPS}/a?fieldManager=me", config_map("a"), "apply-patch+yaml")).status == 200
    assert [a.verb for a in authorizer.asked] == ["create"]


async def test_a_kind_may_be_created_by_put() -> None:
    from dataclasses import replace

    leases = replace(KINDS[0], strategy=replace(KINDS[0].strategy, allow_create_on_update=True))
    async with serving(resources=[leases]) as api:
        answer = await api.put(f"{MAPS}/a", config_map("a", x="1"))
        assert answer.status == 201
        assert (await api.put(f"{MAPS}/a", config_map("a", x="2"))).status == 200


async def test_nothing_leaks_between_workspaces(api: Api) -> None:
    await api.made(ALL_WIDGETS, widget("w"))
    other = f"/clusters/root:org{ALL_WIDGETS}/w"
    assert (await api.get(other)).status == 404
    assert (await api.delete(other)).status == 404
    assert (await api.patch(other, {"spec": {"size": 9}})).status == 404
    assert (await api.get(f"{ALL_WIDGETS}/w")).body["spec"]["size"] == 3
