"""PUT of an object or one of its subresources. Before: `resources`. After: `registry.update`."""

from __future__ import annotations

from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.body import check_kind, check_name, read_object
from kcp.apiserver.handlers.call import Call
from kcp.apiserver.handlers.forms import show_one
from kcp.apiserver.handlers.options import write_options
from kcp.apiserver.handlers.wrongtype import as_decode_error
from kcp.apiserver.negotiate import answer, wanted
from kcp.apiserver.request import Response
from kcp.registry.writes import WrongType

SCALE = GVK("autoscaling", "v1", "Scale")


async def update(call: Call) -> Response:
    """Raises: BadRequest, NotFound, Conflict, Invalid, Forbidden. Source: k8s.io/apiserver/pkg/endpoints/handlers/update.go."""
    req, scope = call.req, call.scope
    form = wanted(req, scope)
    body = await read_object(req, scope.resource.kind)
    options = write_options(req, "UpdateOptions", repeated=body.repeated, body=body.told_in_order)

    async def mutate(current: JSONObject | None) -> JSONObject:
        if current is None:
            await call.authorize("create")
        obj = body.fresh()
        check_kind(obj, scope, expected=SCALE if scope.subresource == "scale" else None)
        check_name(obj, scope)
        return obj

    try:
        written = await call.backend.update(scope, mutate, options)
    except WrongType as error:
        raise as_decode_error(error, scope) from error
    req.warnings += written.warnings
    return await answer(req, show_one(call, written.item, form), form, call.clock, status=201 if written.created else 200)
