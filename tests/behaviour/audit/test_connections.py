"""Connections in the audit log: recorded when they are made and when they end, and counted as long as they last.

Source: k8s.io/apiserver/pkg/endpoints/filters/audit.go (long-running requests).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import yaml

from kcp.aio.clock import VirtualClock
from kcp.apiserver.audit.auditor import Auditor
from kcp.apiserver.audit.backends import Losses
from kcp.apiserver.audit.filter import with_audit, with_audited_answers
from kcp.apiserver.audit.policy import load_policy
from kcp.apiserver.audit.record import Event
from kcp.apiserver.filters import chain, with_request_info
from kcp.apiserver.metrics import RequestMetrics, with_metrics
from kcp.apiserver.request import Request, Response
from kcp.streams.ways import Duplex, pipe


class Kept:
    """A backend that keeps events."""

    is_strict = False

    def __init__(self) -> None:
        self.events: list[Event] = []

    def submit(self, event: Event) -> None:
        self.events.append(event)

    async def run(self) -> None:
        raise AssertionError("nothing here runs")

    async def close(self) -> None:
        raise AssertionError("nothing here closes")


def long_running(metrics: RequestMetrics) -> float:
    lines = "".join(metrics.meter.text()).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("apiserver_longrunning_requests{"))


async def nothing() -> bytes:
    return b""


async def test_a_connection_is_recorded_when_it_is_made_and_when_it_ends(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}))
    kept, clock, metrics = Kept(), VirtualClock(), RequestMetrics()
    auditor = Auditor(load_policy(file), [kept], Losses(), clock)

    async def speak(wire: Duplex) -> None:
        assert await wire.read() == b"x"

    async def handler(_req: Request) -> Response:
        return Response(101, upgrade=speak)

    whole: Callable[[Request], Awaitable[Response]] = chain(
        handler, with_metrics(metrics, clock), with_audited_answers(auditor), with_request_info(), with_audit(auditor)
    )
    response = await whole(Request("GET", "/api/v1/namespaces/a/pods/p/exec", "command=date", {}, nothing))
    assert [(e.stage, e.fields.get("verb")) for e in kept.events] == [("RequestReceived", "get"), ("ResponseStarted", "get")]
    assert long_running(metrics) == 1
    near, far = pipe()
    await near.write(b"x")
    assert response.upgrade is not None
    await response.upgrade(far)
    assert (kept.events[-1].stage, kept.events[-1].fields["responseStatus"]["code"]) == ("ResponseComplete", 101)
    assert kept.events[-1].fields["objectRef"]["subresource"] == "exec"
    assert long_running(metrics) == 0
