"""The life of a binding: clashes of names, exports that change or go, deletion, and others that take its objects over.

Source: kcp test/e2e/apibinding/{apibinding_test,apibinding_deletion_test,apibinding_adoption_test}.go, customresourcedefinition.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.behaviour.exports.market import WIDGETS, Market, named
from tests.behaviour.exports.test_view_access import GADGETS, bind_gadgets, gadget, gadgets_of_another_provider

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import ResourceClient
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS

CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
SECRETS = GVR("", "v1", "secrets")


def crd(plural: str = "widgets", kind: str = "Widget", **names: Any) -> JSONObject:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    spec = {"group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind, **names}, "versions": [version]}
    return named(CRDS, "CustomResourceDefinition", f"{plural}.example.com", spec)


def binding(name: str, export: str, **spec: Any) -> JSONObject:
    return named(BINDINGS, "APIBinding", name, {"reference": {"export": {"path": "root:provider", "name": export}}, **spec})


def reason(obj: JSONObject, kind: str) -> str:
    return str((conditions.get(obj, kind) or {}).get("reason", ""))


async def until_reason(market: Market, bindings: ResourceClient, name: str, kind: str, why: str) -> JSONObject:
    return await market.until(bindings, name, lambda b: reason(b, kind) == why, f"{kind} {why}")


async def test_what_a_workspace_binds_cannot_be_defined_there(market: Market) -> None:
    await market.export()
    one = await market.workspace("one")
    await market.bind("one")
    with pytest.raises(Forbidden, match='cannot create because resource is bound by APIBinding "widgets"'):
        await one.resource(CRDS).create(crd())


async def test_what_a_workspace_defines_cannot_be_bound_there(market: Market) -> None:
    await market.export()
    one = await market.workspace("one")
    crds, bindings = one.resource(CRDS), one.resource(BINDINGS)
    await crds.create(crd("others", "Widget"))
    await market.until(crds, "others.example.com", lambda c: conditions.is_true(c, "Established"), "the CRD")
    await bindings.create(binding("widgets", "widgets"))
    blocked = await until_reason(market, bindings, "widgets", "BindingUpToDate", "NamingConflicts")
    told = 'naming conflict with CustomResourceDefinition "others.example.com": spec.names.singular=widget is forbidden'
    assert (conditions.get(blocked, "BindingUpToDate") or {})["message"] == f"Unable to bind APIs: {told}"
    assert reason(blocked, "InitialBindingCompleted") == "NamingConflicts"
    assert conditions.is_false(blocked, "Ready")
    await crds.delete("others.example.com")
    await market.until(bindings, "widgets", lambda b: conditions.is_true(b, "Ready"), "the binding")


async def test_of_two_bindings_at_once_one_gets_the_names(market: Market) -> None:
    await market.export()
    await market.export("second")
    one = await market.workspace("one")
    bindings = one.resource(BINDINGS)
    await bindings.create(binding("a", "widgets"))
    await bindings.create(binding("b", "second"))
    states = {
        name: reason(
            await market.until(bindings, name, lambda b: conditions.get(b, "BindingUpToDate") is not None, "a decision"), "BindingUpToDate"
        )
        for name in ("a", "b")
    }
    assert sorted(states.values()) == ["", "NamingConflicts"]


async def shared_identity(market: Market) -> None:
    """Two exports of one identity."""
    await market.export()
    first = await market.at("provider").resource(EXPORTS).get("widgets")
    second = await market.export("second", identity={"secretRef": {"name": "widgets", "namespace": "kcp-system"}})
    assert second["status"]["identityHash"] == first["status"]["identityHash"]


async def test_another_binding_of_the_same_identity_takes_objects_over(market: Market) -> None:
    await shared_identity(market)
    one = await market.workspace("one")
    await market.bind("one")
    bindings, widgets = one.resource(BINDINGS), one.resource(WIDGETS)
    made = await widgets.create(named(WIDGETS, "Widget", "w", {"n": 1}), namespace="default")
    await bindings.create(binding("second", "second"))
    await until_reason(market, bindings, "second", "BindingUpToDate", "NamingConflicts")
    await bindings.delete("widgets")
    await market.gone(bindings, "widgets")
    await market.until(bindings, "second", lambda b: conditions.is_true(b, "InitialBindingCompleted"), "the successor")
    assert meta.uid(await widgets.get("w", namespace="default")) == meta.uid(made)
    await bindings.delete("second")
    await market.gone(bindings, "second")


async def test_a_binding_can_wait_for_its_successor_or_leave_its_objects(market: Market) -> None:
    await shared_identity(market)
    one = await market.workspace("one")
    bindings, widgets = one.resource(BINDINGS), one.resource(WIDGETS)
    await bindings.create(binding("widgets", "widgets", deletionPolicy="WaitForSuccessor"))
    await market.until(bindings, "widgets", lambda b: conditions.is_true(b, "Ready"), "the binding")
    made = await widgets.create(named(WIDGETS, "Widget", "w"), namespace="default")
    await bindings.delete("widgets")
    await until_reason(market, bindings, "widgets", "BindingResourceDeleteSuccess", "WaitingForSuccessor")
    assert meta.uid(await widgets.get("w", namespace="default")) == meta.uid(made)
    await bindings.create(binding("second", "second", deletionPolicy="Orphan"))
    await market.until(bindings, "second", lambda b: conditions.is_true(b, "Ready"), "the successor")
    await market.gone(bindings, "widgets")
    await bindings.delete("second")
    await market.gone(bindings, "second")
    await market.bind("one")
    assert meta.uid(await widgets.get("w", namespace="default")) == meta.uid(made)


async def test_a_deleted_binding_says_what_it_waits_for(market: Market) -> None:
    await market.export()
    one = await market.workspace("one")
    await market.bind("one")
    bindings, widgets = one.resource(BINDINGS), one.resource(WIDGETS)
    held = named(WIDGETS, "Widget", "w")
    held["metadata"]["finalizers"] = ["example.com/held"]
    await widgets.create(held, namespace="default")
    await bindings.delete("widgets")
    waiting = await until_reason(market, bindings, "widgets", "BindingResourceDeleteSuccess", "SomeFinalizersRemain")
    told = "Some content in the workspace has finalizers remaining: example.com/held in 1 resource instances"
    assert (conditions.get(waiting, "BindingResourceDeleteSuccess") or {})["message"] == told
    served = {found.gvr.resource: found.verbs for found in await one.discover()}
    assert "create" not in served["widgets"]
    assert "delete" in served["widgets"]
    with pytest.raises(Forbidden, match="create not allowed while custom resource definition is terminating"):
        await widgets.create(named(WIDGETS, "Widget", "no:name"), namespace="default")
    await widgets.patch("w", {"metadata": {"finalizers": None}}, namespace="default")
    await market.gone(bindings, "widgets")
    with pytest.raises(NotFound):
        await widgets.list()


async def test_an_export_moves_on_and_drops_what_stays_bound(market: Market) -> None:
    await market.export()
    one = await market.workspace("one")
    await market.bind("one")
    provider, bindings, widgets = market.at("provider"), one.resource(BINDINGS), one.resource(WIDGETS)
    await widgets.create(named(WIDGETS, "Widget", "w", {"n": 1}), namespace="default")
    old = await provider.resource(SCHEMAS).get("v1.widgets.example.com")
    newer = {"name": "v2", "served": True, "storage": True, "schema": old["spec"]["versions"][0]["schema"]}
    older = {**old["spec"]["versions"][0], "storage": False}
    spec = {**old["spec"], "versions": [older, newer]}
    await provider.resource(SCHEMAS).create(named(SCHEMAS, "APIResourceSchema", "v2.widgets.example.com", spec))
    resource = {"group": "example.com", "name": "widgets", "schema": "v2.widgets.example.com"}
    await provider.resource(EXPORTS).patch("widgets", {"spec": {"resources": [resource]}})
    moved = await market.until(
        bindings,
        "widgets",
        lambda b: bool(b["status"]["boundResources"][0]["schema"]["name"] == "v2.widgets.example.com"),
        "the new schema",
    )
    assert moved["status"]["boundResources"][0]["storageVersions"] == ["v1", "v2"]
    assert (await one.resource(GVR("example.com", "v2", "widgets")).get("w", namespace="default"))["spec"] == {"n": 1}
    await provider.resource(EXPORTS).patch("widgets", {"spec": {"resources": None, "permissionClaims": None}})
    await provider.resource(EXPORTS).delete("widgets")
    await until_reason(market, bindings, "widgets", "APIExportValid", "APIExportNotFound")
    found = await bindings.get("widgets")
    assert conditions.is_true(found, "Ready")
    assert meta.name(await widgets.get("w", namespace="default")) == "w"
    await provider.resource(SCHEMAS).delete("v2.widgets.example.com")
    await bindings.delete("widgets")
    await market.gone(bindings, "widgets")


async def test_a_binding_says_what_is_wrong_with_its_export(market: Market) -> None:
    bindings = (await market.workspace("one")).resource(BINDINGS)
    await bindings.create(binding("missing", "missing"))
    await until_reason(market, bindings, "missing", "APIExportValid", "APIExportNotFound")
    resource = {"group": "example.com", "name": "widgets", "schema": "v9.widgets.example.com"}
    await market.export("hollow", resources=[resource])
    await bindings.create(binding("hollow", "hollow"))
    found = await until_reason(market, bindings, "hollow", "APIExportValid", "InternalError")
    assert "v9.widgets.example.com" in (conditions.get(found, "APIExportValid") or {})["message"]
    assert reason(found, "InitialBindingCompleted") == "WaitingForEstablished"
    for name in ("missing", "hollow"):
        await bindings.delete(name)
        await market.gone(bindings, name)


async def test_of_a_binding_and_a_definition_at_once_one_gets_the_name(market: Market) -> None:
    await market.export()
    one = await market.workspace("one")
    crds, bindings = one.resource(CRDS), one.resource(BINDINGS)
    for turn in range(12):
        made = [crds.create(crd()), bindings.create(binding("widgets", "widgets"))]
        answers = await asyncio.gather(*(made if turn % 2 else reversed(made)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        if refused:
            assert [str(refusal).partition(": ")[2] for refusal in refused] == [
                'cannot create because resource is bound by APIBinding "widgets"'
            ]
            await market.until(bindings, "widgets", lambda b: conditions.is_true(b, "Ready"), "the binding")
        else:
            await until_reason(market, bindings, "widgets", "BindingUpToDate", "NamingConflicts")
            assert "boundResources" not in (await bindings.get("widgets"))["status"]
            await crds.delete("widgets.example.com")
            await market.gone(crds, "widgets.example.com")
        await bindings.delete("widgets")
        await market.gone(bindings, "widgets")


async def test_a_definition_that_is_not_established_has_its_name_all_the_same(market: Market) -> None:
    await market.export()
    one = await market.workspace("one")
    crds, bindings = one.resource(CRDS), one.resource(BINDINGS)
    await crds.create(crd("others", "Widget"))
    await market.until(crds, "others.example.com", lambda c: conditions.is_true(c, "Established"), "the CRD")
    await crds.create(crd())  # whose kind is taken
    await bindings.create(binding("widgets", "widgets"))
    await until_reason(market, bindings, "widgets", "BindingUpToDate", "NamingConflicts")
    await crds.delete("others.example.com")
    await market.until(crds, "widgets.example.com", lambda c: conditions.is_true(c, "Established"), "the other CRD")
    assert conditions.is_false(await bindings.get("widgets"), "Ready")


async def test_an_export_moves_to_another_workspace_and_its_objects_come_along(market: Market) -> None:
    """The identity moves as a copy of its Secret; whoever binds the new place takes over what the old one leaves."""
    await market.export()
    provider, one = market.at("provider"), await market.workspace("one")
    await market.bind("one")
    bindings, widgets = one.resource(BINDINGS), one.resource(WIDGETS)
    made = await widgets.create(named(WIDGETS, "Widget", "w", {"n": 1}), namespace="default")
    place = await market.workspace("place")
    spec = (await provider.resource(SCHEMAS).get("v1.widgets.example.com"))["spec"]
    await place.resource(SCHEMAS).create(named(SCHEMAS, "APIResourceSchema", "v2.widgets.example.com", spec))
    key = (await provider.resource(SECRETS).get("widgets", namespace="kcp-system"))["data"]
    await place.resource(SECRETS).create({**named(SECRETS, "Secret", "identity"), "data": key}, namespace="default")
    resources = [{"group": "example.com", "name": "widgets", "schema": "v2.widgets.example.com"}]
    identity = {"secretRef": {"namespace": "default", "name": "identity"}}
    await place.resource(EXPORTS).create(named(EXPORTS, "APIExport", "widgets", {"resources": resources, "identity": identity}))
    reference = {"export": {"path": "root:place", "name": "widgets"}}
    await bindings.create(named(BINDINGS, "APIBinding", "moved", {"reference": reference}))
    await until_reason(market, bindings, "moved", "BindingUpToDate", "NamingConflicts")
    await bindings.delete("widgets")
    await market.gone(bindings, "widgets")
    await market.until(bindings, "moved", lambda b: conditions.is_true(b, "Ready"), "the successor")
    found = await widgets.get("w", namespace="default")
    assert (meta.uid(found), found["spec"]) == (meta.uid(made), {"n": 1})
    for name, kind in (("widgets", EXPORTS), ("v1.widgets.example.com", SCHEMAS)):
        await provider.resource(kind).delete(name)
    await widgets.patch("w", {"spec": {"n": 2}}, namespace="default")
    await bindings.delete("moved")
    await market.gone(bindings, "moved")


async def test_a_binding_to_a_schema_that_is_nowhere_keeps_no_other_from_binding(market: Market) -> None:
    """Source: kcp test/e2e/apibinding/apibinding_missing_bound_crd_test.go."""
    await market.export()
    await market.workspace("one")
    binding = await market.bind("one")
    bindings, (bound,) = market.at("one").resource(BINDINGS), binding["status"]["boundResources"]
    lost = {"name": "v1.tools.stale.example.com", "UID": "00000000-0000-0000-0000-000000000000"}
    stale = {"group": "stale.example.com", "resource": "tools", "schema": {**bound["schema"], **lost}, "storageVersions": ["v1"]}
    await bindings.patch("widgets", {"status": {"boundResources": [bound, stale]}}, subresource="status")
    await gadgets_of_another_provider(market)
    await bind_gadgets(market, "one")
    await market.at("one").resource(GADGETS).create(gadget("g"), namespace="default")
    await market.at("one").resource(WIDGETS).create(named(WIDGETS, "Widget", "w"), namespace="default")
    held = await bindings.get("widgets")
    assert (held["status"]["phase"], len(held["status"]["boundResources"])) == ("Bound", 2)
    assert conditions.is_true(held, "InitialBindingCompleted")
    await bindings.delete("widgets")
    await market.gone(bindings, "widgets")
