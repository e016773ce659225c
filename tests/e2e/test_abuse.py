"""Hostile clients on real TLS sockets: whatever they send, and however slowly, a bystander is answered within a second, memory stays bounded,
and in the end nothing of them is left.

Aspects: heads that are too large, too slow or ambiguous; bodies that are too large, too deep, too slow or broken off; other protocols;
hundreds of idle connections; watchers that do not read; memory, file descriptors and running requests after all of it.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from tests.e2e.fleet import Fleet
from tests.e2e.processes import eventually

pytestmark = pytest.mark.e2e

MOST_GROWTH_MIB = 160
"""Of the server's memory through everything in here; the buffers of watchers that do not read are most of it."""
MAPS = "/clusters/root/api/v1/namespaces/default/configmaps"
JSON = b"Content-Type: application/json\r\n"


@dataclass
class Server:
    """One kcp as its clients see it, and as the kernel does."""

    fleet: Fleet
    token: str
    context: ssl.SSLContext
    latencies_s: list[float] = field(default_factory=list)
    """How long a bystander waited, since somebody last looked."""
    has_ended: bool = False

    @property
    def pid(self) -> int:
        assert self.fleet.kcp is not None
        return self.fleet.kcp.popen.pid

    def connect(self, *, tls: bool = True) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.fleet.kcp_port), timeout=10)
        return self.context.wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain

    def head(self, method: str = "GET", path: str = MAPS, more: bytes = b"") -> bytes:
        return f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.token}\r\n".encode() + more

    def told(self, raw: bytes, *, tls: bool = True) -> bytes:
        """Everything that is answered until the server closes the connection, or half a second passes in silence."""
        with self.connect(tls=tls) as wire:
            with suppress(OSError):  # it may have heard enough before the end
                wire.sendall(raw)
            return read(wire, quiet_s=0.5)

    def status(self, raw: bytes) -> int:
        found = re.match(rb"HTTP/1\.[01] (\d+) ", self.told(raw))
        assert found is not None, raw[:200]
        return int(found.group(1))

    def refusal(self, raw: bytes) -> dict[str, object]:
        """The Status in the answer."""
        answer = self.told(raw)
        status: dict[str, object] = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert status["kind"] == "Status"
        assert int(answer[9:12]) == status["code"]
        return status

    def rss_mib(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found.group(1)) // 1024

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def watch_latency(self) -> None:
        """A bystander's requests, one after the other on one connection."""
        request = self.head("GET", f"{MAPS}/kube-root-ca.crt") + b"\r\n"
        with self.connect() as wire:
            while not self.has_ended:
                started_s = time.monotonic()
                wire.sendall(request)
                received = wire.recv(65536)
                assert received.startswith(b"HTTP/1.1 200 ")
                self.latencies_s.append(time.monotonic() - started_s)
                time.sleep(0.01)  # a client's pause, not a wait


def read(wire: socket.socket, *, quiet_s: float) -> bytes:
    wire.settimeout(quiet_s)
    parts = []
    with suppress(TimeoutError, ssl.SSLError, ConnectionError):
        while part := wire.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server through all of it; at the end, its state must be what it was."""
    fleet = Fleet(tmp_path_factory.mktemp("abuse"), kcp_flags=())
    try:
        fleet.start_kcp()
        user = yaml.safe_load((fleet.directory / ".kcp" / "admin.kubeconfig").read_text())["users"][0]["user"]
        context = ssl.create_default_context(cafile=str(fleet.directory / ".kcp" / "pki" / "ca.crt"))
        server = Server(fleet, user["token"], context)
        server.told(server.head(more=b"Connection: close\r\n\r\n"))
        before_mib, before_files = server.rss_mib(), server.files()
        bystander = threading.Thread(target=server.watch_latency, daemon=True)
        bystander.start()
        yield server
        server.has_ended = True
        bystander.join(5)
        eventually(lambda: server.files() <= before_files + 1, timeout_s=5, what=lambda: f"{before_files} open files: {server.files()}")
        assert server.rss_mib() - before_mib < MOST_GROWTH_MIB
        assert_nothing_runs(server)
        assert fleet.kcp is not None
        assert "Traceback" not in fleet.kcp.output
        assert fleet.kcp.stop() == 0
    finally:
        fleet.stop()


def assert_nothing_runs(server: Server) -> None:
    """Except for the request that asks, and the server's own watches."""
    metrics = server.told(server.head(path="/metrics", more=b"Connection: close\r\n\r\n")).decode()
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith("apiserver_")}
    assert found['apiserver_current_inflight_requests{request_kind="mutating"}'] == 0
    assert found['apiserver_current_inflight_requests{request_kind="readOnly"}'] <= 1


