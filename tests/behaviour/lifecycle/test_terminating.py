"""Terminators and their virtual workspace: a deleted workspace waits for them, with its content, and says so."""

import pytest
from tests.behaviour.lifecycle.town import BOB, CONFIG_MAPS, Town, config_map, phase

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, Invalid, MethodNotAllowed
from kcp.apimachinery.meta import JSONObject
from kcp.tenancy import kinds

UNIVERSAL = {"with": [{"name": "universal", "path": "root"}]}


async def deleted(town: Town, name: str) -> JSONObject:
    """The workspace, once it tells that it is being terminated."""
    workspaces = town.at().resource(kinds.WORKSPACES)
    await workspaces.delete(name)
    return await town.until(workspaces, name, lambda w: phase(w) == "Terminating", "the phase Terminating")


async def remove(town: Town, type_: str, cluster: str) -> None:
    """The terminator of this type is done."""
    inside = town.service("terminating", type_, cluster).resource(kinds.LOGICAL_CLUSTERS)
    left = [t for t in (await inside.get("cluster"))["status"]["terminators"] if t != f"{town.name}:{type_}"]
    await inside.patch("cluster", {"status": {"terminators": left}}, subresource="status")


async def test_workspaces_carry_the_terminators_of_all_their_types(town: Town) -> None:
    await town.type("alpha", terminator=True)
    await town.type("gamma", terminator=True, extend={"with": [{"name": "alpha", "path": "root:town"}]})
    made = await town.workspace("one", "gamma")
    every = [f"{town.name}:alpha", f"{town.name}:gamma"]
    assert made["status"]["terminators"] == every
    held = await town.at(made["spec"]["cluster"]).resource(kinds.LOGICAL_CLUSTERS).get("cluster")
    assert (held["spec"]["terminators"], held["status"]["terminators"]) == (every, every)
    assert "kcp.io/has-terminators" in meta.finalizers(held)


async def test_deletion_waits_for_each_terminator(town: Town) -> None:
    await town.type("alpha", terminator=True, extend=UNIVERSAL)
    await town.type("gamma", terminator=True, extend={"with": [{"name": "alpha", "path": "root:town"}]})
    await town.allow("terminate", "alpha", "gamma")
    made = await town.workspace("one", "gamma")
    cluster = made["spec"]["cluster"]
    await town.at(cluster).resource(CONFIG_MAPS).create(config_map("mine"), namespace="default")
    view = town.service("terminating", "alpha").resource(kinds.LOGICAL_CLUSTERS)
    assert not (await view.list()).items, "nobody terminates a workspace that is not deleted"
    gone = await deleted(town, "one")
    assert meta.labels(gone)["tenancy.kcp.io/phase"] in ("Terminating", "Ready")
    assert [meta.cluster(found) for found in (await view.list()).items] == [cluster]
    kept = await town.service("terminating", "alpha", cluster).resource(CONFIG_MAPS).get("mine", namespace="default")
    assert meta.name(kept) == "mine"
    await remove(town, "alpha", cluster)
    await town.gone(view, "cluster")
    assert not (await view.list()).items
    await remove(town, "gamma", cluster)
    await town.gone(town.at().resource(kinds.WORKSPACES), "one")


async def test_terminators_may_remove_themselves_and_nothing_else(town: Town) -> None:
    await town.type("alpha", terminator=True)
    made = await town.workspace("one", "alpha")
    await deleted(town, "one")
    inside = town.service("terminating", "alpha", made["spec"]["cluster"]).resource(kinds.LOGICAL_CLUSTERS)
    with pytest.raises(Forbidden):
        await inside.get("cluster")
    await town.allow("terminate", "alpha")
    with pytest.raises(Invalid, match='only removing the "[a-z0-9]+:alpha" terminator is supported'):
        await inside.patch("cluster", {"status": {"terminators": ["wrong:wrong"]}}, subresource="status")
    with pytest.raises(MethodNotAllowed):
        await inside.patch("cluster", {"metadata": {"annotations": {"wrong": "wrong"}}})
    with pytest.raises(MethodNotAllowed):
        await inside.delete("cluster")


async def test_watchers_see_the_deletion_as_a_change(town: Town) -> None:
    await town.type("alpha", terminator=True)
    await town.allow("terminate", "alpha")
    view = town.service("terminating", "alpha").resource(kinds.LOGICAL_CLUSTERS)
    start = await view.list()
    made = await town.workspace("one", "alpha")
    await town.at().resource(kinds.WORKSPACES).delete("one")
    seen = []
    async for event in view.watch(resource_version=start.resource_version):
        assert event.type == "DELETED" or meta.deletion_timestamp(event.object)
        seen.append(event.type)
        if seen == ["MODIFIED"]:
            await remove(town, "alpha", made["spec"]["cluster"])
        if event.type == "DELETED":
            break
    assert seen[0] == "MODIFIED"


async def test_declared_permissions_are_all_that_a_terminator_has(town: Town) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["get"]}]
    await town.type("alpha", terminator=True, terminatorPermissions=rules, extend=UNIVERSAL)
    await town.allow("terminate", "alpha")
    made = await town.workspace("one", "alpha")
    cluster = made["spec"]["cluster"]
    for name in ("mine", "yours"):
        await town.at(cluster).resource(CONFIG_MAPS).create(config_map(name), namespace="default")
    with pytest.raises(Forbidden, match="cannot access this workspace"):
        await town.service("terminating", "alpha", cluster).resource(CONFIG_MAPS).get("mine", namespace="default")
    await deleted(town, "one")
    inside = town.service("terminating", "alpha", cluster, user=BOB).resource(CONFIG_MAPS)
    assert meta.name(await inside.get("mine", namespace="default")) == "mine"
    with pytest.raises(Forbidden, match="denied by terminatorPermissions"):
        await inside.get("yours", namespace="default")


async def test_terminators_are_not_for_users_to_change(town: Town) -> None:
    await town.type("alpha", terminator=True)
    made = await town.workspace("one", "alpha")
    mine = town.at(made["spec"]["cluster"]).resource(kinds.LOGICAL_CLUSTERS)
    held = await mine.get("cluster")
    assert held["spec"]["createdBy"]["username"] == "ada"
    assert meta.annotations(held)["experimental.tenancy.kcp.io/owner"] == '{"username":"ada"}'
