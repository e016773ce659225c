"""The HTTP layer over real sockets: TLS, client certificates, keep-alive, limits, streams and their end, ports in use."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop

from kcp.aio.clock import SystemClock, settle
from kcp.apiserver.listening import ListenError, bind, descriptors, port_owner
from kcp.apiserver.pki import PKI
from kcp.apiserver.serving import ServerHandle, ServingConfig, ServingError, TLSFiles, serve

CLOCK = SystemClock()
"""Sockets live in real time; nothing here waits for a clock."""


class Echo:
    """Answers with what it was asked; `/stream` sends one part and then waits for its client to go."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.streaming = asyncio.Event()
        self.gone = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["path"] == "/stream":
            await self._stream(receive, send)
            return
        if scope["path"] == "/fails":
            raise ValueError("a fault")
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        body = body or scope["path"].encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.streaming.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    return PKI.ensure(tmp_path_factory.mktemp("root"), clock=CLOCK)


def tls_files(pki: PKI) -> TLSFiles:
    return TLSFiles(certificate=pki.serving.certificate, key=pki.serving.key, client_ca=pki.client_ca.certificate)


@asynccontextmanager
async def running(app: Any, pki: PKI | None = None, **config: Any) -> AsyncIterator[ServerHandle]:
    tls = tls_files(pki) if pki else None
    async with await serve(app, ServingConfig(port=0, tls=tls, grace_s=config.pop("grace_s", 0.05), **config), clock=CLOCK) as handle:
        yield handle


def client_context(pki: PKI, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pki.ca.certificate))
    if certificate and key:
        context.load_cert_chain(certificate, key)
    return context


