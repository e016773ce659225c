"""Clients that speak protobuf: bodies, answers, lists, watches, metadata, errors, and what has no protobuf form."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.behaviour.api.server import ALL_WIDGETS, MAPS, Answer, Api, config_map, serving, widget

from kcp.apimachinery.errors import Forbidden
from kcp.apiserver.protobuf.envelope import MAGIC, decode, encode
from kcp.apiserver.protobuf.types import types
from kcp.apiserver.request import Request, Response
from kcp.apiserver.reviews import answer as answer_review
from kcp.apiserver.reviews import read_review
from kcp.storage.interface import Revision

PROTOBUF = "application/vnd.kubernetes.protobuf"
TYPED = f"{PROTOBUF},application/json"
"""What typed Go clients accept."""
PARTIAL = f"{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PARTIAL_LIST = f"{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


async def send(api: Api, method: str, path: str, body: dict[str, Any], accept: str = TYPED) -> Answer:
    return await api.call(method, path, encode(body), {"content-type": PROTOBUF, "accept": accept})


def shown(answer: Answer, status: int = 200) -> dict[str, Any]:
    """The object of an answer in protobuf."""
    assert (answer.status, answer.headers["content-type"]) == (status, PROTOBUF), answer.raw
    return decode(answer.raw)


# --- whole objects ---


async def test_an_object_is_created_read_updated_and_deleted(api: Api) -> None:
    made = shown(await send(api, "POST", MAPS, config_map("a", x="1")), 201)
    assert made["data"] == {"x": "1"}
    assert (await api.get(f"{MAPS}/a")).body == made, "a JSON client sees the same"
    made["data"] = {"x": "2"}
    assert shown(await send(api, "PUT", f"{MAPS}/a", made))["data"] == {"x": "2"}
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "another"}}
    assert shown(await send(api, "DELETE", f"{MAPS}/a", options), 409)["reason"] == "Conflict"
    options["preconditions"] = {"uid": made["metadata"]["uid"]}
    assert shown(await send(api, "DELETE", f"{MAPS}/a", options))["status"] == "Success"


async def test_what_a_go_client_creates_is_what_a_json_client_would_have(api: Api) -> None:
    plain = await api.made(MAPS, config_map("a", x="1"))
    typed = shown(await send(api, "POST", MAPS, config_map("b", x="1")), 201)
    for obj in (plain, typed):
        for part in ("name", "uid", "resourceVersion", "creationTimestamp"):
            obj["metadata"].pop(part)
        for entry in obj["metadata"].get("managedFields", ()):
            entry.pop("time")
    assert plain == typed


async def test_a_patch_is_json_and_its_answer_protobuf(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    headers = {"content-type": "application/merge-patch+json", "accept": TYPED}
    answer = await api.call("PATCH", f"{MAPS}/a", b'{"data":{"x":"1"}}', headers)
    assert shown(answer)["data"] == {"x": "1"}


async def test_a_scale_is_an_object_of_its_own_kind(api: Api) -> None:
    await api.made(ALL_WIDGETS, widget("a", replicas=2))
    scale = shown(await api.get(f"{ALL_WIDGETS}/a/scale", PROTOBUF))
    assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 2})
    scale["spec"]["replicas"] = 5
    assert shown(await send(api, "PUT", f"{ALL_WIDGETS}/a/scale", scale))["spec"] == {"replicas": 5}


async def test_the_client_that_prefers_json_gets_json(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    for accept in (f"application/json,{PROTOBUF}", f"{PROTOBUF};q=0.5,application/json", f"*/*,{PROTOBUF}"):
        assert (await api.get(f"{MAPS}/a", accept)).headers["content-type"] == "application/json"


async def test_a_large_list_is_compressed(api: Api) -> None:
    for number in range(60):
        await api.made(MAPS, config_map(f"m{number:03}", x="y" * 3000))
    answer = await api.call("GET", MAPS, headers={"accept": TYPED, "accept-encoding": "gzip"})
    assert (answer.headers["content-encoding"], answer.headers["content-type"]) == ("gzip", PROTOBUF)
    listed = decode(gzip.decompress(answer.raw))
    assert [item["metadata"]["name"] for item in listed["items"]] == [f"m{number:03}" for number in range(60)]


async def test_a_list_has_its_revision_and_how_to_go_on(api: Api) -> None:
    for name in ("a", "b", "c"):
        await api.made(MAPS, config_map(name))
    page = shown(await api.get(f"{MAPS}?limit=2", TYPED))
    assert (page["kind"], len(page["items"]), page["metadata"]["remainingItemCount"]) == ("ConfigMapList", 2, 1)
    rest = shown(await api.get(f"{MAPS}?limit=2&continue={page['metadata']['continue']}", TYPED))
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c"]


# --- bodies that are refused ---


@pytest.mark.parametrize("body", [b"{}", MAGIC + b"\xff\xff\xff", b"k8s"])
async def test_a_body_that_is_not_protobuf_is_400(api: Api, body: bytes) -> None:
    for method, path in (("POST", MAPS), ("DELETE", MAPS)):
        answer = await api.call(method, path, body, {"content-type": PROTOBUF})
        assert (answer.status, answer.body["reason"]) == (400, "BadRequest")
        assert "protobuf parse error" in answer.message


async def test_another_kind_than_the_url_names_is_400(api: Api) -> None:
    answer = await send(api, "POST", MAPS, {"apiVersion": "v1", "kind": "Secret"}, "application/json")
    assert answer.status == 400
    assert "Secret in version" in answer.message


async def test_a_kind_without_a_protobuf_form_is_415(api: Api) -> None:
    made: Any = types().new("k8s.io.apimachinery.pkg.runtime.Unknown")
    made.typeMeta.apiVersion, made.typeMeta.kind = "example.com/v1", "Widget"
    answer = await api.call("POST", ALL_WIDGETS, MAGIC + made.SerializeToString(), {"content-type": PROTOBUF})
    assert (answer.status, answer.body["reason"]) == (415, "UnsupportedMediaType")


# --- answers without a protobuf form ---


@pytest.mark.parametrize("accept", [TYPED, f"{PROTOBUF}, */*"])
async def test_custom_resources_are_json_where_the_client_takes_it(api: Api, accept: str) -> None:
    made = await api.made(ALL_WIDGETS, widget("a"))
    answer = await api.get(f"{ALL_WIDGETS}/a", accept)
    assert (answer.status, answer.body) == (200, made)


async def test_custom_resources_are_406_where_it_takes_nothing_else_and_nothing_is_written(api: Api) -> None:
    answer = await api.call("POST", ALL_WIDGETS, widget("a"), {"accept": PROTOBUF})
    assert (answer.status, shown(answer, 406)["reason"]) == (406, "NotAcceptable")
    assert shown(answer, 406)["message"].startswith("only the following media types are accepted: application/json, application/yaml")
    assert (await api.get(f"{ALL_WIDGETS}/a")).status == 404


async def test_tables_are_json_only(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    table = f"{PROTOBUF};as=Table;g=meta.k8s.io;v=v1"
    assert (await api.get(MAPS, table)).status == 406
    assert (await api.get(MAPS, f"{table},application/json;as=Table;g=meta.k8s.io;v=v1")).body["kind"] == "Table"


async def test_an_object_that_its_message_cannot_hold_is_json(api: Api) -> None:
    await api.made(MAPS, {**config_map("a"), "immutable": "perhaps"})
    assert (await api.get(f"{MAPS}/a", TYPED)).body["immutable"] == "perhaps"
    assert (await api.get(f"{MAPS}/a", PROTOBUF)).status == 406


# --- metadata ---


@pytest.mark.parametrize(("path", "body"), [(MAPS, config_map("a")), (ALL_WIDGETS, widget("a"))], ids=["built-in", "custom"])
async def test_metadata_of_every_kind_is_protobuf(api: Api, path: str, body: dict[str, Any]) -> None:
    made = await api.made(path, body)
    one = shown(await api.get(f"{path}/a", PARTIAL))
    assert (one["apiVersion"], one["kind"], one["metadata"]) == ("meta.k8s.io/v1", "PartialObjectMetadata", made["metadata"])
    many = shown(await api.get(path, PARTIAL_LIST))
    assert (many["kind"], [item["metadata"]["name"] for item in many["items"]]) == ("PartialObjectMetadataList", ["a"])


# --- watches ---


class Frames:
    """The events of a watch in protobuf."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    async def next(self) -> tuple[str, dict[str, Any]]:
        size = int.from_bytes(await self._read(4), "big")
        event: Any = types().new("k8s.io.apimachinery.pkg.apis.meta.v1.WatchEvent")
        event.ParseFromString(await self._read(size))
        return event.type, decode(event.object.raw)

    async def _read(self, count: int) -> bytes:
        while len(self._rest) < count:
            self._rest += await anext(self._chunks)
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken


