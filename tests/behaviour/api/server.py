"""A whole API server in this process, over a memory store and under virtual time, with a handful of kinds; and its client."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.schema.structural import Schema, compile_schema
from kcp.apiserver import filters
from kcp.apiserver.asgi import App
from kcp.apiserver.resources import ResourceHandler
from kcp.apiserver.router import Router
from kcp.client.inprocess import AsgiTransport
from kcp.client.transport import RawRequest, RawResponse
from kcp.registry.backend import Admission, UserInfo
from kcp.registry.generic import AdmitEverything, Registry
from kcp.registry.resource import Origin, Resource, Scale
from kcp.registry.strategy import BUILTIN, CUSTOM, NAMESPACE, POD
from kcp.storage.interface import Store
from kcp.storage.keyspace import resource_prefix
from kcp.storage.memory import MemoryStore
from kcp.storage.watchcache import WatchCache, WatchCacheConfig

ALICE = UserInfo("alice", ("system:masters", "system:authenticated"))

WIDGET_OPENAPI: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["color"],
            "properties": {
                "color": {"type": "string", "enum": ["red", "blue"]},
                "size": {"type": "integer", "minimum": 1, "default": 3},
                "replicas": {"type": "integer"},
                "parts": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"name": {"type": "string"}, "count": {"type": "integer"}}},
                },
            },
        },
        "status": {
            "type": "object",
            "properties": {"phase": {"type": "string"}, "replicas": {"type": "integer"}, "selector": {"type": "string"}},
        },
    },
}
PORTS = {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}}
GATE_OPENAPI: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "paused": {"type": "boolean"},
                "ports": {**PORTS, "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge"},
            },
        }
    },
}


def _schema(openapi: dict[str, Any]) -> Callable[[], Schema | None]:
    compiled = compile_schema(openapi)
    return lambda: compiled


def _resource(group_version: str, plural: str, kind: str, **more: Any) -> Resource:
    group, _, version = group_version.rpartition("/")
    more.setdefault("strategy", BUILTIN)
    more.setdefault("namespaced", True)
    prefix = resource_prefix(GroupResource(group, plural), source="" if more["strategy"] is not CUSTOM else "customresources")
    return Resource(gvr=GVR(group, version, plural), kind=kind, storage_prefix=prefix, **more)


_WIDGET: dict[str, Any] = {
    "strategy": CUSTOM,
    "origin": Origin.CRD,
    "has_status": True,
    "scale": Scale(label_selector_path=".status.selector"),
    "schema_source": _schema(WIDGET_OPENAPI),
    "storage_version": "v1",
}
CONFIG_MAPS = _resource("v1", "configmaps", "ConfigMap")
WIDGETS = _resource("example.com/v1", "widgets", "Widget", **_WIDGET)
WIDGETS_BETA = _resource(
    "example.com/v1beta1", "widgets", "Widget", **_WIDGET, deprecation_warning="example.com/v1beta1 Widget is deprecated"
)
GATES = _resource(
    "example.com/v1", "gates", "Gate", strategy=CUSTOM, origin=Origin.BOUND, namespaced=False, schema_source=_schema(GATE_OPENAPI)
)
NAMESPACES = _resource("v1", "namespaces", "Namespace", strategy=NAMESPACE, namespaced=False, has_status=True)
PODS = _resource("v1", "pods", "Pod", strategy=POD, has_status=True, selectable_fields=("spec.nodeName", "status.phase"))
KINDS = (CONFIG_MAPS, WIDGETS, WIDGETS_BETA, GATES, NAMESPACES, PODS)


class Kinds:
    """A catalog that serves the same kinds in every cluster."""

    def __init__(self, resources: Iterable[Resource] = KINDS) -> None:
        self._resources = {r.gvr: r for r in resources}

    def resolve(self, cluster: ClusterName, gvr: GVR) -> Resource | None:
        return self._resources.get(gvr)

    def resources(self, cluster: ClusterName) -> Iterable[Resource]:
        return self._resources.values()

    def version(self, cluster: ClusterName) -> str:
        return "1"


class TwoWorkspaces:
    """`root` and `root:org`."""

    def resolve(self, path: str) -> ClusterName | None:
        return {"root": ClusterName("root"), "root:org": ClusterName("2lpvmbh5xyj8ljfs")}.get(path)


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        decoded: dict[str, Any] = orjson.loads(self.raw)
        return decoded

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))

    @property
    def revision(self) -> str:
        return str(self.body["metadata"]["resourceVersion"])


@dataclass
class Api:
    """The server and a client of it; paths are relative to `base`."""

    app: App
    registry: Registry
    store: Store
    clock: VirtualClock
    base: str = "/clusters/root"
    user: UserInfo = ALICE
    agent: str = "kubectl/v1.36.0 (linux/amd64)"
    transport: AsgiTransport = field(init=False)

    def __post_init__(self) -> None:
        self.transport = AsgiTransport(self.app, self.user)

    def raw(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> RawRequest:
        path, _, query = path.partition("?")
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        sent = {"user-agent": self.agent, **({"content-type": "application/json"} if data else {}), **(headers or {})}
        path = path if path.startswith(("/clusters/", "//")) else self.base + path
        return RawRequest(method, path.replace("//", "/", 1), dict(parse_qsl(query, keep_blank_values=True)), sent, data)

    async def call(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        answer: RawResponse = await self.transport.request(self.raw(method, path, body, headers))
        return Answer(answer.status, answer.headers, answer.body)

    async def get(self, path: str, accept: str = "application/json") -> Answer:
        return await self.call("GET", path, headers={"accept": accept})

    async def post(self, path: str, body: object, **headers: str) -> Answer:
        return await self.call("POST", path, body, {k.replace("_", "-"): v for k, v in headers.items()})

    async def put(self, path: str, body: object) -> Answer:
        return await self.call("PUT", path, body)

    async def delete(self, path: str, body: object = None) -> Answer:
        return await self.call("DELETE", path, body)

    async def patch(self, path: str, body: object, kind: str = "merge-patch+json") -> Answer:
        return await self.call("PATCH", path, body, {"content-type": f"application/{kind}"})

    async def made(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create, and expect that to work."""
        answer = await self.post(path, body)
        assert answer.status == 201, answer.raw
        return answer.body

    @asynccontextmanager
    async def watch(self, path: str, accept: str = "application/json") -> AsyncIterator[Events]:
        joined = path + ("&" if "?" in path else "?") + "watch=true"
        async with self.transport.stream(self.raw("GET", joined, headers={"accept": accept})) as (answer, chunks):
            assert answer.status == 200, answer.body
            yield Events(chunks)


