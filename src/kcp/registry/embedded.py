"""Whole objects inside custom resources (x-kubernetes-embedded-resource): they are held to the rules of objects, their metadata included.

Before: `writes`. After: `objectmeta`, whose rules they share.
Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta/{coerce.go,validation.go}.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from weakref import WeakKeyDictionary

from kcp.apimachinery import names
from kcp.apimachinery.errors import BadRequest, Cause
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.structural import Schema
from kcp.registry.objectmeta import content_faults, mismatch, unhandled

_holding: WeakKeyDictionary[Schema, bool] = WeakKeyDictionary()
"""Which schemas have an embedded resource at or below them: hardly any, and nothing is walked for the others."""


def check_embedded(schema: Schema, obj: JSONObject) -> None:
    """Raises BadRequest where the identity or metadata of an embedded resource has the wrong JSON type: it cannot be decoded."""
    for held, path in _embedded(schema, obj, ""):
        for part in ("apiVersion", "kind"):
            if part in held and not isinstance(held[part], str):
                raise _undecodable(obj, Cause.invalid(f"{path}.{part}", held[part], "must be a string"))
        metadata = held.get("metadata")
        if metadata is not None and (fault := mismatch(metadata, "ObjectMeta")):
            raise _undecodable(obj, Cause.invalid(f"{path}.metadata", metadata, f"json: cannot unmarshal {fault}"))


def _undecodable(obj: JSONObject, cause: Cause) -> BadRequest:
    return unhandled(obj, str(cause))


def embedded_faults(schema: Schema, obj: JSONObject) -> Iterator[Cause]:
    for held, path in _embedded(schema, obj, ""):
        yield from _identity_faults(held, path)
        metadata = held.get("metadata")
        if isinstance(metadata, dict):
            for cause in content_faults(metadata):
                yield replace(cause, field=f"{path}.{cause.field}")
            if name := metadata.get("name"):
                yield from (Cause.invalid(f"{path}.metadata.name", name, fault) for fault in names.path_segment(name))


def _identity_faults(held: JSONObject, path: str) -> Iterator[Cause]:
    api_version, kind = held.get("apiVersion"), held.get("kind")
    if api_version is None:
        yield Cause.required(f"{path}.apiVersion")
    elif not api_version:
        yield Cause.invalid(f"{path}.apiVersion", api_version, "must not be empty")
    elif api_version.count("/") > 1:
        yield Cause.invalid(f"{path}.apiVersion", api_version, f"unexpected GroupVersion string: {api_version}")
    if kind is None:
        yield Cause.required(f"{path}.kind")
    elif not kind:
        yield Cause.invalid(f"{path}.kind", kind, "must not be empty")
    elif faults := names.dns1035_label(kind.lower()):
        yield Cause.invalid(f"{path}.kind", kind, f"may have mixed case, but should otherwise match: {','.join(faults)}")


def _embedded(node: Schema, value: object, path: str) -> Iterator[tuple[JSONObject, str]]:
    """Embedded resources at and below `path`, outer ones first."""
    if not _holds(node):
        return
    if isinstance(value, dict):
        if node.embedded:
            yield value, path
        for name, held in value.items():
            child = node.child(name)
            if child is not None and isinstance(held, (dict, list)):
                inner = f"{path}.{name}" if path else name
                yield from _embedded(child, held, inner if name in node.properties else f"{path}[{name}]")
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            yield from _embedded(node.items, item, f"{path}[{index}]")


def _holds(node: Schema) -> bool:
    found = _holding.get(node)
    if found is None:
        inner = (*node.properties.values(), *(part for part in (node.additional, node.items) if part is not None))
        found = _holding[node] = node.embedded or any(not part.native and _holds(part) for part in inner)
    return found