async def test_a_watch_sends_frames(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    async with api.transport.stream(api.raw("GET", f"{MAPS}?watch=true", headers={"accept": TYPED})) as (answer, chunks):
        assert answer.headers["content-type"] == f"{PROTOBUF};stream=watch"
        events = Frames(chunks)
        made = await api.made(MAPS, config_map("b", x="1"))
        assert (await events.next())[1]["metadata"]["name"] == "a"
        assert await events.next() == ("ADDED", made)
        await api.delete(f"{MAPS}/a")
        kind, gone = await events.next()
        assert (kind, gone["metadata"]["name"]) == ("DELETED", "a")


async def test_a_watch_sends_bookmarks_and_errors_as_frames(api: Api) -> None:
    await api.made(MAPS, config_map("a"))
    query = "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    async with api.transport.stream(api.raw("GET", f"{MAPS}?{query}", headers={"accept": TYPED})) as (_, chunks):
        events = Frames(chunks)
        assert (await events.next())[0] == "ADDED"
        kind, bookmark = await events.next()
        assert (kind, bookmark["kind"]) == ("BOOKMARK", "ConfigMap")
        assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    await api.store.compact(Revision(api.store.statistics()["revision"]))
    unread = "/api/v1/namespaces/default/pods"
    async with api.transport.stream(api.raw("GET", f"{unread}?watch=true&resourceVersion=1", headers={"accept": TYPED})) as (_, chunks):
        kind, status = await Frames(chunks).next()
        assert (kind, status["kind"], status["code"]) == ("ERROR", "Status", 410)


async def test_a_watch_of_metadata_works_for_custom_resources(api: Api) -> None:
    async with api.transport.stream(api.raw("GET", f"{ALL_WIDGETS}?watch=true", headers={"accept": PARTIAL})) as (answer, chunks):
        assert answer.headers["content-type"] == f"{PROTOBUF};stream=watch"
        made = await api.made(ALL_WIDGETS, widget("a"))
        kind, seen = await Frames(chunks).next()
        assert (kind, seen["kind"], seen["metadata"]) == ("ADDED", "PartialObjectMetadata", made["metadata"])


async def test_a_watch_of_custom_resources_is_lines_of_json(api: Api) -> None:
    await api.made(ALL_WIDGETS, widget("a"))
    async with api.watch(ALL_WIDGETS, f"{PROTOBUF}, */*") as events:
        assert await events.seen(1) == [("ADDED", "a")]


# --- errors and what is answered, not stored ---


async def test_an_error_is_a_status_in_the_form_that_is_preferred(api: Api) -> None:
    status = shown(await api.get(f"{MAPS}/none", TYPED), 404)
    assert (status["kind"], status["reason"], status["details"]) == ("Status", "NotFound", {"name": "none", "kind": "configmaps"})
    assert (await api.get(f"{MAPS}/none", f"application/json,{PROTOBUF}")).body["reason"] == "NotFound"


async def review(req: Request) -> Response:
    obj = await read_review(req, "SubjectAccessReview")
    if obj["spec"].get("user") == "mallory":
        raise Forbidden("no")
    return answer_review(obj, "authorization.k8s.io/v1", "SubjectAccessReview", {"allowed": True})


async def test_a_review_is_read_and_answered_in_protobuf() -> None:
    asked = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "alice"}}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    async with serving(connectors={("authorization.k8s.io", "subjectaccessreviews", ""): review}) as api:
        assert shown(await send(api, "POST", path, asked), 201)["status"] == {"allowed": True}
        assert (await send(api, "POST", path, asked, "application/json")).body["status"] == {"allowed": True}
        asked["spec"] = {"user": "mallory"}
        assert shown(await send(api, "POST", path, asked), 403)["message"] == "no"
