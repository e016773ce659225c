"""`kubectl ws` as a process of its own, against a server on a socket: what its users type, see and get."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from tests.behaviour.workspaces.server import ALICE, Kcp, kcp_server

from kcp.aio.supervisor import Supervisor
from kcp.client import kubeconfig


@dataclass
class Outcome:
    code: int
    out: str
    err: str


Ws = Callable[..., Awaitable[Outcome]]


@asynccontextmanager
async def listening(kcp: Kcp) -> AsyncIterator[str]:
    """The server on a free port, where everybody is alice. Yields its URL."""

    async def as_alice(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("extensions", {})["kcp.user"] = ALICE
        await kcp.app(scope, receive, send)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(as_alice, lifespan="off", log_config=None, ws="none")
        server = uvicorn.Server(config)
        async with Supervisor("http") as supervisor:
            task = supervisor.spawn(server.serve([listener]), name="uvicorn")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            server.should_exit = True
            await task


@pytest.fixture
async def ws(tmp_path: Path) -> AsyncIterator[Ws]:
    path = tmp_path / "kubeconfig"
    async with kcp_server() as kcp, listening(kcp) as url:
        document = kubeconfig.empty()
        kubeconfig.put(document, "clusters", "root", {"server": f"{url}/clusters/root"})
        kubeconfig.put(document, "contexts", "root", {"cluster": "root"})
        document["current-context"] = "root"
        kubeconfig.save(path, document)

        async def run(*words: str) -> Outcome:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "kcp.cli.kubectl_ws", *words, env={"KUBECONFIG": str(path), "HOME": str(tmp_path)},
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, err = await process.communicate()
            return Outcome(process.returncode or 0, out.decode(), err.decode())

        yield run


async def test_a_walk_through_workspaces(ws: Ws) -> None:
    made = await ws("create", "hello-world", "--enter")
    assert (made.code, made.err) == (0, "")
    assert made.out.splitlines() == [
        'Workspace "hello-world" (type root:organization) created. Waiting for it to be ready...',
        'Workspace "hello-world" (type root:organization) is ready to use.',
        'Current workspace is "root:hello-world" (type root:organization).',
    ]
    assert (await ws("create", "team", "--type", "universal")).code == 0
    assert (await ws("current", "--short")).out == "root:hello-world\n"
    assert (await ws("team")).out == 'Current workspace is "root:hello-world:team" (type root:universal).\n'
    assert (await ws("..")).out == 'Current workspace is "root:hello-world" (type root:organization).\n'
    assert (await ws("-")).out == 'Current workspace is "root:hello-world:team".\n'
    assert (await ws(":root")).out == 'Current workspace is "root" (type root:root).\n'
    assert (await ws("tree")).out == ".\n└── root\n    └── hello-world\n        └── team\n\n"
    assert (await ws("delete", "hello-world")).out == 'Workspace "hello-world" deleted.\n'
    assert (await ws("tree")).out == ".\n└── root\n\n"


async def test_home_is_where_no_argument_leads(ws: Ws) -> None:
    gone_home = await ws()
    assert gone_home.out == 'Current workspace is "user:alice" (type root:home).\n', gone_home.err
    assert "kubectl ws -" in gone_home.err


async def test_mistakes_get_an_answer_that_helps(ws: Ws) -> None:
    unknown = await ws("nope")
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err.startswith('error: workspace "root:nope" not found')
    assert "kubectl ws tree" in unknown.err
    assert "cannot be resolved" in (await ws("create", "x", "--type", "nope")).err
    assert (await ws("create", "x")).code == 0
    again = await ws("create", "x")
    assert (again.code, "already exists in root" in again.err) == (1, True)
    assert (await ws("create", "x", "--ignore-existing")).out.splitlines()[0] == 'Workspace "x" (type root:organization) already exists.'


async def test_the_installation_itself_is_entered_and_left(ws: Ws) -> None:
    entered = await ws(":admin")
    assert entered.out.startswith('Current workspace is the URL "http://')
    assert entered.out.endswith('/services/admin".\n')
    assert (await ws("current")).out == entered.out
    lost = await ws("team")
    assert (lost.code, lost.err.count("the current context is in no workspace")) == (1, 1)
    assert (await ws(":")).out == 'Current workspace is "root" (type root:root).\n'
    assert (await ws("-")).out == entered.out
    assert (await ws("root")).out == 'Current workspace is "root" (type root:root).\n'
