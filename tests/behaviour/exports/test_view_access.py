"""Who may what through the view of an export that claims another export's resources.

Two providers: one exports gadgets under a maximal permission policy, the other widgets and claims gadgets and ConfigMaps.
Source: kcp test/e2e/virtual/apiexport/{authorizer,virtualworkspace}_test.go, test/e2e/apibinding/cross_workspace_auth_test.go.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.exports.market import (
    CONFIG_MAP_CLAIM,
    CONFIG_MAPS,
    PROVIDER,
    ROLE_BINDINGS,
    ROLES,
    WIDGETS,
    Market,
    accepted,
    config_map,
    is_settled,
    named,
)

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS
from kcp.registry.backend import UserInfo
from kcp.tenancy.kinds import LOGICAL_CLUSTERS

GADGETS = GVR("example.org", "v1", "gadgets")
CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
EVERY: dict[str, Any] = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}


async def gadgets_of_another_provider(market: Market, **spec: Any) -> str:
    """Returns the identity of the export of gadgets."""
    other = await market.workspace("other")
    names = {"plural": "gadgets", "kind": "Gadget", "singular": "gadget", "listKind": "GadgetList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    schema = {"group": "example.org", "names": names, "scope": "Namespaced", "versions": [version]}
    await other.resource(SCHEMAS).create(named(SCHEMAS, "APIResourceSchema", "v1.gadgets.example.org", schema))
    resources = [{"group": "example.org", "name": "gadgets", "schema": "v1.gadgets.example.org"}]
    exports = other.resource(EXPORTS)
    await exports.create(named(EXPORTS, "APIExport", "gadgets", {"resources": resources, **spec}))
    made = await market.until(exports, "gadgets", lambda e: bool(meta.nested(e, "status", "identityHash")), "identity")
    return str(made["status"]["identityHash"])


async def bind_gadgets(market: Market, workspace: str) -> None:
    bindings = market.at(workspace).resource(BINDINGS)
    spec = {"reference": {"export": {"path": "root:other", "name": "gadgets"}}}
    await bindings.create(named(BINDINGS, "APIBinding", "gadgets", spec))
    await market.until(bindings, "gadgets", is_settled, "the binding")


def gadget(name: str) -> JSONObject:
    return named(GADGETS, "Gadget", name, {"n": 1})


async def test_the_owner_of_claimed_resources_limits_who_claims_them(market: Market) -> None:
    identity = await gadgets_of_another_provider(market, maximalPermissionPolicy={"local": {}})
    claim = {"group": "example.org", "resource": "gadgets", "identityHash": identity, "verbs": ["*"]}
    await market.export(claims=[claim, CONFIG_MAP_CLAIM])
    one = await market.workspace("one")
    await bind_gadgets(market, "one")
    await market.bind("one", accepted(claim), accepted(CONFIG_MAP_CLAIM))
    await one.resource(GADGETS).create(gadget("g"), namespace="default")
    view = market.view("one")
    refused = (
        r'gadgets\.example\.org is forbidden: User "provider" cannot list resource "gadgets" in API group "example\.org" '
        "at the cluster scope: access denied"
    )
    for place in (view, market.view()):
        with pytest.raises(Forbidden, match=refused):
            await place.resource(GADGETS).list()
    assert (await view.resource(CONFIG_MAPS).list()).items
    rule = {"apiGroups": ["example.org"], "resources": ["gadgets"], "verbs": ["list", "watch", "get"]}
    await market.grant("other", f"apis.kcp.io:binding:{PROVIDER.name}", [rule])
    assert [meta.name(obj) for obj in (await view.resource(GADGETS).list()).items] == ["g"]
    assert [meta.name(obj) for obj in (await market.view().resource(GADGETS).list()).items] == ["g"]
    with pytest.raises(Forbidden):
        await view.resource(GADGETS).create(gadget("h"), namespace="default")


async def test_a_claim_is_to_the_objects_of_one_identity(market: Market) -> None:
    """Another export of the same name is none of the claim's business."""
    identity = await gadgets_of_another_provider(market)
    claim = {"group": "example.org", "resource": "gadgets", "identityHash": identity, "verbs": ["*"]}
    await market.export(claims=[claim])
    provider = market.at("provider")
    spec = (await market.at("other").resource(SCHEMAS).get("v1.gadgets.example.org"))["spec"]
    await provider.resource(SCHEMAS).create(named(SCHEMAS, "APIResourceSchema", "mine.gadgets.example.org", spec))
    await market.export("imitation", resources=[{"group": "example.org", "name": "gadgets", "schema": "mine.gadgets.example.org"}])
    for name in ("one", "two"):
        await market.workspace(name)
    await bind_gadgets(market, "one")
    await market.bind("two", export="imitation")
    for name in ("one", "two"):
        await market.bind(name, accepted(claim))
        await market.at(name).resource(GADGETS).create(gadget(f"of-{name}"), namespace="default")
    assert [meta.name(obj) for obj in (await market.view().resource(GADGETS).list()).items] == ["of-one"]
    with pytest.raises((Forbidden, NotFound)):
        await market.view("two").resource(GADGETS).get("of-two", namespace="default")