@pytest.fixture
def server(whole: Server) -> Iterator[Server]:
    whole.latencies_s.clear()
    yield whole
    assert max(whole.latencies_s, default=0.0) < 1.0, "a bystander waited"


# --- heads ---


def test_a_hundred_thousand_headers_are_read_or_refused(server: Server) -> None:
    assert server.status(server.head(more=b"a: b\r\n" * 100_000 + b"\r\n")) == 200
    assert server.status(server.head(more=b"a: bcdefghijklmnop\r\n" * 100_000 + b"\r\n")) == 431


def test_a_header_without_end_is_refused(server: Server) -> None:
    assert server.status(server.head(more=b"a: " + b"b" * 3_000_000)) == 431


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 403), (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400), (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505), (b"\0" * 100, 400), (b"GET /\r\n\r\n", 400),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400), (b"GET /version HTTP/1.0\r\n\r\n", 200),
        (b"GET https://x/version HTTP/1.1\r\nHost: x\r\n\r\n", 200), (b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200),
    ],
)  # fmt: skip
def test_each_odd_head_has_one_answer(server: Server, raw: bytes, status: int) -> None:
    answer = server.told(raw)
    assert answer.count(b"HTTP/1.") == 1
    assert int(answer[9:12]) == status


@pytest.mark.parametrize("path", ["/%ff%fe/x", "/%00", "/..%2f..%2fetc/passwd", "/api/v1/../../x", "//", "/clusters/root/%2e%2e/api"])
def test_odd_paths_are_not_found(server: Server, path: str) -> None:
    assert server.status(server.head(path=path, more=b"\r\n")) in (404, 400, 403)


def test_thousands_of_pipelined_requests_are_answered_in_order(server: Server) -> None:
    answers = server.told(
        server.head(path="/version", more=b"\r\n") * 2_000 + server.head(path="/readyz", more=b"Connection: close\r\n\r\n")
    )
    assert answers.count(b"HTTP/1.1 200 OK") == 2_001
    assert answers.endswith(b"\r\n\r\nok")


def test_slow_heads_and_bodies_hold_up_nobody(server: Server) -> None:
    body = server.head("POST", more=JSON + b"Content-Length: 1000\r\n\r\n{")
    with ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(150)]
        for number, wire in enumerate(wires):
            wire.sendall(body if number % 2 else server.head(more=b"a: "))
        for _ in range(20):
            for wire in wires:
                wire.sendall(b" ")
    assert server.status(server.head(more=b"Connection: close\r\n\r\n")) == 200


# --- bodies ---


@pytest.mark.parametrize("length", [b"3145729", b"99999999999"])
def test_a_body_that_is_too_large_by_its_own_words_is_refused_at_once(server: Server, length: bytes) -> None:
    told = server.refusal(server.head("POST", more=JSON + b"Content-Length: " + length + b"\r\n\r\n{"))
    assert (told["code"], told["reason"]) == (413, "RequestEntityTooLarge")
    assert told["message"] == "Request entity too large: limit is 3145728"


def test_a_body_without_end_is_refused(server: Server) -> None:
    chunk = b"40000\r\n" + b" " * 0x40000 + b"\r\n"
    told = server.refusal(server.head("POST", more=JSON + b"Transfer-Encoding: chunked\r\n\r\n") + chunk * 40)
    assert told["code"] == 413


def test_a_gzip_bomb_is_refused(server: Server) -> None:
    bomb = gzip.compress(b" " * 100_000_000, 1)
    told = server.refusal(server.head("POST", more=JSON + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)) + bomb)
    assert told["code"] == 413


