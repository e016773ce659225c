"""GET of one object. Before: `resources`. After: `registry.get`, which answers bytes."""

from __future__ import annotations

from kcp.apimachinery.errors import BadRequest
from kcp.apiserver.handlers.call import Call
from kcp.apiserver.handlers.forms import show_one
from kcp.apiserver.negotiate import answer, wanted
from kcp.apiserver.request import Response


async def get(call: Call) -> Response:
    """Raises: NotFound, NotAcceptable, BadRequest. Source: k8s.io/apiserver/pkg/endpoints/handlers/get.go."""
    req = call.req
    if req.query_string and (export := req.query.get("export")) is not None and export.lower() not in ("0", "false"):
        raise BadRequest("the export parameter, deprecated since v1.14, is no longer supported")
    form = wanted(req, call.scope)
    version = req.query.get("resourceVersion", "") if req.query_string else ""
    item = await call.backend.get(call.scope, resource_version=version)
    return await answer(req, show_one(call, item, form), form, call.clock)
