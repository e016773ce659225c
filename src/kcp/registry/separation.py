"""Who may change what: the main endpoint all but the status, a subresource only its own part.

Before: `writes`. Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/{strategy,status_strategy}.go.
"""

from __future__ import annotations

from collections.abc import Callable

from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.meta import JSONObject, ensure, nested
from kcp.registry.backend import Scope
from kcp.registry.resource import Resource
from kcp.registry.strategy import FieldPath

_MISSING = object()


def confine(new: JSONObject, stored: Callable[[], JSONObject] | None, scope: Scope) -> JSONObject:
    """What of `new` this endpoint may write.

    Args: stored: makes a fresh copy of the stored object, which may become part of the result; None for a creation.
    Raises: NotFound for a subresource that the resource does not have.
    """
    resource = scope.resource
    if stored is None and resource.strategy.is_born_with_status:
        return new
    if scope.subresource in ("", "scale"):
        return _without_status(new, stored() if stored is not None else None) if resource.has_status else new
    parts = resource.strategy.subresource_parts.get(scope.subresource)
    if parts is None or stored is None or (scope.subresource == "status" and not resource.has_status):
        raise NotFound("the server could not find the requested resource")
    old = stored()
    if "managedFields" in new["metadata"]:
        old["metadata"]["managedFields"] = new["metadata"]["managedFields"]
    else:
        old["metadata"].pop("managedFields", None)
    for path in parts:
        _take(new, old, path)
    return old


def _without_status(new: JSONObject, old: JSONObject | None) -> JSONObject:
    if old is not None and "status" in old:
        new["status"] = old["status"]
    else:
        new.pop("status", None)
    return new


def _take(source: JSONObject, target: JSONObject, path: FieldPath) -> None:
    """Make `target` have at `path` what `source` has there."""
    *head, last = path
    value = nested(source, *path, default=_MISSING)
    if value is not _MISSING:
        ensure(target, *head)[last] = value
    else:
        held = nested(target, *head) if head else target
        if isinstance(held, dict):
            held.pop(last, None)


def is_spec_changed(new: JSONObject, old: JSONObject, resource: Resource) -> bool:
    """Whether anything but metadata (and status, where that is apart) differs: what metadata.generation counts."""
    apart = {"metadata", "apiVersion", "kind", "status"} if resource.has_status else {"metadata", "apiVersion", "kind"}
    return any(new.get(part) != old.get(part) for part in new.keys() | old.keys() if part not in apart)


def is_newer_only(new: JSONObject, old: JSONObject) -> bool:
    """Whether the times in managedFields are all that tells two objects apart, as where a default brings back what an apply left out.

    Source: k8s.io/apiserver/pkg/endpoints/handlers/fieldmanager/equality.go (IgnoreManagedFieldsTimestampsTransformer).
    """
    if new.keys() != old.keys() or any(new[part] != old[part] for part in new if part != "metadata"):
        return False
    ours, theirs = new["metadata"], old["metadata"]
    if ours.keys() != theirs.keys() or any(ours[part] != theirs[part] for part in ours if part != "managedFields"):
        return False
    entries, held = ours.get("managedFields") or (), theirs.get("managedFields") or ()
    return len(entries) == len(held) and all(_timeless(one) == _timeless(other) for one, other in zip(entries, held, strict=True))


def _timeless(entry: JSONObject) -> JSONObject:
    return {part: value for part, value in entry.items() if part != "time"}
