"""Items as the client wants to see them: whole, metadata only, or as rows of a Table.

Before: the handlers. After: `apimachinery.table`. Whole objects stay bytes.
Source: k8s.io/apiserver/pkg/endpoints/handlers/response.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import orjson

from kcp.apimachinery.errors import NotAcceptable
from kcp.apimachinery.meta import JSONObject, metadata
from kcp.apimachinery.table import AGE, Column, IncludeObject, build_table
from kcp.apiserver.handlers.call import Call
from kcp.apiserver.negotiate import Wanted, include_object
from kcp.registry.backend import ListResult
from kcp.registry.resource import Origin, Resource
from kcp.storage.item import Item

_HEAD = re.compile(rb'\{"apiVersion":"[^"]*","kind":"[^"]*","metadata":(?=\{)')
_scan = json.JSONDecoder().raw_decode
_SCALE_COLUMNS = (
    Column("Desired", "integer", ".spec.replicas"),
    Column("Available", "integer", ".status.replicas"),
    AGE,
)
"""Source: k8s.io/kubernetes/pkg/printers/internalversion/printers.go, scaleColumnDefinitions."""


def show_one(call: Call, item: Item, form: Wanted) -> bytes:
    """One object in the wanted form."""
    if not form.transform:
        return item.raw
    if form.transform == "Table":
        return orjson.dumps(table(call, [item], form, resource_version=str(item.revision or "")))
    return partial(item.raw, form.meta_version)


def _without_kind(bodies: list[bytes], resource: Resource) -> list[bytes]:
    """Items of a list of a built-in kind say neither apiVersion nor kind: the list does, in Go its items are structs of their type."""
    head = b'{"apiVersion":"%s","kind":"%s",' % (resource.gvr.api_version.encode(), resource.kind.encode())
    length = len(head)
    return [b"{" + raw[length:] if raw.startswith(head) else raw for raw in bodies]


def show_list(call: Call, found: ListResult, form: Wanted) -> bytes:
    """A list in the wanted form; whole objects are joined as they are stored."""
    if form.transform == "Table":
        return orjson.dumps(
            table(
                call, found.items, form,
                resource_version=str(found.revision), continue_=found.continue_token, remaining=found.remaining,
            )
        )  # fmt: skip
    if form.transform == "PartialObjectMetadata":
        raise NotAcceptable(f"you requested PartialObjectMetadata, but the requested object is a list ({call.scope.resource.kind}List)")
    resource = call.scope.resource
    head: dict[str, Any] = {"resourceVersion": str(found.revision)}
    if found.continue_token:
        head["continue"] = found.continue_token
    if found.remaining:
        head["remainingItemCount"] = found.remaining
    kind, api_version = resource.list_kind or f"{resource.kind}List", resource.gvr.api_version
    bodies = [item.raw for item in found.items]
    if form.transform:
        kind, api_version = "PartialObjectMetadataList", f"meta.k8s.io/{form.meta_version}"
        bodies = [partial(raw, form.meta_version) for raw in bodies]
    elif resource.origin is Origin.BUILTIN:
        bodies = _without_kind(bodies, resource)
    start = orjson.dumps({"kind": kind, "apiVersion": api_version, "metadata": head})[:-1] + b',"items":['
    if not bodies:
        return start + b"]}\n"
    bodies[0] = start + bodies[0]
    bodies[-1] += b"]}\n"
    return b",".join(bodies)


def table(
    call: Call, items: Sequence[Item], form: Wanted, *, resource_version: str, continue_: str = "", remaining: int | None = None
) -> JSONObject:
    include: IncludeObject = include_object(call.req)  # type: ignore[assignment]  # checked there
    return build_table(
        [item.decode() for item in items],
        _SCALE_COLUMNS if call.scope.subresource == "scale" else call.scope.resource.columns,
        now=call.clock.now(),
        include_object=include,
        resource_version=resource_version,
        continue_=continue_,
        remaining=remaining or None,
        version=form.meta_version,
    )


def partial(raw: bytes, version: str = "v1") -> bytes:
    """`PartialObjectMetadata` of an encoded object: its metadata is cut out, the rest is never decoded.

    >>> partial(b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{}}')
    b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}'
    """
    head = _HEAD.match(raw)
    if head is not None:
        start = head.end()
        _, end = _scan(raw.decode("latin-1"), start)  # one character per byte, so that positions stay those of `raw`
        cut = raw[start:end]
    else:
        cut = orjson.dumps(metadata(orjson.loads(raw)))
    return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%s","metadata":%s}' % (version.encode(), cut)
