"""DELETE of one object. Before: `resources`. After: `registry.delete`."""

from __future__ import annotations

import orjson

from kcp.apimachinery.meta import uid
from kcp.apiserver.handlers.call import Call
from kcp.apiserver.handlers.forms import show_one
from kcp.apiserver.handlers.options import delete_options
from kcp.apiserver.negotiate import answer, wanted
from kcp.apiserver.request import Response


async def delete(call: Call) -> Response:
    """A Status where the object is gone, the object where it stays for now, and for some kinds in any case.

    Raises: NotFound, Conflict (preconditions), Forbidden. Source: k8s.io/apiserver/pkg/endpoints/handlers/delete.go.
    """
    req, scope = call.req, call.scope
    form = wanted(req, scope)
    options = await delete_options(req)
    deleted = await call.backend.delete(scope, options)
    req.warnings += deleted.warnings
    if not deleted.gone or scope.resource.strategy.returns_deleted:
        code = 202 if options.is_awaited and not deleted.gone else 200
        return await answer(req, show_one(call, deleted.item, form), form, call.clock, status=code)
    details = {
        "name": scope.name,
        "group": scope.resource.gvr.group,
        "kind": scope.resource.gvr.resource,
        "uid": uid(deleted.item.decode()),
    }
    status = {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {part: value for part, value in details.items() if value},
    }  # fmt: skip
    return await answer(req, orjson.dumps(status), form, call.clock)
