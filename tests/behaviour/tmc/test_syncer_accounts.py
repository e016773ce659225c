"""The service account that `kubectl kcp workload sync` of kcp 0.11 makes for a syncer gets a Secret with a token; no other account does."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.test_placement_semantics import CLOCK, place, running, sync_target, until, workspace

from kcp.aio.clock import rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.builtin.kinds import SERVICE_ACCOUNTS
from kcp.controller.builtin.tokensecrets import SECRETS
from kcp.tmc.accounts import waits_for_tokens
from kcp.tmc.model.kinds import SYNC_TARGETS


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with running(tmp_path) as server:
        yield await workspace(server, "root", "w")


async def account(client: Client, name: str, *owners: JSONObject) -> JSONObject:
    metadata: dict[str, Any] = {"name": name, "ownerReferences": list(owners)}
    made = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    return await client.resource(SERVICE_ACCOUNTS).create(made, namespace="default")


async def owner(client: Client, name: str) -> JSONObject:
    target = await client.resource(SYNC_TARGETS).get(name)
    return {"apiVersion": SYNC_TARGETS.api_version, "kind": "SyncTarget", "name": name, "uid": meta.uid(target)}


async def named(client: Client, name: str) -> str:
    """The Secret that the account names."""
    found = await until(lambda: client.resource(SERVICE_ACCOUNTS).get(name, namespace="default"), lambda one: bool(one.get("secrets")))
    return str(found["secrets"][0]["name"])


async def test_the_account_of_a_sync_target_names_a_secret_that_holds_a_token_already(client: Client) -> None:
    await sync_target(client, "east", region="eu")
    await account(client, "kcp-syncer-east", await owner(client, "east"))
    secret = await client.resource(SECRETS).get(await named(client, "kcp-syncer-east"), namespace="default")
    assert base64.b64decode(secret["data"]["token"]).count(b".") == 2
    assert secret["type"] == "kubernetes.io/service-account-token"


async def test_the_next_account_of_the_same_name_gets_its_own(client: Client) -> None:
    await sync_target(client, "east", region="eu")
    await account(client, "syncer", await owner(client, "east"))
    first = await client.resource(SECRETS).get(await named(client, "syncer"), namespace="default")
    await client.resource(SERVICE_ACCOUNTS).delete("syncer", namespace="default")
    await account(client, "syncer", await owner(client, "east"))
    second = await client.resource(SECRETS).get(await named(client, "syncer"), namespace="default")
    assert meta.uid(first) != meta.uid(second)


async def test_other_accounts_and_those_of_a_target_that_does_not_exist_get_none(client: Client) -> None:
    await sync_target(client, "east", region="eu")
    await account(client, "app")
    await account(client, "claims", {**await owner(client, "east"), "uid": "00000000-0000-0000-0000-000000000000"})
    await account(client, "syncer", await owner(client, "east"))
    await named(client, "syncer")
    secrets = await client.resource(SECRETS).list(namespace="default")
    assert [meta.name(secret) for secret in secrets.items] == ["syncer-token"]


async def test_accounts_of_namespaces_that_a_syncer_of_kcp_0_11_serves_get_tokens(client: Client) -> None:
    await sync_target(client, "east", region="eu")
    now = rfc3339(CLOCK.now())
    report = {"lastSyncerHeartbeatTime": now, "conditions": [conditions.build("SyncerAuthorized", "True", now=now)]}
    await client.resource(SYNC_TARGETS).patch("east", {"status": report}, subresource="status")
    await account(client, "app")
    await place(client)
    assert await named(client, "app") == "app-token"
    assert await named(client, "default") == "default-token"


async def test_those_of_a_syncer_that_says_that_it_is_ready_get_none(client: Client) -> None:
    target = {"status": {"conditions": [conditions.build(kind, "True", now="") for kind in ("SyncerAuthorized", "SyncerReady")]}}
    assert not waits_for_tokens(target)
    del target["status"]["conditions"][1]
    assert waits_for_tokens(target)
