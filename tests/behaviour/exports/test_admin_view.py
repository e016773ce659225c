"""`/services/admin`: what concerns the whole installation, for its administrators: its shards, and its PermissionClaimPolicies.

Source: kcp test/e2e/virtual/admin/admin_test.go, pkg/virtual/admin/authorizer/authorizer.go.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from tests.behaviour.exports.market import Market, named
from tests.behaviour.exports.test_claim_policies import ADMIN, POLICIES, admin_of, policy

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, Invalid, MethodNotAllowed, NotFound
from kcp.registry.backend import UserInfo
from kcp.tenancy.kinds import MASTERS, SHARDS, UNSCHEDULABLE

EVE = UserInfo("eve", ("system:authenticated",))
MASTER = UserInfo("shard-admin", (MASTERS,))


@pytest.mark.parametrize("path", ["", "/clusters/root", "/clusters/*", "/clusters/anything"])
async def test_shards_are_listed_and_read_whatever_cluster_the_url_names(market: Market, path: str) -> None:
    shards = market.as_user(ADMIN).at(f"/services/admin{path}").resource(SHARDS)
    assert [meta.name(shard) for shard in (await shards.list()).items] == ["root"]
    assert (await shards.get("root"))["spec"]["baseURL"]
    with pytest.raises(NotFound):
        await shards.get("does-not-exist")


async def test_a_shard_is_cordoned_there_and_nothing_else_of_it_is_changed(market: Market) -> None:
    shards, held = admin_of(market).resource(SHARDS), market.at("").cluster("root").resource(SHARDS)
    shard = await shards.get("root")
    with pytest.raises(Forbidden, match="may be changed through the Admin workspace"):
        await shards.update({**shard, "spec": {**shard["spec"], "externalURL": "https://tampered.example"}})
    meta.set_annotation(shard, UNSCHEDULABLE, "true")
    await shards.update(shard)
    assert meta.annotations(await held.get("root"))[UNSCHEDULABLE] == "true"
    await shards.patch("root", {"metadata": {"annotations": {UNSCHEDULABLE: None}}})
    assert UNSCHEDULABLE not in meta.annotations(await held.get("root"))
    with pytest.raises(Forbidden, match="verb not supported by the admin workspace for this resource"):
        await shards.delete("root")
    with pytest.raises(Forbidden, match="verb not supported"):
        await shards.create(named(SHARDS, "Shard", "fake", {"baseURL": "https://fake.example"}))


async def test_policies_are_made_watched_and_deleted_there_and_nowhere_else(market: Market) -> None:
    policies = admin_of(market).resource(POLICIES)
    listed = await policies.list()
    await policies.create(policy(("User", "somebody")))
    async with aclosing(policies.watch(resource_version=listed.resource_version)) as events, asyncio.timeout(5):
        async for event in events:
            assert (event.type, meta.name(event.object)) == ("ADDED", "shop")
            break
    through = market.as_user(MASTER).at("/services/admin/clusters/root").resource(POLICIES)
    assert (await through.get("shop"))["spec"]["claims"] == [{"claimer": "example.com", "groups": ["example.org"]}]
    await through.patch("shop", {"spec": {"providers": []}})
    for place in ("root", "system:admin"):
        with pytest.raises((NotFound, MethodNotAllowed)):
            await market.as_user(MASTER).cluster(place).resource(POLICIES).list()
    await policies.delete("shop")
    assert not (await policies.list()).items


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "spec.claims"),
        ({"claims": []}, "spec.claims"),
        ({"claims": [{"claimer": "*", "groups": ["a.io"]}]}, "claimer"),
        ({"claims": [{"claimer": "a.io", "groups": []}]}, "groups"),
        ({"claims": [{"claimer": "a.io", "groups": ["b.io"]}], "providers": [{"kind": "ServiceAccount", "name": "x"}]}, "providers"),
    ],
)
async def test_a_policy_that_says_nothing_clear_is_refused(market: Market, spec: dict[str, object], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        await admin_of(market).resource(POLICIES).create(named(POLICIES, "PermissionClaimPolicy", "bad", spec))


async def test_it_is_for_administrators_and_described_to_them(market: Market) -> None:
    for gvr in (SHARDS, POLICIES):
        with pytest.raises(Forbidden, match="access to the admin workspace requires membership in the system:kcp:admin"):
            await admin_of(market, EVE).resource(gvr).list()
    found = {each.gvr: each for each in await admin_of(market).discover()}
    assert set(found) == {SHARDS, POLICIES}
    assert set(found[SHARDS].verbs) == {"get", "list", "watch", "update", "patch"}
    assert {"create", "delete"} <= set(found[POLICIES].verbs)
