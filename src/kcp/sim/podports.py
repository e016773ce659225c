"""Who listens at the ports of simulated pods: a small HTTP server on each TCP port that a running container declares.

It says who it is and what it was asked; it serves no files, and nothing of the image. Other ports refuse connections.
Before: `dialing`. After: nothing. Source: the words for a refused connection are those of containerd and of Go's net package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httptools

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.connect.portforward import PortError
from kcp.streams.ways import Duplex

_MOST_HEAD = 64 * 1024


def listener(pod: JSONObject, port: int | str) -> tuple[Mapping[str, Any], int] | None:
    """The container that listens at a port, by number or name, and the number; None if none does."""
    running = {c["name"] for c in meta.nested(pod, "status", "containerStatuses", default=()) if "running" in (c.get("state") or {})}
    for container in meta.nested(pod, "spec", "containers", default=()):
        for declared in container.get("ports") or ():
            is_meant = port in (declared.get("containerPort"), declared.get("name")) and declared.get("protocol", "TCP") == "TCP"
            if is_meant and container["name"] in running:
                return container, int(declared["containerPort"])
    return None


def first_port(pod: JSONObject) -> int:
    """Of the first container that declares any; 80 if none does. Source: pkg/registry/core/pod/strategy.go (ResourceLocation)."""
    for container in meta.nested(pod, "spec", "containers", default=()):
        for declared in container.get("ports") or ():
            return int(declared["containerPort"])
    return 80


def text(pod: JSONObject, container: Mapping[str, Any], port: int, method: str, path: str) -> bytes:
    """What is answered to any request."""
    where = f"{meta.namespace(pod)}/{meta.name(pod)}"
    return f"{method} {path or '/'}\nanswered by container {container['name']} of pod {where} on port {port} (simulated)\n".encode()


async def connect(pod: JSONObject, port: int, wire: Duplex) -> None:
    """Answer requests until the client goes. Raises PortError, BrokenStream."""
    found = listener(pod, port)
    if found is None:
        raise PortError(
            f"error forwarding port {port} to pod {meta.name(pod)}, uid {meta.uid(pod)}: "
            "failed to execute portforward in network namespace: "
            f"failed to connect to localhost:{port} inside namespace: dial tcp4 127.0.0.1:{port}: connect: connection refused"
        )
    container = found[0]
    request = _Requests()
    parser = request.parser
    while data := await wire.read():
        try:
            parser.feed_data(data)
        except httptools.HttpParserError:
            await wire.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            break
        if request.head_bytes > _MOST_HEAD:
            break
        for target, method, keeps in request.taken():
            body = text(pod, container, port, method, target)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%b\r\n"
            await wire.write(head % (len(body), b"" if keeps else b"Connection: close\r\n") + (b"" if method == "HEAD" else body))
            if not keeps:
                await wire.close()
                return
    await wire.close()


class _Requests:
    """What the parser calls."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self._url = b""
        self.head_bytes = 0
        self._whole: list[tuple[str, str, bool]] = []

    def on_message_begin(self) -> None:
        self._url, self.head_bytes = b"", 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        self.head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.head_bytes += len(name) + len(value)

    def on_message_complete(self) -> None:
        keeps = self.parser.should_keep_alive() and self.parser.get_http_version() == "1.1"
        self._whole.append((self._url.decode("latin-1"), self.parser.get_method().decode("ascii"), keeps))

    def taken(self) -> list[tuple[str, str, bool]]:
        """Target, method and whether the connection stays, of each request that is whole."""
        whole, self._whole = self._whole, []
        return whole
