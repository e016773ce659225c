"""GET of one object. Before: `resources`. After: `registry.get`, which answers bytes."""

from __future__ import annotations

from kcp.apiserver.handlers.call import Call
from kcp.apiserver.handlers.forms import show_one
from kcp.apiserver.negotiate import answer, wanted
from kcp.apiserver.request import Response


async def get(call: Call) -> Response:
    """Raises: NotFound, NotAcceptable. Source: k8s.io/apiserver/pkg/endpoints/handlers/get.go."""
    req = call.req
    form = wanted(req, call.scope)
    version = req.query.get("resourceVersion", "") if req.query_string else ""
    item = await call.backend.get(call.scope, resource_version=version)
    return await answer(req, show_one(call, item, form), form, call.clock)
