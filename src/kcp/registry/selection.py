"""Which objects a list or watch is about: scope, label selector and field selector as one cheap test over items.

Before: `reads`, `watches`. Source: k8s.io/apiserver/pkg/storage/selection_predicate.go; field labels as in
k8s.io/apimachinery/pkg/runtime/conversion.go (DefaultMetaV1FieldSelectorConversion).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from kcp.apimachinery.errors import BadRequest
from kcp.apimachinery.keys import WILDCARD
from kcp.apimachinery.meta import JSONObject, nested
from kcp.registry.backend import Scope
from kcp.registry.resource import Origin, Resource
from kcp.storage.item import Item
from kcp.storage.keyspace import object_key, scope_prefix
from kcp.storage.subscriptions import Trait

if TYPE_CHECKING:
    from kcp.apimachinery.selectors import FieldSelector, LabelSelector

Matches: TypeAlias = Callable[[Item], bool]
Look: TypeAlias = Callable[[JSONObject], bool]
Reader: TypeAlias = Callable[[JSONObject], str]

_PRESENT = ("=", "==", "in", "exists")
"""Operators that only objects with the label can satisfy."""
_KEY_FIELDS = ("metadata.name", "metadata.namespace")


@dataclass(frozen=True, slots=True)
class Selection:
    """A compiled selection; `matches` None takes everything under `prefix`."""

    prefix: bytes
    """Storage prefix of the scope: a cluster, a namespace, or everything for the wildcard cluster."""
    key: bytes | None
    """Storage key of the only object that can match, where a name pins it in a pinned scope."""
    name: str
    traits: Sequence[Trait]
    """Labels and fields that every match has, for indexes."""
    matches: Matches | None
    by_key: Matches | None = None
    """The part of `matches` that looks at the key only: true whatever version an object is shown in."""
    by_content: Matches | None = None
    """The other part: labels and fields."""


def select(scope: Scope, labels: LabelSelector | None, fields: FieldSelector | None) -> Selection:
    """Raises BadRequest for a field that this resource cannot be selected by."""
    resource = scope.resource
    if labels is not None and labels.is_everything:
        labels = None
    terms = fields.requirements if fields is not None else ()
    namespace, name = scope.namespace, scope.name
    tests: list[Matches] = []
    content: list[Matches] = []
    looks: list[Look] = []
    traits: list[Trait] = []
    for field, op, value in terms:
        _check_known(resource, field)
        if op == "=" and field == "metadata.name" and not name:
            name = value
        elif op == "=" and field == "metadata.namespace" and resource.namespaced and not namespace:
            namespace = value
        elif field in _KEY_FIELDS and field not in resource.field_values:
            tests.append(_key_test(field, op, value))
        else:
            read = _reader(field, resource.field_values.get(field))
            looks.append(_look(read, op, value))
            if op == "=":
                traits.append(Trait(field, (value,), lambda item, read=read: read(_decoded(item))))  # type: ignore[misc]
    wildcard = scope.cluster == WILDCARD
    if namespace and wildcard:
        tests.append(lambda item: item.key.namespace == namespace)
        traits.append(Trait("metadata.namespace", (namespace,), lambda item: item.key.namespace))
    if name:
        tests.append(lambda item: item.key.name == name)
    if labels is not None:
        content.append(lambda item: labels.matches(item.labels))
    if looks:
        content.append(lambda item: _all_hold(looks, _decoded(item)))
    pinned = name and not wildcard and (namespace or not resource.namespaced)
    if labels is not None:
        traits += [Trait(term.key, tuple(sorted(term.values))) for term in labels.requirements if term.operator in _PRESENT]
    return Selection(
        prefix=scope_prefix(resource.storage_prefix, scope.cluster, "" if wildcard else namespace),
        key=object_key(resource.storage_prefix, Scope(resource, scope.cluster, namespace, name).key) if pinned else None,
        name=name,
        traits=traits,
        matches=_all_of([*tests, *content]),
        by_key=_all_of(tests),
        by_content=_all_of(content),
    )


def _all_of(tests: list[Matches]) -> Matches | None:
    if len(tests) < 2:
        return tests[0] if tests else None
    return lambda item: all(test(item) for test in tests)


def _check_known(resource: Resource, field: str) -> None:
    """Raises BadRequest with one of upstream's two texts: custom kinds and those with fields of their own say no more than the field."""
    own = bool(resource.selectable_fields) or resource.origin is not Origin.BUILTIN
    keys = _KEY_FIELDS if resource.namespaced or not own else _KEY_FIELDS[:1]
    if field in keys or field in resource.selectable_fields:
        return
    if own:
        raise BadRequest(f"field label not supported: {field}")
    raise BadRequest(f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"')


def _key_test(field: str, op: str, value: str) -> Matches:
    """Of a field that is in the key."""
    wanted = op == "="
    if field == "metadata.name":
        return lambda item: (item.key.name == value) is wanted
    return lambda item: (item.key.namespace == value) is wanted


def _reader(field: str, read: Reader | None) -> Reader:
    """How to find the value of a field for which the object has to be decoded."""
    if read is not None:
        return read
    path = tuple(field.lstrip(".").split("."))
    return lambda obj: _as_text(nested(obj, *path))


def _look(read: Reader, op: str, value: str) -> Look:
    wanted = op == "="
    return lambda obj: (read(obj) == value) is wanted


@lru_cache(maxsize=16)
def _decoded(item: Item) -> JSONObject:
    """For reading only: one change is looked at by all watchers that select by fields, and by the index of them."""
    return item.decode()


def _all_hold(looks: list[Look], obj: JSONObject) -> bool:
    return all(look(obj) for look in looks)


def _as_text(value: object) -> str:
    """A field's value as selectors write it: booleans and numbers as JSON, absent as ""."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
