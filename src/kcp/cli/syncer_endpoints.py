"""What a syncer answers over HTTP: metrics, and whether it is well.

Answered by the loop that syncs, so that an answer says that the loop runs. Before: `workload_syncer`. After: `apiserver.serving`, the
syncer's own record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from kcp.aio.clock import Clock
from kcp.aio.exposition import CONTENT_TYPE, scrape
from kcp.aio.metrics import Meter
from kcp.tmc.syncer.health import Status, SyncerHealth


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    media_type: str
    body: bytes


Page: TypeAlias = Callable[[], Answer]
_TEXT = "text/plain; charset=utf-8"


def pages(health: SyncerHealth, meter: Meter, *, metrics_path: str, health_path: str) -> tuple[dict[str, Page], dict[str, Page]]:
    """Paths of the metrics endpoint and of the health endpoint."""

    def metrics() -> Answer:
        return Answer(200, CONTENT_TYPE, scrape(meter.text))

    def alive() -> Answer:
        found = health.assess()
        is_well = found.status is not Status.UNHEALTHY or health.record.started_s is None
        return Answer(200, _TEXT, b"ok") if is_well else Answer(503, _TEXT, found.message.encode())

    def ready() -> Answer:
        problem = health.not_ready()
        return Answer(503, _TEXT, problem.encode()) if problem else Answer(200, _TEXT, b"ok")

    def whole() -> Answer:
        report = health.report()
        return Answer(503 if report["status"] == Status.UNHEALTHY else 200, "application/json", orjson.dumps(report))

    return {metrics_path: metrics}, {"/healthz": alive, "/livez": alive, "/readyz": ready, health_path: whole}


@dataclass(frozen=True, slots=True)
class Site:
    """An ASGI application of a few pages."""

    pages: Mapping[str, Page]

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:  # noqa: ARG002 - ASGI
        page = self.pages.get(scope["path"])
        if scope["method"] not in ("GET", "HEAD"):
            answer = Answer(405, _TEXT, b"only GET and HEAD are answered\n")
        elif page is None:
            answer = Answer(404, _TEXT, f"there are: {', '.join(sorted(self.pages))}\n".encode())
        else:
            answer = page()
        headers = [(b"content-type", answer.media_type.encode()), (b"content-length", str(len(answer.body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


async def listen(stack: AsyncExitStack, sites: Mapping[str, tuple[str, Mapping[str, Page]]], clock: Clock) -> list[str]:
    """Serve until the stack is left; two of one address share it. Gives the URLs.

    Args: sites: flag → (host:port, pages). Raises: ListenError.
    """
    from kcp.apiserver.serving import ServingConfig, serve

    by_address: dict[str, tuple[str, dict[str, Page]]] = {}
    for flag, (address, found) in sites.items():
        if address:
            by_address.setdefault(address, (flag, {}))[1].update(found)
    urls = []
    for address, (flag, found) in by_address.items():
        host, _, port = address.rpartition(":")
        config = ServingConfig(host=host.strip("[]"), port=int(port), port_flag=flag)
        urls.append((await stack.enter_async_context(await serve(Site(found), config, clock=clock))).url)
    return urls
