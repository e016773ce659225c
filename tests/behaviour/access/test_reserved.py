"""What only the server writes: reserved keys, groups, annotations and names; definitions in the way of bound APIs; paths that lie.

Source: kcp pkg/admission/{reservedmetadata,reservedcrdgroups,reservedcrdannotations,crdnooverlappinggvr,pathannotation}/*_test.go.
"""

from __future__ import annotations

import pytest
from tests.behaviour.exports.market import CONFIG_MAPS, PROVIDER, Market, config_map, named

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.exports.names import EXPORTS
from kcp.registry.backend import UserInfo
from kcp.tenancy.kinds import PATH

CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
USER = UserInfo("user", ("system:authenticated",))
EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]


def definition(group: str, plural: str = "widgets", **annotations: str) -> JSONObject:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"plural": plural, "kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
    made = named(CRDS, "CustomResourceDefinition", f"{plural}.{group}", {"group": group, "names": names, "scope": "Namespaced"})
    made["spec"]["versions"] = [version]
    made["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, for a test", **annotations}
    return made


@pytest.mark.parametrize("what", ["annotations", "labels"])
async def test_keys_that_end_in_kcps_domain_are_the_servers(market: Market, what: str) -> None:
    await market.grant("provider", USER.name, EVERYTHING)
    maps = market.at("provider", USER).resource(CONFIG_MAPS)
    marked = {**config_map("marked"), "metadata": {"name": "marked", what: {"x.kcp.io/y.kcp.io": "z"}}}
    with pytest.raises(Forbidden, match=f'modification of reserved {what[:-1]}: "x.kcp.io/y.kcp.io"'):
        await maps.create(marked, namespace="default")
    await market.at("provider").resource(CONFIG_MAPS).create(marked, namespace="default")
    with pytest.raises(Forbidden, match="modification of reserved"):
        await maps.patch("marked", {"metadata": {what: {"x.kcp.io/y.kcp.io": None}}}, namespace="default")
    await maps.patch("marked", {"data": {"a": "b"}}, namespace="default")
    await maps.patch("marked", {"metadata": {what: {"test.workload.kcp.io": "east"}}}, namespace="default")


@pytest.mark.parametrize(("group", "is_free"), [("apis.kcp.io", False), ("my.apis.kcp.io", False), ("contrib.kcp.io", True)])
async def test_definitions_are_not_of_kcps_group(market: Market, group: str, *, is_free: bool) -> None:
    crds = market.at("provider").resource(CRDS)
    if is_free:
        await crds.create(definition(group))
        return
    with pytest.raises(Forbidden, match=f"{group} is a reserved group"):
        await crds.create(definition(group))


async def test_definitions_do_not_pass_for_bound_ones(market: Market) -> None:
    with pytest.raises(Forbidden, match="apis.kcp.io/bound-crd is a reserved annotation"):
        await market.at("provider").resource(CRDS).create(definition("a.example.com", **{"apis.kcp.io/bound-crd": ""}))


async def test_what_is_bound_is_not_defined_too(market: Market) -> None:
    await market.export()
    one = await market.workspace("one")
    await market.bind("one")
    with pytest.raises(Forbidden, match='cannot create because resource is bound by APIBinding "widgets"'):
        await one.resource(CRDS).create(definition("example.com"))
    await one.resource(CRDS).create(definition("example.com", "gadgets"))


async def test_an_export_says_where_it_is_and_nothing_says_otherwise(market: Market) -> None:
    exports = market.at("provider", PROVIDER).resource(EXPORTS)
    lying = named(EXPORTS, "APIExport", "lying")
    lying["metadata"]["annotations"] = {PATH: "root:elsewhere"}
    assert meta.annotations(await exports.create(lying))[PATH] == "root:provider"
    changed = await exports.patch("lying", {"metadata": {"annotations": {PATH: None}}})
    assert meta.annotations(changed)[PATH] == "root:provider"
    maps = market.at("provider", PROVIDER).resource(CONFIG_MAPS)
    marked = {**config_map("m"), "metadata": {"name": "m", "annotations": {PATH: "root"}}}
    assert meta.annotations(await maps.create(marked, namespace="default"))[PATH] == "root:provider"
