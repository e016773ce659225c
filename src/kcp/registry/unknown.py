"""Fields that the schema does not know, and fields written twice: refused, warned about or dropped, as the client asked.

Before: `writes`. Source: KEP-2885 (server-side unknown field validation), k8s.io/apiserver/pkg/endpoints/handlers/create.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from kcp.apimachinery.errors import BadRequest, Cause, Invalid
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Scope, WriteOptions

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
    unknown = unknown[:_MOST_TOLD]
    texts = [f'unknown field "{path}"' for path in unknown] + [
        f'duplicate field "{path}"' for path in options.duplicate_fields[: _MOST_TOLD - len(unknown)]
    ]
    if texts and is_strict:
        kind = scope.resource.kind
        listed = ", ".join(texts)
        if sent:  # source: handlers/patch.go, applyPatchToCurrentObject
            cause = Cause.invalid("patch", sent.decode(), f"strict decoding error: {listed}")
            raise Invalid(f' "" is invalid: {cause}', causes=[cause])
        raise BadRequest(f'{kind} in version "{scope.resource.gvr.version}" cannot be handled as a {kind}: strict decoding error: {listed}')
    return texts
