"""The HTTP transport against a real listening server: TLS, client certificates, tokens, reuse, streams, and what errors say."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest

from kcp.aio.clock import SystemClock, VirtualClock
from kcp.apimachinery.errors import Unauthorized
from kcp.apimachinery.gvk import GVR
from kcp.apiserver.pki import PKI
from kcp.apiserver.serving import ServerHandle, ServingConfig, TLSFiles, serve
from kcp.client import kubeconfig
from kcp.client.endpoint import Endpoint, ExecPlugin, Timeouts
from kcp.client.http import HttpTransport
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, TransportError

NODES = GVR("", "v1", "nodes")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class SmallApp:
    """Answers who asked and how; `watch=true` streams two events and then waits; `/slow` never answers."""

    def __init__(self) -> None:
        self.ports: set[int] = set()
        self.watch_ended = asyncio.Event()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        self.ports.add(scope["client"][1])
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if b"watch=true" in scope["query_string"]:
            await self._watch(receive, send)
            return
        if scope["path"] == "/slow":
            await asyncio.Event().wait()
        status = 401 if headers.get("authorization") == "Bearer expired" else 200
        peer = (scope.get("extensions") or {}).get("tls") or {}
        told = {"path": scope["path"], "headers": headers, "peer": peer.get("peer_subject")}
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": orjson.dumps(told)})

    async def _watch(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for name in (b"a", b"b"):
            frame = b'{"type":"ADDED","object":{"metadata":{"name":"%s"}}}\n' % name
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self.watch_ended.set()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    return PKI.ensure(tmp_path_factory.mktemp("pki"), clock=SystemClock())


@pytest.fixture
def app() -> SmallApp:
    return SmallApp()


@pytest.fixture
async def server(app: SmallApp, pki: PKI) -> AsyncIterator[ServerHandle]:
    files = TLSFiles(certificate=pki.serving.certificate, key=pki.serving.key, client_ca=pki.client_ca.certificate)
    async with await serve(app, ServingConfig(port=0, tls=files), clock=SystemClock()) as handle:
        yield handle


def endpoint(server: ServerHandle, pki: PKI, **more: Any) -> Endpoint:
    return Endpoint(**{"server": server.url, "ca_pem": pki.ca_pem().encode(), "origin": 'context "x" of /tmp/k', **more})


async def ask(endpoint: Endpoint, path: str = "/", **options: Any) -> Any:
    async with Client(HttpTransport(endpoint, **options), origin=endpoint.origin) as client:
        return orjson.loads((await client.raw("GET", path)).body)


async def test_client_certificate_is_shown(server: ServerHandle, pki: PKI) -> None:
    pair = pki.issue_client("alice", ["system:masters"])
    told = await ask(endpoint(server, pki, cert_pem=pair.certificate.encode(), key_pem=pair.key.encode()))
    assert told["peer"] == {"CN": ["alice"], "O": ["system:masters"]}
    assert "authorization" not in told["headers"]
    assert "accept-encoding" not in told["headers"]


async def test_kubeconfig_connects_with_its_base_path(server: ServerHandle, pki: PKI, tmp_path: Path) -> None:
    document = kubeconfig.empty()
    authority = base64.b64encode(pki.ca_pem().encode()).decode()
    kubeconfig.put(document, "clusters", "c", {"server": f"{server.url}/clusters/root", "certificate-authority-data": authority})
    kubeconfig.put(document, "users", "u", {"username": "a", "password": "b"})
    kubeconfig.put(document, "contexts", "x", {"cluster": "c", "user": "u"})
    kubeconfig.save(tmp_path / "k", document)
    async with kubeconfig.connect(tmp_path / "k", "x") as client:
        told = await client.resource(NODES).get("n1")
    assert told["path"] == "/clusters/root/api/v1/nodes/n1"
    assert told["headers"]["authorization"] == "Basic " + base64.b64encode(b"a:b").decode()


async def test_connections_are_reused(server: ServerHandle, app: SmallApp, pki: PKI) -> None:
    async with Client(HttpTransport(endpoint(server, pki))) as client:
        for _ in range(5):
            await client.raw("GET", "/")
    assert len(app.ports) == 1


async def test_watch_streams_and_leaving_it_ends_it_at_the_server(server: ServerHandle, app: SmallApp, pki: PKI) -> None:
    async with Client(HttpTransport(endpoint(server, pki))) as client:
        async with aclosing(client.resource(NODES).watch()) as watch:
            names = [(await anext(watch)).object["metadata"]["name"] for _ in range(2)]
        assert names == ["a", "b"]
        async with asyncio.timeout(5):
            await app.watch_ended.wait()


async def test_server_that_stops_breaks_the_watch(app: SmallApp, pki: PKI) -> None:
    files = TLSFiles(certificate=pki.serving.certificate, key=pki.serving.key)
    server = await serve(app, ServingConfig(port=0, tls=files, grace_s=0.05), clock=SystemClock())
    async with Client(HttpTransport(endpoint(server, pki))) as client, aclosing(client.resource(NODES).watch()) as watch:
        await anext(watch)
        await server.stop()
        await anext(watch)
        with pytest.raises((TransportError, StopAsyncIteration)):
            await anext(watch)
        with pytest.raises(TransportError, match="connection refused"):
            await client.raw("GET", "/")


async def test_token_file_is_read_again(server: ServerHandle, pki: PKI, tmp_path: Path) -> None:
    token, clock = tmp_path / "token", VirtualClock()
    token.write_text("one\n")
    async with Client(HttpTransport(endpoint(server, pki, token_file=str(token)), clock=clock)) as client:

        async def seen() -> str:
            told = orjson.loads((await client.raw("GET", "/")).body)
            return str(told["headers"]["authorization"])

        assert await seen() == "Bearer one"
        token.write_text("two\n")
        assert await seen() == "Bearer one"
        await clock.advance(61.0)
        assert await seen() == "Bearer two"
        token.unlink()
        await clock.advance(61.0)
        with pytest.raises(TransportError, match=r"cannot read the token file .*token of context"):
            await seen()


async def test_refused_token_is_read_again_at_once(server: ServerHandle, pki: PKI, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("expired")
    async with Client(HttpTransport(endpoint(server, pki, token_file=str(token)), clock=VirtualClock()), origin="the test") as client:
        with pytest.raises(Unauthorized, match="does not accept the credentials of the test"):
            await client.raw("GET", "/")
        token.write_text("fresh")
        await client.raw("GET", "/")


async def test_exec_plugin_gives_the_token_and_its_failure_is_told(server: ServerHandle, pki: PKI) -> None:
    program = "import os, json; json.loads(os.environ['KUBERNETES_EXEC_INFO']); print(json.dumps({'status': {'token': os.environ['T']}}))"
    plugin = ExecPlugin(command=sys.executable, args=("-c", program), env=(("T", "abc"),))
    assert (await ask(endpoint(server, pki, exec_plugin=plugin)))["headers"]["authorization"] == "Bearer abc"
    broken = ExecPlugin(command=sys.executable, args=("-c", "raise SystemExit('log in first')"))
    with pytest.raises(TransportError, match="log in first"):
        await ask(endpoint(server, pki, exec_plugin=broken))
    missing = ExecPlugin(command="/no/such/plugin", install_hint="Install it from example.com.")
    with pytest.raises(TransportError, match=r"cannot run /no/such/plugin.*Install it from example.com"):
        await ask(endpoint(server, pki, exec_plugin=missing))


async def test_nothing_is_taken_from_the_proxy_environment(server: ServerHandle, pki: PKI, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert os.environ["HTTPS_PROXY"]
    assert (await ask(endpoint(server, pki)))["path"] == "/"


async def test_unknown_authority_is_explained(server: ServerHandle, pki: PKI, tmp_path: Path) -> None:
    other = PKI.ensure(tmp_path, clock=SystemClock())
    with pytest.raises(TransportError, match=r'unknown authority.*belongs to another server.*context "x" of /tmp/k') as caught:
        await ask(endpoint(server, pki, ca_pem=other.ca_pem().encode()))
    assert caught.value.where == server.url
    with pytest.raises(TransportError, match="set certificate-authority-data"):
        await ask(endpoint(server, pki, ca_pem=b""))
    assert (await ask(endpoint(server, pki, ca_pem=b"", insecure_skip_tls_verify=True)))["path"] == "/"


async def test_wrong_name_is_explained_and_server_name_helps(server: ServerHandle, pki: PKI) -> None:
    with pytest.raises(TransportError, match=r"certificate is for another name"):
        await ask(endpoint(server, pki, tls_server_name="elsewhere.example"))
    assert (await ask(endpoint(server, pki, tls_server_name="localhost")))["path"] == "/"


async def test_refused_connection_unknown_host_and_no_tls_are_explained(app: SmallApp, pki: PKI) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(TransportError, match=rf"https://127.0.0.1:{port}: connection refused.*context"):
            await ask(Endpoint(server=f"https://127.0.0.1:{port}", origin='context "x"'))
    with pytest.raises(TransportError, match="no-such-host.invalid cannot be resolved"):
        await ask(Endpoint(server="https://no-such-host.invalid:1"))
    async with await serve(app, ServingConfig(port=0), clock=SystemClock()) as plain:
        with pytest.raises(TransportError, match="is this an https port"):
            await ask(Endpoint(server=plain.url.replace("http:", "https:")))
        assert (await ask(Endpoint(server=plain.url)))["path"] == "/"


async def test_server_that_does_not_answer_times_out(server: ServerHandle, pki: PKI) -> None:
    with pytest.raises(TransportError, match="no answer in time"):
        await ask(endpoint(server, pki), "/slow", timeouts=Timeouts(request_s=0.1))


async def test_bad_certificates_and_closed_clients_are_explained(server: ServerHandle, pki: PKI) -> None:
    with pytest.raises(TransportError, match="certificates of .* cannot be used"):
        await ask(endpoint(server, pki, cert_pem=b"x", key_pem=b"y"))
    transport = HttpTransport(endpoint(server, pki))
    await transport.close()
    with pytest.raises(TransportError, match="client is closed"):
        await transport.request(RawRequest("GET", "/"))
