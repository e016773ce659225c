"""Workspace types: bindings that are kept, claims that are accepted, circles, missing and forbidden types, types deleted while in use."""

import pytest
from tests.behaviour.lifecycle.town import ADA, Town, phase

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS
from kcp.tenancy import kinds


async def export(town: Town, plural: str, **spec: object) -> None:
    """An APIExport of the town with one resource."""
    names = {"plural": plural, "kind": plural.title(), "singular": plural, "listKind": f"{plural.title()}List"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"type": "object"}}
    group = f"{plural}.example.com"
    schema = {"group": group, "names": names, "scope": "Cluster", "versions": [version]}
    made: JSONObject = {"apiVersion": SCHEMAS.api_version, "kind": "APIResourceSchema", "spec": schema}
    await town.at().resource(SCHEMAS).create({**made, "metadata": {"name": f"v1.{plural}.{group}"}})
    resources = [{"group": group, "name": plural, "schema": f"v1.{plural}.{group}"}]
    wanted = {
        "apiVersion": EXPORTS.api_version,
        "kind": "APIExport",
        "metadata": {"name": plural},
        "spec": {"resources": resources, **spec},
    }
    await town.at().resource(EXPORTS).create(wanted)
    await town.until(town.at().resource(EXPORTS), plural, lambda e: meta.nested(e, "status", "identityHash"), f"export {plural}")


async def bound(workspace: Client, plural: str, *, besides: str = "") -> JSONObject:
    """The binding to an export of the town, once it is bound."""
    async for event in workspace.resource(BINDINGS).watch():
        held = event.object
        is_it = meta.nested(held, "spec", "reference", "export", "name") == plural and meta.uid(held) != besides
        if is_it and event.type != "DELETED" and phase(held) == "Bound":
            return held
    raise AssertionError("the watch ended")


async def test_maintained_bindings_come_back_and_follow_the_type(town: Town) -> None:
    await export(town, "saws")
    await export(town, "axes")
    await town.type("tools", defaultAPIBindings=[{"export": "saws"}], defaultAPIBindingLifecycle="Maintain")
    made = await town.workspace("one", "tools")
    inside = town.at(made["spec"]["cluster"])
    first = await bound(inside, "saws")
    await inside.resource(BINDINGS).delete(meta.name(first))
    await bound(inside, "saws", besides=meta.uid(first))
    both = [{"export": "saws", "path": "root:town"}, {"export": "axes", "path": "root:town"}]
    await town.at().resource(kinds.WORKSPACE_TYPES).patch("tools", {"spec": {"defaultAPIBindings": both}})
    await bound(inside, "axes")
    clusters = inside.resource(kinds.LOGICAL_CLUSTERS)
    await town.until(clusters, "cluster", lambda c: conditions.is_true(c, "APIBindingsReconciled"), "the condition")


async def test_bindings_of_types_that_only_initialize_stay_away(town: Town) -> None:
    await export(town, "saws")
    await export(town, "axes")
    await town.type("once", defaultAPIBindings=[{"export": "saws"}])
    await town.type("kept", defaultAPIBindings=[{"export": "axes"}], defaultAPIBindingLifecycle="Maintain")
    one, two = await town.workspace("one", "once"), await town.workspace("two", "kept")
    inside = town.at(one["spec"]["cluster"]).resource(BINDINGS)
    await inside.delete(meta.name(await bound(town.at(one["spec"]["cluster"]), "saws")))
    other = town.at(two["spec"]["cluster"])
    held = await bound(other, "axes")
    await other.resource(BINDINGS).delete(meta.name(held))
    await bound(other, "axes", besides=meta.uid(held))
    assert not [b for b in (await inside.list()).items if not meta.deletion_timestamp(b)]


async def test_default_bindings_accept_what_their_exports_claim(town: Town) -> None:
    claim = {"group": "", "resource": "configmaps", "verbs": ["get", "list"]}
    await export(town, "saws", permissionClaims=[claim])
    await town.type("tools", defaultAPIBindings=[{"export": "saws", "path": "root:town"}])
    made = await town.workspace("one", "tools")
    binding = await bound(town.at(made["spec"]["cluster"]), "saws")
    (accepted,) = binding["spec"]["permissionClaims"]
    assert accepted.items() >= {**claim, "selector": {"matchAll": True}, "state": "Accepted"}.items()


async def test_circles_and_missing_types_are_told(town: Town) -> None:
    await town.type("hen", extend={"with": [{"name": "egg", "path": "root:town"}]})
    with pytest.raises(Forbidden, match="unable to find inherited workspace type root:town:egg, extended by root:town:hen"):
        await town.workspace("one", "hen")
    await town.type("egg", extend={"with": [{"name": "hen", "path": "root:town"}]})
    with pytest.raises(Forbidden, match="circular dependency detected in workspace type root:town:hen: "):
        await town.workspace("one", "hen")
    with pytest.raises(Forbidden, match="workspace type root:town:none cannot be resolved"):
        await town.workspace("one", "none")


async def test_types_one_may_not_use_are_refused(town: Town) -> None:
    await town.type("plain")
    rest = [{"apiGroups": ["tenancy.kcp.io"], "resources": ["workspaces"], "verbs": ["*"]}]
    eve = type(ADA)("eve", ("system:authenticated",))
    await town.grant(eve, rest)
    with pytest.raises(Forbidden, match="missing verb='use' permission on workspacetype"):
        await town.workspace("one", "plain", user=eve)


