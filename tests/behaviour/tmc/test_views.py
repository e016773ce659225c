"""AggregatedViews on a whole server in process, with simulated clusters: what a reader of `/services/tmc/<workspace>/<view>` gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import CLOCK, DEPLOYMENTS, QUIET, World, running, until

from kcp.aio.clock import rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import BadRequest, Expired, Forbidden, Invalid, MethodNotAllowed, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.registry.backend import UserInfo
from kcp.server.compose import SYSTEM, run_server
from kcp.server.options import Options, TMCOptions
from kcp.tmc.model.kinds import AGGREGATED_VIEWS, STATUS_RULES, SYNC_TARGETS
from kcp.tmc.overview.aggregate import AGGREGATE_ANNOTATION

PODS = GVR("", "v1", "pods")
CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS = (GVR("rbac.authorization.k8s.io", "v1", n) for n in ("clusterroles", "clusterrolebindings"))


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with running(tmp_path, monkeypatch, config=replace(QUIET, upsync=("pods",))) as made:
        await made.spread()
        yield made


def at(world: World, view: str = "all", place: str = "*", workspace: str = "root:work") -> Client:
    return Client(AsgiTransport(world.server.app, SYSTEM), clock=CLOCK).at(f"/services/tmc/{workspace}/{view}/clusters/{place}")


def told(obj: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(meta.annotations(obj)[AGGREGATE_ANNOTATION])
    return found


async def test_one_deployment_on_two_clusters_is_one_object(world: World) -> None:
    await world.create(AGGREGATED_VIEWS, "AggregatedView", "all", spec={})
    await world.deploy("default", "web", 3)
    await world.settle("default", "web", 3)
    view = at(world).resource(DEPLOYMENTS)

    async def look() -> list[dict[str, Any]]:
        return (await view.list()).items

    found = await until(look, lambda items: len(items) == 1 and items[0].get("status", {}).get("readyReplicas") == 3)
    assert found[0]["spec"]["replicas"] == 3
    assert told(found[0])["health"] == "Healthy"
    assert told(found[0])["replicas"] == {"desired": 3, "ready": 3, "unready": 0, "unknown": 0}
    members = told(found[0])["members"]
    assert [m["name"] for m in members] == ["east", "west"]
    assert all(m["lastObserved"].endswith("Z") for m in members)
    pods = (await at(world).resource(PODS).list()).items
    assert sorted({told(pod)["members"][0]["name"] for pod in pods}) == ["east", "west"]


async def test_a_cluster_that_fails_is_unknown_at_once_and_so_is_its_return(world: World) -> None:
    await world.create(AGGREGATED_VIEWS, "AggregatedView", "all", spec={})
    await world.deploy("default", "web", 4)
    await world.settle("default", "web", 4)
    view, targets = at(world).resource(DEPLOYMENTS), world.client.resource(SYNC_TARGETS)

    async def replicas() -> dict[str, int]:
        found: dict[str, int] = told(await view.get("web", namespace="default"))["replicas"]
        return found

    await until(replicas, lambda r: r == {"desired": 4, "ready": 4, "unready": 0, "unknown": 0})
    failed = conditions.build("SyncerReady", "False", reason="ClusterUnreachable", message="no route", now=rfc3339(CLOCK.now()))
    await targets.patch("west", {"status": {"conditions": [failed]}}, subresource="status")
    await until(replicas, lambda r: r == {"desired": 4, "ready": 2, "unready": 0, "unknown": 2})
    shown = await until(
        lambda: view.get("web", namespace="default"), lambda found: "no route" in told(found)["members"][1].get("message", "")
    )
    assert shown["status"]["readyReplicas"] == 2
    status = await until(
        lambda: world.client.resource(AGGREGATED_VIEWS).get("all"),
        lambda v: v.get("status", {}).get("healthyTargetCount") == 1,
        timeout_s=15.0,
    )
    assert "west: " in conditions.get(status, "Ready")["message"]  # type: ignore[index]


async def test_a_watch_goes_on_where_the_list_ended(world: World) -> None:
    await world.create(AGGREGATED_VIEWS, "AggregatedView", "all", spec={})
    view = at(world).resource(DEPLOYMENTS)
    listed = await view.list()
    await world.deploy("default", "web", 2)
    seen: list[tuple[str, int]] = []
    async with asyncio.timeout(15), aclosing(view.watch(resource_version=listed.resource_version)) as events:
        async for event in events:
            seen.append((event.type, told(event.object)["replicas"]["ready"]))
            if seen[-1] == ("MODIFIED", 2) and seen.count(("MODIFIED", 2)) == 1:
                await world.client.resource(DEPLOYMENTS).delete("web", namespace="default")
            if event.type == "DELETED":
                break
    assert seen[0][0] == "ADDED"
    assert {kind for kind, _ in seen[1:-1]} <= {"MODIFIED"}
    with pytest.raises(Expired):
        async with aclosing(view.watch(resource_version="5")) as events:
            await anext(events)


async def test_a_table_names_clusters_health_and_what_is_unknown(world: World) -> None:
    await world.create(AGGREGATED_VIEWS, "AggregatedView", "all", spec={})
    await world.deploy("default", "web", 2)
    await world.settle("default", "web", 2)
    response = await at(world).raw("GET", "/apis/apps/v1/deployments", headers={"accept": "application/json;as=Table;g=meta.k8s.io;v=v1"})
    table = json.loads(response.body)
    shown = [c["name"] for c in table["columnDefinitions"] if not c["priority"]]
    assert shown == ["Name", "Cluster", "Health", "Ready", "Up-to-date", "Available", "Unknown", "Observed", "Age"]
    row = dict(zip([c["name"] for c in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    assert (row["Cluster"], row["Health"], row["Ready"], row["Unknown"]) == ("east,west", "Healthy", "2/2", "0")


async def test_what_one_cluster_runs_is_shown_under_its_name(world: World) -> None:
    await world.create(AGGREGATED_VIEWS, "AggregatedView", "all", spec={})
    await world.deploy("default", "web", 3)
    await world.settle("default", "web", 3)
    shares = [(await at(world, place=place).resource(DEPLOYMENTS).get("web", namespace="default")) for place in ("east", "west")]
    assert sorted(obj["spec"]["replicas"] for obj in shares) == [1, 2]
    assert all(obj["status"]["readyReplicas"] == obj["spec"]["replicas"] for obj in shares)
    pods = (await at(world, place="east").resource(PODS).list(namespace="default")).items
    assert len(pods) == shares[0]["spec"]["replicas"]
    with pytest.raises(NotFound, match=r"is not over a cluster .north.; it is over east, west"):
        await at(world, place="north").resource(PODS).list()


async def test_a_view_is_read_only_and_for_those_who_may_read_the_workspace(world: World) -> None:
    await world.create(AGGREGATED_VIEWS, "AggregatedView", "all", spec={})
    await world.deploy("default", "web", 1)
    await until(lambda: at(world).resource(DEPLOYMENTS).list(), lambda found: found.items)
    with pytest.raises(MethodNotAllowed):
        await at(world).resource(DEPLOYMENTS).delete("web", namespace="default")
    nobody = Client(AsgiTransport(world.server.app, UserInfo("bob", ("system:authenticated",))), clock=CLOCK)
    with pytest.raises(Forbidden):
        await nobody.at("/services/tmc/root:work/all/clusters/*").resource(DEPLOYMENTS).list()
    with pytest.raises(NotFound, match="aggregatedviews"):
        await at(world, view="none").resource(DEPLOYMENTS).list()


async def test_a_user_sees_in_a_view_what_he_may_read_in_the_workspace(world: World) -> None:
    await world.create(AGGREGATED_VIEWS, "AggregatedView", "all", spec={})
    await world.deploy("default", "web", 1)
    rules = [
        {"nonResourceURLs": ["/"], "verbs": ["access"]},
        {"apiGroups": ["tmc.kcp.io"], "resources": ["aggregatedviews"], "verbs": ["get"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]},
    ]
    await world.create(CLUSTER_ROLES, "ClusterRole", "reader", rules=rules)
    role = {"apiGroup": CLUSTER_ROLES.group, "kind": "ClusterRole", "name": "reader"}
    subjects = [{"apiGroup": CLUSTER_ROLES.group, "kind": "User", "name": "ann"}]
    await world.create(CLUSTER_ROLE_BINDINGS, "ClusterRoleBinding", "reader", roleRef=role, subjects=subjects)
    ann = Client(AsgiTransport(world.server.app, UserInfo("ann", ("system:authenticated",))), clock=CLOCK)
    view = ann.at("/services/tmc/root:work/all/clusters/*")

    async def look() -> list[dict[str, Any]]:
        try:
            return (await view.resource(DEPLOYMENTS).list()).items
        except Forbidden:
            return []  # the rights are a moment old

    await until(look, bool)
    assert {r.gvr.resource for r in await view.discover()} >= {"deployments", "pods"}
    with pytest.raises(Forbidden, match='cannot list resource "pods"'):
        await view.resource(PODS).list()
    with pytest.raises(Forbidden, match='cannot watch resource "deployments"'):
        async with aclosing(view.resource(DEPLOYMENTS).watch()) as events:
            await anext(events)


async def test_with_its_last_sync_target_a_view_loses_what_it_showed(world: World) -> None:
    await world.create(AGGREGATED_VIEWS, "AggregatedView", "all", spec={})
    await world.deploy("default", "web", 2)
    await world.settle("default", "web", 2)
    view, views = at(world).resource(DEPLOYMENTS), world.client.resource(AGGREGATED_VIEWS)
    await until(view.list, lambda found: found.items)
    for name in world.clusters:
        await world.client.resource(SYNC_TARGETS).delete(name)
    await until(view.list, lambda found: not found.items)
    shown = await until(lambda: views.get("all"), lambda v: v["status"]["phase"] == "Pending", timeout_s=15.0)
    assert (shown["status"]["targetCount"], shown["status"]["totalCount"]) == (0, 0)


async def test_a_reader_may_demand_fresher_words_than_there_are(world: World) -> None:
    await world.create(AGGREGATED_VIEWS, "AggregatedView", "all", spec={})
    await world.deploy("default", "web", 2)
    await world.settle("default", "web", 2)
    path = "/apis/apps/v1/namespaces/default/deployments/web"
    old = rfc3339(CLOCK.now() - timedelta(seconds=40))
    await world.client.resource(SYNC_TARGETS).patch("east", {"status": {"lastSyncerHeartbeatTime": old}}, subresource="status")

    async def known(**demand: Any) -> int:
        clusters: dict[str, int] = told(json.loads((await at(world).raw("GET", path, **demand)).body))["clusters"]
        return clusters["healthy"]

    await until(lambda: known(query={"maxStaleness": "30s"}), lambda n: n == 1)
    assert await known() == 2
    assert await known(headers={"x-tmc-max-staleness": "10m"}) == 2
    with pytest.raises(BadRequest, match="maxStaleness"):
        await known(query={"maxStaleness": "soon"})
    patch = {"spec": {"maxStaleness": "30s"}}
    await world.client.resource(AGGREGATED_VIEWS).patch("all", patch)
    await until(known, lambda n: n == 1)


async def test_a_rule_that_fails_is_told_on_the_view(world: World) -> None:
    spec = {"group": "apps", "kind": "Deployment", "health": "object.status.readyReplicas > object.status.nothing"}
    await world.create(STATUS_RULES, "StatusRule", "odd", spec=spec)
    await world.create(AGGREGATED_VIEWS, "AggregatedView", "all", spec={"kinds": [{"group": "apps", "kind": "Deployment"}]})
    await world.deploy("default", "web", 2)
    await world.settle("default", "web", 2)
    views = world.client.resource(AGGREGATED_VIEWS)
    shown = await until(lambda: views.get("all"), lambda v: conditions.is_false(v, "RulesApplied"), timeout_s=15.0)
    message = conditions.get(shown, "RulesApplied")["message"]  # type: ignore[index]
    assert message.startswith("Deployment default/web: east: object.status.readyReplicas > object.status.nothing: ")
    assert shown["status"]["unknownCount"] == 1
    with pytest.raises(Invalid, match=r"spec.health"):
        await world.create(STATUS_RULES, "StatusRule", "bad", spec={**spec, "health": "object."})


async def test_a_view_of_a_placement_that_has_chosen_nothing_is_empty_and_says_so(world: World) -> None:
    await world.create(AGGREGATED_VIEWS, "AggregatedView", "none", spec={"placement": "nowhere"})
    await world.deploy("default", "web", 2)
    await world.settle("default", "web", 2)
    views = world.client.resource(AGGREGATED_VIEWS)
    shown = await until(lambda: views.get("none"), lambda v: v.get("status", {}).get("phase") == "Pending")
    assert "Placement nowhere has chosen no cluster" in conditions.get(shown, "Ready")["message"]  # type: ignore[index]
    assert (await at(world, view="none").resource(DEPLOYMENTS).list()).items == []


async def test_health_and_numbers_of_views_are_told_with_everything_else(world: World) -> None:
    await world.create(AGGREGATED_VIEWS, "AggregatedView", "all", spec={})

    async def look() -> dict[str, Any]:
        response = await world.server.client.cluster("").raw("GET", "/healthz/tmc", query={"verbose": "1"})
        return next((c for c in json.loads(response.body)["components"] if c["componentID"] == "views"), {})

    found = await until(look, lambda c: c.get("details", {}).get("views") == "1", timeout_s=15.0)
    assert (found["componentType"], found["status"]) == ("VirtualWorkspaceManager", "Healthy")
    await world.deploy("default", "web", 1)
    await until(lambda: at(world).resource(DEPLOYMENTS).list(), lambda listed: listed.items)
    with pytest.raises(NotFound):
        await at(world).resource(DEPLOYMENTS).get("none", namespace="default")
    metrics = (await world.server.client.cluster("").raw("GET", "/metrics")).body.decode()
    workspace = meta.cluster(await world.client.resource(AGGREGATED_VIEWS).get("all"))
    assert f'tmc_virtual_workspaces_total{{logical_cluster="{workspace}",status="Active"}} 1' in metrics
    assert 'tmc_aggregated_resources_total{gvk="deployments.apps"} 1' in metrics
    assert f'tmc_virtual_workspace_operation_duration_seconds_count{{operation="get",workspace="{workspace}"}} 1' in metrics
    assert f'error_type="NotFound",workspace="{workspace}"}} 1' in metrics


async def test_off_means_not_there(tmp_path: Path) -> None:
    tmc = TMCOptions(enabled=True, virtual_workspaces=False)
    async with run_server(Options(root_directory=tmp_path, in_memory=True, tmc=tmc), clock=CLOCK, with_socket=False) as server:
        with pytest.raises(NotFound, match=r"no virtual workspace 'tmc' is served here"):
            await server.client.at("/services/tmc/root/all/clusters/*").resource(DEPLOYMENTS).list()
