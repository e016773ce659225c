"""What is switched off is not there: no controller, no endpoint, no metric; the rest goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.behaviour.tmc.test_placement_semantics import CLOCK, running, workspace

from kcp.server.compose import KcpServer, run_server
from kcp.server.options import Options, TMCOptions


def controllers() -> set[str]:
    names = (task.get_name() for task in asyncio.all_tasks())
    return {name.removeprefix("controller ") for name in names if name.startswith("controller ")}


async def status(server: KcpServer, path: str) -> int:
    client = server.client.at("")
    return (await client.transport.request(client.request("GET", path))).status


async def metrics(server: KcpServer) -> str:
    return (await server.client.at("").raw("GET", "/metrics")).body.decode()


OFF: list[tuple[str, Callable[[set[str]], bool]]] = [
    ("placement_controller", lambda names: bool(names & {"placement", "tmc-namespace"})),
    ("virtual_workspaces", lambda names: "tmc-views" in names),
    ("projection", lambda names: "projection" in names),
    ("recovery", lambda names: bool(names & {"tmc-recovery", "tmc-recovery-trigger"})),
    ("push", lambda names: "tmc-push" in names),
    ("error_handling", lambda names: "tmc-remarks" in names),
]


@pytest.mark.parametrize(("switch", "is_there"), OFF, ids=[name for name, _ in OFF])
async def test_a_switch_loads_its_controllers_or_does_not(switch: str, is_there: Callable[[set[str]], bool], tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        assert is_there(controllers())
    async with running(tmp_path / "off", **{switch: False}) as server:
        assert not is_there(controllers())
        assert "synctarget" in controllers()
        await workspace(server, "root", "org", type_="organization")


async def test_without_health_monitoring_there_is_no_endpoint(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        assert await status(server, "/healthz/tmc") == 200
    async with running(tmp_path / "off", health_monitoring=False) as server:
        assert await status(server, "/healthz/tmc") == 404


async def test_without_metrics_there_are_none_of_tmc(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        assert "\n# TYPE tmc_" in await metrics(server)
    async with running(tmp_path / "off", metrics=False) as server:
        assert "tmc_" not in await metrics(server)


async def test_without_tmc_there_is_nothing_of_it(tmp_path: Path) -> None:
    async with run_server(Options(root_directory=tmp_path, in_memory=True, tmc=TMCOptions()), clock=CLOCK, with_socket=False) as server:
        assert not controllers() & {"synctarget", "placement", "tmc-push", "location"}
        assert await status(server, "/healthz/tmc") == 404
        assert "tmc_" not in await metrics(server)
