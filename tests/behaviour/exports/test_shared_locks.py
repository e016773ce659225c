"""Servers that share a store decide who gets a name in a workspace: a binding at one of them or a definition at another, never both.

Source: kcp pkg/reconciler/apis/apibinding/resource_bindings_test.go, pkg/admission/crdnooverlappinggvr/admission_test.go.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.behaviour.exports.market import Market, is_settled, named
from tests.etcd import Etcd

from kcp.aio.clock import SystemClock, VirtualClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.exports.names import BINDINGS
from kcp.exports.sharedlocks import ANNOTATION, HELD_S, SharedNameLocks
from kcp.server.compose import SYSTEM, run_server
from kcp.server.options import Options
from kcp.storage.etcd.config import EtcdConfig
from kcp.tenancy.kinds import LOGICAL_CLUSTERS

CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
WIDGETS = GroupResource("example.com", "widgets")
ONE = ClusterName("root:one")


def definition() -> JSONObject:
    names = {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    return named(CRDS, "CustomResourceDefinition", "widgets.example.com", spec)


async def notes(market: Market) -> dict[str, JSONObject]:
    held = await market.at("one").resource(LOGICAL_CLUSTERS).get("cluster")
    return dict(json.loads(meta.annotations(held).get(ANNOTATION, "{}")))


@pytest.fixture
async def locks(market: Market) -> tuple[SharedNameLocks, SharedNameLocks, VirtualClock]:
    """Of two servers, in a workspace."""
    await market.workspace("one")
    clock, client = VirtualClock(), market.as_user(SYSTEM)
    return SharedNameLocks(client.cluster, clock), SharedNameLocks(client.cluster, clock), clock


async def test_who_comes_second_sees_the_first(market: Market, locks: tuple[SharedNameLocks, SharedNameLocks, VirtualClock]) -> None:
    here, there, _ = locks
    gadgets = GroupResource("example.org", "gadgets")
    assert await here.hold(ONE, "mine", [WIDGETS]) == ()
    assert await there.admit(ONE, WIDGETS) == "mine"
    assert await there.admit(ONE, gadgets) == ""
    assert await here.hold(ONE, "more", [WIDGETS, gadgets]) == [gadgets]
    assert {name: set(note) for name, note in (await notes(market)).items()} == {
        "widgets.example.com": {"n", "e"},
        "gadgets.example.org": {"c", "e"},
    }


async def test_of_many_at_once_one_gets_each_name(locks: tuple[SharedNameLocks, SharedNameLocks, VirtualClock]) -> None:
    here, there, _ = locks
    names = [GroupResource("example.com", f"things{number}") for number in range(12)]
    asked = [each for name in names for each in (here.hold(ONE, "mine", [name]), there.admit(ONE, name))]
    answers = await asyncio.gather(*asked)
    for held, admitted in zip(answers[::2], answers[1::2], strict=True):
        assert (held == ()) != (admitted == "")


async def test_what_was_given_up_is_free_after_a_while(
    market: Market, locks: tuple[SharedNameLocks, SharedNameLocks, VirtualClock]
) -> None:
    """As when a server was killed between its note and its write."""
    here, there, clock = locks
    assert await here.hold(ONE, "mine", [WIDGETS]) == ()
    await clock.advance(HELD_S + 1)
    assert await there.admit(ONE, WIDGETS) == ""
    assert "c" in (await notes(market))["widgets.example.com"]
    await clock.advance(HELD_S + 1)
    assert await here.hold(ONE, "mine", [WIDGETS]) == ()


async def test_where_there_is_no_workspace_nothing_is_noted(locks: tuple[SharedNameLocks, SharedNameLocks, VirtualClock]) -> None:
    assert await locks[0].hold(ClusterName("system:admin"), "mine", [WIDGETS]) == ()


@pytest.fixture
async def markets(tmp_path: Path) -> AsyncIterator[tuple[Market, Market]]:
    """One market at two servers on one etcd; the first leads."""
    etcd = Etcd(tmp_path).start()
    try:
        config = EtcdConfig(endpoints=etcd.endpoints)
        first, second = (Options(root_directory=tmp_path / name, etcd=config) for name in ("first", "second"))
        async with run_server(first, clock=SystemClock(), with_socket=False) as leader:
            made = Market(leader)
            await made.open()
            async with run_server(second, clock=SystemClock(), with_socket=False) as follower:
                yield made, Market(follower, made.provider_name)
    finally:
        etcd.stop()


async def outcome(market: Market, workspace: str) -> tuple[bool, bool]:
    """Whether a workspace has the definition, and whether its binding has bound."""
    inside = market.at(workspace)
    try:
        await inside.resource(CRDS).get("widgets.example.com")
    except NotFound:
        await market.until(inside.resource(BINDINGS), "widgets", is_settled, "the binding")
        return False, True
    binding = await market.until(
        inside.resource(BINDINGS), "widgets", lambda b: conditions.get(b, "InitialBindingCompleted") is not None, "the binding"
    )
    return True, bool(meta.nested(binding, "status", "boundResources", default=()))


async def test_two_servers_never_give_one_name_to_a_binding_and_a_definition(markets: tuple[Market, Market]) -> None:
    leader, follower = markets
    await leader.export()
    assert follower.server.foundation.names.shared is not None
    outcomes: set[tuple[bool, bool]] = set()
    for number in range(8):
        workspace = f"w{number}"
        await leader.workspace(workspace)

        async def define(client: Client) -> None:
            try:
                await client.resource(CRDS).create(definition())
            except Forbidden as refusal:
                assert 'resource is bound by APIBinding "widgets"' in str(refusal)  # noqa: PT017 - either may win

        spec = {"reference": {"export": {"path": "root:provider", "name": "widgets"}}}
        binding = named(BINDINGS, "APIBinding", "widgets", spec)
        first = leader.at(workspace).resource(BINDINGS).create(binding)
        await asyncio.gather(*([first, define(follower.at(workspace))] if number % 2 else [define(follower.at(workspace)), first]))
        outcomes.add(await outcome(leader, workspace))
    assert outcomes <= {(True, False), (False, True)}