async def test_workspaces_outlive_their_type(town: Town) -> None:
    await town.type("plain", extend={"with": [{"name": "universal", "path": "root"}]})
    await town.workspace("one", "plain")
    await town.at().resource(kinds.WORKSPACE_TYPES).delete("plain")
    workspaces = town.at().resource(kinds.WORKSPACES)
    assert phase(await workspaces.get("one")) == "Ready"
    await workspaces.delete("one")
    await town.gone(workspaces, "one")


async def test_initializer_that_never_ends_is_told_and_deleted(town: Town) -> None:
    await town.type("slow", initializer=True)
    made = await town.workspace("one", "slow", until="Initializing")
    told = conditions.get(made, "WorkspaceInitialized")
    assert told is not None
    assert told["reason"] == "InitializerExists"
    assert f"{town.name}:slow" in told["message"]
    workspaces = town.at().resource(kinds.WORKSPACES)
    await town.at().resource(kinds.WORKSPACE_TYPES).delete("slow")
    await workspaces.delete("one")
    await town.gone(workspaces, "one")


async def test_a_type_is_named_by_path_by_cluster_or_by_name_alone(town: Town) -> None:
    await town.type("shop", initializer=False, additionalWorkspaceLabels={"kind": "shop"})
    workspaces = town.at(user=ADA).resource(kinds.WORKSPACES)
    for name, path in (("by-path", "root:town"), ("by-cluster", town.name), ("by-name", "")):
        spec = {"type": {"name": "shop", **({"path": path} if path else {})}}
        obj = {"apiVersion": kinds.WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}, "spec": spec}
        created = await workspaces.create(obj)
        assert created["spec"]["type"] == {"name": "shop", "path": path or "root:town"}
        made = await town.until(workspaces, name, lambda w: phase(w) == "Ready", name)
        assert meta.labels(made)["kind"] == "shop"
        cluster = await town.at(f"root:town:{name}").resource(kinds.LOGICAL_CLUSTERS).get("cluster")
        assert meta.annotations(cluster)["internal.tenancy.kcp.io/type"] == "root:town:shop"


async def test_a_type_binds_only_what_its_author_may_bind(town: Town) -> None:
    """The server binds for the type, and may bind everything.

    Source: kcp test/e2e/apibinding/default_apibinding_admission_test.go.
    """
    universal = {"type": {"name": "universal", "path": "root"}}
    private = {"apiVersion": kinds.WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": "private"}, "spec": universal}
    workspaces = town.at("root").resource(kinds.WORKSPACES)
    await workspaces.create(private)
    await town.until(workspaces, "private", lambda w: phase(w) == "Ready", "the provider")
    exports = town.at("root:private").resource(kinds.API_EXPORTS)
    await exports.create({"apiVersion": exports.gvr.api_version, "kind": "APIExport", "metadata": {"name": "tools"}, "spec": {}})
    types = town.at(user=ADA).resource(kinds.WORKSPACE_TYPES)

    def named(name: str, *bindings: JSONObject) -> JSONObject:
        spec: JSONObject = {"defaultAPIBindings": list(bindings)} if bindings else {}
        return {"apiVersion": types.gvr.api_version, "kind": "WorkspaceType", "metadata": {"name": name}, "spec": spec}

    tools = {"path": "root:private", "export": "tools"}
    refused = "no permission to bind to export root:private:tools"
    with pytest.raises(Forbidden, match=refused):
        await types.create(named("bad", tools))
    await types.create(named("later"))
    with pytest.raises(Forbidden, match=refused):
        await types.patch("later", {"spec": {"defaultAPIBindings": [tools]}})
    await types.create(named("own", {"export": "mine"}))
    with pytest.raises(Forbidden, match="no permission to bind to export root:nowhere:tools"):
        await types.create(named("lost", {"path": "root:nowhere", "export": "tools"}))
    rule = {"apiGroups": ["apis.kcp.io"], "resources": ["apiexports"], "resourceNames": ["tools"], "verbs": ["bind"]}
    provider, role = town.at("root:private"), {"apiGroup": kinds.CLUSTER_ROLES.group, "kind": "ClusterRole", "name": "bind"}
    api_version = kinds.CLUSTER_ROLES.api_version
    await provider.resource(kinds.CLUSTER_ROLES).create(
        {"apiVersion": api_version, "kind": "ClusterRole", "metadata": {"name": "bind"}, "rules": [rule]}
    )
    subjects = [{"apiGroup": kinds.CLUSTER_ROLES.group, "kind": "User", "name": ADA.name}]
    bound = {"apiVersion": api_version, "kind": "ClusterRoleBinding", "metadata": {"name": "bind"}, "roleRef": role, "subjects": subjects}
    await provider.resource(kinds.CLUSTER_ROLE_BINDINGS).create(bound)
    await types.create(named("good", tools))
    await provider.resource(kinds.CLUSTER_ROLE_BINDINGS).delete("bind")
    assert meta.labels(await types.patch("good", {"metadata": {"labels": {"a": "b"}}})) == {"a": "b"}
