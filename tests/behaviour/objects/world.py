"""A simulated cluster, or a workspace, spoken to in plain requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.errors import StatusError
from kcp.client.rest import Client
from kcp.registry.backend import UserInfo
from kcp.sim.cluster import ADMIN, SimCluster

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


class Answer:
    """What one request came to, refusals included."""

    def __init__(self, status: int, body: dict[str, Any], warnings: str = "") -> None:
        self.status = status
        self.body = body
        self.warnings = warnings

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))

    @property
    def reason(self) -> str:
        return str(self.body.get("reason", ""))

    @property
    def causes(self) -> list[tuple[str, str]]:
        return [(cause.get("field", ""), cause["message"]) for cause in self.body.get("details", {}).get("causes", ())]


class Api:
    """One server, through one user's eyes."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(
        self, method: str, path: str, body: object = None, *, query: Mapping[str, str] | None = None, content: str = "application/json"
    ) -> Answer:
        headers = {"content-type": content} if body is not None else {}
        try:
            response = await self.client.raw(method, path, query=query, headers=headers, body=b"" if body is None else orjson.dumps(body))
        except StatusError as error:
            return Answer(error.code, error.to_status())
        return Answer(response.status, orjson.loads(response.body), response.headers.get("warning", ""))

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        answer = await self.call("GET", path, query=query)
        assert answer.status == 200, answer.message
        return answer.body

    async def make(self, path: str, obj: object) -> dict[str, Any]:
        """Create, and expect that to work."""
        answer = await self.call("POST", path, obj)
        assert answer.status == 201, answer.message
        return answer.body

    async def change(self, path: str, patch: object, content: str = MERGE) -> dict[str, Any]:
        """Patch, and expect that to work."""
        answer = await self.call("PATCH", path, patch, content=content)
        assert answer.status == 200, answer.message
        return answer.body


class World(Api):
    """A simulated cluster under virtual time, as its administrator."""

    def __init__(self, cluster: SimCluster, clock: VirtualClock) -> None:
        super().__init__(cluster.client())
        self.cluster = cluster
        self.clock = clock

    def as_user(self, user: UserInfo = ADMIN) -> Api:
        return Api(self.cluster.client(user))


@asynccontextmanager
async def simulated(nodes: int = 1) -> AsyncIterator[World]:
    clock = VirtualClock()
    async with SimCluster.in_process("east", nodes=nodes, clock=clock) as cluster:
        yield World(cluster, clock)
