"""PATCH: JSON patch, merge patch, strategic merge patch and server-side apply, each as a function from current to wanted.

Before: `resources`. After: `registry.update`, `apimachinery.patch`, `apimachinery.apply`.
Source: k8s.io/apiserver/pkg/endpoints/handlers/patch.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeAlias

from kcp.aio.clock import rfc3339
from kcp.apimachinery.apply.fields import FieldSet
from kcp.apimachinery.apply.manager import server_side_apply
from kcp.apimachinery.duplicates import duplicate_fields, in_document_order
from kcp.apimachinery.errors import BadRequest, Cause, Invalid, NotFound, RequestEntityTooLarge
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import MOST_LEVELS, JSONObject, is_deeper, metadata
from kcp.apimachinery.patch import json_patch, merge_patch, strategic
from kcp.apimachinery.patch.errors import PatchError
from kcp.apimachinery.schema.structural import Schema
from kcp.apis.kubernetes.kinds import by_gvk
from kcp.apiserver.body import (
    TooDeep,
    check_kind,
    check_name,
    go_mismatch,
    json_fault,
    media_type,
    parse_json,
    unsupported,
)
from kcp.apiserver.handlers.call import Call
from kcp.apiserver.handlers.forms import show_one
from kcp.apiserver.handlers.options import write_options
from kcp.apiserver.handlers.patchfault import as_patch_error, check_metadata
from kcp.apiserver.handlers.update import SCALE
from kcp.apiserver.negotiate import answer, wanted
from kcp.apiserver.request import Response
from kcp.apiserver.requestinfo import is_true
from kcp.registry.backend import Scope, Written
from kcp.registry.builtin import builtin_resource
from kcp.registry.resource import Origin, Resource
from kcp.registry.scale import applied_scale
from kcp.registry.writes import WrongType

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_OPERATION = frozenset(("op", "path", "from", "value"))
_MOST_OPERATIONS = 10_000
_STATUS = FieldSet.of(("f:status",))
_NOTHING = FieldSet()

Transform: TypeAlias = Callable[[JSONObject], JSONObject]


async def patch(call: Call) -> Response:
    """Raises: UnsupportedMediaType, BadRequest, NotFound, Conflict, Invalid, Forbidden."""
    req, media = call.req, media_type(call.req)
    supported = supported_patches(call.scope.resource)
    if media not in supported:
        raise unsupported(", ".join(supported))
    form = wanted(req, call.scope)
    written = await (_apply(call) if media == APPLY_PATCH else _patch(call, media))
    req.warnings += written.warnings
    return await answer(req, show_one(call, written.item, form), form, call.clock, status=201 if written.created else 200)


def supported_patches(resource: Resource) -> tuple[str, ...]:
    """Custom resources have no strategic merge patch, unless they are Kubernetes' own kinds, or an export serves them with merge keys."""
    if _is_kubernetes_own(resource):
        return (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
    if resource.origin is not Origin.CRD and resource.schema is not None and has_merge_keys(resource.schema):
        return (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
    return (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)


def _is_kubernetes_own(resource: Resource) -> bool:
    """Also where a CRD or an export defines the kind: kubectl patches by the kind's name. Source: kcp's patch.go of k8s.io/apiserver."""
    return resource.origin is Origin.BUILTIN or by_gvk(resource.gvk) is not None


def _merging(resource: Resource) -> Schema | None:
    """The schema that tells how lists merge: the resource's own, or else that of Kubernetes' own kind of this name."""
    schema = resource.schema
    if resource.origin is Origin.BUILTIN or (schema is not None and has_merge_keys(schema)):
        return schema
    native = builtin_resource(resource.gvk)
    return native.schema if native is not None else schema


@lru_cache(maxsize=512)
def has_merge_keys(schema: Schema) -> bool:
    """Whether strategic merge patches mean anything here: the schema is a built-in one, or tells merge keys outside of metadata."""
    own = (node for name, node in schema.properties.items() if name != "metadata")
    return schema.native or any(_any_merge_key(node, depth=6) for node in own)


def _any_merge_key(schema: Schema, depth: int) -> bool:
    if schema.merge_key or schema.patch_strategy:
        return True
    if not depth:
        return False
    inner = [*schema.properties.values(), *(s for s in (schema.items, schema.additional) if s is not None)]
    return any(_any_merge_key(node, depth - 1) for node in inner)


# --- json, merge and strategic patches ---


async def _patch(call: Call, media: str) -> Written:
    req, scope = call.req, call.scope
    raw = await req.read_body()
    if "force" in req.query:
        cause = Cause.forbidden("force", "may not be specified for non-apply patch")
        raise Invalid.of(GroupResource("meta.k8s.io", "PatchOptions"), "PatchOptions", "", [cause])
    given = _decode(raw)
    if req.audit is not None:
        req.audit.take_patch(given)
    repeated = _repeated(media, raw, given) if req.query.get("fieldValidation") != "Ignore" else ()
    options = replace(write_options(req, "PatchOptions", repeated=repeated), is_patch=True)
    transform, restored = _transform(media, given, scope), given if media == STRATEGIC_PATCH else None
    patched: JSONObject = {}

    def mutate(current: JSONObject | None) -> JSONObject:
        nonlocal patched
        if current is None:
            raise NotFound.of(scope.resource.group_resource, scope.name)
        try:
            patched = transform(current)
        except PatchError as error:
            raise _unfit(error) from error
        except RecursionError:  # operations nested it ever deeper
            raise _unfit(TooDeep()) from None
        if not isinstance(patched, dict):
            raise BadRequest("the patch must leave an object")
        check_kind(patched, scope, expected=SCALE if scope.subresource == "scale" else None)
        check_metadata(patched, restored)
        check_name(patched, scope)
        return patched

    try:
        return await call.backend.update(scope, mutate, options)
    except WrongType as error:
        raise as_patch_error(error, scope, patched, restored) from error


def _repeated(media: str, raw: bytes, given: Any) -> tuple[str, ...]:
    """What the patch itself says twice; an operation of a JSON patch may also say what nobody knows. Source: patch.go (applyJSPatch)."""
    if media != JSON_PATCH:
        return tuple(f'duplicate field "{path}"' for path in duplicate_fields(raw, given))
    operations = list(enumerate(given)) if isinstance(given, list) else []
    unknown = [f"[{at}].{part}" for at, held in operations if isinstance(held, dict) for part in held if part not in _OPERATION]
    if not unknown and not duplicate_fields(raw, given):
        return ()
    return tuple(f"json patch {text}" for text in in_document_order(raw, unknown))


def _decode(raw: bytes) -> Any:
    try:
        return parse_json(raw)
    except ValueError as error:
        raise BadRequest(f"error decoding patch: {json_fault(error)}") from error


def _transform(media: str, given: Any, scope: Scope) -> Transform:
    """Raises: BadRequest for a patch of the wrong shape, RequestEntityTooLarge for too many operations."""
    if media == JSON_PATCH:
        if not isinstance(given, list):
            raise BadRequest(f"error decoding patch: {go_mismatch(given, '[]handlers.jsonPatchOp')}")
        if len(given) > _MOST_OPERATIONS:
            raise RequestEntityTooLarge(f"The allowed maximum operations in a JSON patch is {_MOST_OPERATIONS}, got {len(given)}")
        return lambda current: _checked(json_patch.apply(current, given))
    if not isinstance(given, dict):
        raise BadRequest(f"error decoding patch: {go_mismatch(given, 'map[string]interface {}')}")
    if media == MERGE_PATCH:
        return lambda current: merge_patch.apply(current, given)
    schema = _merging(scope.resource)
    if scope.subresource == "scale" or schema is None:
        return lambda current: merge_patch.apply(current, given)
    return lambda current: strategic.apply(current, given, schema)


def _checked(patched: Any) -> Any:
    """What comes of operations that copy and add, which may nest it deeper than any body is let in. Raises PatchError."""
    if is_deeper(patched, MOST_LEVELS):
        raise PatchError(str(TooDeep()))
    return patched


def _unfit(error: ValueError) -> Invalid:
    """Source: patch.go, applyJSPatch: 422 with the generic text; what did not fit follows it, for which upstream has no place."""
    return Invalid(f"the server rejected our request due to an error in our request: {error}")


# --- server-side apply ---


async def _apply(call: Call) -> Written:
    req, scope = call.req, call.scope
    raw = await req.read_body()
    force = is_true(req.query.get("force"))
    manager = req.query.get("fieldManager", "")
    if not manager:
        cause = Cause.required("fieldManager", "is required for apply patch")
        raise Invalid.of(GroupResource("meta.k8s.io", "PatchOptions"), "PatchOptions", "", [cause])
    config, repeated = _decode_config(raw, scope)
    if req.audit is not None:
        req.audit.take_patch(config)
    options = replace(
        write_options(req, "PatchOptions", repeated=repeated),
        operation="Apply",
        create_if_missing=not scope.subresource,
        is_patch=True,
    )
    if scope.subresource == "scale":
        config = applied_scale(config, scope.resource)

    async def mutate(current: JSONObject | None) -> JSONObject:
        if current is None:
            await call.authorize("create")
        return await server_side_apply(
            current,
            config,
            manager=manager,
            force=force,
            schema=scope.resource.schema,
            subresource=scope.subresource,
            now=rfc3339(call.clock.now()),
            ignored=_STATUS if scope.resource.has_status and not scope.subresource else _NOTHING,
            show=call.backend.elsewhere(scope.resource),
        )

    return await call.backend.update(scope, mutate, options)


def _decode_yaml(raw: bytes) -> tuple[Any, tuple[str, ...]]:
    """Any YAML value; nothing at all is an empty object."""
    import yaml

    from kcp.apiserver.yamlbody import describe, load

    try:
        config, repeated = load(raw)
    except yaml.YAMLError as error:
        raise BadRequest(f"error decoding YAML: error converting YAML to JSON: yaml: {describe(error)}") from error
    return {} if config is None else config, repeated


def _decode_config(raw: bytes, scope: Scope) -> tuple[JSONObject, tuple[str, ...]]:
    """The applied configuration: JSON or YAML, of the kind and name of the URL, without what this endpoint does not take."""
    repeated: tuple[str, ...] = ()
    try:
        config = parse_json(raw)
        if duplicate_fields(raw, config):
            _, repeated = _decode_yaml(raw)  # upstream reads JSON as YAML, and so tells lines
    except TooDeep as error:
        raise BadRequest(f"error decoding YAML: {error}") from error
    except ValueError:  # not JSON
        config, repeated = _decode_yaml(raw)
    if not isinstance(config, dict):
        fault = go_mismatch(config, "map[string]interface {}")
        raise BadRequest(f"error decoding YAML: error unmarshaling JSON: while decoding JSON: {fault}")
    gvk = SCALE if scope.subresource == "scale" else scope.resource.gvk
    said = (config.get("apiVersion") or "", config.get("kind") or "")
    if said != (gvk.api_version, gvk.kind):
        raise BadRequest(f"invalid object type: {said[0] or '/'}, Kind={said[1]}")
    if not isinstance(config.get("metadata", {}), dict):
        raise BadRequest("metadata must be an object")
    config.setdefault("metadata", {}).setdefault("name", scope.name)
    check_name(config, scope)
    if metadata(config).get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    parts = scope.resource.strategy.subresource_parts.get(scope.subresource)
    if parts is not None:
        kept = {path[0] for path in parts}
        own = {k: v for k, v in metadata(config).items() if k in ("name", "namespace", "uid", "resourceVersion")}
        config = {"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": own} | {k: config[k] for k in kept if k in config}
    return config, repeated
