"""Requests for what another server serves: sent on, once it is known who asks and that they may.

Before: `sim.server`. After: `apis`, `apiserver.forwarding`.
Source: k8s.io/kube-aggregator/pkg/apiserver/handler_proxy.go.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from urllib.parse import quote

from kcp.apiserver.aggregation.apis import AggregatedAPIs, Remote
from kcp.apiserver.forwarding import forward, identity_headers
from kcp.apiserver.request import Filter, Handler, Request, Response
from kcp.client.transport import TransportError
from kcp.registry.backend import UserInfo

log = logging.getLogger(__name__)

_OPENAPI = "/openapi/v3"


def with_aggregation(apis: AggregatedAPIs) -> Filter:
    """Requests below `/apis/<group>/<version>` of an APIService with a Service, and for its OpenAPI document, go to that Service."""

    def wrap(handler: Handler) -> Handler:
        async def aggregated(req: Request) -> Response:
            if not (remotes := apis.remotes):
                return await handler(req)
            match req.info.path.removeprefix(_OPENAPI).split("/"):
                case ["", "apis", group, version, *_] if (remote := remotes.get((group, version))) is not None:
                    return await _sent_on(apis, remote, req)
            return await handler(req)

        return aggregated

    return wrap


async def _sent_on(apis: AggregatedAPIs, remote: Remote, req: Request) -> Response:
    server = await apis.server(remote) if remote.is_available else None
    if server is None:
        return _unavailable("service unavailable")
    try:
        return await forward(server, req, quote(req.info.path), _identity(req.user))
    except TransportError as error:
        log.warning("an aggregated API cannot be reached", extra={"api": remote.name, "error": str(error)})
        return _unavailable(f"error trying to reach service: {error}")


def _identity(user: UserInfo) -> Iterator[tuple[str, str]]:
    yield from identity_headers(user)
    if user.uid:
        yield "X-Remote-Uid", user.uid


def _unavailable(text: str) -> Response:
    """As upstream's: a text, no Status."""
    return Response(503, f"{text}\n".encode(), "text/plain; charset=utf-8", (("x-content-type-options", "nosniff"),))
