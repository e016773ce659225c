"""A request and a response as the filters and handlers see them, independent of ASGI.

`asgi.App` makes a Request, the filters add to it (info, user), a handler answers with a Response.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl

from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.registry.backend import UserInfo
from kcp.streams.ways import Duplex

if TYPE_CHECKING:
    from kcp.apiserver.audit.record import Record
    from kcp.tracing.revisions import Revisions

Upgrade: TypeAlias = Callable[[Duplex], Awaitable[None]]
"""What is done with a connection that has changed its protocol."""

ANONYMOUS = UserInfo("system:anonymous", ("system:unauthenticated",))


@dataclass(slots=True)
class RequestInfo:
    """What a URL and method ask for. Source: k8s.io/apiserver/pkg/endpoints/request/requestinfo.go."""

    path: str
    """The path without any `/clusters/<path>` prefix."""
    verb: str
    """get, list, watch, create, update, patch, delete, deletecollection; for other paths the lower-case HTTP method."""
    cluster_path: str = ""
    """As written in the URL: a path, a name, `*`, or "" where there was no /clusters prefix."""
    cluster: ClusterName = ClusterName("")
    """What `cluster_path` resolves to."""
    is_resource: bool = False
    group: str = ""
    version: str = ""
    resource: str = ""
    """May carry an identity, `deployments:<hash>`, in wildcard reads."""
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def gvr(self) -> GVR:
        return GVR(self.group, self.version, self.resource)


@dataclass(slots=True, eq=False)
class Request:
    method: str
    path: str
    """Decoded path as received."""
    query_string: str
    headers: Mapping[str, str]
    """Lower-case names; a repeated header keeps its last value, but repeated `impersonate-*` headers are joined by line ends."""
    read_body: Callable[[], Awaitable[bytes]]
    """The whole body, decompressed; raises RequestEntityTooLarge above the limit. May be awaited once."""
    peer_subject: Mapping[str, tuple[str, ...]] | None = None
    """Subject of a verified client certificate: {"CN": (…,), "O": (…, …)}; None without one."""
    peer_proxy: str | None = None
    """Common name of a client certificate that the authority of proxies signed; None without one."""
    peer_fault: str = ""
    """Why the client certificate that was shown counts for nothing; "" where there is none, or none is wrong."""
    info: RequestInfo = field(default_factory=lambda: RequestInfo("", ""))
    user: UserInfo = ANONYMOUS
    impersonated_by: UserInfo | None = None
    """Who really asks, where `user` is impersonated."""
    warnings: list[str] = field(default_factory=list)
    """Texts for `Warning: 299` response headers; any step may add one."""
    repeated: Mapping[str, Sequence[str]] | None = None
    """All values of the headers that came more than once; None if none did."""
    peer_address: str = ""
    """IP address of the other end of the connection; "" in process."""
    audit: Record | None = None
    """None where nobody records this request."""
    audit_id: str = ""
    """Names this request in audit events and in its answer; "" until somebody needs it."""
    failure: Exception | None = None
    """What an answer that is an error was made of."""
    told: tuple[tuple[str, str], ...] = ()
    """Headers that an answer has even if it is an error."""
    traces: Revisions | None = None
    """Of a watch that wants to hear to which trace each change belongs."""
    _query: dict[str, str] | None = None

    @property
    def is_internal(self) -> bool:
        """Whether it comes from this process."""
        return not self.peer_address

    def log_fields(self) -> Mapping[str, str]:
        """What it is about; nothing of its body, of headers or of the query."""
        info = self.info
        resource = str(info.gvr) if info.is_resource else ""
        told = {
            "verb": info.verb, "workspace": info.cluster_path, "cluster": info.cluster, "resource": resource,
            "namespace": info.namespace, "name": info.name, "path": self.path, "audit_id": self.audit_id,
        }  # fmt: skip
        return {name: value for name, value in told.items() if value}

    def values(self, header: str) -> Sequence[str]:
        """All values of a header, in the order they came."""
        held = self.headers.get(header)
        return () if held is None else (self.repeated or {}).get(header, (held,))

    @property
    def query(self) -> dict[str, str]:
        """Query parameters, the last value of each."""
        if self._query is None:
            self._query = dict(parse_qsl(self.query_string, keep_blank_values=True)) if self.query_string else {}
        return self._query


@dataclass(slots=True, eq=False)
class Response:
    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    stream: AsyncIterator[bytes] | None = None
    """A body that arrives over time (watches); the server closes the iterator when the client goes away."""
    upgrade: Upgrade | None = None
    """Of an answer 101: takes the connection over; when it returns, the connection ends.

    Of an answer 200: takes both bodies, as they come and go.
    """

    @property
    def is_open_ended(self) -> bool:
        return self.stream is not None or self.upgrade is not None


def and_then(upgrade: Upgrade, ended: Callable[[], None]) -> Upgrade:
    """Told when the connection is over, however it ends."""

    async def followed(wire: Duplex) -> None:
        try:
            await upgrade(wire)
        finally:
            ended()

    return followed


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
Filter: TypeAlias = Callable[[Handler], Handler]
"""The whole request path is nested callables, built from one visible list in `server/compose.py`."""


def no_path() -> Response:
    """No Status: this is no answer of the API, and clients know by it. Source: net/http (NotFound), apiserver/pkg/util/notfoundhandler."""
    return Response(404, b"404 page not found\n", "text/plain; charset=utf-8", (("x-content-type-options", "nosniff"),))
