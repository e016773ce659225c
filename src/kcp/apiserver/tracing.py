"""Spans of API requests, and traces told to watchers.

A request begins a trace, or goes on with the one that its `traceparent` names. A stranger's is only linked: whoever may send requests may
not decide how many are recorded. Trusted are controllers in this process, members of system:masters and system:monitoring, and whoever
names a trace that this server, or another one with its key, has begun: that is how syncers go on with what they were told.
Before: `server.http`, after authentication. After: the other filters, `handlers.watch`.
Source: k8s.io/apiserver/pkg/endpoints/filters/traces.go.
"""

from __future__ import annotations

from collections.abc import Callable

from kcp.aio.tracecontext import CURRENT, HEADER, SpanContext, parse
from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.request import Filter, Handler, Request, RequestInfo, Response
from kcp.registry.backend import Admission, Attributes
from kcp.tracing.revisions import WANTED, Revisions
from kcp.tracing.tracer import ERROR_TYPE, Span, Tracer

_TRUSTED_GROUPS = frozenset(("system:masters", "system:monitoring"))
_PROBES = frozenset(("/healthz", "/livez", "/readyz", "/metrics"))


def with_tracing(tracer: Tracer, revisions: Revisions, info_of: Callable[[Request], RequestInfo]) -> Filter:
    """Watches have no spans: they last; what they tell of, and where it belongs, is what `revisions` knows.

    Args: info_of: what a request asks for, as with auditing.
    """

    def wrap(handler: Handler) -> Handler:
        async def traced(req: Request) -> Response:
            if req.path in _PROBES:
                return await handler(req)
            info = info_of(req)
            if info.verb == "watch":
                if WANTED in req.headers:
                    req.traces = revisions
                return await handler(req)
            span = _begin(tracer, req, info)
            if span is None:
                return await handler(req)
            with span:
                try:
                    response = await handler(req)
                except StatusError as error:
                    span.attributes["http.response.status_code"] = error.code
                    if error.code >= 500:
                        span.fail(str(error), error.reason)
                    else:
                        span.attributes[ERROR_TYPE] = error.reason  # the client's fault is no failure of the server
                    raise
                span.attributes["http.response.status_code"] = response.status
                return response

        return traced

    return wrap


def _begin(tracer: Tracer, req: Request, info: RequestInfo) -> Span | None:
    """None: this request is not recorded."""
    told = req.headers.get(HEADER)
    parent = parse(told) if told is not None else None
    if parent is not None and _is_trusted(tracer, req, parent):
        return tracer.span(_name(req, info), parent, kind="server", **_about(req, info))
    if req.is_internal or not tracer.is_chosen():
        return None
    return tracer.begin(_name(req, info), kind="server", link=parent, **_about(req, info))


def _is_trusted(tracer: Tracer, req: Request, parent: SpanContext) -> bool:
    return req.is_internal or tracer.is_own(parent) or not _TRUSTED_GROUPS.isdisjoint(req.user.groups)


def _name(req: Request, info: RequestInfo) -> str:
    return f"APIServer.{info.verb}" if info.is_resource else f"APIServer.{req.method.lower()}"


def _about(req: Request, info: RequestInfo) -> dict[str, str]:
    found = {"component": "APIServer", "method": req.method, "path": req.path, "audit_id": req.audit_id}
    if info.is_resource:
        resource = "/".join(filter(None, (info.group, info.version, info.resource)))
        found |= {
            "operation": f"{info.verb}/{info.subresource}" if info.subresource else info.verb, "resource": resource,
            "namespace": info.namespace, "object_name": info.name, "logical_cluster": info.cluster or info.cluster_path,
        }  # fmt: skip
    if agent := req.headers.get("user-agent"):
        found["agent"] = agent[:100]
    return found


class TracedAdmission:
    """Implements Admission: its two parts as spans of a request that is recorded."""

    def __init__(self, inner: Admission, tracer: Tracer) -> None:
        self._inner, self._tracer = inner, tracer

    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        parent = CURRENT.get()
        if parent is None:
            return await self._inner.mutate(attributes)
        with self._tracer.span("Admission.mutate", parent, component="Admission", operation="mutate"):
            return await self._inner.mutate(attributes)

    async def validate(self, attributes: Attributes) -> None:
        parent = CURRENT.get()
        if parent is None:
            return await self._inner.validate(attributes)
        with self._tracer.span("Admission.validate", parent, component="Admission", operation="validate"):
            return await self._inner.validate(attributes)
