"""Filters around the handlers: each a function from Handler to Handler, put together in one visible list by the composition root.

From the outside in: `with_warnings`, `with_errors`, `with_request_info`, `with_timeouts`, authentication (`for_strangers`), `with_cluster`,
authorization, then `router`.
Before: `asgi.App`. After: `router`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from typing import Protocol

import orjson

from kcp.aio.logcontext import WORK
from kcp.apimachinery.errors import BadRequest, Forbidden, InternalError, StatusError, Timeout
from kcp.apimachinery.keys import WILDCARD, ClusterName, ClusterPath
from kcp.apiserver.discovery import aggregated_form
from kcp.apiserver.negotiate import in_form
from kcp.apiserver.request import ANONYMOUS, Filter, Handler, Request, Response
from kcp.apiserver.requestinfo import parse

log = logging.getLogger(__name__)


class ClusterResolver(Protocol):
    """Which logical cluster a path in a URL means; supplied by tenancy."""

    def resolve(self, path: str) -> ClusterName | None:
        """`path`: a workspace path, a cluster name, `<name>:<child>`; never `*`. None where there is no such workspace."""


def chain(handler: Handler, *filters: Filter) -> Handler:
    """`handler` inside the filters, the first of them outermost."""
    for wrap in reversed(filters):
        handler = wrap(handler)
    return handler


def with_request_info(resolver: ClusterResolver | None = None, *, unknown: ClusterName | None = None) -> Filter:
    """Sets req.info; with a resolver also req.info.cluster (see `with_cluster`)."""

    def wrap(handler: Handler) -> Handler:
        resolved = with_cluster(resolver, unknown=unknown)(handler) if resolver is not None else handler

        async def informed(req: Request) -> Response:
            req.info = parse(req.method, req.path, req.query)
            return await resolved(req)

        return informed

    return wrap


def with_cluster(resolver: ClusterResolver, *, unknown: ClusterName | None = None) -> Filter:
    """Sets req.info.cluster from the `/clusters/<path>` of the URL.

    Raises: BadRequest for a malformed path; Forbidden for an unknown workspace, unless there is a name that stands for all of them: whether
    a workspace exists is nobody's business who may not go in, and authorization alone knows who that is.
    """

    def wrap(handler: Handler) -> Handler:
        async def located(req: Request) -> Response:
            path = req.info.cluster_path
            if path:
                req.info.cluster = _cluster(resolver, path, unknown)
            elif req.path.startswith("/clusters/"):
                raise BadRequest("a workspace path is missing after /clusters/: write for example /clusters/root/api")
            return await handler(req)

        return located

    return wrap


def in_single_cluster(cluster: ClusterName) -> Filter:
    """For a server without workspaces: every request is about `cluster`."""

    def wrap(handler: Handler) -> Handler:
        async def located(req: Request) -> Response:
            if req.info.cluster_path:
                raise BadRequest("this server has no workspaces: leave /clusters/… out of the URL")
            req.info.cluster = cluster
            return await handler(req)

        return located

    return wrap


def _cluster(resolver: ClusterResolver, path: str, unknown: ClusterName | None) -> ClusterName:
    if path == WILDCARD:
        return WILDCARD
    found = resolver.resolve(path)
    if found is not None:
        return found
    if not ClusterPath(path).is_valid:
        raise BadRequest(
            f'invalid workspace path "{path}": it must consist of parts of lower case letters, digits and "-", separated by ":"'
        )
    if unknown is not None:
        return unknown
    raise unknown_workspace(path)


def unknown_workspace(path: str) -> Forbidden:
    return Forbidden(unknown_workspace_text(path))


def unknown_workspace_text(path: str) -> str:
    return (
        f'workspace "{path}" not found or not accessible: check the path in the server URL of your kubeconfig, '
        "and list the workspaces you can enter with `kubectl ws tree`"
    )


def for_strangers(authentication: Filter) -> Filter:
    """Only requests that come without an identity are authenticated; an in-process client brings its own."""

    def wrap(handler: Handler) -> Handler:
        authenticated = authentication(handler)

        async def checked(req: Request) -> Response:
            return await (authenticated if req.user is ANONYMOUS else handler)(req)

        return checked

    return wrap


def with_audit_ids() -> Filter:
    """Sets req.audit_id, as the client says (it may be a proxy that has made one) or a new one, and tells it in every answer and in lines
    of the log.

    Source: k8s.io/apiserver/pkg/endpoints/filters/audit_init.go.
    """

    def wrap(handler: Handler) -> Handler:
        async def named(req: Request) -> Response:
            name = req.audit_id = req.headers.get("audit-id") or _new_id()
            token = WORK.set(req)
            try:
                response = await handler(req)
            finally:
                WORK.reset(token)
            response.headers = (*response.headers, ("audit-id", name))
            return response

        return named

    return wrap


def _new_id() -> str:
    """As a random UUID; nothing is protected by it, it only tells requests apart."""
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def with_warnings() -> Filter:
    """Turns req.warnings into `Warning` headers. Source: k8s.io/apiserver/pkg/endpoints/filters/warning.go (KEP-1693)."""

    def wrap(handler: Handler) -> Handler:
        async def warned(req: Request) -> Response:
            response = await handler(req)
            if req.warnings:
                response.headers = (*response.headers, *(("warning", header) for header in warning_headers(req.warnings)))
            return response

        return warned

    return wrap


_WARNING_CHARACTERS = 4096
_ONE_WARNING_CHARACTERS = 256


def warning_headers(warnings: Iterable[str]) -> list[str]:
    """Values of `Warning` headers, each text once; cut short, then left out, where they would be too much for a client's HTTP library.

    Source: endpoints/filters/warning.go (recorder.AddWarning), apimachinery/pkg/util/net/http.go (NewWarningHeader).
    """
    texts = list(dict.fromkeys(" ".join("".join(c if c.isprintable() else " " for c in text).split()) for text in warnings))
    if sum(map(len, texts)) > _WARNING_CHARACTERS:
        texts = [text[:_ONE_WARNING_CHARACTERS] for text in texts]
    written, told = 0, []
    for text in texts:
        if written >= _WARNING_CHARACTERS:
            break
        written += len(text)
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        told.append(f'299 - "{escaped}"')
    return told


def with_errors(on_unexpected: Callable[[Exception], None] | None = None) -> Filter:
    """Every StatusError becomes a `metav1.Status`; anything else a 500 with its traceback in the log, once."""

    def wrap(handler: Handler) -> Handler:
        async def answered(req: Request) -> Response:
            try:
                return await handler(req)
            except StatusError as error:
                req.failure = error
                is_text = aggregated_form(req.headers.get("accept", ""))
                response = _text_response(error) if is_text else in_form(req, status_response(error))
                response.headers += req.told
                return response
            except Exception as error:  # noqa: BLE001 - the outermost filter is one of the four places
                req.failure = error
                log.exception("%s %s failed", req.method, req.path)
                if on_unexpected is not None:
                    on_unexpected(error)
                return status_response(InternalError(f"Internal error occurred: {type(error).__name__}: {error}"))

        return answered

    return wrap


def status_response(error: StatusError) -> Response:
    headers: tuple[tuple[str, str], ...] = ()
    if error.retry_after_s:
        headers = (("retry-after", str(error.retry_after_s)),)
    return Response(error.code, orjson.dumps(error.to_status()), headers=headers)


def _text_response(error: StatusError) -> Response:
    """A refused look at the discovery documents, as text: client-go does not decode a Status there, and would tell users "unknown".

    Source: k8s.io/client-go/rest/request.go (newUnstructuredResponseError), discovery/discovery_client.go (Raw).
    """
    return Response(error.code, f"{error}\n".encode(), content_type="text/plain; charset=utf-8")


def with_timeouts(*, limit_s: float = 60.0) -> Filter:
    """Ends a request that takes longer than `limit_s`, or than its `timeout` parameter says, with 504.

    A write that is ended may have happened. Plain reads come from memory and are not timed; a watch is only timed until it starts.
    Source: k8s.io/apiserver/pkg/server/filters/timeout.go, --request-timeout.
    """

    def wrap(handler: Handler) -> Handler:
        async def timed(req: Request) -> Response:
            if req.method in ("GET", "HEAD") and "timeout=" not in req.query_string:
                return await handler(req)
            allowed_s = min(limit_s, _asked_s(req, limit_s))
            try:
                async with asyncio.timeout(allowed_s):
                    return await handler(req)
            except TimeoutError:
                raise Timeout(
                    f"request did not complete within the allotted timeout ({allowed_s:g}s); a write may have been carried out",
                    retry_after_s=1,
                ) from None

        return timed

    return wrap


_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def _asked_s(req: Request, default_s: float) -> float:
    """The `timeout` parameter, a Go duration such as `34s`. Raises BadRequest."""
    text = req.query.get("timeout")
    if not text:
        return default_s
    if text.isascii() and text.isdigit():
        return float(text) or default_s
    rest, total_s = text, 0.0
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        unit = next((u for u in _UNITS_S if rest[digits:].startswith(u)), "")
        try:
            total_s += float(rest[:digits]) * _UNITS_S[unit]
        except (ValueError, KeyError):
            raise BadRequest(f'invalid timeout specified in the request URL - time: invalid duration "{text}"') from None
        rest = rest[digits + len(unit) :]
    return total_s or default_s
