"""CustomResourceDefinitions on both kinds of server: a simulated cluster, and a workspace of a kcp server; in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.behaviour.admission.conftest import Answer

from kcp.aio.clock import SystemClock, VirtualClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client, ResourceClient
from kcp.server.compose import run_server
from kcp.server.options import Options
from kcp.sim.cluster import SimCluster
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for

CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
_PATIENCE_S = 10.0
_CLOCK = SystemClock()


class World:
    """One Kubernetes API, and short words for using it."""

    def __init__(self, client: Client, clock: VirtualClock | None = None) -> None:
        self.client = client
        self._clock = clock
        self.crds: ResourceClient = client.resource(CRDS)

    async def call(
        self, method: str, path: str, body: object = None, *, query: Mapping[str, str] | None = None, content: str = "application/json"
    ) -> Answer:
        headers = {"content-type": content} if body is not None else {}
        try:
            answer = await self.client.raw(method, path, query=query, headers=headers, body=b"" if body is None else orjson.dumps(body))
        except StatusError as error:
            return Answer(error.code, error.to_status())
        return Answer(answer.status, orjson.loads(answer.body), answer.headers.get("warning", ""))

    async def define(self, crd: dict[str, Any]) -> dict[str, Any]:
        """Create a CRD and wait until it is established."""
        await self.crds.create(crd)

        async def established() -> bool:
            return conditions.is_true(await self.crds.get(meta.name(crd)), "Established")

        await self.until(established)
        return await self.crds.get(meta.name(crd))

    async def change(self, name: str, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Read a CRD, change it and write it back."""
        crd = await self.crds.get(name)
        change(crd)
        return await self.crds.update(crd)

    async def until(self, met: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while not await met():
                await (self._clock.advance(0.01) if self._clock else _CLOCK.sleep(0.01))


@pytest.fixture
async def cluster() -> AsyncIterator[World]:
    async with SimCluster.in_process("east", nodes=1, clock=_CLOCK) as running:
        yield World(running.client())


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[World]:
    options = Options(root_directory=tmp_path / ".kcp", in_memory=True)
    async with run_server(options, clock=_CLOCK, with_socket=False) as server:
        yield World(await workspace_of(server.client, "crds"))


async def workspace_of(client: Client, name: str) -> Client:
    """A client of a new workspace below `root`."""
    workspaces = client.cluster("root").resource(kinds.WORKSPACES)
    spec = {"type": {"name": "universal", "path": "root"}}
    await workspaces.create({"apiVersion": kinds.WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}, "spec": spec})
    await wait_for(workspaces, name, lambda w: meta.nested(w, "status", "phase") == "Ready", timeout_s=_PATIENCE_S, what=name)
    return client.cluster(f"root:{name}")


@pytest.fixture(params=["cluster", "workspace"])
def world(request: pytest.FixtureRequest) -> World:
    """Both kinds of server, one after the other."""
    found: World = request.getfixturevalue(request.param)
    return found
