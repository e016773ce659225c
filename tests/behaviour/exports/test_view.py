"""The virtual workspace of an export. Source: kcp docs/content/concepts/apis/exporting-apis.md, test/e2e/virtual/apiexport."""

from __future__ import annotations

import pytest
from tests.behaviour.exports.market import CONFIG_MAP_CLAIM, CONFIG_MAPS, PROVIDER, WIDGETS, Market, accepted, config_map, is_settled, named

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, MethodNotAllowed, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.exports.claims import CLAIM_LABEL
from kcp.exports.endpointslices import SLICES
from kcp.exports.names import BINDINGS, EXPORTS
from kcp.registry.backend import UserInfo

STRANGER = UserInfo("stranger", ("system:authenticated",))


async def test_a_provider_sees_its_objects_in_every_consumer(market: Market) -> None:
    await market.export()
    for name in ("one", "two"):
        await market.workspace(name)
        await market.bind(name)
        await market.at(name).resource(WIDGETS).create(named(WIDGETS, "Widget", f"of-{name}", {"n": 1}), namespace="default")
    found = (await market.view().resource(WIDGETS).list()).items
    assert sorted(map(meta.name, found)) == ["of-one", "of-two"]
    assert len({meta.cluster(obj) for obj in found}) == 2
    widgets = market.view("one").resource(WIDGETS)
    assert [meta.name(obj) for obj in (await widgets.list()).items] == ["of-one"]
    changed = await widgets.patch("of-one", {"status": {"seen": True}}, namespace="default", subresource="status")
    assert meta.name(changed) == "of-one"
    await widgets.create(named(WIDGETS, "Widget", "made", {"n": 2}), namespace="default")
    assert (await market.at("one").resource(WIDGETS).get("made", namespace="default"))["spec"] == {"n": 2}
    await widgets.delete("made", namespace="default")
    with pytest.raises(NotFound):
        await market.at("one").resource(WIDGETS).get("made", namespace="default")


async def test_only_who_may_read_the_exports_content_looks_through_it(market: Market) -> None:
    await market.export()
    with pytest.raises(
        Forbidden, match=r'apiexports\.apis\.kcp\.io "widgets" is forbidden: User "stranger" cannot list resource "apiexports/content"'
    ):
        await market.view(user=STRANGER).resource(WIDGETS).list()
    await market.grant("provider", STRANGER.name, [{"apiGroups": ["apis.kcp.io"], "resources": ["apiexports/content"], "verbs": ["list"]}])
    assert (await market.view(user=STRANGER).resource(WIDGETS).list()).items == []
    with pytest.raises(NotFound, match=r'apiexports\.apis\.kcp\.io "nothing" not found'):
        await market.view(export="nothing").resource(WIDGETS).list()


async def test_a_workspace_that_does_not_bind_is_closed_to_the_provider(market: Market) -> None:
    await market.export()
    await market.workspace("one")
    with pytest.raises(Forbidden, match="could not find suitable APIBinding in target logical cluster"):
        await market.view("one").resource(WIDGETS).list()


async def test_discovery_shows_what_is_exported_and_claimed(market: Market) -> None:
    await market.export(claims=[CONFIG_MAP_CLAIM])
    served = {(found.gvr.group, found.gvr.resource): found.verbs for found in await market.view().discover()}
    assert served.keys() == {("example.com", "widgets"), ("", "configmaps"), ("apis.kcp.io", "apibindings")}
    assert set(served["apis.kcp.io", "apibindings"]) == {"get", "list", "watch"}


async def test_claimed_objects_are_seen_once_the_claim_is_accepted(market: Market) -> None:
    await market.export(claims=[CONFIG_MAP_CLAIM])
    one = await market.workspace("one")
    await one.resource(CONFIG_MAPS).create(config_map("old"), namespace="default")
    await market.bind("one", accepted(CONFIG_MAP_CLAIM, state="Rejected"))
    with pytest.raises(Forbidden, match="failed to find suitable reason to allow access in APIBinding"):
        await market.view("one").resource(CONFIG_MAPS).list()
    assert (await market.view().resource(CONFIG_MAPS).list()).items == []
    bindings = one.resource(BINDINGS)
    await bindings.patch("widgets", {"spec": {"permissionClaims": [accepted(CONFIG_MAP_CLAIM)]}})
    done = await market.until(
        bindings,
        "widgets",
        lambda b: bool(meta.nested(b, "status", "appliedPermissionClaims")) and is_settled(b),
        "claims",
    )
    assert conditions.is_true(done, "PermissionClaimsApplied")
    await one.resource(CONFIG_MAPS).create(config_map("new"), namespace="default")
    found = (await market.view("one").resource(CONFIG_MAPS).list(namespace="default")).items
    assert sorted(map(meta.name, found)) == ["kube-root-ca.crt", "new", "old"]
    assert all(any(label.startswith(CLAIM_LABEL) for label in meta.labels(obj)) for obj in found)
    await market.view("one").resource(CONFIG_MAPS).create(config_map("by-provider"), namespace="default")
    await bindings.patch("widgets", {"spec": {"permissionClaims": [accepted(CONFIG_MAP_CLAIM, state="Rejected")]}})
    await market.until(bindings, "widgets", lambda b: not meta.nested(b, "status", "appliedPermissionClaims") and is_settled(b), "claims")
    assert (await market.view().resource(CONFIG_MAPS).list()).items == []
    assert not meta.labels(await one.resource(CONFIG_MAPS).get("old", namespace="default"))


