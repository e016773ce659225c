"""The place of fairness in the request path: after it is known who asks, before it is asked whether they may.

Before: `sim.server`. After: `fairness`.
Source: k8s.io/apiserver/pkg/server/filters/priority-and-fairness.go.
"""

from __future__ import annotations

from kcp.apiserver.fairness.fairness import Fairness, Flow
from kcp.apiserver.fairness.levels import Level
from kcp.apiserver.request import Filter, Handler, Request, Response

_LONG_RUNNING = frozenset(("attach", "exec", "log", "portforward", "proxy"))
"""Subresources whose requests may last for ever: they take no seat. Watches take one until they have begun.

Source: k8s.io/kubernetes/pkg/controlplane/apiserver/config.go, LongRunningFunc.
"""
_RETRY_AFTER_S = "1"


def with_fairness(fairness: Fairness) -> Filter:
    """Every request waits for its seat; every answer, refusals too, tells under which FlowSchema and priority level its request fell."""

    def wrap(handler: Handler) -> Handler:
        flow_of, seats = fairness.flow_of, fairness.seats

        async def seated(req: Request) -> Response:
            if req.info.subresource in _LONG_RUNNING or req.info.verb == "proxy":
                return await handler(req)
            flow = flow_of(req)
            level, counts, req.told = flow.level, flow.counts, flow.headers
            if level.spec.is_exempt or (not level.waiting and seats.has_room(level)):
                level.executing += 1
            elif not await _waited(fairness, flow, level, req):
                return _refusal(flow)
            counts.dispatched += 1
            counts.executing += 1
            try:
                response = await handler(req)
            finally:
                counts.executing -= 1
                seats.free(level)
            response.headers = response.headers + flow.headers if response.headers else flow.headers
            return response

        return seated

    return wrap


async def _waited(fairness: Fairness, flow: Flow, level: Level, req: Request) -> bool:
    counts, monotonic = flow.counts, fairness.clock.monotonic
    since = monotonic()
    counts.queued += 1
    try:
        refusal = await fairness.seats.take(level, flow.entropy(req))
    finally:
        counts.queued -= 1
    counts.waited(monotonic() - since, has_seat=not refusal)
    if refusal:
        counts.rejected[refusal] = counts.rejected.get(refusal, 0) + 1
    return not refusal


def _refusal(flow: Flow) -> Response:
    """As upstream's: a text, no Status."""
    headers = (("retry-after", _RETRY_AFTER_S), ("x-content-type-options", "nosniff"), *flow.headers)
    return Response(429, b"Too many requests, please try again later.\n", "text/plain; charset=utf-8", headers)
