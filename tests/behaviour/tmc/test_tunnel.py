"""Logs, exec and port-forward of upsynced pods: through the tunnel that a syncer opens, for who may, and clear words when it is away.

Source: kcp 0.11 pkg/tunneler.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import yaml
from tests.behaviour.tmc.world import CLOCK, DEPLOYMENTS, QUIET, TMC, World, running, until, with_control_plane
from tests.connections import Refused, executed, told, websocket

from kcp.aio.clock import VirtualClock, settle
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.errors import ServiceUnavailable
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.asgi import App
from kcp.apiserver.filters import chain, with_errors, with_request_info
from kcp.apiserver.request import Request, Response
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.client.transport import RawRequest
from kcp.registry.backend import UserInfo
from kcp.sim.cluster import SimCluster
from kcp.streams.spdy import Stream
from kcp.streams.ways import Duplex
from kcp.tmc.model.kinds import PLACEMENTS, SYNC_TARGETS
from kcp.tmc.model.names import NamespaceLocator
from kcp.tmc.syncer.identity import Identity
from kcp.tmc.syncer.tunnel import Tunnel
from kcp.tmc.tunnel.tunnels import Tunnels

PODS, SECRETS = GVR("", "v1", "pods"), GVR("", "v1", "secrets")
TUNNELING = replace(QUIET, upsync=("pods",), tunnel=True)
SCRIPT = "while true; do echo tick; sleep 1; done"


async def shown(world: World) -> list[JSONObject]:
    """The pods that the workspace sees running."""
    labels = {"app": "web"}
    container = {
        "name": "c",
        "image": "busybox",
        "command": ["sh", "-c", SCRIPT],
        "ports": [{"containerPort": 8080}],
        "env": [{"name": "A", "value": "b"}],
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    await world.create(DEPLOYMENTS, "Deployment", "web", namespace="default", spec=spec)

    await world.settle("default", "web", 2)

    async def both() -> tuple[list[JSONObject], set[str]]:
        above = (await world.client.resource(PODS).list(namespace="default")).items
        below = [p for c in world.clusters.values() for p in (await c.client().resource(PODS).list(label_selector="app=web")).items]
        return above, {meta.name(p) for p in below if not meta.deletion_timestamp(p)}

    def is_right(found: tuple[list[JSONObject], set[str]]) -> bool:
        phases = [meta.nested(pod, "status", "phase") for pod in found[0]]
        return phases == ["Running"] * 2 and {meta.name(pod) for pod in found[0]} == found[1]

    pods: list[JSONObject] = (await until(both, is_right))[0]
    return pods


def at(world: World, pod: JSONObject, subresource: str) -> str:
    return f"{world.client.base_path}/api/v1/namespaces/default/pods/{meta.name(pod)}/{subresource}"


async def test_pods_of_every_cluster_are_reached_from_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, config=TUNNELING) as world:
        for pod in await shown(world):
            await reached(world, pod)


async def test_so_are_pods_of_a_cluster_that_the_server_itself_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmc = replace(TMC, push_upsync="pods", push_heartbeat_s=3600.0)
    async with SimCluster("far", nodes=1, clock=CLOCK, start_delay_s=0.0) as cluster:
        async with with_control_plane(tmp_path, monkeypatch, {"far": cluster}, in_memory=True, tmc=tmc) as world:
            kubeconfig = base64.b64encode(yaml.safe_dump(orjson.loads(orjson.dumps(cluster.kubeconfig()))).encode()).decode()
            await world.create(SECRETS, "Secret", "far", namespace="default", data={"kubeconfig": kubeconfig})
            credentials = {"secretRef": {"name": "far", "namespace": "default"}}
            await world.create(SYNC_TARGETS, "SyncTarget", "far", spec={"workloadCluster": {"name": "far", "credentials": credentials}})
            await world.create(PLACEMENTS, "Placement", "all", spec={})
            await reached(world, (await shown(world))[0])


async def reached(world: World, pod: JSONObject) -> None:
    """By every subresource."""
    transport = world.client.transport
    name = meta.name(pod)
    found = await executed(transport, at(world, pod, "exec"), "sh", "-c", "hostname; echo $A; cat; exit 3", stdin=b"typed")
    assert (found.out, found.code) == (f"{name}\nb\ntyped".encode(), 3)
    assert (await world.client.raw("GET", f"/api/v1/namespaces/default/pods/{name}/log")).body.startswith(b"tick\n")
    async with transport.stream(RawRequest("GET", at(world, pod, "log") + "?follow=1&tailLines=1")) as (response, chunks):
        assert (response.status, (await anext(aiter(chunks)))[:5]) == (200, b"tick\n")
    async with websocket(transport, at(world, pod, "attach"), stdout="true") as (socket, _):
        assert (await told(socket, until=b"tick\n")).out.startswith(b"tick\n")
    async with websocket(transport, at(world, pod, "portforward"), "v4.channel.k8s.io", ports="8080") as (socket, _):
        await socket.send(b"\0GET /x HTTP/1.0\r\n\r\n")
        data = b"".join([m.data[1:] async for m in socket.messages() if m.data[0] == 0])
        assert b"GET /x\nanswered by container c of pod kcp-" in data
    proxied = await world.client.raw("GET", f"/api/v1/namespaces/default/pods/{name}:8080/proxy/a/b", query={"q": "1"})
    assert proxied.body.startswith(b"GET /a/b?q=1\n")


async def test_only_who_may_in_the_workspace_gets_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, config=TUNNELING) as world:
        pod = (await shown(world))[0]
        stranger = AsgiTransport(world.server.app, UserInfo("ann", ("system:authenticated",)))
        with pytest.raises(Refused) as refused:
            await executed(stranger, at(world, pod, "exec"), "hostname")
        assert refused.value.status == 403
        refusal = await stranger.request(RawRequest("GET", at(world, pod, "log")))
        assert refusal.status == 403


async def test_without_a_tunnel_it_is_said_which_cluster_since_when_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, config=replace(TUNNELING, tunnel=False)) as world:
        pod = (await shown(world))[0]
        with pytest.raises(ServiceUnavailable) as away:
            await world.client.raw("GET", f"/api/v1/namespaces/default/pods/{meta.name(pod)}/log")
        assert "has not opened a tunnel since this server started" in away.value.message
        assert "see to it that its syncer runs" in away.value.message


class Ends:
    """Both ends of one tunnel under virtual time, with a cluster that answers what it is asked."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.key = ObjectKey(ClusterName("ws"), "", "east")
        self.tunnels = Tunnels(lambda key: {"metadata": {"name": "east", "uid": "u"}}, self.clock)
        self.asked: list[str] = []
        self.frozen = False
        self.opened = 0
        above = chain(self._above, with_errors(), with_request_info())
        control_plane = Client(AsgiTransport(App(above), UserInfo("syncer", ())), clock=self.clock)
        below = Client(AsgiTransport(App(chain(self._below, with_errors())), UserInfo("syncer", ())), clock=self.clock)
        self.tunnel = Tunnel(Identity(ClusterName("ws"), "east", "u"), control_plane, below, self.clock, self._locator)

    async def _above(self, req: Request) -> Response:
        self.opened += 1
        req.info.cluster = ClusterName(req.info.cluster_path)
        response = await self.tunnels.connect(req)
        assert response.upgrade is not None
        response.upgrade = self._freezing(response.upgrade)
        return response

    def _freezing(self, upgrade: Callable[[Duplex], Awaitable[None]]) -> Callable[[Duplex], Awaitable[None]]:
        async def serve(wire: Duplex) -> None:
            await upgrade(Frozen(wire, self))

        return serve

    async def _below(self, req: Request) -> Response:
        self.asked.append(f"{req.method} {req.path}?{req.query_string}")
        if "endless" in req.query_string:
            return Response(stream=_endless(), content_type="text/plain")
        return Response(body=b"said " + await req.read_body(), content_type="text/plain")

    @staticmethod
    def _locator(namespace: str) -> NamespaceLocator | None:
        return NamespaceLocator(ClusterName("ws"), "east", "u", ClusterName("ws"), "default") if namespace == "kcp-1" else None

    async def ask(self, path: str, method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
        status, _, stream = await self.tunnels.ask(self.key, method, path, (), body)
        data = b"".join([part async for part in _all(stream.read)])
        await stream.reset()
        return status, data


class Frozen:
    """A wire that may lose everything without a word."""

    def __init__(self, wire: Duplex, ends: Ends) -> None:
        self._wire, self._ends = wire, ends

    async def read(self) -> bytes:
        data = await self._wire.read()
        while self._ends.frozen and data:
            data = await self._wire.read()
        return data

    async def write(self, data: bytes) -> None:
        if not self._ends.frozen:
            await self._wire.write(data)

    async def close(self) -> None:
        await self._wire.close()


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 10_000
        await asyncio.sleep(0)


async def _all(read: Callable[[], Awaitable[bytes]]) -> AsyncIterator[bytes]:
    while part := await read():
        yield part


@asynccontextmanager
async def tunnel() -> AsyncIterator[Ends]:
    ends = Ends()
    async with Supervisor("syncer") as tasks:
        tasks.spawn(ends.tunnel.run(), name="tunnel")
        await settle()
        yield ends


LOG = "/api/v1/namespaces/kcp-1/pods/web/log"


async def test_the_syncer_passes_on_what_is_of_its_pods_and_nothing_else() -> None:
    async with tunnel() as ends:
        assert await ends.ask(f"{LOG}?tailLines=1") == (200, b"said ")
        assert await ends.ask("/api/v1/namespaces/kcp-1/pods/web:80/proxy/a", "POST", b"a body") == (200, b"said a body")
        for path in (
            "/api/v1/namespaces/kube-system/pods/web/log", "/api/v1/namespaces/kcp-1/secrets/a", "/api/v1/namespaces/kcp-1/pods/web",
            "/api/v1/namespaces/kcp-1/pods/web/eviction", "/api/v1/namespaces/kcp-1/pods/web/proxy/../../../../kube-system/pods/x/log",
            "/api/v1/namespaces/kcp-1/pods/web/proxy/%2e%2e/%2e%2e/a", "/healthz",
        ):  # fmt: skip
            status, body = await ends.ask(path)
            assert (status, b"this is no pod that a workspace placed" in body) == (403, True), path
        assert ends.asked == [f"GET {LOG}?tailLines=1", "POST /api/v1/namespaces/kcp-1/pods/web:80/proxy/a?"]


async def test_who_reads_slowly_holds_up_nobody_else() -> None:
    async with tunnel() as ends:
        _, _, slow = await ends.tunnels.ask(ends.key, "GET", f"{LOG}?endless", ())
        await settle()
        assert await ends.ask(LOG) == (200, b"said ")
        assert isinstance(slow, Stream)
        assert slow.incoming.waiting <= 64 * 1024
        await slow.reset()
        await settle()
        assert await ends.ask(LOG) == (200, b"said ")


async def test_a_silent_connection_is_given_up_and_opened_anew_and_the_time_is_told() -> None:
    async with tunnel() as ends:
        await ends.clock.advance(100)
        assert ends.opened == 1, "an idle one lives"
        ends.frozen = True
        for _ in range(4):
            await ends.clock.advance(10)
            await settle()
        with pytest.raises(ServiceUnavailable, match='cluster "east" has had no tunnel since 2026-01-01T00:0'):
            await ends.ask(LOG)
        ends.frozen = False
        await ends.clock.advance(10)
        await settle()
        assert await ends.ask(LOG) == (200, b"said ")
        assert ends.opened > 1


async def test_a_second_tunnel_takes_the_place_of_the_first() -> None:
    async with tunnel() as ends:
        async with Supervisor("other") as others:
            others.spawn(ends.tunnel._hold(), name="second")
            await settle()
            assert ends.tunnels.statistics() == {"open": 1}
            assert await ends.ask(LOG) == (200, b"said ")


async def test_whose_target_was_made_anew_is_told_so() -> None:
    ends = Ends()
    ends.tunnel.identity = Identity(ClusterName("ws"), "east", "old")
    with pytest.raises(Exception, match="has uid u, not old: it was made anew"):
        await ends.tunnel._hold()
