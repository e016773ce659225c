"""Secrets of service accounts: filled in, kept, gone with their account; never on the word of a mirror; failed writes."""

from __future__ import annotations

import base64
from itertools import count
from typing import Any, Literal

import pytest
from tests.behaviour.builtin.world import Parts, World, make_world
from tests.faults import FailingTransport

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.controller.builtin.tokensecrets import build_token_secret_controller
from kcp.controller.controller import Controller

TYPE = "kubernetes.io/service-account-token"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
_NUMBERS = count()


def tokens(parts: Parts, ca: str = "CA") -> Controller[Any]:
    def issue(account: JSONObject, cluster: str, secret: str) -> str:
        return f"{cluster}/{meta.name(account)}/{secret}/{next(_NUMBERS)}"

    return build_token_secret_controller(
        parts.informers, for_cluster=parts.for_cluster, clock=parts.clock, issue=issue, ca_bundle=lambda: ca
    )


async def secret(world: World, name: str, account: str, **annotations: str) -> None:
    await world.create("Secret", name, type=TYPE, annotations={NAME: account, **annotations})


async def data(world: World, name: str) -> dict[str, str]:
    held = (await world.get("Secret", name)).get("data") or {}
    return {key: base64.b64decode(value).decode() for key, value in held.items()}


async def test_a_secret_is_filled_in_and_its_token_kept(world: World) -> None:
    account = await world.create("ServiceAccount", "bot")
    await world.create("Secret", "other", stringData={"a": "b"}, annotations={NAME: "bot"})
    async with world.running(tokens):
        await secret(world, "s", "bot")
        await world.clock.advance(1)
        made = await data(world, "s")
        assert made["token"].startswith(f"{world.clusters[0]}/bot/s/")
        assert (made["ca.crt"], made["namespace"]) == ("CA", "default")
        assert meta.annotations(await world.get("Secret", "s"))[UID] == meta.uid(account)
        assert await data(world, "other") == {"a": "b"}
        await world.resource("Secret").patch("s", {"data": {"ca.crt": None, "namespace": None}}, namespace="default")
        await world.clock.advance(1)
        assert await data(world, "s") == made
    async with world.running(lambda parts: tokens(parts, "NEW")):
        await world.clock.advance(1)
        assert await data(world, "s") == {**made, "ca.crt": "NEW"}


async def test_secrets_go_with_their_account(world: World) -> None:
    await world.create("ServiceAccount", "bot")
    await world.create("ServiceAccount", "kept")
    async with world.running(tokens):
        await secret(world, "s", "bot")
        await secret(world, "k", "kept")
        await world.clock.advance(1)
        await world.resource("ServiceAccount").delete("bot", namespace="default")
        await world.clock.advance(1)
        assert await world.names("Secret") == ["k"]


@pytest.mark.parametrize("annotations", [{}, {UID: "another"}])
async def test_a_secret_without_its_account_is_deleted(world: World, annotations: dict[str, str]) -> None:
    if annotations:
        await world.create("ServiceAccount", "bot")
    async with world.running(tokens):
        await secret(world, "s", "bot", **annotations)
        await world.clock.advance(1)
        assert await world.names("Secret") == []


async def test_second_run_writes_nothing(world: World) -> None:
    await world.create("ServiceAccount", "bot")
    await secret(world, "s", "bot")
    async with world.running(tokens):
        await world.clock.advance(1)
    transport = FailingTransport(world.transport())
    async with world.running(tokens, transport=transport):
        await world.clock.advance(60)
    assert transport.written == []


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_any_write_may_fail(lost: Literal["request", "answer"]) -> None:
    for n in range(1, 4):
        async with make_world(has_workspaces=True) as world:
            await world.create("ServiceAccount", "bot")
            async with world.running(tokens, transport=FailingTransport(world.transport(), n, lost=lost)):
                await secret(world, "s", "bot")
                await secret(world, "dangling", "nobody")
                await world.clock.advance(10)
                assert await world.names("Secret") == ["s"]
                assert set(await data(world, "s")) == {"token", "ca.crt", "namespace"}
