"""What a workspace costs the server: the writes until it is Ready. Labels come with the status that they repeat, not after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from tests.behaviour.workspaces.server import ALICE, Kcp, kcp_server

from kcp.apimachinery import meta
from kcp.apimachinery.keys import WILDCARD
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.tenancy import kinds


@pytest.fixture
async def kcp() -> AsyncIterator[Kcp]:
    async with kcp_server() as made:
        yield made


def phase(obj: JSONObject) -> str:
    return str(meta.nested(obj, "status", "phase", default=""))


async def states(reader: Client, client: Client, name: str, type_: str) -> list[JSONObject]:
    """Every state that a watch shows of a new workspace, from its creation until it is Ready."""
    workspaces, seen = reader.resource(kinds.WORKSPACES), []
    start = (await workspaces.list()).resource_version
    made = {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}}
    await client.resource(kinds.WORKSPACES).create({**made, "spec": {"type": {"name": type_, "path": "root"}}})
    async with asyncio.timeout(10), aclosing(workspaces.watch(resource_version=start)) as events:
        async for event in events:
            seen.append(event.object)
            if phase(event.object) == kinds.READY:
                break
    return seen


async def test_a_workspace_is_ready_after_three_writes_of_it(kcp: Kcp) -> None:
    root = kcp.client(ALICE).cluster("root")
    seen = await states(kcp.client().cluster("root"), root, "quick", "universal")
    assert [phase(obj) for obj in seen] == ["", "", kinds.READY]  # created, placed, Ready
    assert seen[1]["spec"]["cluster"]


async def test_labels_of_a_workspace_never_contradict_its_status(kcp: Kcp) -> None:
    root = kcp.client(ALICE).cluster("root")
    seen = await states(kcp.client().cluster("root"), root, "labelled", "organization")
    ready = seen[-1]
    assert meta.labels(ready)[kinds.PHASE_LABEL] == kinds.READY
    assert not [label for label in meta.labels(ready) if label.startswith(kinds.INITIALIZER_LABEL_PREFIX)]


async def test_labels_of_a_logical_cluster_never_contradict_its_status(kcp: Kcp) -> None:
    clusters = kcp.client().cluster(WILDCARD).resource(kinds.LOGICAL_CLUSTERS)
    start = (await clusters.list()).resource_version
    await states(kcp.client().cluster("root"), kcp.client(ALICE).cluster("root"), "told", "universal")
    seen: list[tuple[str, str]] = []
    async with asyncio.timeout(10), aclosing(clusters.watch(resource_version=start)) as events:
        async for event in events:
            seen.append((phase(event.object), meta.labels(event.object)[kinds.PHASE_LABEL]))
            if phase(event.object) == kinds.READY:
                break
    assert all(status in ("", label) for status, label in seen), seen
