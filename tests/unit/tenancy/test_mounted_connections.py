"""Connections that change their protocol, through a mount, over TLS: bytes both ways, who asks, refusals, a target that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from kcp.aio.clock import SystemClock
from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.asgi import App
from kcp.apiserver.connect import upgrades
from kcp.apiserver.pki import PKI
from kcp.apiserver.request import Request, RequestInfo, Response
from kcp.apiserver.serving import ServerHandle, ServingConfig, TLSFiles, serve
from kcp.registry.backend import UserInfo
from kcp.streams.ways import Duplex, pipe
from kcp.tenancy.logicalcluster.index import Mounted
from kcp.tenancy.mountproxy import BadGateway, MountProxy

CLOCK = SystemClock()
SPDY = {"connection": "Upgrade", "upgrade": "SPDY/3.1", "authorization": "Bearer secret", "x-stream-protocol-version": "v4.channel.k8s.io"}


async def nothing() -> bytes:
    return b""


def request(headers: dict[str, str]) -> Request:
    made = Request("POST", "/clusters/root:m/api/v1/x", "command=a&command=b", headers, nothing, user=UserInfo("ann", ("dev",)))
    made.info = RequestInfo("/api/v1/x", "create", "root:m")
    return made


class Target:
    """Echoes what comes, and remembers who asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    async def __call__(self, req: Request) -> Response:
        self.asked.append(req)
        if upgrades.wanted(req) != upgrades.SPDY:
            return Response(403, b"{}")

        async def echo(wire: Duplex, _: str) -> None:
            while data := await wire.read():
                await wire.write(data)

        return upgrades.spdy(req, ("v4.channel.k8s.io",), echo)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    return PKI.ensure(tmp_path_factory.mktemp("root"), clock=CLOCK)


@pytest.fixture
def target() -> Target:
    return Target()


@pytest.fixture
async def server(target: Target, pki: PKI) -> AsyncIterator[ServerHandle]:
    tls = TLSFiles(certificate=pki.serving.certificate, key=pki.serving.key, client_ca=pki.client_ca.certificate)
    async with await serve(App(target), ServingConfig(port=0, tls=tls), clock=CLOCK) as handle:
        yield handle


def mount(url: str) -> Mounted:
    return Mounted(ClusterName("root"), "m", f"{url}/clusters/there", is_ready=True)


async def test_a_connection_goes_on_to_what_is_mounted_as_who_asks(target: Target, server: ServerHandle, pki: PKI) -> None:
    proxy = MountProxy(lambda: "https://elsewhere", ca_pem=pki.ca_pem().encode())
    response = await proxy.send(request(SPDY), mount(server.url))
    assert (response.status, dict(response.headers)["x-stream-protocol-version"]) == (101, "v4.channel.k8s.io")
    assert response.upgrade is not None
    near, far = pipe()
    joined = asyncio.ensure_future(response.upgrade(far))
    await near.write(b"there and back")
    assert await near.read() == b"there and back"
    await near.close()
    await joined
    asked = target.asked[0]
    assert (asked.path, asked.query_string) == ("/clusters/there/api/v1/x", "command=a&command=b")
    assert (asked.headers["x-remote-user"], asked.headers["x-remote-group"], "authorization" in asked.headers) == ("ann", "dev", False)
    await proxy.close()


async def test_a_refusal_of_what_is_mounted_is_passed_on(server: ServerHandle, pki: PKI) -> None:
    proxy = MountProxy(lambda: "https://elsewhere", ca_pem=pki.ca_pem().encode())
    response = await proxy.send(request({**SPDY, "upgrade": "other"}), mount(server.url))
    assert (response.status, response.body, response.upgrade) == (403, b"{}", None)
    await proxy.close()


async def test_a_target_that_is_away_is_a_bad_gateway() -> None:
    proxy = MountProxy(lambda: "https://elsewhere")
    with pytest.raises(BadGateway, match="is unavailable"):
        await proxy.send(request(SPDY), mount("https://127.0.0.1:1"))
    await proxy.close()
