"""`portforward` and `proxy` of simulated pods, services and nodes: who answers, over which protocol, and what is refused.

Source: KEP-4006, k8s.io/cri-streaming/pkg/streaming/portforward, pkg/registry/core/{pod,service,node}.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.connections import Refused, upgrade_headers, websocket

from kcp.apimachinery.errors import NotFound, ServiceUnavailable
from kcp.client.transport import RawRequest, upgrade
from kcp.streams.spdy import Session, Stream
from kcp.streams.ways import Duplex
from kcp.streams.websocket import BytesOverMessages, WebSocket

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

NS = "/api/v1/namespaces/default"
FORWARD = f"{NS}/pods/a/portforward"
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


async def pod(world: World) -> None:
    container = {"name": "c", "image": "nginx:1", "ports": [{"containerPort": 8080, "name": "http"}]}
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"app": "a"}}, "spec": {"containers": [container]}}
    await world.create(made)
    await world.until(lambda: world.running())


@asynccontextmanager
async def session(world: World, *, tunneled: bool) -> AsyncIterator[Session]:
    """SPDY, alone as kubectl before 1.31 speaks it, or in a WebSocket."""
    plain = {"connection": "Upgrade", "upgrade": "SPDY/3.1", "x-stream-protocol-version": "portforward.k8s.io"}
    headers = upgrade_headers("SPDY/3.1+portforward.k8s.io") if tunneled else plain
    async with upgrade(world.client.transport, RawRequest("GET" if tunneled else "POST", FORWARD, headers=headers)) as (response, wire):
        assert response.status == 101, response.body
        bytes_: Duplex = BytesOverMessages(WebSocket(wire, is_client=True)) if tunneled else wire

        async def nobody(stream: Stream) -> None:
            raise AssertionError(stream)

        made = Session(bytes_, is_client=True, opened=nobody)
        reading = asyncio.ensure_future(made.run())
        yield made
        await made.close()
        await reading


async def pair(made: Session, port: int, request: str) -> tuple[Stream, Stream]:
    headers = (("port", str(port)), ("requestid", request))
    return await made.open((("streamtype", "error"), *headers)), await made.open((("streamtype", "data"), *headers))


@pytest.mark.parametrize("tunneled", [False, True])
async def test_many_connections_share_one_and_a_fault_is_told_for_its_own(world: World, tunneled: bool) -> None:
    await pod(world)
    async with session(world, tunneled=tunneled) as made:
        for request in ("0", "1"):
            _, data = await pair(made, 8080, request)
            await data.write(GET)
            assert b"GET /x\nanswered by container c of pod default/a on port 8080 (simulated)\n" in await data.read()
            await data.close()
        error, data = await pair(made, 81, "2")
        assert b"error forwarding port 81 to pod a, uid" in (told := await error.read())
        assert b"connection refused" in told
        assert await data.read() == b""
        _, data = await pair(made, 8080, "3")
        await data.write(b"HEAD / HTTP/1.0\r\n\r\n")
        assert (await data.read()).endswith(b"Connection: close\r\n\r\n"), "the others live on"


async def test_channels_of_a_websocket_begin_with_their_port(world: World) -> None:
    """As the Python client and kr8s forward ports."""
    await pod(world)
    async with websocket(world.client.transport, FORWARD, "v4.channel.k8s.io", ports=["8080", "81"]) as (socket, _):
        found: dict[int, bytes] = {}
        async for message in socket.messages():
            channel = message.data[0]
            found[channel] = found.get(channel, b"") + message.data[1:]
            if len(found[0]) == 2 and channel == 0:
                await socket.send(b"\0" + GET)
            if b"simulated" in found[0] and len(found.get(3, b"")) > 2:
                break
        assert found[0].startswith(b"\x90\x1fHTTP/1.1 200 OK")
        assert found[3].startswith(b"\x51\0error forwarding port 81")


async def test_ports_that_are_none_are_refused(world: World) -> None:
    await pod(world)
    for ports, told in (([], 'query parameter "ports" is required'), (["0"], 'unable to parse "0" as a port'), (["x"], "unable to parse")):
        with pytest.raises(Refused, match=told):
            async with websocket(world.client.transport, FORWARD, "v4.channel.k8s.io", **({"ports": ports} if ports else {})):
                raise AssertionError


async def test_a_proxy_leads_to_who_listens(world: World) -> None:
    await pod(world)
    service = {"selector": {"app": "a"}, "ports": [{"port": 80, "targetPort": "http", "name": "web"}]}
    await world.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": service})
    await world.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "e"}, "spec": {**service, "selector": {"app": "none"}}})

    async def got(path: str) -> str:
        return (await world.client.raw("GET", path)).body.decode()

    answer = "GET /x/y\nanswered by container c of pod default/a on port 8080 (simulated)\n"
    for path in ("pods/a", "pods/a:8080", "pods/http:a:http", "services/s", "services/s:80", "services/http:s:web"):
        assert await got(f"{NS}/{path}/proxy/x/y") == answer, path
    for path, told in (("pods/a:81", "connection refused"), ("services/e", "no endpoints available"), ("services/s:81", "no service port")):
        with pytest.raises(ServiceUnavailable, match=told):
            await got(f"{NS}/{path}/proxy/")
    node = (await world.list("pods"))[0]["spec"]["nodeName"]
    assert await got(f"/api/v1/nodes/{node}/proxy/healthz") == "ok"
    assert '"name":"a"' in await got(f"/api/v1/nodes/{node}/proxy/pods")
    assert "kubelet_running_pods 1.0\n" in await got(f"/api/v1/nodes/{node}:10250/proxy/metrics")
    redirected = await world.client.transport.request(RawRequest("GET", f"{NS}/pods/a/proxy"))
    assert (redirected.status, redirected.headers["location"]) == (301, f"{NS}/pods/a/proxy/")
    with pytest.raises(NotFound):
        await got(f"{NS}/pods/nobody/proxy/")
