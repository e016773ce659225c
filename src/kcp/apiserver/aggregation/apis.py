"""`AggregatedAPIs`: the group versions that APIServices put behind Services, the connections to them, and what they say that they serve.

What a server serves is read again with each check of its availability; discovery and OpenAPI documents are made of it.
Before: `filter`, discovery, OpenAPI, the controller of APIServices. After: the watch cache, `client.http`.
Source: k8s.io/kube-aggregator/pkg/{apiserver/handler_proxy.go,controllers/status/remote/remote_available_controller.go}.
"""

from __future__ import annotations

import asyncio
import binascii
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from kcp.apimachinery import conditions
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.webhooks.model import ServiceReference
from kcp.client.endpoint import Endpoint
from kcp.client.http import HttpTransport
from kcp.client.transport import RawRequest, TransportError
from kcp.storage.keyspace import resource_prefix
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.watchcache import WatchCache

_API_SERVICES = GroupResource("apiregistration.k8s.io", "apiservices")
_MOST_SERVERS = 64
_CHECK_S = 5.0
_AGGREGATOR = (("X-Remote-User", "system:kube-aggregator"), ("X-Remote-Group", "system:masters"))

Resolve: TypeAlias = Callable[[ClusterName, ServiceReference], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Remote:
    """One APIService with a Service."""

    name: str
    group: str
    version: str
    service: ServiceReference
    ca_pem: bytes
    is_insecure: bool
    is_available: bool
    priority: int
    """Of its group among the groups."""
    version_priority: int

    @classmethod
    def of(cls, obj: JSONObject) -> Remote | None:
        """None for an APIService that this server answers for itself."""
        spec: Mapping[str, Any] = obj.get("spec") or {}
        behind = spec.get("service")
        if not behind:
            return None
        reference = ServiceReference(behind.get("namespace") or "", behind.get("name") or "", behind.get("port") or 443, "")
        return cls(
            obj["metadata"]["name"], spec.get("group") or "", spec.get("version") or "", reference, _decoded(spec.get("caBundle")),
            bool(spec.get("insecureSkipTLSVerify")), conditions.is_true(obj, "Available"), spec.get("groupPriorityMinimum") or 0,
            spec.get("versionPriority") or 0,
        )  # fmt: skip

    @property
    def path(self) -> str:
        return f"/apis/{self.group}/{self.version}"


@dataclass(frozen=True, slots=True)
class Served:
    """What a server last said of one group version."""

    resources: Sequence[JSONObject]
    """Entries of its APIResourceList."""
    openapi_hash: str = ""
    """Of its OpenAPI v3 document; "" where it has none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """By what this server proves itself to those behind it."""

    cert_pem: bytes = b""
    key_pem: bytes = field(default=b"", repr=False)


class AggregatedAPIs:
    def __init__(self, services: PrefixCache, resolve: Resolve, cluster: ClusterName, identity: Identity) -> None:
        """Args: cluster: whose Services are meant."""
        self._services = services
        self._resolve = resolve
        self._cluster = cluster
        self._identity = identity
        self._remotes: dict[tuple[str, str], Remote] | None = None
        self._served: dict[tuple[str, str], Served] = {}
        self._servers: OrderedDict[tuple[str, str, bytes, bool], HttpTransport] = OrderedDict()
        self._changes = 0
        self._is_closed = False
        services.listen(lambda _: self._outdate())

    @classmethod
    async def open(cls, cache: WatchCache, resolve: Resolve, cluster: ClusterName, identity: Identity) -> AggregatedAPIs:
        return cls(await cache.prefix(resource_prefix(_API_SERVICES)), resolve, cluster, identity)

    @property
    def remotes(self) -> Mapping[tuple[str, str], Remote]:
        """By group and version."""
        if self._remotes is None:
            found = (Remote.of(item.decode()) for item in self._services.scan(self._services.prefix))
            self._remotes = {(remote.group, remote.version): remote for remote in found if remote is not None}
            self._served = {key: held for key, held in self._served.items() if key in self._remotes}
        return self._remotes

    def _outdate(self) -> None:
        self._remotes = None
        self._changes += 1

    @property
    def changes(self) -> int:
        """Rises whenever documents of what is served would be other ones."""
        return self._changes

    def served(self, remote: Remote) -> Served | None:
        """None before it was asked."""
        return self._served.get((remote.group, remote.version))

    async def server(self, remote: Remote) -> HttpTransport | None:
        """The connections to it; None where its Service leads nowhere."""
        address = await self._resolve(self._cluster, remote.service)
        if address is None or self._is_closed:
            return None
        key = (address, remote.service.host, remote.ca_pem, remote.is_insecure)
        held = self._servers.get(key)
        if held is None:
            endpoint = Endpoint(
                server=address, ca_pem=remote.ca_pem, insecure_skip_tls_verify=remote.is_insecure, tls_server_name=remote.service.host,
                cert_pem=self._identity.cert_pem, key_pem=self._identity.key_pem, origin=f"APIService {remote.name}",
            )  # fmt: skip
            held = self._servers[key] = HttpTransport(endpoint)
            if len(self._servers) > _MOST_SERVERS:
                _, oldest = self._servers.popitem(last=False)
                await oldest.close()
        self._servers.move_to_end(key)
        return held

    async def check(self, obj: JSONObject) -> str:
        """Ask the server behind an APIService what it serves: "", or what is wrong with its answer."""
        remote = Remote.of(obj)
        if remote is None:
            return ""
        where = f"https://{remote.service.host}:{remote.service.port}{remote.path}"
        server = await self.server(remote)
        if server is None:
            return f'failing or missing response from {where}: no endpoints available for service "{remote.service.name}"'
        try:
            async with asyncio.timeout(_CHECK_S):
                document = await _read(server, remote.path)
                openapi = await _read(server, "/openapi/v3")
        except TimeoutError:
            return f"timed out waiting for {where}"
        except TransportError as error:
            return f"failing or missing response from {where}: {error}"
        if isinstance(document, int):
            return f"failing or missing response from {where}: bad status from {where}: {document}"
        self._learn(remote, Served(_entries(document), _hash_of(remote, openapi)))
        return ""

    async def openapi_v2(self) -> list[tuple[str, JSONObject]]:
        """The documents of those that answer, each with the prefix of the paths that are its own."""
        found: list[tuple[str, JSONObject]] = []
        for remote in list(self.remotes.values()):
            server = await self.server(remote) if remote.is_available else None
            if server is not None and (document := await _document(server)) is not None:
                found.append((remote.path, document))
        return found

    def _learn(self, remote: Remote, served: Served) -> None:
        key = (remote.group, remote.version)
        if self._served.get(key) != served:
            self._served[key] = served
            self._changes += 1

    async def close(self) -> None:
        self._is_closed = True
        while self._servers:
            _, server = self._servers.popitem()
            await server.close()


async def _read(server: HttpTransport, path: str) -> JSONObject | int:
    """A document, or the status that came instead of one. Raises TransportError."""
    answer = await server.request(RawRequest("GET", path, headers={"accept": "application/json"}, repeated=_AGGREGATOR))
    if not 200 <= answer.status < 300:
        return answer.status
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


async def _document(server: HttpTransport) -> JSONObject | None:
    try:
        async with asyncio.timeout(_CHECK_S):
            document = await _read(server, "/openapi/v2")
    except (TimeoutError, TransportError):
        return None  # whoever asks gets the rest; the next check of the APIService says what is wrong
    return document if isinstance(document, dict) else None


def _entries(document: JSONObject) -> Sequence[JSONObject]:
    found = document.get("resources")
    return [entry for entry in found if isinstance(entry, dict) and isinstance(entry.get("name"), str)] if isinstance(found, list) else []


def _hash_of(remote: Remote, openapi: JSONObject | int) -> str:
    """Out of the index of its OpenAPI v3 documents."""
    paths = openapi.get("paths") if isinstance(openapi, dict) else None
    entry = paths.get(remote.path.strip("/")) if isinstance(paths, dict) else None
    url = entry.get("serverRelativeURL") if isinstance(entry, dict) else None
    return url.partition("hash=")[2] if isinstance(url, str) else ""


def _decoded(bundle: Any) -> bytes:
    try:
        return binascii.a2b_base64(bundle) if bundle else b""
    except (binascii.Error, TypeError, ValueError):
        return b""
