"""Requests and answers of the client: URLs, bodies, pages, errors, retries."""

from contextlib import aclosing
from typing import Any

import orjson
import pytest
from tests.unit.client.scripted import Scripted, answer

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.errors import Conflict, InternalError, NotFound, ServiceUnavailable, TooManyRequests, Unauthorized
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client, PatchType
from kcp.client.transport import RawRequest, RawResponse, TransportError

DEPLOYMENTS = GVR("apps", "v1", "deployments")
NODES = GVR("", "v1", "nodes")


class InstantClock(VirtualClock):
    """Sleeps pass at once and are remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def shown(request: RawRequest) -> str:
    query = "&".join(f"{name}={value}" for name, value in request.query.items())
    return f"{request.method} {request.path}" + (f"?{query}" if query else "")


def body(request: RawRequest) -> Any:
    return orjson.loads(request.body)


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("", "root:org", "/clusters/root:org"),
        ("/clusters/root", "*", "/clusters/*"),
        ("/services/apiexport/x/y/", "*", "/services/apiexport/x/y/clusters/*"),
        ("/services/apiexport/x/y/clusters/*", "2abc", "/services/apiexport/x/y/clusters/2abc"),
        ("/clusters/root", "", ""),
        ("/clusters/a/b", "c", "/clusters/a/b/clusters/c"),
    ],
)
def test_cluster_replaces_the_workspace_of_the_base_path(base: str, path: str, expected: str) -> None:
    assert Client(Scripted([]), base).cluster(path).base_path == expected


async def test_every_verb_asks_the_right_url() -> None:
    transport = Scripted(lambda request: answer({}))  # noqa: ARG005
    client = Client(transport, "/clusters/root:org")
    deployments, nodes = client.resource(DEPLOYMENTS), client.resource(NODES)
    obj = {"metadata": {"name": "web", "namespace": "shop"}}
    await deployments.get("web", namespace="shop")
    await nodes.get("n/1?", subresource="status")
    await deployments.create(obj, field_manager="me", dry_run=True)
    await deployments.create({}, namespace="other", name="web", subresource="scale")
    await deployments.update(obj, subresource="status")
    await deployments.patch("web", {"a": 1}, namespace="shop", field_manager="me")
    await deployments.apply(obj, field_manager="me", force=True)
    await deployments.delete("web", namespace="shop", uid="u", resource_version="7", propagation="Foreground", grace_period_s=0)
    await deployments.delete_collection(namespace="shop", label_selector="a=b")
    await deployments.list(namespace="shop", field_selector="metadata.name=x", resource_version="0")
    base = "/clusters/root:org/apis/apps/v1/namespaces/shop/deployments"
    assert [shown(request) for request in transport.requests] == [
        f"GET {base}/web",
        "GET /clusters/root:org/api/v1/nodes/n%2F1%3F/status",
        f"POST {base}?fieldManager=me&dryRun=All",
        "POST /clusters/root:org/apis/apps/v1/namespaces/other/deployments/web/scale",
        f"PUT {base}/web/status",
        f"PATCH {base}/web?fieldManager=me",
        f"PATCH {base}/web?fieldManager=me&force=true",
        f"DELETE {base}/web",
        f"DELETE {base}?labelSelector=a=b",
        f"GET {base}?fieldSelector=metadata.name=x&resourceVersion=0&limit=500",
    ]
    types = [request.headers.get("content-type") for request in transport.requests]
    assert types[5:7] == ["application/merge-patch+json", "application/apply-patch+yaml"]
    options = body(transport.requests[7])
    assert options == {
        "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground", "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u", "resourceVersion": "7"},
    }  # fmt: skip


async def test_patch_type_is_the_content_type() -> None:
    transport = Scripted([answer({})])
    await Client(transport).resource(NODES).patch("a", [{"op": "remove", "path": "/spec"}], type=PatchType.JSON)
    assert transport.requests[0].headers["content-type"] == "application/json-patch+json"
    assert body(transport.requests[0]) == [{"op": "remove", "path": "/spec"}]


async def test_list_follows_pages_and_fills_in_what_lists_leave_out() -> None:
    pages = [
        {
            "kind": "NodeList",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": "9", "continue": "t1"},
            "items": [{"metadata": {"name": "a"}}],
        },
        {
            "kind": "NodeList",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": "9"},
            "items": [{"kind": "Node", "metadata": {"name": "b"}}],
        },
    ]
    transport = Scripted([answer(page) for page in pages])
    found = await Client(transport).resource(NODES).list(resource_version="9")
    assert found.resource_version == "9"
    assert found.items == [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}, {"kind": "Node", "metadata": {"name": "b"}}]
    assert [shown(r) for r in transport.requests] == [
        "GET /api/v1/nodes?resourceVersion=9&limit=500",
        "GET /api/v1/nodes?limit=500&continue=t1",
    ]


async def test_list_with_a_limit_stops_there() -> None:
    page = {"kind": "NodeList", "metadata": {"resourceVersion": "9", "continue": "t1"}, "items": [{"kind": "Node"}] * 3}
    transport = Scripted([answer(page)])
    found = await Client(transport).resource(NODES).list(limit=3)
    assert (len(found.items), found.continue_token) == (3, "t1")


async def test_metadata_only_reads_ask_for_metadata() -> None:
    transport = Scripted(lambda request: answer({}))  # noqa: ARG005
    nodes = Client(transport).resource(NODES, metadata_only=True)
    await nodes.get("a")
    await nodes.list()
    await nodes.patch("a", {})
    accepts = [request.headers["accept"] for request in transport.requests]
    assert [";as=PartialObjectMetadata;" in a for a in accepts] == [True, False, False]
    assert [";as=PartialObjectMetadataList;" in a for a in accepts] == [False, True, False]


async def test_status_becomes_its_error_class_with_details() -> None:
    status = {
        "kind": "Status",
        "code": 404,
        "reason": "NotFound",
        "message": 'nodes "a" not found',
        "details": {"name": "a", "kind": "nodes"},
    }
    with pytest.raises(NotFound, match='nodes "a" not found') as caught:
        await Client(Scripted([answer(status, 404)])).resource(NODES).get("a")
    assert caught.value.name == "a"


async def test_error_that_is_no_status_keeps_code_and_text() -> None:
    with pytest.raises(InternalError, match="bad gateway"):
        await Client(Scripted([RawResponse(502, {}, b"bad gateway\n")])).resource(NODES).get("a")


async def test_unauthorized_says_whose_credentials_failed() -> None:
    client = Client(Scripted([answer({"kind": "Status", "message": "Unauthorized"}, 401)]), origin='context "x" of /tmp/k')
    with pytest.raises(Unauthorized, match='credentials of context "x" of /tmp/k'):
        await client.resource(NODES).get("a")


async def test_answer_that_is_not_json_is_a_transport_error() -> None:
    with pytest.raises(TransportError, match="not JSON"):
        await Client(Scripted([RawResponse(200, {}, b"<html>")])).resource(NODES).get("a")


async def test_retry_after_is_honoured_for_repeatable_requests_and_bounded() -> None:
    clock = InstantClock()
    busy, later = answer({}, 429, retry_after="2"), answer({}, 503, retry_after="9999")
    transport = Scripted([busy, later, answer({"ok": True})])
    assert await Client(transport, clock=clock).resource(NODES).get("a") == {"ok": True}
    assert clock.slept == [2.0, 30.0]


async def test_retries_end() -> None:
    transport = Scripted(lambda request: answer({}, 429, retry_after="1"))  # noqa: ARG005
    clock = InstantClock()
    with pytest.raises(TooManyRequests) as caught:
        await Client(transport, clock=clock).resource(NODES).get("a")
    assert len(transport.requests) == 5 + 1
    assert len(clock.slept) == 5
    assert caught.value.retry_after_s == 1


async def test_creation_is_not_repeated() -> None:
    transport = Scripted([answer({}, 503, retry_after="1")])
    with pytest.raises(ServiceUnavailable):
        await Client(transport, clock=InstantClock()).resource(NODES).create({})


async def test_watch_yields_events_and_asks_for_bookmarks() -> None:
    frames = [b'{"type":"ADDED","object":{"a":1}}\n{"type":"BOOKMARK","object":{}}\n']
    transport = Scripted([RawResponse(200, {}, b"")], frames)
    watch = Client(transport).resource(NODES).watch(resource_version="5", label_selector="x", timeout_s=30)
    async with aclosing(watch):
        assert [event.type async for event in watch] == ["ADDED", "BOOKMARK"]
    expected = "GET /api/v1/nodes?watch=true&labelSelector=x&resourceVersion=5&allowWatchBookmarks=true&timeoutSeconds=30"
    assert shown(transport.requests[0]) == expected


async def test_watch_that_is_refused_raises_the_status() -> None:
    transport = Scripted([answer({"kind": "Status", "reason": "Conflict", "message": "no"}, 409)])
    with pytest.raises(Conflict):
        await anext(Client(transport).resource(NODES).watch())


async def test_closing_a_client_closes_its_transport() -> None:
    transport = Scripted([])
    async with Client(transport):
        assert not transport.closed
    assert transport.closed
