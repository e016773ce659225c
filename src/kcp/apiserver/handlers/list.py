"""GET of a collection. Before: `resources`. After: `registry.list`, whose items are joined as bytes."""

from __future__ import annotations

from kcp.apiserver.handlers.call import Call
from kcp.apiserver.handlers.forms import show_list
from kcp.apiserver.handlers.options import list_query
from kcp.apiserver.negotiate import answer, wanted
from kcp.apiserver.request import Response


async def list_(call: Call) -> Response:
    """Raises: BadRequest, Expired, NotAcceptable. Source: k8s.io/apiserver/pkg/endpoints/handlers/get.go (ListResource)."""
    form = wanted(call.req, call.scope)
    found = await call.backend.list(call.scope, list_query(call.req))
    return await answer(call.req, show_list(call, found, form), form, call.clock)
