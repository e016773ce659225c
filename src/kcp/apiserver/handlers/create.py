"""POST of a new object. Before: `resources`. After: `registry.create`."""

from __future__ import annotations

from kcp.apiserver.body import check_kind, check_namespace, read_object
from kcp.apiserver.handlers.call import Call
from kcp.apiserver.handlers.forms import show_one
from kcp.apiserver.handlers.options import write_options
from kcp.apiserver.handlers.wrongtype import as_decode_error
from kcp.apiserver.negotiate import answer, wanted
from kcp.apiserver.request import Response
from kcp.registry.writes import WrongType


async def create(call: Call) -> Response:
    """Raises: BadRequest, Invalid, AlreadyExists, Forbidden. Source: k8s.io/apiserver/pkg/endpoints/handlers/create.go."""
    req, scope = call.req, call.scope
    form = wanted(req, scope)
    body = await read_object(req, scope.resource.kind)
    options = write_options(req, "CreateOptions", repeated=body.repeated, body=body.told_in_order)
    obj = body.fresh()
    check_kind(obj, scope)
    check_namespace(obj, scope)
    try:
        written = await call.backend.create(scope, obj, options)
    except WrongType as error:
        raise as_decode_error(error, scope) from error
    req.warnings += written.warnings
    return await answer(req, show_one(call, written.item, form), form, call.clock, status=201)