class Events:
    """The events of one watch."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    async def next(self) -> dict[str, Any]:
        """The next event. Raises StopAsyncIteration when the watch has ended."""
        while b"\n" not in self._rest:
            self._rest += await anext(self._chunks)
        line, _, self._rest = self._rest.partition(b"\n")
        event: dict[str, Any] = orjson.loads(line)
        return event

    async def seen(self, count: int) -> list[tuple[str, str]]:
        """Type and name of the next `count` events."""
        events = [await self.next() for _ in range(count)]
        return [(e["type"], e["object"]["metadata"].get("name", "")) for e in events]


@asynccontextmanager
async def serving(
    store: Store | None = None,
    *,
    admission: Admission | None = None,
    resources: Iterable[Resource] = KINDS,
    cache_config: WatchCacheConfig | None = None,
    **handler_options: Any,
) -> AsyncIterator[Api]:
    """A running server."""
    clock, store = VirtualClock(), store or MemoryStore()
    cache = WatchCache(store, clock=clock, config=cache_config)
    await cache.start()
    async with Supervisor("server") as tasks:
        tasks.spawn(cache.run(), name="watch cache")
        registry = Registry(
            store, cache, clock=clock, admission=admission or AdmitEverything(), annotate_cluster=True, random=random.Random(7)
        )
        handler = filters.chain(
            Router(ResourceHandler(Kinds(resources), registry, clock, **handler_options), {}),
            filters.with_warnings(),
            filters.with_errors(),
            filters.with_request_info(),
            filters.with_timeouts(),
            filters.with_cluster(TwoWorkspaces()),
        )
        yield Api(App(handler), registry, store, clock)


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def widget(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"color": "red", **spec}}


MAPS = "/api/v1/namespaces/default/configmaps"
ALL_WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
