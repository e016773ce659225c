"""A whole kcp server in process that records what a policy says, into a file that tests read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from tests.behaviour.exports.market import Market

from kcp.aio.clock import SystemClock
from kcp.apiserver.audit.config import AuditConfig, LogConfig
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse
from kcp.registry.backend import UserInfo
from kcp.server.compose import run_server
from kcp.server.options import Options

ALICE = UserInfo("alice", ("developers", "system:authenticated"))
ADMIN = UserInfo("kcp-admin", ("system:kcp:admin", "system:authenticated"))


@dataclass
class Recorded:
    """A server and its audit log."""

    market: Market
    log: Path

    async def ask(
        self, method: str, path: str, body: Any = None, user: UserInfo | None = ALICE, headers: Mapping[str, str] | None = None
    ) -> RawResponse:
        """One request, refusals included; `user` None: it comes with nothing but its headers."""
        sent = {"content-type": "application/json", **(headers or {})} if body is not None else dict(headers or {})
        path, _, query = path.partition("?")
        asked = dict(part.split("=", 1) for part in query.split("&")) if query else {}
        raw = b"" if body is None else orjson.dumps(body)
        return await AsgiTransport(self.market.server.app, user).request(RawRequest(method, path, asked, sent, raw))

    def client(self, user: UserInfo = ALICE) -> Client:
        return Client(AsgiTransport(self.market.server.app, user), clock=self.market.server.clock)

    def events(self, **wanted: str) -> list[dict[str, Any]]:
        """Those whose fields have these values."""
        *lines, _ = self.log.read_bytes().split(b"\n")  # what is behind the last end of a line is being written
        every = [orjson.loads(line) for line in lines]
        return [event for event in every if all(event.get(name) == value for name, value in wanted.items())]

    def of(self, response: RawResponse) -> list[dict[str, Any]]:
        """All events of one request."""
        return self.events(auditID=response.headers["audit-id"])


Recording = Callable[..., AbstractAsyncContextManager[Recorded]]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    """Begins one, by the rules given, with the workspace root:w where alice may do everything."""

    @asynccontextmanager
    async def begin(*rules: dict[str, Any], log: LogConfig | None = None, **policy: Any) -> AsyncIterator[Recorded]:
        file, path = tmp_path / "policy.yaml", tmp_path / "audit.log"
        file.write_text(yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **policy}))
        audit = AuditConfig(policy_file=file, log=log or LogConfig(path=str(path)))
        options = Options(root_directory=tmp_path / ".kcp", in_memory=True, audit=audit)
        async with run_server(options, clock=SystemClock(), with_socket=False) as server:
            market = Market(server)
            await market.workspace("w")
            await market.grant("w", "alice", [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
            yield Recorded(market, path)

    return begin


@pytest.fixture
async def everything(recording: Recording) -> AsyncIterator[Recorded]:
    """Whatever people do is recorded whole; of the server's own controllers nothing."""
    nobody = {"level": "None", "users": ["system:apiserver"]}
    async with recording(nobody, {"level": "RequestResponse"}) as recorded:
        yield recorded
