"""Objects of a provider that its consumers read as their own: ClusterCachedResources, virtual resources, the virtual workspace `replication`.

Source: kcp docs/content/concepts/apis/cached-resources.md, test/e2e/virtualresources/clustercachedresources, test/e2e/virtual/replication,
test/e2e/reconciler/clustercachedresourceendpointslice, test/e2e/cache/replication_api_cache_test.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.behaviour.exports.market import Market, accepted
from tests.behaviour.exports.sheriffs import (
    CRDS,
    NAME,
    SHERIFFS,
    cache,
    cached,
    cluster_of,
    crd,
    define,
    open_all,
    open_market,
    publish,
    sheriff,
    slice_of,
)

from kcp.aio.clock import SystemClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import BadRequest, Forbidden, Invalid, MethodNotAllowed, NotFound, ServiceUnavailable
from kcp.apimachinery.gvk import GVR
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.client.transport import RawRequest
from kcp.exports.cached.names import CACHED_RESOURCES, CACHED_SLICES
from kcp.exports.names import BINDINGS, EXPORTS
from kcp.registry.backend import UserInfo
from kcp.server.compose import SYSTEM, run_server
from kcp.server.options import Options
from kcp.tenancy import kinds

EVE = UserInfo("eve", ("system:authenticated",))


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Market]:
    async with open_market(tmp_path / ".kcp") as made:
        yield made


async def raw(market: Market, path: str) -> Any:
    return orjson.loads((await AsgiTransport(market.server.app, SYSTEM).request(RawRequest("GET", path))).body)


async def test_consumers_read_the_provider_s_objects_as_their_own(market: Market) -> None:
    await open_all(market, "one", "two")
    for consumer in ("one", "two"):
        assert not (await market.at(consumer).resource(SHERIFFS).list()).items
    made = await market.at("provider").resource(SHERIFFS).create(sheriff("sheriffs-1"))
    made["status"] = {"result": "well"}
    held = await market.at("provider").resource(SHERIFFS).update(made, subresource="status")
    for consumer in ("one", "two"):
        cluster = await cluster_of(market, consumer)
        for client in (market.at(consumer), market.view(consumer, export="sheriffs")):
            sheriffs = client.resource(SHERIFFS)
            listed = (await sheriffs.list()).items
            shown = await sheriffs.get("sheriffs-1")
            assert list(listed) == [shown]
            assert meta.cluster(shown) == cluster
            held["metadata"]["annotations"] = shown["metadata"]["annotations"]
            assert shown == held


async def test_a_consumer_s_watch_sees_what_the_provider_does(market: Market) -> None:
    await open_all(market, "one")
    sheriffs = market.at("one").resource(SHERIFFS)
    start = (await sheriffs.list()).resource_version
    own = market.at("provider").resource(SHERIFFS)
    async with asyncio.timeout(10), aclosing(sheriffs.watch(resource_version=start)) as events:
        await own.create(sheriff("sheriffs-1"))
        await own.patch("sheriffs-1", {"spec": {"intent": "other"}})
        await own.delete("sheriffs-1")
        seen = [await anext(events) for _ in range(3)]
    assert [event.type for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert {meta.cluster(event.object) for event in seen} == {await cluster_of(market, "one")}


async def test_a_consumer_s_watch_can_begin_with_the_state(market: Market) -> None:
    await open_all(market, "one")
    await market.at("provider").resource(SHERIFFS).create(sheriff("a"))
    path = "/clusters/root:one/apis/wildwest.dev/v1alpha1/sheriffs"
    query = {"watch": "true", "sendInitialEvents": "true", "allowWatchBookmarks": "true", "resourceVersionMatch": "NotOlderThan"}
    answer = await AsgiTransport(market.server.app, SYSTEM).request(RawRequest("GET", path, {**query, "timeoutSeconds": "1"}))
    first, second, *_ = [orjson.loads(line) for line in answer.body.splitlines()]
    assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "a")
    assert second["type"] == "BOOKMARK"
    assert second["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_nobody_writes_what_is_published(market: Market) -> None:
    await open_all(market, "one")
    await market.at("provider").resource(SHERIFFS).create(sheriff("a"))
    sheriffs = market.at("one").resource(SHERIFFS)
    attempts = [
        sheriffs.create(sheriff("b")), sheriffs.update(sheriff("a")), sheriffs.patch("a", {"spec": {}}), sheriffs.delete("a"),
        sheriffs.delete_collection(),
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(MethodNotAllowed):
            await attempt
    with pytest.raises(NotFound):
        await sheriffs.update(sheriff("a"), subresource="status")


async def test_discovery_says_that_it_is_to_be_read(market: Market) -> None:
    await open_all(market, "one")
    for prefix in ("/clusters/root:one", f"/services/apiexport/{market.provider_name}/sheriffs/clusters/*"):
        found = (await raw(market, f"{prefix}/apis/wildwest.dev/v1alpha1"))["resources"]
        assert [(r["name"], sorted(r["verbs"])) for r in found] == [("sheriffs", ["get", "list", "watch"])]
    assert "apis/wildwest.dev/v1alpha1" in (await raw(market, "/clusters/root:one/openapi/v3"))["paths"]


async def test_what_is_cached_of_all_consumers_cannot_be_asked_at_once(market: Market) -> None:
    await open_all(market, "one")
    everywhere = market.view("*", export="sheriffs").resource(SHERIFFS)
    with pytest.raises(BadRequest, match="Wildcard request not supported"):
        await everywhere.list()


async def test_selectors_choose_what_is_published(market: Market) -> None:
    await open_all(market, "one", labelSelector={"matchLabels": {"visible": "yes"}}, names=["a", "b"])
    own, shown = market.at("provider").resource(SHERIFFS), market.at("one").resource(SHERIFFS)
    for made in (sheriff("a", visible="yes"), sheriff("b"), sheriff("c", visible="yes")):
        await own.create(made)
    assert [meta.name(s) for s in (await shown.list()).items] == ["a"]
    for hidden in ("b", "c"):
        with pytest.raises(NotFound):
            await shown.get(hidden)
    start = (await shown.list()).resource_version
    async with asyncio.timeout(10), aclosing(shown.watch(resource_version=start)) as events:
        await own.patch("c", {"spec": {"intent": "unseen"}})
        await own.patch("b", {"metadata": {"labels": {"visible": "yes"}}})
        await own.patch("a", {"metadata": {"labels": {"visible": None}}})
        seen = [await anext(events) for _ in range(2)]
    assert [(event.type, meta.name(event.object)) for event in seen] == [("ADDED", "b"), ("DELETED", "a")]
    assert [meta.name(s) for s in (await shown.list(label_selector="visible=yes")).items] == ["b"]


async def test_the_status_says_how_many_there_are(market: Market) -> None:
    await define(market)
    own = market.at("provider").resource(SHERIFFS)
    for n in range(3):
        await own.create(sheriff(f"s{n}"))
    await cache(market)
    resources = market.at("provider").resource(CACHED_RESOURCES)
    held = await market.until(resources, NAME, counts(3), "the count")
    status = held["status"]
    assert status["phase"] == "Ready"
    assert {c["type"] for c in status["conditions"] if c["status"] == "True"} == {"IdentityValid", "ReplicationStarted", "ResourceValid"}
    assert held["spec"]["identity"]["secretRef"] == {"namespace": "kcp-system", "name": NAME}
    assert meta.annotations(held)["cache.kcp.io/resource-kind"] == "Sheriff"
    assert meta.annotations(held)["cache.kcp.io/resource-scope"] == "Cluster"
    await own.delete("s1")
    await market.until(resources, NAME, counts(2), "the lower count")


def counts(number: int) -> Any:
    return lambda held: meta.nested(held, "status", "resourceCounts") == {"cache": number, "local": number}


async def test_an_identity_of_one_s_own(market: Market) -> None:
    await define(market)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}, "stringData": {"key": "a"}}
    await market.at("provider").resource(GVR("", "v1", "secrets")).create(secret, namespace="default")
    held = await cache(market, identity={"secretRef": {"namespace": "default", "name": "mine"}})
    assert held["status"]["identityHash"].startswith("ca978112ca1b")


async def test_what_cannot_be_cached_is_refused(market: Market) -> None:
    await define(market)
    await cache(market)
    resources = market.at("provider").resource(CACHED_RESOURCES)
    twice = {**cached(), "metadata": {"name": "again"}}
    with pytest.raises(Forbidden, match="ClusterCachedResource with this GVR already exists in the"):
        await resources.create(twice)
    for resource in ("configmaps", "secrets"):
        with pytest.raises(Forbidden, match="must be cluster-scoped"):
            await resources.create({**cached(group="", version="v1", resource=resource), "metadata": {"name": "other"}})
    for group, resource in (("rbac.authorization.k8s.io", "clusterroles"), ("apis.kcp.io", "apiexports")):
        version = "v1" if group.startswith("rbac") else "v1alpha2"
        with pytest.raises(Forbidden, match="must not be built-in"):
            await resources.create({**cached(group=group, version=version, resource=resource), "metadata": {"name": "other"}})
    wrong = {"matchExpressions": [{"key": "a", "operator": "Near"}]}
    with pytest.raises(Invalid, match="not a valid selector operator"):
        await resources.create({**cached(resource="others", labelSelector=wrong), "metadata": {"name": "other"}})


async def test_a_resource_that_comes_later_is_found(market: Market) -> None:
    resources = market.at("provider").resource(CACHED_RESOURCES)
    await resources.create(cached())
    held = await market.until(resources, NAME, lambda c: conditions.is_false(c, "ResourceValid"), "the verdict")
    condition = conditions.get(held, "ResourceValid")
    assert condition is not None
    assert condition["reason"] == "NoResources"
    await define(market)
    await market.until(resources, NAME, lambda c: conditions.is_true(c, "ReplicationStarted"), "the start")


async def test_a_namespaced_resource_that_comes_later_is_not_cached(market: Market) -> None:
    resources = market.at("provider").resource(CACHED_RESOURCES)
    await resources.create(cached())
    await define(market, scope="Namespaced")
    held = await market.until(resources, NAME, lambda c: "cluster-scoped" in str(conditions.get(c, "ResourceValid")), "the verdict")
    assert (conditions.get(held, "ResourceValid") or {})["reason"] == "ResourceNotClusterScoped"
    assert conditions.get(held, "ReplicationStarted") is None


async def test_a_slice_knows_whether_its_references_lead_somewhere(market: Market) -> None:
    await open_all(market)
    await market.workspace("other")
    slices = market.at("other").resource(CACHED_SLICES)
    await slices.create(slice_of("root:provider", name="there", export=""))
    await market.until(slices, "there", lambda s: conditions.is_true(s, "ResourceValid"), "a valid reference")
    await slices.create(slice_of("root:provider", name="nowhere", of="nothing"))
    held = await market.until(slices, "nowhere", lambda s: conditions.is_false(s, "ResourceValid"), "an invalid reference")
    assert (conditions.get(held, "ResourceValid") or {})["reason"] == "ClusterCachedResourceNotFound"
    own = market.at("provider").resource(CACHED_SLICES)
    await own.create(slice_of(name="unwanted"))
    held = await market.until(own, "unwanted", lambda s: conditions.is_false(s, "APIExportValid"), "an export that does not name it")
    assert (conditions.get(held, "APIExportValid") or {})["reason"] == "APIExportInvalidReference"
    with pytest.raises(Invalid, match="ClusterCachedResource reference must not be changed"):
        await own.patch(NAME, {"spec": {"clusterCachedResource": {"name": "other"}}})


async def test_a_slice_of_another_s_workspace_needs_its_leave(market: Market) -> None:
    await open_all(market)
    await market.workspace("other")
    await market.grant("other", "eve", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
    slices = market.at("other", EVE).resource(CACHED_SLICES)
    for name in (NAME, "nothing"):
        with pytest.raises(Forbidden, match="no permission to bind to ClusterCachedResource"):
            await slices.create(slice_of("root:provider", of=name))
    await slices.create(slice_of())  # of her own workspace


async def test_a_slice_lists_where_its_consumers_are_served(market: Market) -> None:
    await open_all(market)
    slices = market.at("provider").resource(CACHED_SLICES)
    assert "endpoints" not in (await slices.get(NAME))["status"]
    await market.workspace("one")
    await market.bind("one", export="sheriffs")
    held = await market.until(slices, NAME, lambda s: bool(s["status"].get("endpoints")), "an endpoint")
    (endpoint,) = held["status"]["endpoints"]
    assert endpoint["url"].endswith(f"/services/replication/{market.provider_name}/{NAME}")
    await market.at("one").resource(BINDINGS).delete("sheriffs")
    await market.until(slices, NAME, lambda s: not s["status"].get("endpoints"), "no endpoint")


async def test_a_claim_to_what_is_published_shows_all_of_it_or_is_refused(market: Market) -> None:
    """Source: kcp test/e2e/virtual/apiexport/claimedcachedresource_test.go."""
    await open_all(market, "one")
    await market.at("provider").resource(SHERIFFS).create(sheriff("woody"))
    identity = (await market.at("provider").resource(EXPORTS).get("sheriffs"))["status"]["identityHash"]
    claim = {"group": "wildwest.dev", "resource": "sheriffs", "identityHash": identity, "verbs": ["get", "list", "watch"]}
    await market.export(claims=[claim])
    refused = r"spec\.permissionClaims\[0\]\.selector: .*sheriffs\.wildwest\.dev is served from a ClusterCachedResource"
    for selector in ({"matchLabels": {"tier": "sheriff"}}, {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}):
        with pytest.raises(Forbidden, match=refused):
            await market.bind("one", accepted(claim, selector))
    await market.bind("one", accepted(claim))
    seen = market.view("one").resource(SHERIFFS)
    assert [meta.name(found) for found in (await seen.list()).items] == ["woody"]
    assert (await seen.get("woody"))["spec"] == {"intent": "woody-spec"}
    with pytest.raises((Forbidden, MethodNotAllowed)):
        await seen.create(sheriff("buzz"))
    bindings = market.at("one").resource(BINDINGS)
    await bindings.patch("widgets", {"spec": {"permissionClaims": [accepted(claim, state="Rejected")]}})
    await market.until(bindings, "widgets", lambda b: not b["status"].get("appliedPermissionClaims"), "the claim withdrawn")
    with pytest.raises(Forbidden):
        await seen.list()


def replication(market: Market, cluster: str, user: UserInfo = EVE) -> Client:
    return market.as_user(user).at(f"/services/replication/{market.provider_name}/{NAME}/clusters/{cluster}")


async def test_the_virtual_workspace_is_for_who_may_see_the_export_s_content(market: Market) -> None:
    await open_all(market, "one")
    await market.at("provider").resource(SHERIFFS).create(sheriff("sheriff-1"))
    sheriffs = replication(market, await cluster_of(market, "one")).resource(SHERIFFS)
    for attempt in (sheriffs.get("sheriff-1"), sheriffs.list()):
        with pytest.raises(Forbidden):
            await attempt
    rule = {"apiGroups": ["apis.kcp.io"], "resources": ["apiexports/content"], "verbs": ["get", "list", "watch"]}
    await market.grant("provider", "eve", [rule])
    shown = await sheriffs.get("sheriff-1")
    assert meta.cluster(shown) == await cluster_of(market, "one")
    found = await sheriffs.list()
    assert [meta.name(s) for s in found.items] == ["sheriff-1"]
    async with asyncio.timeout(10), aclosing(sheriffs.watch(resource_version=found.resource_version, label_selector="a=b")) as events:
        await market.at("provider").resource(SHERIFFS).patch("sheriff-1", {"metadata": {"labels": {"a": "b"}}})
        event = await anext(events)
    assert (event.type, meta.labels(event.object)) == ("ADDED", {"a": "b"})
    with pytest.raises(Forbidden, match="write access to Replication virtual workspace is not allowed"):
        await sheriffs.delete("sheriff-1")


async def test_the_virtual_workspace_shows_only_workspaces_that_bind(market: Market) -> None:
    await open_all(market, "one")
    await market.workspace("stranger")
    stranger = replication(market, await cluster_of(market, "stranger"), SYSTEM).resource(SHERIFFS)
    with pytest.raises(Forbidden, match="could not find suitable APIBinding in target logical cluster"):
        await stranger.list()
    with pytest.raises(BadRequest, match="Wildcard request not supported"):
        await replication(market, "*", SYSTEM).resource(SHERIFFS).list()
    path = f"/services/replication/{market.provider_name}/{NAME}/clusters/{await cluster_of(market, 'one')}/apis/wildwest.dev/v1alpha1"
    found = (await raw(market, path))["resources"]
    assert [(r["name"], sorted(r["verbs"])) for r in found] == [("sheriffs", ["get", "list", "watch"])]
    with pytest.raises(NotFound):
        await market.as_user(SYSTEM).at(f"/services/replication/{market.provider_name}/no/clusters/root").resource(SHERIFFS).list()
    with pytest.raises(Forbidden):
        await market.as_user(EVE).at(f"/services/replication/{market.provider_name}/no/clusters/root").resource(SHERIFFS).list()


async def test_the_wrong_identity_shows_nothing(market: Market) -> None:
    await define(market)
    await cache(market)
    await publish(market, "0" * 64)
    await market.workspace("one")
    await market.bind("one", export="sheriffs")
    with pytest.raises(ServiceUnavailable, match="identity"):
        await market.at("one").resource(SHERIFFS).list()


async def test_a_crd_of_the_same_name_is_refused_to_consumers(market: Market) -> None:
    await open_all(market, "one")
    with pytest.raises(Forbidden, match="is bound by APIBinding"):
        await market.at("one").resource(CRDS).create(crd())


async def test_unbinding_ends_watches_and_touches_no_object(market: Market) -> None:
    await open_all(market, "one")
    await market.at("provider").resource(SHERIFFS).create(sheriff("a"))
    sheriffs = market.at("one").resource(SHERIFFS)
    start = (await sheriffs.list()).resource_version
    async with asyncio.timeout(10), aclosing(sheriffs.watch(resource_version=start)) as events:
        await market.at("provider").resource(SHERIFFS).create(sheriff("b"))
        assert (await anext(events)).type == "ADDED"
        await market.at("one").resource(BINDINGS).delete("sheriffs")
        assert [event async for event in events if event.type != "BOOKMARK"] == []
    await market.gone(market.at("one").resource(BINDINGS), "sheriffs")
    with pytest.raises(NotFound):
        await sheriffs.list()
    assert len((await market.at("provider").resource(SHERIFFS).list()).items) == 2


async def test_a_change_of_what_is_published_ends_watches(market: Market) -> None:
    await open_all(market, "one")
    sheriffs = market.at("one").resource(SHERIFFS)
    start = (await sheriffs.list()).resource_version
    async with asyncio.timeout(10), aclosing(sheriffs.watch(resource_version=start)) as events:
        await market.at("provider").resource(SHERIFFS).create(sheriff("a"))
        assert (await anext(events)).type == "ADDED"
        await market.at("provider").resource(CACHED_RESOURCES).patch(NAME, {"spec": {"names": ["nobody"]}})
        assert [event async for event in events if event.type != "BOOKMARK"] == []
    await market.at("provider").resource(CACHED_RESOURCES).delete(NAME)
    with pytest.raises(ServiceUnavailable):
        await sheriffs.list()


async def test_what_is_virtual_stays_so_when_its_export_goes(market: Market) -> None:
    await open_all(market, "one")
    (bound,) = (await market.at("one").resource(BINDINGS).get("sheriffs"))["status"]["boundResources"]
    assert bound["storageVersions"] == []
    await market.at("provider").resource(EXPORTS).delete("sheriffs")
    await market.gone(market.at("provider").resource(EXPORTS), "sheriffs")
    sheriffs = market.at("one").resource(SHERIFFS)
    with pytest.raises(MethodNotAllowed):
        await sheriffs.create(sheriff("a"))
    with pytest.raises(ServiceUnavailable, match="the APIExport that published these objects is gone"):
        await sheriffs.list()


async def test_a_workspace_with_virtual_resources_is_deleted(market: Market) -> None:
    await open_all(market, "one")
    await market.at("provider").resource(SHERIFFS).create(sheriff("a"))
    workspaces = market.as_user(SYSTEM).cluster("root").resource(kinds.WORKSPACES)
    await workspaces.delete("one")
    await market.gone(workspaces, "one")
    assert len((await market.at("provider").resource(SHERIFFS).list()).items) == 1


async def test_root_exports_the_apis_where_the_gate_is_open(market: Market) -> None:
    root = market.as_user(SYSTEM).cluster("root")
    export = await root.resource(EXPORTS).get("cache.kcp.io")
    assert [r["name"] for r in export["spec"]["resources"]] == [
        "clustercachedresources",
        "clustercachedresourceendpointslices",
        "cachedresources",
        "cachedresourceendpointslices",
    ]
    assert (await root.resource(BINDINGS).get("cache.kcp.io"))["status"]["phase"] == "Bound"


async def test_the_gate_is_closed_unless_somebody_opens_it(tmp_path: Path) -> None:
    async with run_server(Options(root_directory=tmp_path / ".kcp", in_memory=True), clock=SystemClock(), with_socket=False) as server:
        root = server.client.cluster("root")
        with pytest.raises(NotFound):
            await root.resource(CACHED_RESOURCES).list()
        with pytest.raises(NotFound):
            await root.resource(EXPORTS).get("cache.kcp.io")
