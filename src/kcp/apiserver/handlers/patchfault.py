"""A patch after which an object has values of types that its kind does not know, told as kube-apiserver tells it: the patch is Invalid.

A strategic merge patch is restored into a Go struct from maps: the words are the converter's, and the patch is shown. What a JSON patch or
a merge patch left is decoded from JSON: the words are the decoder's, and the object is shown.
Before: `patch`. After: `wrongtype`, for the names of Go's types.
Source: k8s.io/apiserver/pkg/endpoints/handlers/patch.go (applyPatchToObject, jsonPatcher.applyPatchToCurrentObject),
k8s.io/apimachinery/pkg/runtime/converter.go (fromUnstructured).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import orjson

from kcp.apimachinery.apply.typed import as_go
from kcp.apimachinery.errors import BadRequest, Cause, Invalid
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.structural import Schema, compile_schema
from kcp.apis.kubernetes.definitions import load
from kcp.apiserver.handlers.wrongtype import Misfit, misfit, misfit_in
from kcp.registry.backend import Scope
from kcp.registry.objectmeta import checked_metadata
from kcp.registry.writes import WrongType

_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_NOBODY = GroupResource("", "")
_KINDS = {dict: "map", list: "slice", str: "string", bool: "bool", int: "int64", float: "float64", type(None): "invalid"}
_NUMBERS = ("int", "int32", "int64", "float64")


def check_metadata(patched: JSONObject, given: JSONObject | None) -> None:
    """Args: given: the strategic merge patch, or None for another one. Raises Invalid where metadata has values of other types."""
    try:
        checked_metadata(patched)
    except BadRequest as error:
        raise _refusal(_metadata_misfit(patched.get("metadata"), error), patched, given) from error


def _metadata_misfit(metadata: Any, error: BadRequest) -> Misfit:
    causes = _object_meta().validate(metadata) if isinstance(metadata, dict) else ()
    if not causes:
        return Misfit(("metadata",), "v1.ObjectMeta", str(error))
    found = misfit_in(causes[0], _OBJECT_META)
    return replace(found, steps=("metadata", *found.steps), told=found.told.replace("ObjectMeta.", "ObjectMeta.metadata.", 1))


def as_patch_error(error: WrongType, scope: Scope, patched: JSONObject, given: JSONObject | None) -> Invalid:
    """Args: given: as for `check_metadata`. Custom kinds are told by field, as after any other write."""
    found = misfit(error.wrong, scope)
    return error if found is None else _refusal(found, patched, given)


@cache
def _object_meta() -> Schema:
    return compile_schema(load().raw(_OBJECT_META), resolve=load().raw)


def _refusal(found: Misfit, patched: JSONObject, given: JSONObject | None) -> Invalid:
    why = found.told if given is None or not found.go_type else _restored(found, _at(patched, found))
    return Invalid.of(_NOBODY, "", "", [Cause.invalid("patch", _shown(patched, given), why)])


def _shown(patched: JSONObject, given: JSONObject | None) -> str:
    return orjson.dumps(patched).decode() if given is None else as_go(given)


def _restored(found: Misfit, value: Any) -> str:
    held, wanted = _KINDS.get(type(value), "invalid"), found.go_type
    if wanted.startswith("map["):
        return f"cannot restore map from {held}"
    if wanted.startswith("[]"):
        return f"cannot restore slice from {held}"
    if "." in wanted:
        return f"cannot restore struct from: {held}"
    if held in _NUMBERS and wanted in (*_NUMBERS, "string"):
        return f"cannot convert {held} to {wanted}"
    return f"unrecognized type: {wanted}"


def _at(obj: Any, found: Misfit) -> Any:
    """The value in question; None where the way to it is not there."""
    for step in found.steps:
        if isinstance(obj, dict):
            obj = obj.get(step)
        elif isinstance(obj, list) and step[1:-1].isdigit() and int(step[1:-1]) < len(obj):
            obj = obj[int(step[1:-1])]
        else:
            return None
    return obj
