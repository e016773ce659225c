"""What a controller does through the virtual workspace of its export, as it would through any API server.

Aspects: access and token reviews in a consumer's workspace, OpenAPI, field selectors, lists in chunks, watches that go on and that begin
too early, server-side apply, deletecollection, subresources, what a watch is told when claims are accepted and rejected, `kcp.io/cluster`.
Source: kcp test/e2e/virtual/apiexport/{virtualworkspace,authdelegation,openapi,scale,status}_test.go; kcp-dev/multicluster-provider (one
informer on `/clusters/*`, one client for each consumer).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import orjson
import pytest
from tests.behaviour.exports.market import CONFIG_MAP_CLAIM, CONFIG_MAPS, WIDGETS, Market, accepted, config_map, is_settled, named

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Conflict, Expired, Forbidden, MethodNotAllowed, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, ResourceClient
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS

REVIEWS = {
    "subjectaccessreviews": GVR("authorization.k8s.io", "v1", "subjectaccessreviews"),
    "localsubjectaccessreviews": GVR("authorization.k8s.io", "v1", "localsubjectaccessreviews"),
    "tokenreviews": GVR("authentication.k8s.io", "v1", "tokenreviews"),
}
REVIEW_CLAIMS = [{"group": gvr.group, "resource": gvr.resource, "verbs": ["*"]} for gvr in REVIEWS.values()]
ACCOUNTS = GVR("", "v1", "serviceaccounts")


def widget(name: str, n: int = 1, **labels: str) -> JSONObject:
    made = named(WIDGETS, "Widget", name, {"n": n})
    if labels:
        made["metadata"]["labels"] = labels
    return made


async def consumers(market: Market, *names: str, claims: tuple[JSONObject, ...] = ()) -> list[Client]:
    for name in names:
        await market.workspace(name)
        await market.bind(name, *claims)
    return [market.at(name) for name in names]


async def body(client: Client, path: str, query: Mapping[str, str] | None = None, accept: str = "application/json") -> Any:
    return orjson.loads((await client.raw("GET", path, query=query, headers={"accept": accept})).body)


@asynccontextmanager
async def watching(resource: ResourceClient, **options: Any) -> AsyncIterator[asyncio.Queue[tuple[str, JSONObject]]]:
    """The events of a watch, from when it is open until the end of the block."""
    seen: asyncio.Queue[tuple[str, JSONObject]] = asyncio.Queue()
    opened = asyncio.Event()

    async def watch() -> None:
        async with aclosing(resource.watch(opened=opened.set, bookmarks=False, **options)) as events:
            async for event in events:
                seen.put_nowait((event.type, event.object))

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(watch())
        await opened.wait()
        yield seen
        task.cancel()


async def told(seen: asyncio.Queue[tuple[str, JSONObject]]) -> tuple[str, str]:
    kind, obj = await seen.get()
    return kind, meta.name(obj)


async def test_a_provider_asks_for_reviews_in_its_consumers_workspaces(market: Market) -> None:
    await market.export(claims=REVIEW_CLAIMS)
    await market.workspace("one")
    await market.bind("one", *(accepted(claim) for claim in REVIEW_CLAIMS))
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}
    await market.grant("one", "agent", [rule])
    view = market.view("one")
    asked = {"resourceAttributes": {"version": "v1", "resource": "configmaps", "verb": "list", "namespace": "default"}, "user": "agent"}
    subject = named(REVIEWS["subjectaccessreviews"], "SubjectAccessReview", "", {**asked, "groups": ["system:authenticated"]})
    assert (await view.resource(REVIEWS["subjectaccessreviews"]).create(subject))["status"]["allowed"] is True
    other = named(REVIEWS["subjectaccessreviews"], "SubjectAccessReview", "", {**asked, "user": "nobody"})
    assert (await view.resource(REVIEWS["subjectaccessreviews"]).create(other))["status"]["allowed"] is False
    local = named(REVIEWS["localsubjectaccessreviews"], "LocalSubjectAccessReview", "", {**asked, "groups": ["system:authenticated"]})
    local["metadata"]["namespace"] = "default"
    assert (await view.resource(REVIEWS["localsubjectaccessreviews"]).create(local))["status"]["allowed"] is True
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = await market.at("one").resource(ACCOUNTS).create(request, namespace="default", name="default", subresource="token")
    reviewed = named(REVIEWS["tokenreviews"], "TokenReview", "", {"token": token["status"]["token"]})
    status = (await view.resource(REVIEWS["tokenreviews"]).create(reviewed))["status"]
    assert status["authenticated"] is True
    one = meta.cluster(await market.at("one").resource(BINDINGS).get("widgets"))
    assert status["user"]["extra"]["authentication.kcp.io/cluster-name"] == [one]
    served = {found.gvr.resource: found.verbs for found in await view.discover()}
    assert [list(served[name]) for name in REVIEWS] == [["create"]] * 3


async def test_reviews_are_refused_where_the_claim_is_not_accepted(market: Market) -> None:
    await market.export(claims=REVIEW_CLAIMS)
    await consumers(market, "one")
    with pytest.raises(Forbidden):
        await market.view("one").resource(REVIEWS["tokenreviews"]).create(named(REVIEWS["tokenreviews"], "TokenReview", "", {"token": "x"}))


@pytest.mark.parametrize("where", ["*", "one"])
async def test_the_view_describes_what_it_serves(market: Market, where: str) -> None:
    await market.export(claims=[CONFIG_MAP_CLAIM])
    await consumers(market, "one", claims=(accepted(CONFIG_MAP_CLAIM),))
    view = market.view(where)
    index = (await body(view, "/openapi/v3"))["paths"]
    assert {"apis/example.com/v1", "api/v1", "apis/apis.kcp.io/v1alpha2"} <= index.keys()
    described = await body(view, "/openapi/v3/apis/example.com/v1")
    assert described["components"]["schemas"]["com.example.v1.Widget"]["properties"]["spec"]["properties"]["n"]["type"] == "integer"
    assert any(path.endswith("/widgets/{name}/status") for path in described["paths"])
    assert "com.example.v1.Widget" in (await body(view, "/openapi/v2"))["definitions"]
    url = index["apis/example.com/v1"]["serverRelativeURL"]
    assert url.startswith("/services/apiexport/") or url.startswith("/openapi/v3/")


async def test_fields_select_in_every_consumer(market: Market) -> None:
    await market.export()
    for client in await consumers(market, "one", "two"):
        for name in ("a", "b"):
            await client.resource(WIDGETS).create(widget(name), namespace="default")
    every = market.view().resource(WIDGETS)
    assert [meta.name(obj) for obj in (await every.list(field_selector="metadata.name=a")).items] == ["a", "a"]
    async with watching(every, field_selector="metadata.name=c") as seen:
        for name in ("c", "d"):
            await market.at("two").resource(WIDGETS).create(widget(name), namespace="default")
        assert await told(seen) == ("ADDED", "c")


async def test_a_list_over_all_consumers_comes_in_chunks(market: Market) -> None:
    await market.export()
    for client in await consumers(market, "one", "two"):
        for n in range(3):
            await client.resource(WIDGETS).create(widget(f"w{n}"), namespace="default")
    found, pages = [], 0
    async for page in market.view().resource(WIDGETS).pages(limit=2):
        found += [(meta.cluster(obj), meta.name(obj)) for obj in page.items]
        pages += 1
    assert (len(found), len(set(found)), pages) == (6, 6, 3)


async def test_a_watch_goes_on_where_a_list_ended_and_is_refused_when_that_is_too_long_ago(market: Market) -> None:
    await market.export()
    one, two = await consumers(market, "one", "two")
    every = market.view().resource(WIDGETS)
    await one.resource(WIDGETS).create(widget("before"), namespace="default")
    since = (await every.list()).resource_version
    await two.resource(WIDGETS).create(widget("after"), namespace="default")
    async with watching(every, resource_version=since) as seen:
        assert await told(seen) == ("ADDED", "after")
        await one.resource(WIDGETS).delete("before", namespace="default")
        assert await told(seen) == ("DELETED", "before")
    with pytest.raises(Expired, match="too old resource version: 1"):
        async for _ in every.watch(resource_version="1"):
            pass


async def test_a_watch_list_ends_its_first_events_with_a_bookmark(market: Market) -> None:
    await market.export()
    one, two = await consumers(market, "one", "two")
    for client in (one, two):
        await client.resource(WIDGETS).create(widget("w"), namespace="default")
    query = {"watch": "true", "sendInitialEvents": "true", "allowWatchBookmarks": "true", "resourceVersionMatch": "NotOlderThan"}
    view = market.view()
    request = view.request("GET", "/apis/example.com/v1/widgets", query={**query, "timeoutSeconds": "1"})
    async with view.transport.stream(request) as (response, chunks):
        raw = b"".join([chunk async for chunk in chunks])
    events = [orjson.loads(line) for line in raw.splitlines()]
    assert response.status == 200
    assert [event["type"] for event in events[:3]] == ["ADDED", "ADDED", "BOOKMARK"]
    assert meta.annotations(events[2]["object"])["k8s.io/initial-events-end"] == "true"


async def test_objects_are_applied_through_the_view(market: Market) -> None:
    await market.export(claims=[CONFIG_MAP_CLAIM])
    (one,) = await consumers(market, "one", claims=(accepted(CONFIG_MAP_CLAIM, {"matchLabels": {"shared": "yes"}}),))
    widgets, maps = market.view("one").resource(WIDGETS), market.view("one").resource(CONFIG_MAPS)
    await widgets.apply(widget("w", 1), field_manager="provider", namespace="default")
    await one.resource(WIDGETS).apply(widget("w", 2), field_manager="consumer", force=True, namespace="default")
    with pytest.raises(Conflict, match="consumer"):
        await widgets.apply(widget("w", 3), field_manager="provider", namespace="default")
    made = await maps.apply({**config_map("m"), "data": {"a": "b"}}, field_manager="provider", namespace="default")
    assert meta.labels(made)["shared"] == "yes"
    again = await maps.apply({**config_map("m"), "data": {"a": "c"}}, field_manager="provider", namespace="default")
    assert again["data"] == {"a": "c"}
    await one.resource(CONFIG_MAPS).create(config_map("private"), namespace="default")
    with pytest.raises((Forbidden, NotFound)):
        await maps.apply({**config_map("private"), "data": {"a": "b"}}, field_manager="provider", namespace="default")


async def test_a_collection_is_deleted_as_far_as_it_is_seen_and_in_one_workspace_only(market: Market) -> None:
    await market.export(claims=[CONFIG_MAP_CLAIM])
    (one,) = await consumers(market, "one", claims=(accepted(CONFIG_MAP_CLAIM, {"matchLabels": {"shared": "yes"}}),))
    for obj in (config_map("private"), config_map("public", shared="yes")):
        await one.resource(CONFIG_MAPS).create(obj, namespace="default")
    await market.view("one").resource(CONFIG_MAPS).delete_collection(namespace="default")
    left = {meta.name(obj) for obj in (await one.resource(CONFIG_MAPS).list(namespace="default")).items}
    assert left == {"kube-root-ca.crt", "private"}
    for n in range(3):
        await one.resource(WIDGETS).create(widget(f"w{n}", keep="yes" if n else "no"), namespace="default")
    await market.view("one").resource(WIDGETS).delete_collection(namespace="default", label_selector="keep=no")
    assert len((await one.resource(WIDGETS).list()).items) == 2


async def test_nothing_is_written_in_all_workspaces_at_once(market: Market) -> None:
    await market.export(claims=[CONFIG_MAP_CLAIM])
    (one,) = await consumers(market, "one", claims=(accepted(CONFIG_MAP_CLAIM),))
    await one.resource(WIDGETS).create(widget("w"), namespace="default")
    for gvr, obj in ((WIDGETS, widget("w")), (CONFIG_MAPS, config_map("w"))):
        every = market.view().resource(gvr)
        for write in (
            every.create(obj, namespace="default"),
            every.update(obj, namespace="default"),
            every.patch("w", {"metadata": {"labels": {"a": "b"}}}, namespace="default"),
            every.apply(obj, field_manager="x", namespace="default"),
            every.delete("w", namespace="default"),
            every.delete_collection(namespace="default"),
        ):
            with pytest.raises((MethodNotAllowed, Forbidden)):
                await write
    assert meta.name(await one.resource(WIDGETS).get("w", namespace="default")) == "w"


async def test_status_and_scale_are_written_through_the_view(market: Market) -> None:
    number = {"type": "integer"}
    shape = {"type": "object", "properties": {"replicas": number}}
    openapi = {"type": "object", "properties": {"spec": shape, "status": shape}}
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    version = {"name": "v1", "served": True, "storage": True, "schema": openapi, "subresources": {"status": {}, "scale": scale}}
    names = {"plural": "sets", "kind": "Set", "singular": "set", "listKind": "SetList"}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    await market.at("provider").resource(SCHEMAS).create(named(SCHEMAS, "APIResourceSchema", "v1.sets.example.com", spec))
    await market.export("sets", resources=[{"group": "example.com", "name": "sets", "schema": "v1.sets.example.com"}])
    one = await market.workspace("one")
    await market.bind("one", export="sets")
    sets = GVR("example.com", "v1", "sets")
    await one.resource(sets).create(named(sets, "Set", "s", {"replicas": 1}), namespace="default")
    view = market.view("one", export="sets").resource(sets)
    await view.patch("s", {"spec": {"replicas": 4}}, namespace="default", subresource="scale")
    await view.patch("s", {"spec": {"replicas": 9}, "status": {"replicas": 3}}, namespace="default", subresource="status")
    shown = await view.get("s", namespace="default", subresource="scale")
    assert (shown["kind"], shown["spec"]["replicas"], shown["status"]["replicas"]) == ("Scale", 4, 3)


async def test_a_watch_is_told_when_a_claim_is_accepted_and_rejected(market: Market) -> None:
    await market.export(claims=[CONFIG_MAP_CLAIM])
    (one,) = await consumers(market, "one", claims=(accepted(CONFIG_MAP_CLAIM, state="Rejected"),))
    await one.resource(CONFIG_MAPS).create(config_map("mine"), namespace="default")
    bindings = one.resource(BINDINGS)
    async with watching(market.view().resource(CONFIG_MAPS), field_selector="metadata.name=mine") as seen:
        await bindings.patch("widgets", {"spec": {"permissionClaims": [accepted(CONFIG_MAP_CLAIM)]}})
        assert await told(seen) == ("ADDED", "mine")
        await market.until(bindings, "widgets", lambda b: "appliedPermissionClaims" in b["status"] and is_settled(b), "claims")
        await one.resource(CONFIG_MAPS).patch("mine", {"data": {"a": "b"}}, namespace="default")
        assert await told(seen) == ("MODIFIED", "mine")
        await bindings.patch("widgets", {"spec": {"permissionClaims": [accepted(CONFIG_MAP_CLAIM, state="Rejected")]}})
        assert await told(seen) == ("DELETED", "mine")


async def test_every_form_of_answer_says_which_workspace_an_object_is_of(market: Market) -> None:
    await market.export()
    (one,) = await consumers(market, "one")
    cluster = meta.cluster(await one.resource(WIDGETS).create(widget("w"), namespace="default"))
    view, path = market.view(), "/apis/example.com/v1/widgets"
    assert [meta.cluster(obj) for obj in (await body(view, path))["items"]] == [cluster]
    table = await body(view, path, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert [meta.cluster(row["object"]) for row in table["rows"]] == [cluster]
    partial = await body(view, path, accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
    assert [meta.cluster(obj) for obj in partial["items"]] == [cluster]
    assert meta.cluster((await body(view, "/apis/apis.kcp.io/v1alpha2/apibindings"))["items"][0]) == cluster
    async with watching(view.resource(WIDGETS, metadata_only=True)) as seen:
        assert meta.cluster((await seen.get())[1]) == cluster


async def test_consumers_come_and_go_as_bindings_in_the_view(market: Market) -> None:
    """What engages and disengages a consumer in kcp-dev/multicluster-provider."""
    await market.export()
    async with watching(market.view().resource(BINDINGS)) as seen:
        await market.workspace("one")
        await market.bind("one")
        kind, obj = await seen.get()
        assert (kind, meta.name(obj)) == ("ADDED", "widgets")
        one = meta.cluster(obj)
        assert meta.annotations(obj)["kcp.io/path"] == "root:one"
        assert one == meta.cluster(await market.at("one").resource(BINDINGS).get("widgets"))
        by_name = market.as_provider_of(one).resource(WIDGETS)
        await by_name.create(widget("w"), namespace="default")
        await market.at("one").resource(BINDINGS).delete("widgets")
        while (await told(seen))[0] != "DELETED":
            pass
    with pytest.raises(Forbidden):
        await by_name.list()
    assert meta.name(await market.at("provider").resource(EXPORTS).get("widgets")) == "widgets"


async def test_tokens_are_made_for_accounts_that_are_claimed_if_tokens_are_claimed_too(market: Market) -> None:
    accounts = {"group": "", "resource": "serviceaccounts", "verbs": ["get", "list"]}
    tokens = {"group": "", "resource": "serviceaccounts/token", "verbs": ["create"]}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    await market.export(claims=[accounts, tokens])
    await market.export("without", claims=[accounts], resources=[])
    one = await market.workspace("one")
    for name, labels in (("claimed", {"provider": "true"}), ("unclaimed", {})):
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "labels": labels}}
        await one.resource(ACCOUNTS).create(account, namespace="default")
    some = accepted(accounts, {"matchLabels": {"provider": "true"}})
    await market.bind("one", some, {**tokens, "selector": {}, "state": "Accepted"})
    await market.bind("one", some, export="without")
    view = market.view("one").resource(ACCOUNTS)
    assert [meta.name(obj) for obj in (await view.list()).items] == ["claimed"]
    made = await view.create(request, namespace="default", name="claimed", subresource="token")
    review = named(REVIEWS["tokenreviews"], "TokenReview", "", {"token": made["status"]["token"]})
    status = (await one.resource(REVIEWS["tokenreviews"]).create(review))["status"]
    assert status["user"]["username"] == "system:serviceaccount:default:claimed"
    with pytest.raises(NotFound, match='"unclaimed" not found'):
        await view.create(request, namespace="default", name="unclaimed", subresource="token")
    with pytest.raises((Forbidden, NotFound, MethodNotAllowed)):
        await market.view().resource(ACCOUNTS).create(request, namespace="default", name="claimed", subresource="token")
    without = market.view("one", export="without").resource(ACCOUNTS)
    with pytest.raises((Forbidden, NotFound, MethodNotAllowed)):
        await without.create(request, namespace="default", name="claimed", subresource="token")


async def test_definitions_are_made_through_the_view(market: Market) -> None:
    """Source: kcp test/e2e/customresourcedefinition/crd_apiexport_test.go."""
    claim = {"group": "apiextensions.k8s.io", "resource": "customresourcedefinitions", "verbs": ["*"]}
    await market.export(claims=[claim], maximalPermissionPolicy={"local": {}})
    (one,) = await consumers(market, "one", claims=(accepted(claim),))
    crds = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    text = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"color": {"type": "string"}}}}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": text},
        "selectableFields": [{"jsonPath": ".spec.color"}],
    }
    spec = {"group": "stable.example.com", "scope": "Namespaced", "names": {"plural": "shirts", "kind": "Shirt"}, "versions": [version]}
    view = market.view("one").resource(crds)
    made = await view.create(named(crds, "CustomResourceDefinition", "shirts.stable.example.com", spec))
    assert made["spec"]["versions"][0]["selectableFields"] == [{"jsonPath": ".spec.color"}]
    await market.until(one.resource(crds), "shirts.stable.example.com", lambda c: conditions.is_true(c, "Established"), "the definition")
    assert [meta.name(crd) for crd in (await market.view().resource(crds).list()).items] == ["shirts.stable.example.com"]
    await view.delete("shirts.stable.example.com")
    await market.gone(one.resource(crds), "shirts.stable.example.com")
