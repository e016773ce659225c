"""The compiled schema: one immutable node per distinct (sub-)schema, made for speed on the write path.

Before: `compile.compile_schema`. After: `validate`, `fields` (unknown fields, pruning) and `default` walk the nodes; `patch.strategic` and
`apply` read the merge and list keys. Equal sub-schemas are one node, and a `$ref` is compiled when something first looks behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kcp.apimachinery.errors import Cause, first_causes
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.schema.default import default, prune_nulls
from kcp.apimachinery.schema.fields import prune, unknown_fields
from kcp.apimachinery.schema.patterns import Pattern
from kcp.apimachinery.schema.validate import conforms, faults, faults_of_update

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Never:
    """The type of no JSON value: `Schema.plain` of nodes whose values need more than a look at their type."""


class Schema:
    """One schema node. Everything here is public to read and never changes; two nodes are equal only if they are the same object."""

    __slots__ = (
        "__weakref__",
        "additional",
        "all_of",
        "any_of",
        "constrained",
        "default_value",
        "defaulting",
        "defaults",
        "drop_empty",
        "drop_null",
        "embedded",
        "enum",
        "exclusive_maximum",
        "exclusive_minimum",
        "format",
        "has_default",
        "int_or_string",
        "int_range",
        "items",
        "list_keys",
        "list_type",
        "map_type",
        "max_items",
        "max_length",
        "max_properties",
        "maximum",
        "merge_key",
        "min_items",
        "min_length",
        "min_properties",
        "minimum",
        "multiple_of",
        "native",
        "not_",
        "nullable",
        "one_of",
        "patch_strategy",
        "pattern",
        "pattern_text",
        "pending",
        "plain",
        "preserve",
        "properties",
        "quantity",
        "required",
        "type",
        "unique_items",
        "validations",
    )

    pending: Callable[[], Schema] | None
    """Compiles a `$ref` that nobody has looked behind yet; None once done."""
    type: str
    """object, array, string, integer, number, boolean, or "" for anything."""
    native: bool
    """A Kubernetes built-in type: null means absent, list types order patches and apply but are not enforced on write."""
    nullable: bool
    drop_null: bool
    """null is accepted and means absent (Go decodes it to the zero value); defaulting removes it."""
    drop_empty: bool
    """A Go list or map that is left out of JSON when it is empty (`omitempty`), unless its parent requires it; defaulting removes it."""
    int_or_string: bool
    quantity: bool
    preserve: bool
    """x-kubernetes-preserve-unknown-fields, or a node that says nothing about its fields."""
    embedded: bool
    properties: Mapping[str, Schema]
    additional: Schema | None
    items: Schema | None
    required: tuple[str, ...]
    enum: tuple[Any, ...]
    pattern: Pattern | None
    pattern_text: str
    format: str
    minimum: float | None
    maximum: float | None
    exclusive_minimum: bool
    exclusive_maximum: bool
    multiple_of: float | None
    min_length: int | None
    max_length: int | None
    min_items: int | None
    max_items: int | None
    unique_items: bool
    min_properties: int | None
    max_properties: int | None
    all_of: tuple[Schema, ...]
    any_of: tuple[Schema, ...]
    one_of: tuple[Schema, ...]
    not_: Schema | None
    list_type: str
    """atomic, set, map, or "" when the schema does not say (then atomic)."""
    list_keys: tuple[str, ...]
    map_type: str
    """atomic, granular, or "" (then granular)."""
    merge_key: str
    patch_strategy: tuple[str, ...]
    """Any of merge, replace, retainKeys."""
    has_default: bool
    default_value: Any
    defaults: tuple[tuple[str, Any, bool], ...]
    """(property, default, nullable) of the properties that have a default."""
    defaulting: bool
    """Whether defaulting may change anything at or below this node."""
    constrained: bool
    """Whether a value must pass more than its type and its children's checks."""
    plain: Any
    """A Python type: a value of exactly this type needs no further check."""
    int_range: tuple[int, int] | None
    """The only limit of an integer is its format: checked without the walk that words faults."""
    validations: tuple[JSONObject, ...]
    """x-kubernetes-validations, untouched."""

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            """Reached only while a slot is empty: compile the `$ref` behind this node, once, then read again at full speed."""
            if name == "pending" or name not in Schema.__slots__:
                raise AttributeError(name)
            resolve(self)
            return getattr(self, name)

    def validate(self, obj: JSONObject) -> list[Cause]:
        """The faults of `obj`, `MOST_CAUSES` at most, with Kubernetes field paths and texts; empty for a valid object."""
        return [] if conforms(self, obj) else first_causes(faults(self, obj, ""))

    def validate_update(self, obj: JSONObject, old: JSONObject) -> list[Cause]:
        """The faults of `obj` that are in parts which differ from `old`, likewise."""
        return [] if conforms(self, obj) else first_causes(faults_of_update(self, obj, old))

    def unknown_fields(self, obj: JSONObject) -> list[str]:
        """Paths of the fields that this schema does not know: `spec.foo`, `spec.containers[0].bar`."""
        return unknown_fields(self, obj)

    def prune(self, obj: JSONObject) -> None:
        """Remove the fields that this schema does not know; `obj` is changed."""
        prune(self, obj)

    def default(self, obj: JSONObject) -> None:
        """Fill in defaults; nulls that mean "absent" are removed. `obj` is changed."""
        default(self, obj)

    def prune_nulls(self, obj: JSONObject) -> bool:
        """Remove nulls where null is not allowed; returns whether there were any."""
        return prune_nulls(self, obj)

    def child(self, key: str) -> Schema | None:
        """The schema of one field or map entry, or None where it is unknown."""
        return self.properties.get(key, self.additional)

    def __repr__(self) -> str:
        return f"Schema({self.type or 'any'}, {len(self.properties)} properties)"


CONTENT = tuple(slot for slot in Schema.__slots__ if slot not in ("__weakref__", "pending"))
"""Slots that make up a node's meaning."""


def resolve(node: Schema) -> None:
    """Fill a pending node with the content of the definition it stands for."""
    compile_it = node.pending
    if compile_it is None:
        return
    source = compile_it()
    for slot in CONTENT:
        setattr(node, slot, getattr(source, slot))
    node.pending = None
