"""The two filters of auditing around handlers that do what the whole server seldom does: break, hang, stream, and start over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson
import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.audit.auditor import Auditor
from kcp.apiserver.audit.backends import Losses
from kcp.apiserver.audit.filter import with_audit, with_audited_answers
from kcp.apiserver.audit.policy import parse_policy
from kcp.apiserver.audit.record import Event
from kcp.apiserver.filters import chain, with_audit_ids, with_errors, with_request_info
from kcp.apiserver.request import Handler, Request, Response
from kcp.registry.backend import UserInfo

POLICY = parse_policy({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]})
MAPS = "/api/v1/namespaces/default/configmaps"


class Kept:
    """A backend that keeps its events, and makes nobody wait."""

    is_strict = False

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def submit(self, event: Event) -> asyncio.Future[bool] | None:
        self.events.append(orjson.loads(event.raw))
        return None

    async def run(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def stages(self) -> list[str]:
        return [event["stage"] for event in self.events]


def place(cluster: ClusterName) -> Mapping[str, str]:
    return {"kcp.io/cluster": cluster} if cluster else {}


class There:
    """Every path leads to one cluster."""

    def resolve(self, path: str) -> ClusterName:
        return ClusterName(path)


def serving(answer: Callable[[Request], Any]) -> tuple[Handler, Kept]:
    """A server whose handler is `answer`; a Response, or what it awaits."""
    kept = Kept()
    auditor = Auditor(POLICY, [kept], Losses(), VirtualClock(), describe=place)

    async def handler(req: Request) -> Response:
        response: Response = await answer(req)
        return response

    inner = chain(handler, with_errors(), with_request_info(), with_audit(auditor))
    return chain(inner, with_audit_ids(), with_audited_answers(auditor)), kept


def request(path: str = MAPS) -> Request:
    async def no_body() -> bytes:
        return b""

    path, _, query = path.partition("?")
    return Request("GET", path, query, {}, no_body, user=UserInfo("ann"))


async def test_a_handler_that_breaks_is_a_panic(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_req: Request) -> Response:
        raise ZeroDivisionError("division by zero")

    serve, kept = serving(broken)
    assert (await serve(request())).status == 500
    assert kept.stages == ["RequestReceived", "Panic"]
    assert kept.events[-1]["responseStatus"] == {
        "metadata": {}, "status": "Failure", "message": "APIServer panic'd: division by zero", "reason": "InternalError", "code": 500,
    }  # fmt: skip


async def test_a_request_that_is_given_up_is_complete_with_the_connection_closed_early() -> None:
    started = asyncio.Event()

    async def hanging(_req: Request) -> Response:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError("nothing ends this")

    serve, kept = serving(hanging)

    async def asked() -> None:
        await serve(request())

    async with asyncio.TaskGroup() as group:
        task = group.create_task(asked())
        await started.wait()
        task.cancel()
    assert kept.stages == ["RequestReceived", "ResponseComplete"]
    status = {"metadata": {}, "status": "Success", "message": "Connection closed early", "code": 200}
    assert kept.events[-1]["responseStatus"] == status


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        (f"{MAPS}?watch=1", ["RequestReceived", "ResponseStarted", "ResponseComplete"]),
        ("/api/v1/namespaces/default/pods/a/log", ["RequestReceived", "ResponseStarted", "ResponseComplete"]),
        (MAPS, ["RequestReceived", "ResponseComplete"]),
    ],
)
async def test_streams_end_when_they_are_over_and_only_long_ones_start(path: str, stages: list[str]) -> None:
    async def lines() -> AsyncIterator[bytes]:
        yield b"1\n"
        yield b"2\n"

    async def streaming(_req: Request) -> Response:
        return Response(200, stream=lines())

    serve, kept = serving(streaming)
    response = await serve(request(path))
    assert response.stream is not None
    assert kept.stages == stages[:-1]
    assert [chunk async for chunk in response.stream] == [b"1\n", b"2\n"]
    assert kept.stages == stages


async def test_a_request_that_starts_over_elsewhere_stays_one_request_and_names_both_places() -> None:
    """As a mount of this server's own workspaces makes it."""
    again: list[Handler] = []

    async def forwarding(req: Request) -> Response:
        if req.path != MAPS:
            return Response(200, b"{}")
        assert req.audit is not None
        req.audit.notes.add("mount.tenancy.kcp.io/target", "https://kcp/clusters/there")
        req.path = "/clusters/there/version"
        return await again[0](req)

    kept = Kept()
    auditor = Auditor(POLICY, [kept], Losses(), VirtualClock(), describe=place)
    again.append(chain(forwarding, with_request_info(There()), with_audit(auditor)))
    await chain(again[0], with_audited_answers(auditor))(request())
    assert kept.stages == ["RequestReceived", "ResponseComplete"]
    assert kept.events[-1]["annotations"] == {"mount.tenancy.kcp.io/target": "https://kcp/clusters/there", "kcp.io/cluster": "there"}
