"""What ten workspaces of type universal cost a whole server: its controllers' requests and writes, not its time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.meta import JSONObject
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import ResourceClient
from kcp.client.transport import RawRequest, RawResponse
from kcp.controller.informer import Informer
from kcp.server.compose import KcpServer, run_server
from kcp.server.options import Options
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for

NAMES = [f"w{number}" for number in range(10)]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KcpServer]:
    options = Options(root_directory=tmp_path / ".kcp", in_memory=True)
    async with run_server(options, clock=VirtualClock(), with_socket=False) as running:
        await make(running, ["first"])  # what is done once for all workspaces is done
        yield running


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every request within the process from now on."""
    seen: list[str] = []
    send = AsgiTransport.request

    async def counted(self: AsgiTransport, request: RawRequest) -> RawResponse:
        seen.append(f"{request.method} {request.path}")
        return await send(self, request)

    monkeypatch.setattr(AsgiTransport, "request", counted)
    return seen


def workspaces(server: KcpServer) -> ResourceClient:
    return server.client.cluster("root").resource(kinds.WORKSPACES)


async def settle(server: KcpServer) -> None:
    assert isinstance(server.clock, VirtualClock)
    for _ in range(40):
        await server.clock.advance(0.1)


async def make(server: KcpServer, names: list[str]) -> None:
    spec = {"type": {"name": "universal", "path": "root"}}
    for name in names:
        meta = {"name": name}
        await workspaces(server).create({"apiVersion": kinds.WORKSPACES.api_version, "kind": "Workspace", "metadata": meta, "spec": spec})
    await settle(server)
    for name in names:
        await wait_for(workspaces(server), name, lambda made: made["status"]["phase"] == "Ready", timeout_s=1.0, what=name)


async def revision(server: KcpServer) -> int:
    return await server.foundation.store.current_revision()


async def test_a_workspace_costs_thirteen_requests_and_writes(server: KcpServer, requests: list[str]) -> None:
    requests.clear()
    before = await revision(server)
    await make(server, NAMES)
    assert (await revision(server) - before) / len(NAMES) <= 13.2  # and what the server writes by the clock
    assert len([r for r in requests if not r.startswith("GET /clusters/root/")]) / len(NAMES) <= 13.5


async def test_what_is_written_of_a_shard_by_the_clock_makes_nobody_decode_all_workspaces(
    server: KcpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    list_all = Informer.list

    def noted(self: Informer, **where: Any) -> list[JSONObject]:
        if not where:
            listed.append(self.gvr.resource)
        return list_all(self, **where)

    monkeypatch.setattr(Informer, "list", noted)
    shards = server.client.cluster("root").resource(kinds.SHARDS)
    before = (await shards.get("root"))["metadata"]["resourceVersion"]
    await shards.patch("root", {"metadata": {"labels": {"region": "here"}}})
    await settle(server)
    assert (await shards.get("root"))["metadata"]["resourceVersion"] != before
    assert "workspaces" not in listed


async def test_its_deletion_costs_twelve_writes_and_twenty_requests(server: KcpServer, requests: list[str]) -> None:
    """Nobody asks for resources of which there are no objects, and what empties itself is emptied once."""
    await make(server, NAMES)
    requests.clear()
    before = await revision(server)
    for name in NAMES:
        await workspaces(server).delete(name)
    await settle(server)
    deleted = len(requests)
    assert [meta["metadata"]["name"] for meta in (await workspaces(server).list()).items] == ["first"]
    assert (await revision(server) - before) / len(NAMES) <= 12.2  # the same
    assert deleted / len(NAMES) <= 20.5