@pytest.mark.parametrize("part", [b"[", b'{"a":', b"- "])
def test_a_body_that_is_nested_too_deep_is_refused(server: Server, part: bytes) -> None:
    body = part * 500_000
    media = JSON if part != b"- " else b"Content-Type: application/yaml\r\n"
    told = server.refusal(server.head("POST", more=media + b"Content-Length: %d\r\n\r\n" % len(body)) + body)
    assert (told["code"], told["reason"]) == (400, "BadRequest")


def test_bodies_that_are_broken_off_leave_nothing(server: Server) -> None:
    body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "broken-off"}}).encode()
    for _ in range(100):
        with server.connect() as wire:
            wire.sendall(server.head("POST", more=JSON + b"Content-Length: %d\r\n\r\n" % len(body)) + body[:-1])
    assert server.status(server.head(path=f"{MAPS}/broken-off", more=b"\r\n")) == 404


def test_a_body_is_asked_for_with_100_continue(server: Server) -> None:
    with server.connect() as wire:
        wire.sendall(server.head("POST", more=JSON + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"))
        assert wire.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.sendall(b"{}")
        assert wire.recv(1000).startswith(b"HTTP/1.1 422 ")


# --- connections ---


def test_what_is_not_tls_is_dropped_or_told(server: Server) -> None:
    for garbage in (os.urandom(300), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x80\x2e\x01\0\x02", b"\0" * 5000):
        for _ in range(25):
            with server.connect(tls=False) as wire, suppress(ConnectionError):
                wire.sendall(garbage)
    assert server.told(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", tls=False).endswith(b"Client sent an HTTP request to an HTTPS server.\n")


def test_hundreds_of_idle_connections_cost_little(server: Server) -> None:
    before_mib = server.rss_mib()
    with ExitStack() as stack:
        for _ in range(500):
            stack.enter_context(server.connect())
        assert server.status(server.head(more=b"Connection: close\r\n\r\n")) == 200
        assert server.rss_mib() - before_mib < 100


def test_watchers_that_do_not_read_hold_up_nobody(server: Server) -> None:
    """Each is sent no more than the kernel's buffers and the server's own hold; who keeps reading sees every event."""
    before_mib = server.rss_mib()
    text = "x" * 100_000
    with ExitStack() as stack:
        for _ in range(30):
            sleeper = stack.enter_context(server.connect())
            sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sleeper.sendall(server.head(path=f"{MAPS}?watch=1", more=b"\r\n"))
        reader = stack.enter_context(server.connect())
        reader.sendall(server.head(path=f"{MAPS}?watch=1&fieldSelector=metadata.name%3Dseen", more=b"\r\n"))
        seen: list[str] = []
        thread = threading.Thread(target=lambda: seen.extend(events(reader, 100)), daemon=True)
        thread.start()
        with server.connect() as writer:
            for number in range(100):
                body = json.dumps(
                    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seen"}, "data": {"n": str(number), "x": text}}
                ).encode()
                method, path = ("POST", MAPS) if not number else ("PUT", f"{MAPS}/seen")
                writer.sendall(server.head(method, path, JSON + b"Content-Length: %d\r\n\r\n" % len(body)) + body)
                assert answer_of(writer) in (200, 201)
        thread.join(20)
        assert seen == ["ADDED", *["MODIFIED"] * 99]
        assert server.rss_mib() - before_mib < MOST_GROWTH_MIB


def answer_of(wire: socket.socket) -> int:
    """The status of one answer, read to its end."""
    with wire.makefile("rb") as lines:
        status = int(lines.readline().split()[1])
        length = 0
        while (line := lines.readline()) != b"\r\n":
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        lines.read(length)
    return status


def events(wire: socket.socket, count: int) -> Iterator[str]:
    """The types of the first events of a watch."""
    with wire.makefile("rb") as lines:
        for line in lines:
            if line.startswith(b'{"type":"'):
                yield line[9:].partition(b'"')[0].decode()
                count -= 1
                if not count:
                    return
