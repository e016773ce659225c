"""A client that follows its kubeconfig: a new address and authority, new credentials, a file that cannot be read for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from datetime import timedelta
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
from kcp.client.rest import Client
from kcp.client.transport import TransportError, UntrustedServer

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
NODES = GVR("", "v1", "nodes")


class NamedApp:
    """Answers its name to whoever holds its token, or a certificate that is valid; a watch stays open."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Send) -> None:
        headers = dict(scope["headers"])
        is_known = headers.get(b"authorization") == f"Bearer {self.name}".encode() or "peer_subject" in scope["extensions"].get("tls", {})
        status = 200 if is_known else 401
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
        if b"watch=" in scope["query_string"]:
            await send({"type": "http.response.body", "body": b'{"type":"ADDED","object":{"metadata":{}}}\n', "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            await send({"type": "http.response.body", "body": orjson.dumps({"name": self.name})})


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[dict[str, tuple[ServerHandle, PKI]]]:
    """Two servers that know nothing of each other."""
    made: dict[str, tuple[ServerHandle, PKI]] = {}
    for name in ("one", "two"):
        pki = PKI.ensure(tmp_path / name, clock=SystemClock())
        files = TLSFiles(certificate=pki.serving.certificate, key=pki.serving.key, client_ca=pki.client_ca.certificate)
        made[name] = await serve(NamedApp(name), ServingConfig(port=0, tls=files), clock=SystemClock()), pki
    yield made
    for handle, _ in made.values():
        await handle.stop()


def write(path: Path, server: tuple[ServerHandle, PKI], *, token: str, pki: PKI | None = None) -> None:
    import base64

    handle, own = server
    document = kubeconfig.empty()
    authority = base64.b64encode((pki or own).ca_pem().encode()).decode()
    kubeconfig.put(document, "clusters", "x", {"server": handle.url, "certificate-authority-data": authority})
    kubeconfig.put(document, "users", "x", {"token": token})
    kubeconfig.put(document, "contexts", "x", {"cluster": "x", "user": "x"})
    document["current-context"] = "x"
    kubeconfig.save(path, document)


async def name_of(client: Client) -> str:
    name: str = orjson.loads((await client.raw("GET", "/")).body)["name"]
    return name


async def test_a_server_set_up_anew_is_reached_once_its_kubeconfig_is_written(
    servers: dict[str, tuple[ServerHandle, PKI]], tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    write(path, servers["one"], token="one")
    clock = VirtualClock()
    async with kubeconfig.connect(path, clock=clock, follow=True) as client:
        assert await name_of(client) == "one"
        async with aclosing(client.resource(NODES).watch()) as watch:
            await anext(watch)
            await servers["one"][0].stop()
            write(path, servers["two"], token="two")
            with pytest.raises(TransportError):
                await name_of(client)
            assert await name_of(client) == "two"
            with pytest.raises((TransportError, StopAsyncIteration)):
                await anext(watch)


async def test_a_renewed_certificate_is_read_of_the_file_that_the_kubeconfig_names(
    servers: dict[str, tuple[ServerHandle, PKI]], tmp_path: Path
) -> None:
    pki, path, clock = servers["one"][1], tmp_path / "kubeconfig", VirtualClock()
    write(path, servers["one"], token="")
    document = kubeconfig.read(path)
    document["users"][0]["user"] = {"client-certificate": "me.crt", "client-key": "me.key"}
    kubeconfig.save(path, document)

    def take(lifetime: timedelta) -> None:
        made = pki.issue_client("me", lifetime=lifetime)
        (tmp_path / "me.crt").write_text(made.certificate)
        (tmp_path / "me.key").write_text(made.key)

    take(timedelta(seconds=-1))
    async with kubeconfig.connect(path, clock=clock, follow=True) as client:
        with pytest.raises(Unauthorized):
            await name_of(client)
        take(timedelta(days=1))
        await clock.advance(2.0)
        with pytest.raises(Unauthorized):
            await name_of(client)
        assert await name_of(client) == "one"


async def test_renewed_credentials_and_authorities_are_taken_up(servers: dict[str, tuple[ServerHandle, PKI]], tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    write(path, servers["one"], token="stale", pki=servers["two"][1])
    clock = VirtualClock()
    async with kubeconfig.connect(path, clock=clock, follow=True) as client:
        with pytest.raises(UntrustedServer, match="unknown authority"):
            await name_of(client)
        write(path, servers["one"], token="stale")
        await clock.advance(2.0)
        with pytest.raises(UntrustedServer):
            await name_of(client)
        await clock.advance(2.0)
        with pytest.raises(Unauthorized):
            await name_of(client)
        path.write_text("half written: [")
        await clock.advance(2.0)
        with pytest.raises(Unauthorized):
            await name_of(client)
        write(path, servers["one"], token="one")
        await clock.advance(2.0)
        with pytest.raises(Unauthorized):
            await name_of(client)
        assert await name_of(client) == "one"
