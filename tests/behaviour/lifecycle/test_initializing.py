"""Initializers and their virtual workspace: who sees which workspaces, what may be changed, and as whom one works inside."""

import orjson
import pytest
from tests.behaviour.lifecycle.town import ADA, BOB, CONFIG_MAPS, Town, config_map, phase

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, Invalid, MethodNotAllowed, NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import UserInfo
from kcp.tenancy import kinds


def clusters(items: list[JSONObject]) -> set[str]:
    return {str(meta.cluster(item)) for item in items}


async def test_types_tell_where_their_workspaces_are_prepared(town: Town) -> None:
    made = await town.type("alpha", initializer=True)
    urls = {entry["type"]: entry["url"] for entry in made["status"]["virtualWorkspaces"]}
    assert urls["initializing"].endswith(f"/services/initializingworkspaces/{town.name}:alpha")
    assert urls["terminating"].endswith(f"/services/terminatingworkspaces/{town.name}:alpha")
    assert conditions.is_true(made, "VirtualWorkspaceURLsReady")


async def test_initializers_see_the_workspaces_that_wait_for_them(town: Town) -> None:
    await town.type("alpha", initializer=True)
    await town.type("beta", initializer=True)
    await town.type("gamma", initializer=True, extend={"with": [{"name": n, "path": "root:town"} for n in ("alpha", "beta")]})
    names = {kind: (await town.workspace(kind, kind, until="Initializing"))["spec"]["cluster"] for kind in ("alpha", "beta", "gamma")}
    with pytest.raises(Forbidden):
        await town.service("initializing", "alpha").resource(kinds.LOGICAL_CLUSTERS).list()
    await town.allow("initialize", "alpha", "beta", "gamma")
    for kind, seen in (("alpha", ("alpha", "gamma")), ("beta", ("beta", "gamma")), ("gamma", ("gamma",))):
        found = await town.service("initializing", kind).resource(kinds.LOGICAL_CLUSTERS).list()
        assert clusters(found.items) == {names[name] for name in seen}
    gamma = await town.at(names["gamma"]).resource(kinds.LOGICAL_CLUSTERS).get("cluster")
    assert sorted(gamma["status"]["initializers"]) == [f"{town.name}:{kind}" for kind in ("alpha", "beta", "gamma")]


async def test_initializers_may_remove_themselves_and_nothing_else(town: Town) -> None:
    await town.type("alpha", initializer=True)
    await town.allow("initialize", "alpha")
    made = await town.workspace("one", "alpha", until="Initializing")
    inside = town.service("initializing", "alpha", made["spec"]["cluster"]).resource(kinds.LOGICAL_CLUSTERS)
    with pytest.raises(Invalid, match='only removing the "[a-z0-9]+:alpha" initializer is supported'):
        await inside.patch("cluster", {"status": {"initializers": ["wrong"]}}, subresource="status")
    with pytest.raises(MethodNotAllowed):
        await inside.patch("cluster", {"metadata": {"annotations": {"wrong": "wrong"}}})
    await inside.patch("cluster", {"status": {"initializers": []}}, subresource="status")
    workspaces = town.at().resource(kinds.WORKSPACES)
    ready = await town.until(workspaces, "one", lambda w: phase(w) == "Ready", "the workspace")
    assert "initializers" not in ready["status"]
    with pytest.raises(Forbidden, match="cannot access this workspace"):
        await town.service("initializing", "alpha", made["spec"]["cluster"]).resource(CONFIG_MAPS).list()
    await town.gone(town.service("initializing", "alpha").resource(kinds.LOGICAL_CLUSTERS), "cluster")
    with pytest.raises(NotFound):
        await inside.get("cluster")


async def test_content_is_worked_on_as_the_creator(town: Town) -> None:
    await town.type("alpha", initializer=True, extend={"with": [{"name": "universal", "path": "root"}]})
    await town.allow("initialize", "alpha")
    made = await town.workspace("one", "alpha", until="Initializing")
    cluster = made["spec"]["cluster"]
    held = await town.at(cluster).resource(kinds.LOGICAL_CLUSTERS).get("cluster")
    assert held["spec"]["createdBy"] == {"username": "ada", "groups": list(ADA.groups), "extra": {"floor": ["1"]}}
    inside = town.service("initializing", "alpha", cluster)
    await inside.resource(CONFIG_MAPS).create(config_map("mine"), namespace="default")
    outside = await town.at(cluster, ADA).resource(CONFIG_MAPS).get("mine", namespace="default")
    assert meta.cluster(outside) == cluster
    with pytest.raises(Forbidden):
        await town.at(cluster, BOB).resource(CONFIG_MAPS).list()


async def test_declared_permissions_are_all_that_an_initializer_has(town: Town) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get"]}]
    await town.type("alpha", initializer=True, initializerPermissions=rules, extend={"with": [{"name": "universal", "path": "root"}]})
    await town.allow("initialize", "alpha")
    made = await town.workspace("one", "alpha", until="Initializing")
    inside = town.service("initializing", "alpha", made["spec"]["cluster"])
    await inside.resource(CONFIG_MAPS).create(config_map("mine"), namespace="default")
    assert meta.name(await inside.resource(CONFIG_MAPS).get("mine", namespace="default")) == "mine"
    with pytest.raises(Forbidden, match="denied by initializerPermissions"):
        await inside.resource(CONFIG_MAPS).list()
    group = f"system:kcp:initializer:{town.name}:alpha"
    pretender = UserInfo("eve", ("system:authenticated", group))
    with pytest.raises(Forbidden):
        await town.at(made["spec"]["cluster"], pretender).resource(CONFIG_MAPS).list()


async def test_watchers_see_workspaces_come_and_go(town: Town) -> None:
    await town.type("alpha", initializer=True)
    await town.allow("initialize", "alpha")
    view = town.service("initializing", "alpha").resource(kinds.LOGICAL_CLUSTERS)
    start = await view.list()
    made = await town.workspace("one", "alpha", until="Initializing")
    inside = town.service("initializing", "alpha", made["spec"]["cluster"]).resource(kinds.LOGICAL_CLUSTERS)
    seen: list[str] = []
    async for event in view.watch(resource_version=start.resource_version):
        if not seen:
            await inside.patch("cluster", {"status": {"initializers": []}}, subresource="status")
        seen.append(event.type)
        if event.type == "DELETED":
            break
    assert seen[0] == "ADDED"
    assert seen[-1] == "DELETED"


async def test_discovery_says_what_may_be_done(town: Town) -> None:
    admin = town.server.client.at("/services/initializingworkspaces/whatever/clusters/*")
    main, status = orjson.loads((await admin.raw("GET", "/apis/core.kcp.io/v1alpha1")).body)["resources"]
    assert (main["name"], main["verbs"], main["categories"]) == ("logicalclusters", ["get", "list", "watch"], ["kcp"])
    assert main["storageVersionHash"]
    assert (status["name"], status["verbs"]) == ("logicalclusters/status", None)
    assert orjson.loads((await admin.raw("GET", "/api")).body)["versions"] == ["v1"]


async def test_malformed_initializers_are_refused(town: Town) -> None:
    view = town.as_user(BOB).at("/services/initializingworkspaces/whatever/clusters/*")
    with pytest.raises(Forbidden, match="<cluster>:<workspace type>"):
        await view.resource(kinds.LOGICAL_CLUSTERS).list()
