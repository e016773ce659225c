"""Fields that the schema does not know, and fields written twice: refused, warned about or dropped, as the client asked.

Before: `writes`. Source: KEP-2885 (server-side unknown field validation), k8s.io/apiserver/pkg/endpoints/handlers/create.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from kcp.apimachinery.duplicates import in_document_order
from kcp.apimachinery.errors import BadRequest, Cause, Invalid, StatusError
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Scope, WriteOptions
from kcp.registry.resource import Origin

if TYPE_CHECKING:
    from kcp.apimachinery.schema.structural import Schema

_MOST_TOLD = 100
"""Source: sigs.k8s.io/json/internal/golang/encoding/json/kubernetes_patch.go (saveStrictError)."""
_METADATA = frozenset(
    "name generateName namespace selfLink uid resourceVersion generation creationTimestamp deletionTimestamp deletionGracePeriodSeconds "
    "labels annotations ownerReferences finalizers managedFields".split()
)


def drop_unknown(obj: JSONObject, schema: Schema | None, scope: Scope, options: WriteOptions) -> list[str]:
    """Remove what is not known from `obj`; returns warnings, none with fieldValidation=Ignore. Raises BadRequest with Strict."""
    metadata = obj["metadata"]
    unknown = [f"metadata.{part}" for part in metadata if part not in _METADATA]
    is_strict = options.field_validation == "Strict"
    sent = orjson.dumps(obj) if is_strict and options.is_patch and options.operation == "Update" else b""
    for path in unknown:
        del metadata[path.removeprefix("metadata.")]
    if schema is not None:
        if options.field_validation == "Ignore":
            schema.prune(obj)
        elif found := schema.unknown_fields(obj):
            unknown += found
            schema.prune(obj)
    if options.field_validation == "Ignore":
        return []
    texts = _texts(unknown, scope, options)[:_MOST_TOLD]
    if texts and is_strict:
        raise _refusal(texts, sent, scope, options)
    return texts


def _texts(unknown: list[str], scope: Scope, options: WriteOptions) -> list[str]:
    """In the order in which upstream meets them: a typed decoder in that of the document, every other one after the whole document."""
    is_typed = scope.resource.origin is Origin.BUILTIN and not options.is_patch
    if is_typed and options.body:
        return in_document_order(options.body, unknown)
    ordered = unknown if is_typed else sorted(unknown)
    return [*options.repeated, *(f'unknown field "{path}"' for path in ordered)]


def _refusal(texts: list[str], sent: bytes, scope: Scope, options: WriteOptions) -> StatusError:
    lines = [text for text in texts if text.startswith("line ")]
    if lines:  # of YAML; source: goyaml.v2, TypeError
        texts = ["\n  ".join(["yaml: unmarshal errors:", *lines]), *texts[len(lines) :]]
    if lines and options.operation == "Apply":
        return BadRequest(f"error strict decoding YAML: error converting YAML to JSON: {texts[0]}")
    listed = ", ".join(texts)
    if sent:  # source: handlers/patch.go, applyPatchToCurrentObject
        cause = Cause.invalid("patch", sent.decode(), f"strict decoding error: {listed}")
        return Invalid(f' "" is invalid: {cause}', causes=[cause])
    kind = scope.resource.kind
    return BadRequest(f'{kind} in version "{scope.resource.gvr.version}" cannot be handled as a {kind}: strict decoding error: {listed}')
