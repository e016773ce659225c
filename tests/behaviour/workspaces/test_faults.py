"""The controllers of tenancy survive any crash point: with the n-th write failing, for every n, everything converges to the same."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Literal

import pytest
from tests.behaviour.workspaces.server import ALICE, MASTER, Kcp, kcp_server
from tests.faults import FailingTransport

from kcp.apimachinery import meta
from kcp.client.inprocess import AsgiTransport
from kcp.client.transport import RawRequest, RawResponse
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for

_MOST_WRITES = 24


class Switched:
    """Stands for the controllers' transport before there is a server; faults begin when a test says so."""

    def __init__(self) -> None:
        self.inner: FailingTransport | AsgiTransport | None = None

    async def request(self, request: RawRequest) -> RawResponse:
        assert self.inner is not None
        return await self.inner.request(request)

    def stream(self, request: RawRequest):  # type: ignore[no-untyped-def]
        assert self.inner is not None
        return self.inner.stream(request)

    async def close(self) -> None:
        """Nothing is open."""


async def live_and_die(kcp: Kcp) -> list[str]:
    """Create a workspace, wait until it is Ready, delete it, wait until it is gone. Returns the keys of its cluster when it was Ready."""
    workspaces = kcp.client(ALICE).cluster("root").resource(kinds.WORKSPACES)
    await workspaces.create({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": "w"}, "spec": {}})
    made = await wait_for(workspaces, "w", lambda w: bool(meta.nested(w, "status", "phase") == "Ready"), timeout_s=20, what="the workspace")
    cluster = made["spec"]["cluster"]
    keys = [item.key.decode().replace(cluster, "C") for item in (await kcp.store.list(b"/registry/")).items]
    await workspaces.delete("w")
    present = await workspaces.list(field_selector="metadata.name=w")
    if present.items:
        watch = workspaces.watch(field_selector="metadata.name=w", resource_version=present.resource_version)
        async with asyncio.timeout(20), aclosing(watch) as events:
            async for event in events:
                if event.type == "DELETED":
                    break
    left = [item.key for item in (await kcp.store.list(b"/registry/")).items if cluster.encode() in item.key]
    assert left == []
    return sorted(key.split("/")[3] for key in keys if "/C/" in key)


EXPECTED = ["apibindings", "apibindings", "clusterrolebindings", "logicalclusters", "namespaces"]


async def run(n: int, lost: Literal["request", "answer"]) -> FailingTransport:
    switched = Switched()
    async with kcp_server(transport=switched, before_start=lambda kcp: _connect(switched, kcp)) as kcp:
        failing = switched.inner = FailingTransport(AsgiTransport(kcp.app, MASTER), n, lost=lost)
        keys = await live_and_die(kcp)
        assert [key for key in keys if key in EXPECTED] == EXPECTED
        return failing


def _connect(switched: Switched, kcp: Kcp) -> None:
    switched.inner = AsgiTransport(kcp.app, MASTER)


async def test_writes_of_one_life_are_few() -> None:
    failing = await run(0, "request")
    assert failing.writes <= _MOST_WRITES, "\n".join(failing.written)


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_life_converges_whichever_write_fails(lost: Literal["request", "answer"]) -> None:
    for n in range(1, _MOST_WRITES + 1):
        await run(n, lost)


async def test_many_workspaces_at_once_become_ready() -> None:
    async with kcp_server() as kcp:
        workspaces = kcp.client(ALICE).cluster("root").resource(kinds.WORKSPACES)

        async def one(name: str) -> str:
            await workspaces.create({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": {}})
            made = await wait_for(workspaces, name, lambda w: bool(meta.nested(w, "status", "phase") == "Ready"), timeout_s=20, what=name)
            return str(made["spec"]["cluster"])

        clusters = await asyncio.gather(*(one(f"w-{n}") for n in range(30)))
        assert len(set(clusters)) == 30
