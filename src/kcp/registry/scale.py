"""The scale subresource: an `autoscaling/v1` Scale in place of the object, by the resource's JSON paths.

Before: `reads`, `writes`. Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/etcd.go (ScaleREST),
k8s.io/kubernetes/pkg/registry/apps/deployment/storage/storage.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from kcp.apimachinery.apply.typed import as_go
from kcp.apimachinery.errors import BadRequest, Cause, Invalid, NotFound
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject, ensure, metadata, nested
from kcp.registry.resource import Origin, Resource, Scale
from kcp.storage.item import Item

_SHOWN = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def _path(text: str) -> tuple[str, ...]:
    return tuple(text.lstrip(".").split("."))


def scale_of(resource: Resource) -> Scale:
    """Raises NotFound where the resource has no scale subresource."""
    if resource.scale is None:
        raise NotFound("the server could not find the requested resource")
    return resource.scale


def to_scale(obj: JSONObject, resource: Resource) -> JSONObject:
    """The Scale of an object."""
    paths = scale_of(resource)
    shown = {part: value for part in _SHOWN if (value := metadata(obj).get(part))}
    status: JSONObject = {"replicas": nested(obj, *_path(paths.status_replicas_path), default=0)}
    if selector := _selector_text(nested(obj, *_path(paths.label_selector_path)) if paths.label_selector_path else None):
        status["selector"] = selector
    replicas = nested(obj, *_path(paths.spec_replicas_path))
    spec = {"replicas": replicas} if replicas else {}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": shown, "spec": spec, "status": status}


def _selector_text(selector: Any) -> str:
    """A selector as text: CRDs hold text already, built-in kinds a LabelSelector (or, of old, a map)."""
    if not selector or isinstance(selector, str):
        return selector or ""
    from kcp.apimachinery.selectors import LabelSelector

    if "matchLabels" in selector or "matchExpressions" in selector:
        return str(LabelSelector.from_object(selector))
    return str(LabelSelector.from_labels(selector))


def apply_scale(obj: JSONObject, scale: JSONObject, resource: Resource) -> None:
    """Write a Scale's wishes into the object: spec.replicas, and its resourceVersion and uid as preconditions.

    Raises: BadRequest where it is no Scale or of another name, Invalid for a replica count that is none.
    """
    if scale.get("kind") != "Scale" or not str(scale.get("apiVersion", "")).startswith("autoscaling/"):
        raise BadRequest(f"wrong object passed to Scale update: {scale.get('kind')} in {scale.get('apiVersion')}")
    wanted = _wanted(scale, metadata(obj).get("name", ""), resource)
    *head, last = _path(scale_of(resource).spec_replicas_path)
    ensure(obj, *head)[last] = wanted
    for part in ("resourceVersion", "uid"):
        if part in metadata(scale):
            obj["metadata"][part] = metadata(scale)[part]


def applied_scale(scale: JSONObject, resource: Resource) -> JSONObject:
    """An applied Scale as an applied configuration of the object itself, so that its replicas get the right owner.

    Raises: Invalid for a replica count that is none. Source: apimachinery/pkg/util/managedfields/scalehandler.go.
    """
    config: JSONObject = {"apiVersion": resource.gvr.api_version, "kind": resource.kind, "metadata": dict(metadata(scale))}
    if nested(scale, "spec", "replicas") is not None:
        *head, last = _path(scale_of(resource).spec_replicas_path)
        ensure(config, *head)[last] = _wanted(scale, metadata(scale).get("name", ""), resource)
    return config


def _wanted(scale: JSONObject, name: str, resource: Resource) -> int:
    wanted = nested(scale, "spec", "replicas", default=0)
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 0:
        raise _no_count(wanted, name, resource)
    return wanted


def _no_count(wanted: object, name: str, resource: Resource) -> Invalid:
    """A replica count that is none, in the words of a custom kind or of a built-in one (apis/autoscaling/validation, ValidateScale)."""
    if resource.origin is not Origin.BUILTIN:
        cause = Cause.invalid(scale_of(resource).spec_replicas_path, wanted, "should be a non-negative integer")
        return Invalid.of(resource.group_resource, resource.kind, name, [cause])
    cause = Cause.invalid("spec.replicas", wanted, "must be greater than or equal to 0")
    return Invalid.of(GroupResource("autoscaling", "scales"), "Scale", name, [cause])


_MOST_REPLICAS = 2**31 - 1


def scale_faults(obj: JSONObject, paths: Scale, subresource: str) -> Iterator[Cause]:
    """What of a custom resource could not be shown as a Scale; a change of its status is held to the status only.

    Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/validator.go (ValidateScaleSpec, ValidateScaleStatus).
    """
    if subresource != "status":
        yield from _count_faults(obj, paths.spec_replicas_path)
    yield from _count_faults(obj, paths.status_replicas_path)
    if paths.label_selector_path:
        held = nested(obj, *_path(paths.label_selector_path))
        if held is not None and not isinstance(held, str):
            yield _no_access(paths.label_selector_path, "", held, "string")


def _count_faults(obj: JSONObject, path: str) -> Iterator[Cause]:
    count = nested(obj, *_path(path))
    if count is None:
        return
    if not isinstance(count, int) or isinstance(count, bool):
        yield _no_access(path, 0, count, "int64")
    elif count < 0:
        yield Cause.invalid(path, count, "should be a non-negative integer")
    elif count > _MOST_REPLICAS:
        yield Cause.invalid(path, count, f"should be less than or equal to {_MOST_REPLICAS}")


def _no_access(path: str, shown: object, held: object, wanted: str) -> Cause:
    """Source: k8s.io/apimachinery/pkg/apis/meta/v1/unstructured/helpers.go (NestedInt64, NestedString)."""
    found = _GO_TYPES.get(type(held), "int64")
    return Cause.invalid(path, shown, f"{path} accessor error: {as_go(held)} is of the type {found}, expected {wanted}")


_GO_TYPES = {str: "string", bool: "bool", float: "float64", dict: "map[string]interface {}", list: "[]interface {}"}


def scale_item(item: Item, resource: Resource) -> Item:
    return Item(item.key, item.revision, orjson.dumps(to_scale(item.decode(), resource)), item.labels)
