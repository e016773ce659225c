"""DELETE of a collection. Before: `resources`. After: `registry.delete_collection`."""

from __future__ import annotations

from kcp.apiserver.handlers.call import Call
from kcp.apiserver.handlers.forms import show_list
from kcp.apiserver.handlers.options import delete_options, list_query
from kcp.apiserver.negotiate import answer, wanted
from kcp.apiserver.request import Response


async def delete_collection(call: Call) -> Response:
    """The list of what was deleted, as it was. Raises: BadRequest, Forbidden. Source: handlers/delete.go (DeleteCollection)."""
    form = wanted(call.req, call.scope)
    options = await delete_options(call.req)
    found = await call.backend.delete_collection(call.scope, list_query(call.req), options)
    return await answer(call.req, show_list(call, found, form), form, call.clock)