async def test_a_selector_limits_a_claim_to_labelled_objects(market: Market) -> None:
    await market.export(claims=[CONFIG_MAP_CLAIM])
    one = await market.workspace("one")
    await market.bind("one", accepted(CONFIG_MAP_CLAIM, {"matchLabels": {"shared": "yes"}}))
    mine, theirs = one.resource(CONFIG_MAPS), market.view("one").resource(CONFIG_MAPS)
    await mine.create(config_map("private"), namespace="default")
    await mine.create(config_map("public", shared="yes"), namespace="default")
    assert [meta.name(obj) for obj in (await theirs.list()).items] == ["public"]
    with pytest.raises(NotFound):
        await theirs.get("private", namespace="default")
    with pytest.raises(NotFound):
        await theirs.delete("private", namespace="default")
    made = await theirs.create(config_map("made"), namespace="default")
    assert meta.labels(made)["shared"] == "yes"
    with pytest.raises(Forbidden, match="operation not permitted"):
        await theirs.patch("public", {"metadata": {"labels": {"shared": "no"}}}, namespace="default")
    await mine.patch("public", {"metadata": {"labels": {"shared": None}}}, namespace="default")
    assert [meta.name(obj) for obj in (await theirs.list()).items] == ["made"]


async def test_verbs_are_those_that_both_sides_name(market: Market) -> None:
    await market.export(claims=[{**CONFIG_MAP_CLAIM, "verbs": ["get", "list", "create"]}])
    await market.workspace("one")
    bound = await market.bind("one", accepted({**CONFIG_MAP_CLAIM, "verbs": ["get", "list", "delete"]}))
    assert bound["status"]["appliedPermissionClaims"][0]["verbs"] == ["get", "list"]
    view = market.view("one").resource(CONFIG_MAPS)
    assert (await view.list()).items
    with pytest.raises(Forbidden):
        await view.create(config_map("made"), namespace="default")
    with pytest.raises(Forbidden):
        await view.delete("kube-root-ca.crt", namespace="default")


async def test_claims_that_the_export_does_not_make_are_told(market: Market) -> None:
    await market.export()
    one = await market.workspace("one")
    spec = {"reference": {"export": {"path": "root:provider", "name": "widgets"}}, "permissionClaims": [accepted(CONFIG_MAP_CLAIM)]}
    await one.resource(BINDINGS).create(named(BINDINGS, "APIBinding", "widgets", spec))
    found = await market.until(one.resource(BINDINGS), "widgets", lambda b: conditions.is_false(b, "PermissionClaimsValid"), "a condition")
    condition = conditions.get(found, "PermissionClaimsValid")
    assert condition is not None
    assert condition["reason"] == "InvalidPermissionClaims"
    assert "configmaps" in condition["message"]


async def test_an_export_sees_its_own_bindings_without_a_claim_and_cannot_change_them(market: Market) -> None:
    await market.export()
    await market.workspace("one")
    await market.bind("one")
    bindings = market.view("one").resource(BINDINGS)
    assert [meta.name(obj) for obj in (await bindings.list()).items] == ["widgets"]
    with pytest.raises((Forbidden, MethodNotAllowed)):
        await bindings.delete("widgets")
    every = market.view().resource(GVR("apis.kcp.io", "v1alpha1", "apibindings"))
    assert [obj["apiVersion"] for obj in (await every.list()).items] == ["apis.kcp.io/v1alpha1"]


async def test_the_policy_of_an_export_limits_its_consumers(market: Market) -> None:
    await market.export(maximalPermissionPolicy={"local": {}})
    one = await market.workspace("one")
    await market.bind("one")
    user = UserInfo("user", ("system:authenticated",))
    await market.grant("one", "user", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
    mine = market.at("one", user).resource(WIDGETS)
    with pytest.raises(Forbidden, match="access denied"):
        await mine.list(namespace="default")
    await market.grant(
        "provider", "apis.kcp.io:binding:user", [{"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["list"]}]
    )
    assert (await mine.list(namespace="default")).items == []
    with pytest.raises(Forbidden):
        await mine.create(named(WIDGETS, "Widget", "w"), namespace="default")
    await one.resource(WIDGETS).create(named(WIDGETS, "Widget", "w"), namespace="default")
    exports = market.at("provider").resource(EXPORTS)
    await exports.delete("widgets")
    await market.gone(exports, "widgets")
    assert [meta.name(obj) for obj in (await mine.list(namespace="default")).items] == ["w"], "what a consumer has stays its own"


async def test_endpoints_are_listed_once_there_are_consumers(market: Market) -> None:
    export = await market.export()
    slices = market.at("provider").resource(SLICES)
    made = await market.until(slices, "widgets", lambda s: conditions.is_true(s, "EndpointURLsReady"), "a slice")
    assert "endpoints" not in made["status"]
    await market.workspace("one")
    await market.bind("one")
    made = await market.until(slices, "widgets", lambda s: bool(meta.nested(s, "status", "endpoints")), "an endpoint")
    url = made["status"]["endpoints"][0]["url"]
    assert url.endswith(f"/services/apiexport/{market.provider_name}/widgets")
    assert meta.nested(await market.at("provider").resource(EXPORTS).get("widgets"), "status", "virtualWorkspaces") == [{"url": url}]
    assert export["status"]["identityHash"]
    assert PROVIDER.name == "provider"


async def test_an_inactive_consumer_is_closed_to_its_provider_too(market: Market) -> None:
    await market.export()
    consumer = await market.workspace("consumer")
    await market.bind("consumer")
    clusters = consumer.resource(GVR("core.kcp.io", "v1alpha1", "logicalclusters"))
    await clusters.patch("cluster", {"metadata": {"annotations": {"core.kcp.io/inactive": "true"}}})
    with pytest.raises(Forbidden, match="logical cluster is marked inactive"):
        await market.view("consumer").resource(WIDGETS).list()
    assert await market.view().resource(WIDGETS).list()