class Client:
    """A connection on which bytes are written and read by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, path: str, *, method: str = "GET", head: str = "", body: bytes = b"") -> tuple[str, bytes]:
        self.writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{head}\r\n".encode() + body)
        return await self.answer()

    async def answer(self) -> tuple[str, bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length")), 0)
        return head, await self.reader.readexactly(length)


@asynccontextmanager
async def connected(handle: ServerHandle, context: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", handle.port, ssl=context)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def test_requests_are_answered_one_after_the_other_on_a_connection(pki: PKI) -> None:
    async with running(Echo(), pki) as handle, connected(handle, client_context(pki)) as client:
        head, body = await client.ask("/a")
        assert head.startswith("HTTP/1.1 200 OK\r\ndate: ")
        assert "server:" not in head
        assert body == b"/a"
        assert (await client.ask("/b%20c", method="POST", body=b"x" * 200_000))[1] == b"x" * 200_000
        assert handle.url == f"https://127.0.0.1:{handle.port}"


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with running(Echo()) as handle, connected(handle) as client:
        client.writer.write(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert [(await client.answer())[1], (await client.answer())[1]] == [b"/1", b"/2"]


async def test_a_client_certificates_subject_is_in_the_scope(pki: PKI) -> None:
    app, pair = Echo(), pki.ensure_client("ann", "ann", ["devs", "ops"])
    async with running(app, pki) as handle, connected(handle, client_context(pki, pair.certificate, pair.key)) as client:
        await client.ask("/")
    assert app.scopes[0]["extensions"]["tls"]["peer_subject"] == {"O": ("devs", "ops"), "CN": ("ann",)}


async def test_a_client_without_a_certificate_is_served_without_a_subject(pki: PKI) -> None:
    app = Echo()
    async with running(app, pki) as handle, connected(handle, client_context(pki)) as client:
        await client.ask("/")
    assert app.scopes[0]["extensions"] == {}


@pytest.mark.parametrize(("lifetime", "fault"), [(timedelta(seconds=-1), "it expired at "), (timedelta(hours=1), "")])
async def test_an_expired_client_certificate_proves_nothing_and_the_scope_says_why(
    pki: PKI, tmp_path: Path, lifetime: timedelta, fault: str
) -> None:
    issued, app = pki.issue_client("ann", lifetime=lifetime), Echo()
    (tmp_path / "c.crt").write_text(issued.certificate)
    (tmp_path / "c.key").write_text(issued.key)
    context = client_context(pki, tmp_path / "c.crt", tmp_path / "c.key")
    async with running(app, pki) as handle, connected(handle, context) as client:
        await client.ask("/")
    tls = app.scopes[0]["extensions"]["tls"]
    assert ("peer_subject" in tls) is not bool(fault)
    assert tls.get("peer_fault", "").startswith(fault)


async def test_a_client_certificate_of_another_authority_is_refused_and_the_log_says_why(
    pki: PKI, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = PKI.ensure(tmp_path, clock=CLOCK).ensure_client("ann", "ann")
    with caplog.at_level(logging.WARNING):
        async with running(Echo(), pki) as handle:
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                async with connected(handle, client_context(pki, pair.certificate, pair.key)) as client:
                    await client.ask("/")
    assert "a client certificate was refused: " in caplog.text


async def test_old_tls_versions_are_refused(pki: PKI) -> None:
    context = client_context(pki)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with running(Echo(), pki) as handle:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connected(handle, context):
                pass


async def test_tls_sessions_are_resumed(pki: PKI) -> None:
    context = client_context(pki)

    def meet(port: int, session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
        with (
            socket.create_connection(("127.0.0.1", port)) as raw,
            context.wrap_socket(raw, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            tls.recv(1024)
            return tls.session, tls.session_reused

    async with running(Echo(), pki) as handle:
        session, _ = await asyncio.to_thread(meet, handle.port, None)
        _, resumed = await asyncio.to_thread(meet, handle.port, session)
    assert resumed is True


async def test_a_stream_begins_before_its_first_part() -> None:
    async with running(Echo()) as handle, connected(handle) as client:
        head, _ = await client.ask("/stream")
        assert "transfer-encoding: chunked" in head


async def test_stopping_ends_streams_properly_and_lets_nobody_in() -> None:
    app = Echo()
    async with running(app) as handle, connected(handle) as client:
        await client.ask("/stream")
        await app.streaming.wait()
        async with asyncio.timeout(2):
            await handle.stop()
            assert await client.reader.read() == b"0\r\n\r\n"
            await app.gone.wait()
        with pytest.raises(ConnectionRefusedError):
            async with connected(handle):
                pass
        assert handle.statistics() == {"connections": 0, "requests": 0}


async def test_stopping_cancels_a_request_that_does_not_end() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def stubborn(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with running(stubborn) as handle, connected(handle) as client:
        client.writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await began.wait()
        async with asyncio.timeout(2):
            await handle.stop()
        assert cancelled.is_set()


async def test_a_stream_whose_client_goes_away_is_told() -> None:
    app = Echo()
    async with running(app) as handle:
        async with connected(handle) as client:
            await client.ask("/stream")
        async with asyncio.timeout(2):
            await app.gone.wait()


async def test_an_idle_connection_is_closed() -> None:
    async with running(Echo(), keep_alive_s=0.05) as handle, connected(handle) as client:
        await client.ask("/")
        async with asyncio.timeout(2):
            assert await client.reader.read() == b""


async def test_a_stream_is_not_an_idle_connection() -> None:
    app = Echo()
    async with running(app, keep_alive_s=0.05) as handle, connected(handle) as client:
        await client.ask("/stream")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.reader.read()


async def test_a_head_that_is_too_large_is_refused() -> None:
    async with running(Echo(), head_bytes=10_000) as handle, connected(handle) as client:
        client.writer.write(b"GET / HTTP/1.1\r\nx: " + b"y" * 20_000)
        assert (await client.answer())[0].startswith("HTTP/1.1 431")


async def test_a_head_that_does_not_end_is_refused() -> None:
    async with running(Echo(), head_s=0.05) as handle, connected(handle) as client:
        client.writer.write(b"GET / HTTP/1.1\r\nx: ")
        async with asyncio.timeout(2):
            assert (await client.answer())[0].startswith("HTTP/1.1 408")


async def test_what_is_not_http_is_refused() -> None:
    async with running(Echo()) as handle, connected(handle) as client:
        client.writer.write(b"\x00\x01nonsense\r\n\r\n")
        assert (await client.answer())[0].startswith("HTTP/1.1 400")


async def test_http_on_the_port_of_tls_is_told(pki: PKI) -> None:
    """Source: net/http/server.go (serve)."""
    async with running(Echo(), pki) as handle, connected(handle) as client:
        client.writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        told = (await client.reader.readuntil(b"server.\n")).decode()
        assert told.startswith("HTTP/1.0 400 Bad Request\r\n")
        assert told.endswith("\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")


async def test_a_fault_of_the_application_is_a_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with running(Echo()) as handle, connected(handle) as client:
        assert (await client.ask("/fails"))[0].startswith("HTTP/1.1 500")
    assert "no complete answer to GET /fails" in caplog.text
    assert "ValueError: a fault" in caplog.text


async def test_several_servers_run_in_one_process(pki: PKI) -> None:
    async with running(Echo(), pki) as one, running(Echo()) as two, connected(one, client_context(pki)) as a, connected(two) as b:
        assert [(await a.ask("/1"))[1], (await b.ask("/2"))[1]] == [b"/1", b"/2"]
        assert one.port != two.port


async def test_a_port_in_use_is_named_with_its_owner_and_what_to_do() -> None:
    async with running(Echo()) as handle:
        with pytest.raises(ListenError) as refused:
            await serve(Echo(), ServingConfig(port=handle.port), clock=CLOCK)
        assert str(refused.value).startswith(f"127.0.0.1:{handle.port} is in use by process {os.getpid()} (")
        assert str(refused.value).endswith("choose another port with --secure-port, or stop the other server")
        assert port_owner(handle.port).startswith(str(os.getpid()))


@pytest.mark.parametrize(
    ("host", "fault"), [("192.0.2.1", "this machine has no such address"), ("no.such.host.invalid", "cannot listen on")]
)
def test_an_address_that_cannot_be_had_is_named(host: str, fault: str) -> None:
    with pytest.raises(ListenError, match=fault):
        bind(host, 0, flag="--secure-port")


async def test_certificate_files_that_cannot_be_used_are_named(pki: PKI, tmp_path: Path) -> None:
    missing = tmp_path / "gone.crt"
    with pytest.raises(ServingError, match=r"gone\.crt"):
        await serve(Echo(), ServingConfig(port=0, tls=TLSFiles(certificate=missing, key=pki.serving.key)), clock=CLOCK)
    files = TLSFiles(certificate=pki.serving.certificate, key=pki.serving.key, client_ca=missing)
    with pytest.raises(ServingError, match=r"client CA .*gone\.crt"):
        await serve(Echo(), ServingConfig(port=0, tls=files), clock=CLOCK)


@pytest.mark.parametrize(
    "scenario",
    [
        test_requests_are_answered_one_after_the_other_on_a_connection, test_a_client_certificates_subject_is_in_the_scope,
        test_a_client_without_a_certificate_is_served_without_a_subject, test_tls_sessions_are_resumed,
        test_several_servers_run_in_one_process, test_http_on_the_port_of_tls_is_told,
    ],
)  # fmt: skip
def test_tls_is_the_same_on_uvloop(pki: PKI, scenario: Callable[[PKI], Awaitable[None]]) -> None:
    on_uvloop(scenario(pki))


@pytest.mark.parametrize(
    "scenario",
    [
        test_pipelined_requests_are_answered_in_order, test_a_stream_begins_before_its_first_part,
        test_stopping_ends_streams_properly_and_lets_nobody_in, test_stopping_cancels_a_request_that_does_not_end,
        test_a_stream_whose_client_goes_away_is_told, test_an_idle_connection_is_closed,
        test_a_head_that_is_too_large_is_refused, test_a_head_that_does_not_end_is_refused,
        test_a_port_in_use_is_named_with_its_owner_and_what_to_do,
    ],
)  # fmt: skip
def test_connections_are_the_same_on_uvloop(scenario: Callable[[], Awaitable[None]]) -> None:
    on_uvloop(scenario())


def test_a_refused_certificate_is_logged_on_uvloop(pki: PKI, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    on_uvloop(test_a_client_certificate_of_another_authority_is_refused_and_the_log_says_why(pki, tmp_path, caplog))


def test_an_expired_certificate_is_told_on_uvloop(pki: PKI, tmp_path: Path) -> None:
    on_uvloop(test_an_expired_client_certificate_proves_nothing_and_the_scope_says_why(pki, tmp_path, timedelta(seconds=-1), "it expired"))


def on_uvloop(scenario: Awaitable[None]) -> None:
    """Servers run on uvloop, whose TLS is its own."""

    async def run() -> None:
        await scenario

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


# --- certificates that change, versions and ciphers ---


def copies(pki: PKI, directory: Path) -> TLSFiles:
    files = {name: directory / name for name in ("tls.crt", "tls.key", "client-ca.crt")}
    for file, source in zip(files.values(), (pki.serving.certificate, pki.serving.key, pki.client_ca.certificate), strict=True):
        file.write_bytes(source.read_bytes())
    return TLSFiles(certificate=files["tls.crt"], key=files["tls.key"], client_ca=files["client-ca.crt"])


async def test_a_certificate_that_changes_is_shown_to_new_connections_and_old_ones_go_on(pki: PKI, tmp_path: Path) -> None:
    other = PKI.ensure(tmp_path / "other", clock=CLOCK)
    files = copies(pki, tmp_path)
    async with await serve(Echo(), ServingConfig(port=0, tls=files), clock=CLOCK) as handle, connected(handle, client_context(pki)) as old:
        assert handle.tls is not None
        assert not handle.tls.refresh(), "nothing has changed"
        files.certificate.write_bytes(other.serving.certificate.read_bytes())
        with pytest.raises(ServingError):
            handle.tls.refresh()  # the key is still the old one's
        async with connected(handle, client_context(pki)) as still:
            assert "200" in (await still.ask("/a"))[0]
        files.key.write_bytes(other.serving.key.read_bytes())
        assert handle.tls.refresh()
        async with connected(handle, client_context(other)) as new:
            assert "200" in (await new.ask("/a"))[0]
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", handle.port, ssl=client_context(pki))
        assert "200" in (await old.ask("/a"))[0]


async def test_a_client_authority_that_is_replaced_lets_its_clients_in_no_more(pki: PKI, tmp_path: Path) -> None:
    other, files = PKI.ensure(tmp_path / "other", clock=CLOCK), copies(pki, tmp_path)
    ann, bob = pki.ensure_client("ann", "ann"), other.ensure_client("bob", "bob")
    trusts_ann, trusts_bob = (client_context(pki, pair.certificate, pair.key) for pair in (ann, bob))
    async with await serve(Echo(), ServingConfig(port=0, tls=files), clock=CLOCK) as handle:
        async with connected(handle, trusts_ann) as client:
            assert "200" in (await client.ask("/a"))[0]
        assert files.client_ca is not None
        files.client_ca.write_bytes(other.client_ca.certificate.read_bytes())
        assert handle.tls is not None
        assert handle.tls.refresh()
        async with connected(handle, trusts_bob) as client:
            assert "200" in (await client.ask("/a"))[0]
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            async with connected(handle, client_context(pki, ann.certificate, ann.key)) as client:
                await client.ask("/a")


@pytest.mark.parametrize(
    ("ours", "theirs", "meet"),
    [
        ({}, {"maximum_version": ssl.TLSVersion.TLSv1_2}, True),
        ({"min_version": "VersionTLS13"}, {"maximum_version": ssl.TLSVersion.TLSv1_2}, False),
        ({"ciphers": ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",)}, {"ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384"}, True),
        ({"ciphers": ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",)}, {"ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"}, False),
        ({}, {"ciphers": "ECDHE-ECDSA-AES128-SHA"}, False),
    ],
    ids=["1.2 is spoken", "1.2 is refused", "the cipher chosen", "another cipher", "CBC by default"],
)
async def test_versions_and_ciphers_are_those_asked_for(pki: PKI, ours: dict[str, Any], theirs: dict[str, Any], meet: bool) -> None:
    files = TLSFiles(certificate=pki.serving.certificate, key=pki.serving.key, **ours)
    context = client_context(pki)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if "ciphers" in theirs:
        context.set_ciphers(theirs["ciphers"])
    async with await serve(Echo(), ServingConfig(port=0, tls=files), clock=CLOCK) as handle:
        if meet:
            async with connected(handle, context) as client:
                assert "200" in (await client.ask("/a"))[0]
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection("127.0.0.1", handle.port, ssl=context)


@pytest.mark.parametrize("is_secure", [False, True])
async def test_beyond_so_many_connections_further_ones_are_closed(pki: PKI, *, is_secure: bool) -> None:
    context = client_context(pki) if is_secure else None
    async with running(Echo(), pki if is_secure else None, connections=2) as handle:
        async with connected(handle, context) as first, connected(handle, context) as second:
            assert [(await client.ask("/a"))[1] for client in (first, second)] == [b"/a", b"/a"]
            async with connected(handle, context) as third:
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await third.ask("/a")
            assert (await first.ask("/b"))[1] == b"/b"
        for _ in range(10_000):
            if not handle.statistics()["connections"]:
                break
            await settle(1)
        async with connected(handle, context) as fourth:
            assert (await fourth.ask("/a"))[1] == b"/a"


def test_as_many_connections_as_there_are_descriptors_but_for_those_that_files_need() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft // 2 <= descriptors()
    assert descriptors() <= resource.getrlimit(resource.RLIMIT_NOFILE)[0]
