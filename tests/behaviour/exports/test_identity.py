"""The identity of an export: made, brought along, missing, changed; and claims to resources of an identity that nobody has.

Source: kcp test/e2e/reconciler/apiexport/apiexport_controller_test.go, test/e2e/apibinding/apibinding_permissionclaims_test.go.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.behaviour.exports.market import CONFIG_MAP_CLAIM, Market, accepted, named

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS

SECRETS, QUOTAS = GVR("", "v1", "secrets"), GVR("", "v1", "resourcequotas")
HASH = "e9cee71ab932fde863338d08be4de9dfe39ea049bdafb342ce659ec5450b69ae"


def secret(name: str, key: str) -> JSONObject:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"key": key}}


def told(obj: JSONObject, kind: str) -> tuple[str, str, str]:
    held = conditions.get(obj, kind) or {}
    return held.get("status", ""), held.get("reason", ""), held.get("message", "")


async def judged(market: Market, name: str, reason: str) -> JSONObject:
    exports = market.at("provider").resource(EXPORTS)
    return await market.until(exports, name, lambda e: told(e, "IdentityValid")[1] == reason and told(e, "IdentityValid")[0] != "", reason)


async def test_an_export_refers_to_the_secret_that_is_made_for_it(market: Market) -> None:
    export = await market.export()
    assert export["spec"]["identity"]["secretRef"] == {"namespace": "kcp-system", "name": "widgets"}
    assert len(export["status"]["identityHash"]) == 64


async def test_an_identity_is_taken_from_the_secret_that_is_named_as_soon_as_it_is_there(market: Market) -> None:
    exports, secrets = market.at("provider").resource(EXPORTS), market.at("provider").resource(SECRETS)
    spec = {"identity": {"secretRef": {"namespace": "default", "name": "identity1"}}}
    await exports.create(named(EXPORTS, "APIExport", "mine", spec))
    missing = await judged(market, "mine", "IdentityVerificationFailed")
    assert 'secret "identity1" not found' in told(missing, "IdentityValid")[2]
    await secrets.create({**secret("identity1", ""), "stringData": {"other": "x"}}, namespace="default")
    await market.until(exports, "mine", lambda e: "is missing data.key" in told(e, "IdentityValid")[2], "a message")
    await secrets.patch("identity1", {"stringData": {"key": "abcd1234"}}, namespace="default")
    assert (await judged(market, "mine", ""))["status"]["identityHash"] == HASH


async def test_an_identity_never_changes(market: Market) -> None:
    exports, secrets = market.at("provider").resource(EXPORTS), market.at("provider").resource(SECRETS)
    made = await market.export()
    held = made["status"]["identityHash"]
    kept = await secrets.get("widgets", namespace="kcp-system")
    await secrets.patch("widgets", {"stringData": {"key": "abcd1234"}}, namespace="kcp-system")
    wrong = await judged(market, "widgets", "IdentityVerificationFailed")
    expected = f'hash mismatch: identity secret hash "{HASH}" must match status.identityHash "{held}"'
    assert (wrong["status"]["identityHash"], told(wrong, "IdentityValid")[2]) == (held, expected)
    await secrets.patch("widgets", {"data": kept["data"]}, namespace="kcp-system")
    await judged(market, "widgets", "")
    await secrets.delete("widgets", namespace="kcp-system")
    assert (await judged(market, "widgets", "IdentityVerificationFailed"))["status"]["identityHash"] == held
    await market.workspace("one")
    await market.bind("one")
    assert meta.name(await exports.get("widgets")) == "widgets"


async def test_an_export_that_cannot_have_a_secret_says_so(market: Market) -> None:
    provider = market.at("provider")
    namespaces = provider.resource(GVR("", "v1", "namespaces"))
    await namespaces.create(named(GVR("", "v1", "namespaces"), "Namespace", "kcp-system"))
    quotas = provider.resource(QUOTAS)
    await quotas.create(named(QUOTAS, "ResourceQuota", "none", {"hard": {"secrets": "0"}}), namespace="kcp-system")
    async with asyncio.timeout(10):
        while "hard" not in (await quotas.get("none", namespace="kcp-system")).get("status", {}):
            await market.server.clock.sleep(0.02)
    await provider.resource(EXPORTS).create(named(EXPORTS, "APIExport", "poor", {}))
    found = await judged(market, "poor", "IdentityGenerationFailed")
    assert "Error creating identity secret" in told(found, "IdentityValid")[2]
    assert "exceeded quota" in told(found, "IdentityValid")[2]
    await quotas.delete("none", namespace="kcp-system")
    await judged(market, "poor", "")


async def test_a_claim_to_an_unknown_identity_waits_for_it_without_holding_up_the_rest(market: Market) -> None:
    gadgets = {"group": "example.org", "resource": "gadgets", "identityHash": HASH, "verbs": ["*"]}
    await market.export(claims=[gadgets, CONFIG_MAP_CLAIM])
    one = await market.workspace("one")
    bindings = one.resource(BINDINGS)
    spec: dict[str, Any] = {"reference": {"export": {"path": "root:provider", "name": "widgets"}}}
    spec["permissionClaims"] = [accepted(gadgets), accepted(CONFIG_MAP_CLAIM)]
    await bindings.create(named(BINDINGS, "APIBinding", "widgets", spec))
    blocked = await market.until(bindings, "widgets", lambda b: told(b, "PermissionClaimsApplied")[1] == "InternalError", "a condition")
    assert told(blocked, "PermissionClaimsApplied")[2] == (
        f"Permission claims have not been fully applied: no APIExport with identity {HASH} provides gadgets.example.org"
    )
    assert conditions.is_true(blocked, "Ready")
    assert [claim["resource"] for claim in blocked["status"]["appliedPermissionClaims"]] == ["configmaps"]
    provider = market.at("provider")
    names = {"plural": "gadgets", "kind": "Gadget", "singular": "gadget", "listKind": "GadgetList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"type": "object"}}
    schema = {"group": "example.org", "names": names, "scope": "Cluster", "versions": [version]}
    await provider.resource(SCHEMAS).create(named(SCHEMAS, "APIResourceSchema", "v1.gadgets.example.org", schema))
    await provider.resource(SECRETS).create(secret("identity1", "abcd1234"), namespace="default")
    resources = [{"group": "example.org", "name": "gadgets", "schema": "v1.gadgets.example.org"}]
    await market.export("gadgets", resources=resources, identity={"secretRef": {"namespace": "default", "name": "identity1"}})
    await market.bind("one", export="gadgets")
    done = await market.until(bindings, "widgets", lambda b: conditions.is_true(b, "PermissionClaimsApplied"), "the claim")
    assert [claim["resource"] for claim in done["status"]["appliedPermissionClaims"]] == ["gadgets", "configmaps"]
    kind = GVR("example.org", "v1", "gadgets")
    await one.resource(kind).create(named(kind, "Gadget", "g"))
    assert [meta.name(obj) for obj in (await market.view("one").resource(kind).list()).items] == ["g"]
    await bindings.delete("widgets")
    await market.gone(bindings, "widgets")
