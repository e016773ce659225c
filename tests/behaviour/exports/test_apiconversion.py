"""APIConversion in a provider's workspace: its consumers' objects in both versions. Source: kcp test/e2e/conversion/conversion_test.go."""

from __future__ import annotations

import pytest
from tests.behaviour.exports.market import Market, named

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.exports.apiconversion import CONVERSIONS
from kcp.exports.names import SCHEMAS

NAME = "rev2.gadgets.example.io"
V1, V2 = (GVR("example.io", version, "gadgets") for version in ("v1", "v2"))
TEXT = {"type": "string"}


def of(**properties: JSONObject) -> JSONObject:
    return {"type": "object", "properties": properties}


def schema() -> JSONObject:
    v1 = of(spec=of(firstName=TEXT, lastName=TEXT))
    v2 = of(spec=of(someNewField=of(hello=TEXT), name=of(first=TEXT, last=TEXT, lastUpper=TEXT)))
    versions = [{"name": name, "served": True, "storage": name == "v1", "schema": s} for name, s in (("v1", v1), ("v2", v2))]
    names = {"kind": "Gadget", "listKind": "GadgetList", "plural": "gadgets", "singular": "gadget"}
    spec = {"group": "example.io", "names": names, "scope": "Cluster", "versions": versions, "conversion": {"strategy": "None"}}
    return named(SCHEMAS, "APIResourceSchema", NAME, spec)


def conversion(upper: str = "self.upperAscii()") -> JSONObject:
    there = [
        {"field": ".spec.firstName", "destination": ".spec.name.first"},
        {"field": ".spec.lastName", "destination": ".spec.name.last", "transformation": "self"},
        {"field": ".spec.lastName", "destination": ".spec.name.lastUpper", "transformation": upper},
    ]
    back = [
        {"field": ".spec.name.first", "destination": ".spec.firstName"},
        {"field": ".spec.name.last", "destination": ".spec.lastName"},
    ]
    steps = [{"from": "v1", "to": "v2", "rules": there}, {"from": "v2", "to": "v1", "rules": back, "preserve": [".spec.someNewField"]}]
    return named(CONVERSIONS, "APIConversion", NAME, {"conversions": steps})


async def publish(market: Market) -> Client:
    await market.at("provider").resource(SCHEMAS).create(schema())
    await market.export("gadgets", resources=[{"group": "example.io", "name": "gadgets", "schema": NAME}])
    one = await market.workspace("one")
    await market.bind("one", export="gadgets")
    return one


def gadget(gvr: GVR, name: str, spec: JSONObject) -> JSONObject:
    return named(gvr, "Gadget", name, spec)


async def test_objects_are_converted_by_the_providers_rules(market: Market) -> None:
    await market.at("provider").resource(SCHEMAS).create(schema())
    await market.at("provider").resource(CONVERSIONS).create(conversion())
    await market.export("gadgets", resources=[{"group": "example.io", "name": "gadgets", "schema": NAME}])
    one = await market.workspace("one")
    await market.bind("one", export="gadgets")
    older, newer = one.resource(V1), one.resource(V2)
    await older.create(gadget(V1, "bob", {"firstName": "Bob", "lastName": "Jones"}))
    shown = await newer.get("bob")
    assert shown["spec"] == {"name": {"first": "Bob", "last": "Jones", "lastUpper": "JONES"}}
    await newer.update({**shown, "spec": {**shown["spec"], "someNewField": {"hello": "someNewValue"}}})
    assert (await newer.get("bob"))["spec"]["someNewField"] == {"hello": "someNewValue"}
    await newer.create(gadget(V2, "alice", {"name": {"first": "Alice", "last": "Smith"}, "someNewField": {"hello": "world"}}))
    old = await older.get("alice")
    assert old["spec"] == {"firstName": "Alice", "lastName": "Smith"}
    await older.update({**old, "spec": {"firstName": "Robot", "lastName": "Dragon"}})
    shown = await newer.get("alice")
    assert shown["spec"] == {"name": {"first": "Robot", "last": "Dragon", "lastUpper": "DRAGON"}, "someNewField": {"hello": "world"}}
    assert not any(key.startswith("preserve") for key in meta.annotations(shown))
    await older.create(gadget(V1, "just-bob", {"firstName": "Bob"}))
    assert (await newer.get("just-bob"))["spec"] == {"name": {"first": "Bob"}}
    await newer.apply({**gadget(V2, "bob", {"name": {"first": "Rob"}})}, field_manager="test", force=True)
    assert (await older.get("bob"))["spec"]["firstName"] == "Rob"
    through = market.view("one", export="gadgets").resource(V2)
    assert sorted(obj["spec"]["name"]["first"] for obj in (await through.list()).items) == ["Bob", "Rob", "Robot"]


async def test_rules_that_come_change_and_go_take_effect_at_once(market: Market) -> None:
    one, conversions = await publish(market), market.at("provider").resource(CONVERSIONS)
    newer = one.resource(V2)
    await one.resource(V1).create(gadget(V1, "bob", {"firstName": "Bob", "lastName": "Jones"}))

    async def shown() -> list[JSONObject]:
        views = (one, market.view("one", export="gadgets"))
        return [(await view.resource(V2).get("bob"))["spec"] for view in views]

    assert await shown() == [{}, {}]
    await conversions.create(conversion())
    assert [spec["name"]["lastUpper"] for spec in await shown()] == ["JONES", "JONES"]
    await conversions.patch(NAME, {"spec": conversion("self + '!'")["spec"]})
    assert [spec["name"]["lastUpper"] for spec in await shown()] == ["Jones!", "Jones!"]
    await conversions.patch(NAME, {"spec": conversion("string([self][7])")["spec"]})
    with pytest.raises(StatusError, match=r'error converting Gadget "bob" from v1 to v2 by APIConversion .*index out of bounds: 7'):
        await newer.get("bob")
    await conversions.delete(NAME)
    assert await shown() == [{}, {}]


async def test_rules_are_checked_when_they_are_written(market: Market) -> None:
    conversions = market.at("provider").resource(CONVERSIONS)
    with pytest.raises(Forbidden, match=r"error getting APIResourceSchema rev2.gadgets.example.io: .* not found"):
        await conversions.create(conversion())
    await market.at("provider").resource(SCHEMAS).create(schema())
    with pytest.raises(
        Forbidden, match=r"error compiling conversion rules: spec.conversions\[0\].rules\[2\].transformation: Invalid value"
    ):
        await conversions.create(conversion("self.nothing()"))
    await conversions.create(conversion())
    twice = conversion()
    twice["spec"]["conversions"][0]["rules"].append({"field": ".spec.lastName", "destination": ".spec.name.last"})
    with pytest.raises(StatusError, match="Duplicate value"):
        await conversions.update({**twice, "metadata": (await conversions.get(NAME))["metadata"]})
