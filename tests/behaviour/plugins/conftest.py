"""The plugins' sessions, on a whole kcp server with TMC in this process."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kcp.aio.clock import SystemClock
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.cli import plugin_diagnose, plugin_quickstart
from kcp.cli.plugin_flags import ConnectionFlags
from kcp.cli.plugin_session import Session, open_session
from kcp.client import kubeconfig
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client, ResourceClient
from kcp.registry.backend import UserInfo
from kcp.server.compose import KcpServer, run_server
from kcp.server.options import Options, TMCOptions

ADMIN = UserInfo("kcp-admin", ("system:kcp:admin", "system:authenticated"))


@dataclass
class User:
    """Somebody with a kubeconfig."""

    server: KcpServer
    config: Path

    def session(self) -> Session:
        """As a plugin opens it: from what the kubeconfig says now."""
        session = open_session(ConnectionFlags(kubeconfig=str(self.config)), {})
        session.client = Client(AsgiTransport(self.server.app, ADMIN), clock=self.server.clock)
        session.out, session.err = io.StringIO(), io.StringIO()
        return session

    async def quickstart(self, *words: str) -> str:
        """What it says."""
        session = self.session()
        options = plugin_quickstart.parser("kubectl kcp quickstart").parse_args(list(words))
        await plugin_quickstart.quickstart(session, options, self.server.clock)
        return said(session)

    async def diagnose(self, *words: str, namespace: str = "") -> tuple[int, str]:
        """Exit code and what it says."""
        session = self.session()
        code = await plugin_diagnose.diagnose(session, *plugin_diagnose.named(list(words)), namespace=namespace)
        return code, said(session)

    def enter(self, path: str) -> None:
        document = kubeconfig.read(self.config)
        kubeconfig.put(document, "clusters", "root", {"server": f"https://h/clusters/{path}"})
        kubeconfig.save(self.config, document)

    def resource(self, path: str, gvr: GVR) -> ResourceClient:
        return self.server.client.cluster(path).resource(gvr)

    async def workspace(self, name: str, type_: str = "universal") -> None:
        """Made, and ready."""
        from kcp.cli.plugin_lookup import WORKSPACES
        from kcp.tenancy.waiting import wait_for

        made: JSONObject = {"metadata": {"name": name}, "spec": {"type": {"name": type_, "path": "root"}}}
        workspaces = self.resource("root", WORKSPACES)
        await workspaces.create({"apiVersion": WORKSPACES.api_version, "kind": "Workspace", **made})
        await wait_for(workspaces, name, lambda w: w.get("status", {}).get("phase") == "Ready", timeout_s=10.0, what=name)


def said(session: Session) -> str:
    assert isinstance(session.out, io.StringIO)
    return session.out.getvalue()


@pytest.fixture
async def user(tmp_path: Path) -> AsyncIterator[User]:
    document = kubeconfig.empty()
    kubeconfig.put(document, "clusters", "root", {"server": "https://h/clusters/root"})
    kubeconfig.put(document, "contexts", "root", {"cluster": "root"})
    document["current-context"] = "root"
    kubeconfig.save(tmp_path / "kubeconfig", document)
    options = Options(root_directory=tmp_path / ".kcp", in_memory=True, tmc=TMCOptions(enabled=True))
    async with run_server(options, clock=SystemClock(), with_socket=False) as server:
        yield User(server, tmp_path / "kubeconfig")
