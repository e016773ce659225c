"""Cost of one request inside the application: from `App.__call__` to the last message, without sockets, TLS or HTTP parsing.

    .venv/bin/python benchmarks/handlers.py            # a table of microseconds per request
    .venv/bin/python benchmarks/handlers.py --profile get

Figures go into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import statistics
import time
from collections.abc import Iterable
from typing import Any

import orjson

from kcp.aio.clock import SystemClock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apiserver import filters
from kcp.apiserver.asgi import App
from kcp.apiserver.resources import ResourceHandler
from kcp.apiserver.router import Router
from kcp.registry.backend import UserInfo
from kcp.registry.generic import AdmitEverything, Registry
from kcp.registry.resource import Resource
from kcp.registry.strategy import BUILTIN
from kcp.storage.keyspace import resource_prefix
from kcp.storage.memory import MemoryStore
from kcp.storage.watchcache import WatchCache

CONFIG_MAPS = Resource(
    gvr=GVR("", "v1", "configmaps"),
    kind="ConfigMap",
    namespaced=True,
    storage_prefix=resource_prefix(GroupResource("", "configmaps")),
    strategy=BUILTIN,
)
PATH = "/clusters/root:bench/api/v1/namespaces/default/configmaps"
HEADERS = [
    (b"host", b"127.0.0.1:6443"),
    (b"accept", b"application/json"),
    (b"user-agent", b"kubectl/v1.36.0"),
    (b"authorization", b"Bearer x"),
]


class OneKind:
    """A catalog of config maps."""

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        return CONFIG_MAPS if gvr == CONFIG_MAPS.gvr else None

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        return [CONFIG_MAPS]

    def version(self, cluster: ClusterName) -> str:
        return "1"


class AnyCluster:
    def resolve(self, path: str) -> ClusterName | None:
        return ClusterName("2lpvmbh5xyj8ljfs")


class Caller:
    """Sends one request after the other straight into the application."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.status = 0

    async def call(self, method: str, path: str, query: bytes = b"", body: bytes = b"", content_type: bytes = b"") -> None:
        headers = [*HEADERS, (b"content-type", content_type)] if content_type else HEADERS

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            if "status" in message:
                self.status = message["status"]

        scope = {
            "type": "http", "method": method, "path": path, "query_string": query, "headers": headers,
            "extensions": {"kcp.user": UserInfo("bench", ("system:masters",))},
        }  # fmt: skip
        await self._app(scope, receive, send)


def config_map(name: str) -> bytes:
    return orjson.dumps(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"app": "bench"}},
            "data": {f"key-{i}": "x" * 40 for i in range(20)},
        }
    )


async def measure(args: argparse.Namespace) -> None:
    clock, store = SystemClock(), MemoryStore()
    cache = WatchCache(store, clock=clock)
    await cache.start()
    async with Supervisor("bench") as tasks:
        tasks.spawn(cache.run(), name="cache")
        registry = Registry(store, cache, clock=clock, admission=AdmitEverything(), annotate_cluster=True)
        app = App(
            filters.chain(
                Router(ResourceHandler(OneKind(), registry, clock), {}),
                filters.with_warnings(),
                filters.with_errors(),
                filters.with_request_info(),
                filters.with_timeouts(),
                filters.with_cluster(AnyCluster()),
            )
        )
        caller = Caller(app)
        for i in range(1000):
            await caller.call("POST", PATH, body=config_map(f"a-{i:04}"))
        counter = iter(range(10**9))

        async def create() -> None:
            await caller.call("POST", PATH, body=config_map(f"b-{next(counter)}"))

        async def merge() -> None:
            patch = b'{"data":{"key-0":"%d"}}' % next(counter)
            await caller.call("PATCH", f"{PATH}/a-0001", body=patch, content_type=b"application/merge-patch+json")

        async def apply() -> None:
            body = config_map("a-0002").replace(b"xxxx", b"%04d" % (next(counter) % 10_000), 1)
            query = b"fieldManager=bench&force=true"
            await caller.call("PATCH", f"{PATH}/a-0002", query, body, b"application/apply-patch+yaml")

        cases = {
            "get": (5000, lambda: caller.call("GET", f"{PATH}/a-0500")),
            "list-1000": (50, lambda: caller.call("GET", PATH)),
            "list-limit-100": (300, lambda: caller.call("GET", PATH, b"limit=100")),
            "list-by-label": (50, lambda: caller.call("GET", PATH, b"labelSelector=app%3Dbench")),
            "patch-merge": (1000, merge),
            "apply": (500, apply),
            "create": (1000, create),
        }
        print(f"{'request':16} {'µs median':>10} {'µs best':>10}")
        for name, (rounds, step) in cases.items():
            if args.profile and args.profile != name:
                continue
            times = []
            profile = cProfile.Profile() if args.profile else None
            if profile:
                profile.enable()
            for _ in range(7):
                start = time.perf_counter()
                for _ in range(rounds):
                    await step()
                times.append((time.perf_counter() - start) / rounds * 1e6)
                assert caller.status in (200, 201), caller.status
            print(f"{name:16} {statistics.median(times):10.1f} {min(times):10.1f}")
            if profile:
                profile.disable()
                pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="", help="one of the request names")
    asyncio.run(measure(parser.parse_args()))
