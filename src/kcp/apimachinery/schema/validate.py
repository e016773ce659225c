"""Validation of a value against a schema: a fast yes/no walk first, and a walk that words every fault only if that says no.

Before: `Schema.validate`. Faults carry the reasons, texts and field paths of a Kubernetes API server.
Source: apiextensions-apiserver/pkg/apiserver/validation/validation.go, kube-openapi/pkg/validation/{errors/schema.go,validate},
apiextensions-apiserver/pkg/apiserver/schema/listtype/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from kcp.apimachinery import quantity
from kcp.apimachinery.errors import Cause
from kcp.apimachinery.schema.formats import INTEGER_RANGES, STRING_FORMATS
from kcp.apimachinery.schema.ratchet import by_keys, is_unchanged, keys_of

if TYPE_CHECKING:
    from kcp.apimachinery.schema.node import Schema

_TYPE_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def conforms(node: Schema, value: Any) -> bool:
    """Whether `value` has no fault. Says nothing about unknown fields: those are pruned or reported elsewhere."""
    kind = type(value)
    if kind is node.plain:
        return True
    if kind is int and node.int_range is not None:
        low, high = node.int_range
        return bool(low <= value <= high)
    if not _type_fits(node, value):
        return False
    if node.quantity:
        return value is None or not quantity.fault(value)
    if kind is dict:
        if not _fields_conform(node, value):
            return False
    elif kind is list:
        items = node.items
        if items is not None:
            plain = items.plain
            for item in value:
                if type(item) is not plain and not conforms(items, item):
                    return False
    return not node.constrained or value is None or next(_own_faults(node, value, ""), None) is None


def _fields_conform(node: Schema, value: dict[str, Any]) -> bool:
    for name in node.required:
        if name not in value:
            return False
    properties, rest = node.properties, node.additional
    for name, held in value.items():
        child = properties.get(name, rest)
        if child is not None and type(held) is not child.plain and not conforms(child, held):
            return False
    return True


class _Unknown:
    """The old value of what is new, or has no counterpart."""


NEW = _Unknown()


def faults(node: Schema, value: Any, path: str, old: Any = NEW) -> Iterator[Cause]:
    """Every fault at and below `path`, but for those of parts that are as they were in `old`."""
    if old is not NEW and is_unchanged(node, value, old):
        return
    if not _type_fits(node, value):
        yield _wrong_type(node, value, path)
        return
    if value is None:
        return
    if node.quantity and (fault := quantity.fault(value)):
        yield Cause.type_invalid(path, value, fault)
    if type(value) is dict:
        yield from _field_faults(node, value, path, old if type(old) is dict else {})
    elif type(value) is list and node.items is not None:
        known = by_keys(node, old)
        for index, item in enumerate(value):
            yield from faults(node.items, item, f"{path}[{index}]", known.get(keys_of(node, item), NEW) if known else NEW)
    if node.constrained:
        yield from _own_faults(node, value, path, old)


def _field_faults(node: Schema, value: dict[str, Any], path: str, old: dict[str, Any]) -> Iterator[Cause]:
    for name in node.required:
        if name not in value:
            yield Cause.required(_join(path, name))
    for name, held in value.items():
        child = node.child(name)
        if child is not None:
            yield from faults(child, held, _join(path, name), old.get(name, NEW))


def faults_of_update(node: Schema, value: Any, old: Any) -> Iterator[Cause]:
    """The faults of what an update changed. Repeated items are let through where the old object had some, wherever they were.

    Source: KEP-4008; apiextensions-apiserver/pkg/apiserver/validation/ratcheting.go, pkg/registry/customresource/strategy.go.
    """
    had_repeated: bool | None = None
    for cause in faults(node, value, "", old):
        if cause.reason == "FieldValueDuplicate":
            if had_repeated is None:
                had_repeated = any(held.reason == "FieldValueDuplicate" for held in faults(node, old, ""))
            if had_repeated:
                continue
        yield cause


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _type_fits(node: Schema, value: Any) -> bool:
    if value is None:
        return node.nullable or node.drop_null or (not node.type and not node.int_or_string and not node.quantity)
    kind = type(value)
    if node.int_or_string:
        return kind is int or kind is str
    if node.quantity:
        return kind is str or kind is int or kind is float
    wanted = node.type
    if not wanted:
        return True
    name = _TYPE_NAMES.get(kind, "")
    return name == wanted or (wanted == "number" and kind is int) or (wanted == "integer" and kind is float and value.is_integer())


def _wrong_type(node: Schema, value: Any, path: str) -> Cause:
    wanted = "integer,string" if node.int_or_string else "number,string" if node.quantity else node.type
    return _type_fault(path, wanted, _TYPE_NAMES.get(type(value), type(value).__name__))


def _type_fault(path: str, wanted: str, found: str) -> Cause:
    return Cause.type_invalid(path or "<nil>", found, f'{path} in body must be of type {wanted}: "{found}"')


def _own_faults(node: Schema, value: Any, path: str, old: Any = NEW) -> Iterator[Cause]:
    """Faults of this very value, its children aside."""
    if node.enum and not any(_same(value, allowed) for allowed in node.enum):
        texts = [allowed if isinstance(allowed, str) else orjson.dumps(allowed).decode() for allowed in node.enum]
        yield Cause.not_supported(path, value, texts)
    kind = type(value)
    if kind is str:
        yield from _string_faults(node, value, path)
    elif kind is int or kind is float:
        yield from _number_faults(node, value, path)
    elif kind is list:
        yield from _list_faults(node, value, path)
    elif kind is dict:
        yield from _object_faults(node, value, path)
    if node.all_of or node.any_of or node.one_of or node.not_ is not None:
        yield from _junctor_faults(node, value, path, old)


def _same(left: Any, right: Any) -> bool:
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def _string_faults(node: Schema, value: str, path: str) -> Iterator[Cause]:
    if node.max_length is not None and len(value) > node.max_length:
        yield Cause.too_long(path, node.max_length)
    if node.min_length is not None and len(value) < node.min_length:
        yield Cause.invalid(path, value, f"{path} in body should be at least {node.min_length} chars long")
    if node.pattern is not None and not node.pattern.matches(value):
        yield Cause.invalid(path, value, f"{path} in body should match '{node.pattern_text}'")
    check = STRING_FORMATS.get(node.format) if node.type == "string" else None
    if check is not None and not check(value):
        yield _type_fault_with_value(path, node.format, value)


def _type_fault_with_value(path: str, wanted: str, value: str) -> Cause:
    return Cause.type_invalid(path, value, f'{path} in body must be of type {wanted}: "{value}"')


def _number_faults(node: Schema, value: float, path: str) -> Iterator[Cause]:
    low_high = INTEGER_RANGES.get(node.format)
    if low_high is not None and not low_high[0] <= value <= low_high[1]:
        yield Cause.type_invalid(path, value, f"{path} in body must be of type {node.format}: {value}")
    if node.maximum is not None and (value > node.maximum or (node.exclusive_maximum and value == node.maximum)):
        relation = "less than" if node.exclusive_maximum else "less than or equal to"
        yield Cause.invalid(path, value, f"{path} in body should be {relation} {_number(node.maximum)}")
    if node.minimum is not None and (value < node.minimum or (node.exclusive_minimum and value == node.minimum)):
        relation = "greater than" if node.exclusive_minimum else "greater than or equal to"
        yield Cause.invalid(path, value, f"{path} in body should be {relation} {_number(node.minimum)}")
    if node.multiple_of and not _is_multiple(value, node.multiple_of):
        yield Cause.invalid(path, value, f"{path} in body should be a multiple of {_number(node.multiple_of)}")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _is_multiple(value: float, factor: float) -> bool:
    if isinstance(value, int) and isinstance(factor, int):
        return value % factor == 0
    quotient = value / factor
    return abs(quotient - round(quotient)) < 1e-9


def _list_faults(node: Schema, value: list[Any], path: str) -> Iterator[Cause]:
    if node.max_items is not None and len(value) > node.max_items:
        yield _too_many(path, len(value), node.max_items)
    if node.min_items is not None and len(value) < node.min_items:
        yield Cause.invalid(path, len(value), f"{path} in body should have at least {node.min_items} items")
    if node.unique_items and any(True for _ in _repeated([_encode(item) for item in value])):
        yield Cause.invalid(path, value, f"{path} in body shouldn't contain duplicates")
    if node.native:
        return
    if node.list_type == "set":
        for index in _repeated([_encode(item) for item in value]):
            yield Cause.duplicate(f"{path}[{index}]", value[index])
    elif node.list_type == "map":
        held = [{key: item[key] for key in node.list_keys if key in item} if isinstance(item, dict) else item for item in value]
        for index in _repeated([_encode(keys) for keys in held]):
            yield Cause.duplicate(f"{path}[{index}]", held[index])


def _encode(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _repeated(encoded: list[bytes]) -> Iterator[int]:
    if len(set(encoded)) == len(encoded):
        return
    seen: set[bytes] = set()
    for index, item in enumerate(encoded):
        if item in seen:
            yield index
        seen.add(item)


def _too_many(path: str, found: int, limit: int) -> Cause:
    return Cause(path, "FieldValueTooMany", f"Too many: {found}: must have at most {limit} items")


def _object_faults(node: Schema, value: dict[str, Any], path: str) -> Iterator[Cause]:
    if node.max_properties is not None and len(value) > node.max_properties:
        yield _too_many(path, len(value), node.max_properties)
    if node.min_properties is not None and len(value) < node.min_properties:
        yield Cause.invalid(path, node.min_properties, f"{path} in body should have at least {node.min_properties} properties")


def _junctor_faults(node: Schema, value: Any, path: str, old: Any) -> Iterator[Cause]:
    for part in node.all_of:
        inner = list(faults(part, value, path, old))
        yield from inner
        if inner:
            yield _composite(path, "must validate all the schemas (allOf)")
    if node.any_of and not any(_fits(part, value, old) for part in node.any_of):
        yield _composite(path, "must validate at least one schema (anyOf)")
        yield from _nearest(node.any_of, value, path, old)
    if node.one_of:
        valid = sum(_fits(part, value, old) for part in node.one_of)
        if valid != 1:
            found = f"Found {valid} valid alternatives" if valid else "Found none valid"
            yield _composite(path, f"must validate one and only one schema (oneOf). {found}")
            if not valid:
                yield from _nearest(node.one_of, value, path, old)
    if node.not_ is not None and _fits(node.not_, value, old):
        yield _composite(path, "must not validate the schema (not)")


def _fits(node: Schema, value: Any, old: Any) -> bool:
    return conforms(node, value) or (old is not NEW and next(faults(node, value, "", old), None) is None)


def _nearest(parts: tuple[Schema, ...], value: Any, path: str, old: Any) -> list[Cause]:
    """The faults of the alternative that fits best: the one with the fewest, the first of equals."""
    return min((list(faults(part, value, path, old)) for part in parts), key=len)


def _composite(path: str, text: str) -> Cause:
    return Cause.invalid(path or "<nil>", "", f'"{path}" {text}')
