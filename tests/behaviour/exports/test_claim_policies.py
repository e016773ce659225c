"""Claims that name no identity: each consumer's own binding says whose objects are meant, and a PermissionClaimPolicy who may claim so.

Two providers export gadgets, each under an identity of its own; a third exports widgets and claims gadgets, whosever.
Source: kcp test/e2e/apibinding/apibinding_identityagnostic_test.go, pkg/admission/apiexport/policy_test.go.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from tests.behaviour.exports.market import PROVIDER, WIDGETS, Market, accepted, is_settled, named

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS
from kcp.registry.backend import UserInfo
from kcp.tenancy.kinds import KCP_ADMIN

GADGETS = GVR("example.org", "v1", "gadgets")
POLICIES = GVR("admin.kcp.io", "v1alpha1", "permissionclaimpolicies")
CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
ADMIN = UserInfo("kcp-admin", (KCP_ADMIN, "system:authenticated"))
CLAIM = {"group": "example.org", "resource": "gadgets", "verbs": ["*"]}
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
NAMES = {"plural": "gadgets", "kind": "Gadget", "singular": "gadget", "listKind": "GadgetList"}
GADGET_EXPORT = {"resources": [{"group": "example.org", "name": "gadgets", "schema": "v1.gadgets.example.org"}]}


def policy(*providers: tuple[str, str], claimer: str = "example.com", groups: tuple[str, ...] = ("example.org",)) -> JSONObject:
    subjects = [{"kind": kind, "name": name} for kind, name in providers]
    return named(
        POLICIES, "PermissionClaimPolicy", "shop", {"providers": subjects, "claims": [{"claimer": claimer, "groups": list(groups)}]}
    )


def admin_of(market: Market, user: UserInfo = ADMIN) -> Client:
    return market.as_user(user).at("/services/admin")


async def allow(market: Market, *providers: tuple[str, str]) -> None:
    await admin_of(market).resource(POLICIES).create(policy(*providers or (("Group", "system:masters"),)))


async def gadgets_of(market: Market, workspace: str, **spec: Any) -> Client:
    """A provider of gadgets."""
    provider = await market.workspace(workspace)
    version = {"name": "v1", "served": True, "storage": True, "schema": OPEN}
    schema = {"group": "example.org", "names": NAMES, "scope": "Namespaced", "versions": [version]}
    await provider.resource(SCHEMAS).create(named(SCHEMAS, "APIResourceSchema", "v1.gadgets.example.org", schema))
    await provider.resource(EXPORTS).create(named(EXPORTS, "APIExport", "gadgets", {**GADGET_EXPORT, **spec}))
    await market.until(provider.resource(EXPORTS), "gadgets", lambda e: bool(meta.nested(e, "status", "identityHash")), "identity")
    return provider


async def consumer_of(market: Market, provider: str, workspace: str) -> Client:
    """A workspace with the gadgets of one provider, that grants them to the export of widgets; a gadget of its name is in it."""
    inside = await market.workspace(workspace)
    bindings = inside.resource(BINDINGS)
    spec = {"reference": {"export": {"path": f"root:{provider}", "name": "gadgets"}}}
    await bindings.create(named(BINDINGS, "APIBinding", "gadgets", spec))
    await market.until(bindings, "gadgets", is_settled, "the binding")
    await market.bind(workspace, accepted(CLAIM))
    await inside.resource(GADGETS).create(named(GADGETS, "Gadget", f"of-{workspace}", {"n": 1}), namespace="default")
    return inside


async def seen(client: Client) -> list[str]:
    return sorted(meta.name(obj) for obj in (await client.resource(GADGETS).list()).items)


async def test_one_claim_spans_what_different_consumers_bind_from_different_providers(market: Market) -> None:
    await allow(market)
    await gadgets_of(market, "provider-a")
    await gadgets_of(market, "provider-b")
    await market.export(claims=[CLAIM])
    one, _ = await consumer_of(market, "provider-a", "one"), await consumer_of(market, "provider-b", "two")
    binding = await one.resource(BINDINGS).get("widgets")
    assert [(c["resource"], c["identityHash"]) for c in binding["status"]["appliedPermissionClaims"]] == [("gadgets", "")]
    assert await seen(market.view()) == ["of-one", "of-two"]
    assert await seen(market.view("one")) == ["of-one"]
    through = market.view("one").resource(GADGETS)
    held = await through.get("of-one", namespace="default")
    await through.update({**held, "spec": {"n": 2}})
    assert (await one.resource(GADGETS).get("of-one", namespace="default"))["spec"] == {"n": 2}
    with pytest.raises(NotFound):
        await through.get("of-two", namespace="default")
    made = await through.create(named(GADGETS, "Gadget", "made", {"n": 3}), namespace="default")
    assert meta.cluster(made) == meta.cluster(held)
    await through.delete("made", namespace="default")
    assert "gadgets" in {found.gvr.resource for found in await market.view().discover()}


async def test_a_watch_of_all_consumers_shows_identities_that_come_later(market: Market) -> None:
    await allow(market)
    await gadgets_of(market, "provider-a")
    await gadgets_of(market, "provider-b")
    await market.export(claims=[CLAIM])
    await consumer_of(market, "provider-a", "one")
    listed = await market.view().resource(GADGETS).list()
    async with aclosing(market.view().resource(GADGETS).watch(resource_version=listed.resource_version)) as events, asyncio.timeout(10):
        await consumer_of(market, "provider-b", "two")
        async for event in events:
            if meta.name(event.object) == "of-two":
                assert (event.object["apiVersion"], event.object["spec"]) == ("example.org/v1", {"n": 1})
                break


async def test_a_consumer_without_the_api_grants_nothing_and_its_own_definition_of_the_name_stays_its_own(market: Market) -> None:
    await allow(market)
    await gadgets_of(market, "provider-a")
    await market.export(claims=[CLAIM])
    await consumer_of(market, "provider-a", "one")
    two = await market.workspace("two")
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": OPEN}}
    crd = named(CRDS, "CustomResourceDefinition", "gadgets.example.org")
    crd["spec"] = {"group": "example.org", "names": NAMES, "scope": "Namespaced", "versions": [version]}
    await two.resource(CRDS).create(crd)
    await market.until(two.resource(CRDS), "gadgets.example.org", lambda c: any(
        each["type"] == "Established" and each["status"] == "True" for each in meta.nested(c, "status", "conditions", default=())
    ), "the definition")  # fmt: skip
    await market.bind("two", accepted(CLAIM))
    made = await two.resource(GADGETS).create(named(GADGETS, "Gadget", "private"), namespace="default")
    assert not [label for label in meta.labels(made) if "claimed" in label]
    assert await seen(market.view()) == ["of-one"]
    with pytest.raises(NotFound):
        await market.view("two").resource(GADGETS).list()


async def test_without_a_policy_a_claim_needs_an_identity(market: Market) -> None:
    words = (
        'identityHash is required for API types that are not built-in, and no PermissionClaimPolicy allows an APIExport exporting '
        'example.com to claim group "example.org" without one'
    )  # fmt: skip
    with pytest.raises(Forbidden, match=words):
        await market.export(claims=[CLAIM])
    await allow(market)
    await market.export(claims=[CLAIM])
    other = {"group": "example.net", "resource": "tools", "verbs": ["*"]}
    with pytest.raises(Forbidden, match="no PermissionClaimPolicy allows"):
        await market.export("more", claims=[CLAIM, other])
    await admin_of(market).resource(POLICIES).delete("shop")
    with pytest.raises(Forbidden, match="identityHash is required"):
        await market.export("later", claims=[CLAIM])


@pytest.mark.parametrize("version", ["v1alpha1", "v1alpha2"])
async def test_groups_of_a_policy_are_exported_by_its_providers_only(market: Market, version: str) -> None:
    exports = market.at("provider", PROVIDER).resource(GVR(EXPORTS.group, version, EXPORTS.resource))
    schemas = {"latestResourceSchemas": ["v1.widgets.example.com"]}
    resources = {"resources": [{"group": "example.com", "name": "widgets", "schema": "v1.widgets.example.com"}]}
    offered = schemas if version == "v1alpha1" else resources
    await exports.create(named(exports.gvr, "APIExport", "before", offered))
    await allow(market, ("User", "somebody"), ("Group", "shopkeepers"))
    words = r'API group "example\.com" is reserved by PermissionClaimPolicy "shop"; only its providers may export it'
    with pytest.raises(Forbidden, match=words):
        await exports.create(named(exports.gvr, "APIExport", "widgets", offered))
    held = await exports.get("before")
    held["metadata"]["labels"] = {"touched": "yes"}
    assert meta.labels(await exports.update(held)) == {"touched": "yes"}, "what was exported before stays"
    shopkeeper = UserInfo(PROVIDER.name, (*PROVIDER.groups, "shopkeepers"))
    await market.at("provider", shopkeeper).resource(exports.gvr).create(named(exports.gvr, "APIExport", "widgets", offered))


async def test_the_owners_limits_hold_for_claims_without_identity(market: Market) -> None:
    await allow(market)
    await gadgets_of(market, "provider-a")
    await gadgets_of(market, "provider-b", maximalPermissionPolicy={"local": {}})
    await market.export(claims=[CLAIM])
    await consumer_of(market, "provider-a", "one")
    assert await seen(market.view()) == ["of-one"]
    inside = await market.workspace("two")
    spec = {"reference": {"export": {"path": "root:provider-b", "name": "gadgets"}}}
    await inside.resource(BINDINGS).create(named(BINDINGS, "APIBinding", "gadgets", spec))
    await market.until(inside.resource(BINDINGS), "gadgets", is_settled, "the binding")
    assert await seen(market.view()) == ["of-one"], "who grants nothing limits nothing"
    await market.bind("two", accepted(CLAIM))
    for view in (market.view(), market.view("two")):
        with pytest.raises(Forbidden, match="access denied"):
            await view.resource(GADGETS).list()
    assert await seen(market.view("one")) == ["of-one"]
    assert not (await market.view().resource(WIDGETS).list()).items
