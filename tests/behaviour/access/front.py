"""A kcp server behind HTTPS, and people who come to its door with whatever they have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from tests.behaviour.exports.market import Market

from kcp.aio.clock import Clock, SystemClock
from kcp.apimachinery.meta import JSONObject
from kcp.client.endpoint import Endpoint
from kcp.client.http import HttpTransport
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse
from kcp.server.compose import run_server
from kcp.server.options import Options


class Front(Market):
    """The server, reached over HTTPS."""

    def endpoint(self, **credentials: Any) -> Endpoint:
        return Endpoint(server=self.server.url, ca_pem=self.server.admin.ca_pem, **credentials)

    async def send(
        self, path: str, *, token: str = "", headers: Mapping[str, str] | None = None, body: Any = None, **credentials: Any
    ) -> RawResponse:
        """One request with these credentials and no others."""
        transport = HttpTransport(self.endpoint(token=token, **credentials))
        try:
            content = b"" if body is None else orjson.dumps(body)
            sent = {"content-type": "application/json", **(headers or {})}
            return await transport.request(RawRequest("GET" if body is None else "POST", path, headers=sent, body=content))
        finally:
            await transport.close()

    async def whoami(self, workspace: str = "root", **credentials: Any) -> JSONObject:
        """`kubectl auth whoami`: the user; {} for 401, 403 and the like."""
        answer = await self.send(f"/clusters/{workspace}/apis/authentication.k8s.io/v1/selfsubjectreviews", body={}, **credentials)
        found: JSONObject = orjson.loads(answer.body)
        return found["status"]["userInfo"] if answer.status == 201 else {}

    async def status(self, path: str, **credentials: Any) -> int:
        return (await self.send(path, **credentials)).status

    def admin(self, workspace: str) -> Client:
        return self.server.client.cluster(workspace)


@asynccontextmanager
async def front(directory: Path, *, clock: Clock | None = None, **options: Any) -> AsyncIterator[Front]:
    made = Options(root_directory=directory / ".kcp", in_memory=True, secure_port=0, **options)
    async with run_server(made, clock=clock or SystemClock()) as running:
        yield Front(running)