async def test_what_a_local_definition_shadows_is_not_seen(market: Market) -> None:
    await market.export()
    one = await market.workspace("one")
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    spec = {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"}, "versions": [version]}
    await one.resource(CRDS).create(named(CRDS, "CustomResourceDefinition", "widgets.example.com", spec))
    await market.until(one.resource(CRDS), "widgets.example.com", lambda c: conditions.is_true(c, "Established"), "the CRD")
    reference = {"reference": {"export": {"path": "root:provider", "name": "widgets"}}}
    await one.resource(BINDINGS).create(named(BINDINGS, "APIBinding", "widgets", reference))
    await market.until(one.resource(BINDINGS), "widgets", lambda b: conditions.is_false(b, "BindingUpToDate"), "a conflict")
    await one.resource(WIDGETS).create(named(WIDGETS, "Widget", "local"), namespace="default")
    with pytest.raises((Forbidden, NotFound)):
        await market.view("one").resource(WIDGETS).list()
    with pytest.raises((Forbidden, NotFound)):
        await market.view("one").resource(WIDGETS).create(named(WIDGETS, "Widget", "intruder"), namespace="default")
    assert (await market.view().resource(WIDGETS).list()).items == []
    assert [meta.name(obj) for obj in (await one.resource(WIDGETS).list()).items] == ["local"]


async def test_a_claim_that_the_export_gives_up_is_served_no_more(market: Market) -> None:
    await market.export(claims=[CONFIG_MAP_CLAIM])
    one = await market.workspace("one")
    await market.bind("one", accepted(CONFIG_MAP_CLAIM))
    await one.resource(CONFIG_MAPS).create(config_map("m"), namespace="default")
    await market.at("provider").resource(EXPORTS).patch("widgets", {"spec": {"permissionClaims": None}})
    for view in (market.view(), market.view("one")):
        with pytest.raises((NotFound, Forbidden)):
            await view.resource(CONFIG_MAPS).list()
        assert "configmaps" not in {found.gvr.resource for found in await view.discover()}
    bindings = one.resource(BINDINGS)
    found = await market.until(bindings, "widgets", lambda b: conditions.is_false(b, "PermissionClaimsValid"), "a condition")
    assert (conditions.get(found, "PermissionClaimsValid") or {})["reason"] == "InvalidPermissionClaims"
    await market.until(bindings, "widgets", is_settled, "no labels")
    assert not meta.labels(await one.resource(CONFIG_MAPS).get("m", namespace="default"))


async def test_each_verb_on_the_content_is_asked_for(market: Market) -> None:
    await market.export()
    await market.workspace("one")
    await market.bind("one")
    user = UserInfo("user-1", ("system:authenticated",))
    content = {"apiGroups": ["apis.kcp.io"], "resources": ["apiexports/content"], "resourceNames": ["widgets"]}
    await market.grant("provider", user.name, [{**content, "verbs": ["list", "get"]}])
    widgets, provider = market.view("one", user=user).resource(WIDGETS), market.at("provider")

    async def may(*verbs: str) -> None:
        rules = [{**content, "verbs": ["list", "get", *verbs]}, {"nonResourceURLs": ["/"], "verbs": ["access"]}]
        await provider.resource(ROLES).patch("user-1", {"rules": rules})

    assert (await widgets.list()).items == []
    with pytest.raises(Forbidden):
        await widgets.create(named(WIDGETS, "Widget", "w"), namespace="default")
    await may("create")
    made = await widgets.create(named(WIDGETS, "Widget", "w"), namespace="default")
    for subresource in ("", "status"):
        with pytest.raises(Forbidden):
            await widgets.update({**made, "status": {}}, subresource=subresource)
    await may("update")
    made = await widgets.update({**made, "spec": {"n": 2}})
    await widgets.update({**made, "status": {}}, subresource="status")
    with pytest.raises(Forbidden):
        await widgets.patch("w", {"spec": {"n": 3}}, namespace="default")
    await may("patch")
    await widgets.patch("w", {"spec": {"n": 3}}, namespace="default")
    applied = named(WIDGETS, "Widget", "applied", {"n": 6})
    with pytest.raises(Forbidden):
        await widgets.apply(applied, field_manager="test", namespace="default")
    await may("patch", "create")
    await widgets.apply(applied, field_manager="test", namespace="default")
    await may("patch")
    with pytest.raises(NotFound):
        await widgets.patch("nothing", {"spec": {"n": 3}}, namespace="default")
    with pytest.raises(Forbidden):
        await widgets.delete("w", namespace="default")
    await may("delete")
    await widgets.delete("w", namespace="default")
    with pytest.raises(Forbidden):
        await widgets.delete_collection(namespace="default")
    await may("deletecollection")
    await widgets.delete_collection(namespace="default")
    assert (await widgets.list()).items == []


async def test_an_apply_that_creates_needs_the_claim_to_create(market: Market) -> None:
    """Source: kcp 0.31 test/e2e/virtual/apiexport/binding_test.go (TestAPIBindingPermissionClaimsSSA)."""
    narrow = {**CONFIG_MAP_CLAIM, "verbs": ["get", "patch"]}
    await market.export(claims=[narrow])
    one = await market.workspace("one")
    await market.bind("one", accepted(narrow))
    maps = market.view("one").resource(CONFIG_MAPS)
    with pytest.raises(Forbidden, match='cannot create resource "configmaps"'):
        await maps.apply(config_map("m"), field_manager="test", namespace="default")
    await one.resource(CONFIG_MAPS).create(config_map("m"), namespace="default")
    assert (await maps.apply({**config_map("m"), "data": {"a": "b"}}, field_manager="test", namespace="default"))["data"] == {"a": "b"}


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("system:serviceaccount:default:default", {"authentication.kcp.io/cluster-name": ("CLUSTER",)}),
        ("ada", {"authentication.kcp.io/scopes": ("cluster:CLUSTER",)}),
    ],
)
async def test_who_is_of_one_workspace_binds_as_a_member_of_it(market: Market, name: str, extra: dict[str, tuple[str, ...]]) -> None:
    await market.export()
    one = await market.workspace("one")
    cluster = meta.cluster(await one.resource(LOGICAL_CLUSTERS).get("cluster"))
    here = {key: tuple(value.replace("CLUSTER", cluster) for value in values) for key, values in extra.items()}
    await market.grant("one", name, [EVERY])
    bindings = market.at("one", UserInfo(name, ("system:authenticated",), extra=here)).resource(BINDINGS)
    wanted = named(BINDINGS, "APIBinding", "widgets", {"reference": {"export": {"path": "root:provider", "name": "widgets"}}})
    with pytest.raises(Forbidden, match="no permission to bind to export root:provider:widgets"):
        await bindings.create(wanted)
    rule = {"apiGroups": ["apis.kcp.io"], "resources": ["apiexports"], "resourceNames": ["widgets"], "verbs": ["bind"]}
    provider, group = market.at("provider"), f"system:cluster:{cluster}"
    await provider.resource(ROLES).create(named(ROLES, "ClusterRole", "bind", rules=[rule]))
    role = {"apiGroup": ROLES.group, "kind": "ClusterRole", "name": "bind"}
    subject = {"apiGroup": ROLES.group, "kind": "Group", "name": group}
    await provider.resource(ROLE_BINDINGS).create(named(ROLE_BINDINGS, "ClusterRoleBinding", "bind", roleRef=role, subjects=[subject]))
    await bindings.create(wanted)
    await market.until(bindings, "widgets", lambda b: conditions.is_true(b, "Ready"), "the binding")


async def test_an_export_of_nothing_claims_the_workspace_itself(market: Market) -> None:
    """Source: kcp test/e2e/apibinding/apibinding_logicalcluster_test.go."""
    claim = {"group": "core.kcp.io", "resource": "logicalclusters", "verbs": ["*"]}
    await market.export("clusters", claims=[claim], resources=[])
    one = await market.workspace("one")
    await market.workspace("two")
    await market.bind("one", accepted(claim), export="clusters")
    (found,) = (await market.view(export="clusters").resource(LOGICAL_CLUSTERS).list()).items
    assert meta.cluster(found) == meta.cluster(await one.resource(LOGICAL_CLUSTERS).get("cluster"))
    assert meta.nested(found, "spec", "owner", "name") == "one"
