"""Watchers and writers that misbehave, over TLS against the real program.

Aspects: a watcher that stops reading is ended with a reason, hears everything before that in order, and holds up nobody; the server keeps
only so much for it; a writer cut off in the middle of a request, or before its answer, leaves the old or the new object, and all watchers
and readers agree on which.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse, HTTPSConnection
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.processes import Process, free_port

pytestmark = pytest.mark.e2e

CONFIG_MAPS = "/clusters/root/api/v1/namespaces/default/configmaps"
LARGE, CHANGES = 600_000, 80
"""Bytes of an object and its changes: 46 MiB, thrice of what is kept for a watcher and much more than sockets hold."""
CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE


@dataclass
class Server:
    process: Process
    port: int
    headers: dict[str, str]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        with closing(HTTPSConnection("127.0.0.1", self.port, context=CONTEXT, timeout=60)) as connection:
            connection.request(method, path, json.dumps(body) if body else None, {**self.headers, "Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        assert answer.status < 300, text
        return json.loads(text)

    def open(self, *, receive_bytes: int = 0) -> ssl.SSLSocket:
        plain = socket.socket()
        if receive_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.settimeout(60)
        plain.connect(("127.0.0.1", self.port))
        return CONTEXT.wrap_socket(plain)

    @contextmanager
    def watch(self, revision: str, *, receive_bytes: int = 0, query: str = "") -> Iterator[HTTPResponse]:
        """An open watch, of which nothing but the head has been read."""
        with self.open(receive_bytes=receive_bytes) as connection:
            connection.sendall(self.head("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion={revision}{query}"))
            with closing(HTTPResponse(connection)) as answer:
                answer.begin()
                assert answer.status == 200
                yield answer

    def head(self, method: str, path: str, length: int = 0) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {length}"]
        return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in self.headers.items()), "", ""]).encode()

    def revision(self) -> str:
        return str(self.call("GET", f"{CONFIG_MAPS}?limit=1")["metadata"]["resourceVersion"])

    def rss_mib(self) -> int:
        status = Path(f"/proc/{self.process.popen.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found
        return int(found[1]) // 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory, port = tmp_path_factory.mktemp("watchers"), free_port()
    process = Process.start(["kcp", "start", "--root-directory=.kcp", f"--secure-port={port}"], cwd=directory)
    try:
        process.wait_for_line("kcp is ready")
        token = re.findall(r'token: "([^"]+)"', (directory / ".kcp" / "admin.kubeconfig").read_text())[0]
        yield Server(process, port, {"Authorization": f"Bearer {token}"})
    finally:
        process.kill()


def config_map(name: str, text: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"text": text}}


def events(answer: HTTPResponse) -> Iterator[tuple[str, Any]]:
    for line in answer:
        event = json.loads(line)
        yield event["type"], event["object"]


def test_a_watcher_that_stops_reading_is_told_why_it_ends_and_holds_up_nobody(server: Server) -> None:
    revision, before_mib = server.revision(), server.rss_mib()
    with server.watch(revision, receive_bytes=64 * 1024) as slow, server.watch(revision) as quick:
        heard: list[str] = []
        listener = threading.Thread(target=lambda: heard.extend(islice(numbers(events(quick)), CHANGES)))
        listener.start()
        for number in range(CHANGES):
            obj = config_map("large", "x" * LARGE, number=str(number))
            server.call(*(("PUT", f"{CONFIG_MAPS}/large") if number else ("POST", CONFIG_MAPS)), obj)
        listener.join(60)
        assert heard == [str(number) for number in range(CHANGES)], "everything, in order"
        assert server.rss_mib() - before_mib < 150
        *changes, (last, status) = events(slow)  # to the last chunk
    told = list(numbers(changes))
    assert told == [str(number) for number in range(len(told))], "no gap before the end"
    assert 0 < len(told) < CHANGES
    assert (last, status["kind"], status["code"], status["reason"]) == ("ERROR", "Status", 410, "Expired")
    assert "did not keep up" in status["message"]
    assert any("does not keep up" in line for line in server.process.lines)


def numbers(found: Iterable[tuple[str, Any]]) -> Iterator[str]:
    return (obj["metadata"]["labels"]["number"] for _, obj in found if obj["metadata"]["name"] == "large")


@pytest.mark.parametrize("form", ["", "Table", "PartialObjectMetadata"])
def test_all_watchers_agree_with_readers_on_what_vanishing_writers_left(server: Server, form: str) -> None:
    count, prefix = 30, f"cut-{form}".lower()
    for number in range(count):
        server.call("POST", CONFIG_MAPS, config_map(f"{prefix}-{number}", "old"))
    accept = {"Accept": f"application/json;as={form};g=meta.k8s.io;v=v1"} if form else {}
    client, revision = Server(server.process, server.port, {**server.headers, **accept}), server.revision()
    with ExitStack() as stack:
        watches = [stack.enter_context(client.watch(revision)) for _ in range(3)]
        for number in range(count):
            name = f"{prefix}-{number}"
            body = json.dumps(config_map(name, "new" + "x" * 20_000)).encode()
            cut_off(server, server.head("PUT", f"{CONFIG_MAPS}/{name}", len(body)) + body, share=number / (count - 6))
        server.call("POST", CONFIG_MAPS, config_map(f"{prefix}-zzz", "the end"))
        seen = [dict(changes_until(events(answer), f"{prefix}-zzz")) for answer in watches]
    items = [item for item in server.call("GET", CONFIG_MAPS)["items"] if item["metadata"]["name"].startswith(f"{prefix}-")]
    assert {len(item["data"]["text"]) for item in items} == {3, 7, 20_003}, "old ones and new ones, and nothing between"
    changed = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items if len(item["data"]["text"]) != 3}
    assert seen == [changed] * 3


def changes_until(found: Iterator[tuple[str, Any]], last: str) -> Iterator[tuple[str, str]]:
    """Names and revisions of what changed, to the creation of `last`."""
    for kind, obj in found:
        shown = obj["rows"][0]["object"] if obj["kind"] == "Table" else obj
        name = shown["metadata"]["name"]
        assert kind == ("ADDED" if name == last else "MODIFIED")
        yield name, shown["metadata"]["resourceVersion"]
        if name == last:
            return


def cut_off(server: Server, request: bytes, *, share: float) -> None:
    """Send that part of a request, then reset the connection; of a whole one, when the first byte of the answer has come."""
    with server.open() as connection:
        connection.sendall(request[: max(1, int(len(request) * share))])
        if share > 1:
            connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
