"""The tunnel of kcp 0.11's syncer: its end is played here line by line, over pipes; requests, connections, refusals, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kcp.aio.clock import VirtualClock, settle
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.errors import BadRequest, ServiceUnavailable
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apiserver.request import Request, RequestInfo
from kcp.streams.ways import PipeEnd, pipe
from kcp.tmc.tunnel.tunnels import Tunnels

LOG = "/api/v1/namespaces/kcp-1/pods/web/log"
KEY = ObjectKey(ClusterName("ws"), "", "east")


class GoSyncer:
    """Opens pipes as the Go program does: each is a GET with a body that goes on."""

    def __init__(self, tasks: Supervisor) -> None:
        self.clock = VirtualClock()
        self.tunnels = Tunnels(lambda key: {"metadata": {"name": "east", "uid": "u"}}, self.clock)
        self._tasks = tasks

    async def opened(self) -> PipeEnd:
        async def no_end() -> bytes:
            raise AssertionError("nobody waits for its end")

        info = RequestInfo("/", "get", cluster=ClusterName("ws"), name="east")
        response = await self.tunnels.connect(Request("GET", "/", "", {"transfer-encoding": "chunked"}, no_end, info=info))
        assert response.status == 200
        assert response.upgrade is not None
        here, there = pipe()
        self._tasks.spawn(self._serve(response.upgrade, there), name="pipe")
        await settle()
        return here

    @staticmethod
    async def _serve(upgrade: object, wire: PipeEnd) -> None:
        await upgrade(wire)  # type: ignore[operator]
        wire.leave()

    def asking(self, method: str = "GET", body: bytes | None = b"", **headers: str) -> asyncio.Task[tuple[int, dict[str, str], bytes]]:
        async def asked() -> tuple[int, dict[str, str], bytes]:
            status, told, answer = await self.tunnels.ask(KEY, method, LOG, tuple(headers.items()), body)
            data = bytearray()
            while part := await answer.read():
                data += part
            await answer.reset()
            return status, dict(told), bytes(data)

        return asyncio.ensure_future(asked())


@asynccontextmanager
async def playing() -> AsyncIterator[tuple[GoSyncer, PipeEnd]]:
    async with Supervisor("go") as tasks:
        syncer = GoSyncer(tasks)
        control = await syncer.opened()
        assert await said(control) == ["keep-alive"]
        yield syncer, control


async def said(control: PipeEnd) -> list[str]:
    await settle()
    return [json.loads(line)["command"] for line in (await control.read()).splitlines()]


async def test_each_request_goes_over_a_pipe_of_its_own() -> None:
    async with playing() as (syncer, control):
        asked = syncer.asking("POST", b"a body", accept="*/*")
        assert await said(control) == ["conn-ready"]
        wire = await syncer.opened()
        head, _, body = (await wire.read()).partition(b"\r\n\r\n")
        assert head.split(b"\r\n")[0] == b"POST /api/v1/namespaces/kcp-1/pods/web/log HTTP/1.1"
        assert {b"host: east", b"accept: */*", b"connection: close", b"content-length: 6"} == set(head.split(b"\r\n")[1:])
        assert body == b"a body"
        await wire.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntick\r\n0\r\n\r\n")
        status, headers, data = await asked
        assert (status, headers["content-type"], data) == (200, "text/plain", b"tick")
        assert await wire.read() == b"", "a pipe that was used is ended"


async def test_answers_end_by_their_length_or_with_their_pipe_and_do_not_break_off_unseen() -> None:
    async with playing() as (syncer, control):
        for answer, wanted in (
            (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", (404, b"no")),
            (b"HTTP/1.1 200 OK\r\n\r\nall there is", (200, b"all there is")),
        ):
            asked = syncer.asking()
            await said(control)
            wire = await syncer.opened()
            await wire.write(answer)
            await wire.close()
            status, _, data = await asked
            assert (status, data) == wanted
        asked = syncer.asking()
        await said(control)
        wire = await syncer.opened()
        await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf")
        await wire.close()
        with pytest.raises(Exception, match="broke off its answer"):
            await asked


async def test_after_101_bytes_go_both_ways() -> None:
    async with playing() as (syncer, control):
        asking = asyncio.ensure_future(syncer.tunnels.ask(KEY, "GET", LOG, (("connection", "Upgrade"), ("upgrade", "x")), None))
        await said(control)
        wire = await syncer.opened()
        assert b"connection: close" not in await wire.read()
        await wire.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nfirst")
        status, _, answer = await asking
        assert (status, await answer.read()) == (101, b"first")
        await answer.write(b"to there")
        assert await wire.read() == b"to there"
        await wire.write(b"and back")
        assert await answer.read() == b"and back"
        await answer.reset()


async def test_a_syncer_that_cannot_connect_or_goes_is_said_to_be_away() -> None:
    async with playing() as (syncer, control):
        asked = syncer.asking()
        await said(control)
        await control.write(b'{"command":"pickup-failed","err":"no route"}\n{"command":"what-is-new"}\n')
        with pytest.raises(ServiceUnavailable):
            await asked
        asked = syncer.asking()
        await said(control)
        control.leave()
        with pytest.raises(ServiceUnavailable, match='cluster "east" has had no tunnel since'):
            await asked
        assert syncer.tunnels.statistics() == {"open": 0}


async def test_it_hears_from_the_control_plane_now_and_again_and_a_new_tunnel_takes_the_place_of_the_former() -> None:
    async with playing() as (syncer, control):
        await syncer.clock.advance(30)
        assert await said(control) == ["keep-alive"]
        newer = await syncer.opened()
        assert await said(newer) == ["keep-alive"]
        assert syncer.tunnels.statistics() == {"open": 1}
        asked = syncer.asking()
        assert await said(newer) == ["conn-ready"]
        wire = await syncer.opened()
        await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert (await asked)[0] == 200


async def test_a_request_that_is_given_up_leaves_nothing_behind() -> None:
    async with playing() as (syncer, control):
        asked = syncer.asking()
        await said(control)
        asked.cancel()
        late = await syncer.opened()
        assert await late.read() == b"", "its pipe comes late, and is ended"
        asked = syncer.asking()
        await said(control)
        wire = await syncer.opened()
        await wire.write(b"no HTTP at all\r\n\r\n")
        with pytest.raises(ServiceUnavailable):
            await asked


async def test_a_get_without_either_language_is_told_so() -> None:
    async with playing() as (syncer, _):

        async def nothing() -> bytes:
            return b""

        info = RequestInfo("/", "get", cluster=ClusterName("ws"), name="east")
        with pytest.raises(BadRequest, match="Upgrade request required"):
            await syncer.tunnels.connect(Request("GET", "/", "", {}, nothing, info=info))
