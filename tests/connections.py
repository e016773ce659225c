"""A small client of `exec`, `attach` and `portforward`, over any transport: what kubectl does, without kubectl."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from kcp.client.transport import RawRequest, Transport, upgrade
from kcp.streams.websocket import WebSocket, new_key


def upgrade_headers(protocol: str) -> dict[str, str]:
    socket = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13", "sec-websocket-key": new_key()}
    return {**socket, **({"sec-websocket-protocol": protocol} if protocol else {})}


class Refused(Exception):
    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.message = str(json.loads(body).get("message")) if body.startswith(b"{") else body.decode()
        super().__init__(f"{status}: {self.message}")


@asynccontextmanager
async def websocket(
    transport: Transport, path: str, protocol: str = "v5.channel.k8s.io", **query: Any
) -> AsyncIterator[tuple[WebSocket, str]]:
    """A WebSocket and its subprotocol. Raises Refused."""
    target = f"{path}?{urlencode(query, doseq=True)}" if query else path
    async with upgrade(transport, RawRequest("GET", target, headers=upgrade_headers(protocol))) as (response, wire):
        if response.status != 101:
            raise Refused(response.status, response.body)
        socket = WebSocket(wire, is_client=True)
        yield socket, response.headers.get("sec-websocket-protocol", "")
        await socket.close()


@dataclass
class Told:
    out: bytes = b""
    err: bytes = b""
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> int:
        causes = self.status.get("details", {}).get("causes", ())
        return int(causes[0]["message"]) if causes else 0 if self.status.get("status") == "Success" else -1


async def executed(
    transport: Transport, path: str, *words: str, stdin: bytes | None = None, protocol: str = "v5.channel.k8s.io", **query: Any
) -> Told:
    """Run a command to its end. Raises Refused."""
    asked = {"stdout": "true", "stderr": "true", **({"stdin": "true"} if stdin is not None else {}), **query, "command": words}
    async with websocket(transport, path, protocol, **asked) as (socket, _):
        if stdin is not None:
            if stdin:
                await socket.send(b"\0" + stdin)
            await socket.send(b"\xff\0")
        return await told(socket)


async def told(socket: WebSocket, *, until: bytes | None = None, known: Sequence[int] = (1, 2, 3)) -> Told:
    """Everything until the status, or until the output ends with `until`."""
    found = Told()
    async for message in socket.messages():
        channel, data = message.data[0], message.data[1:]
        assert channel in known
        if channel == 3:
            found.status = json.loads(data)
            break
        if channel == 1:
            found.out += data
        else:
            found.err += data
        if until is not None and found.out.endswith(until):
            break
    return found
