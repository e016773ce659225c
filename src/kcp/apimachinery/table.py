"""`kubectl get` as a table: columns, rows and ages, in the `meta.k8s.io/v1` Table shape.

Before: list, get and watch handlers that were asked for `as=Table`. After: jsonpath.
Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor; k8s.io/apimachinery/pkg/util/duration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

import orjson

from kcp.apimachinery import jsonpath
from kcp.apimachinery.meta import JSONObject, creation_timestamp, metadata, name

IncludeObject: TypeAlias = Literal["None", "Metadata", "Object"]
Getter: TypeAlias = Callable[[JSONObject, datetime], object]

NAME_DESCRIPTION = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to "
    "request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and "
    "configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
AGE_DESCRIPTION = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in "
    "happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC."
)

_CUSTOM_DESCRIPTION = "Custom resource definition column (in JSONPath format): "


@dataclass(frozen=True, slots=True)
class Column:
    """One column; its value comes from `getter` if given, else from `json_path`."""

    name: str
    type: str = "string"
    """string, integer, number, boolean or date."""
    json_path: str = ""
    format: str = ""
    description: str = ""
    priority: int = 0
    """0 is always shown; anything above only with `-o wide`."""
    getter: Getter | None = None

    def cell(self, obj: JSONObject, now: datetime) -> object:
        if self.getter is not None:
            return self.getter(obj, now)
        found = jsonpath.compile(self.json_path)(obj)
        if not found:
            return None
        if self.type == "string":
            return _text(found[0])  # a path of several results shows its first: tableconvertor.go
        return _typed(self.type, found[0], now)

    def definition(self) -> JSONObject:
        return {
            "name": self.name,
            "type": "string" if self.type == "date" and self.getter is not None else self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


NAME = Column("Name", format="name", description=NAME_DESCRIPTION, getter=lambda obj, _now: name(obj))
AGE = Column("Age", type="date", description=AGE_DESCRIPTION, json_path=".metadata.creationTimestamp")
DEFAULT_COLUMNS = (NAME, Column("Created At", type="date", description=AGE_DESCRIPTION, json_path=".metadata.creationTimestamp"))


def build_table(
    items: Iterable[JSONObject],
    columns: Sequence[Column],
    *,
    now: datetime,
    include_object: IncludeObject = "Metadata",
    resource_version: str = "",
    continue_: str = "",
    remaining: int | None = None,
    version: str = "v1",
) -> JSONObject:
    """A Table of `items`; a first column NAME is added where `columns` has none, and AGE where there are no columns at all.

    A watch sends `columnDefinitions` in its first event only: dropping them later is the watch handler's.
    """
    shown = complete(columns)
    head: JSONObject = {"resourceVersion": resource_version} if resource_version else {}
    if continue_:
        head["continue"] = continue_
    if remaining is not None:
        head["remainingItemCount"] = remaining
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": head,
        "columnDefinitions": [column.definition() for column in shown],
        "rows": [row(obj, shown, now=now, include_object=include_object, version=version) for obj in items],
    }


def complete(columns: Sequence[Column]) -> Sequence[Column]:
    if not columns:
        return (NAME, AGE)
    return columns if any(column.name.lower() == "name" for column in columns) else (NAME, *columns)


def row(obj: JSONObject, columns: Sequence[Column], *, now: datetime, include_object: IncludeObject, version: str = "v1") -> JSONObject:
    made: JSONObject = {"cells": [column.cell(obj, now) for column in columns]}
    if include_object == "Metadata":
        made["object"] = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": dict(metadata(obj))}
    elif include_object == "Object":
        made["object"] = obj
    else:
        made["object"] = None
    return made


def columns_from_crd(printer_columns: Iterable[JSONObject]) -> tuple[Column, ...]:
    """Columns of a CRD version's or schema's `additionalPrinterColumns`; none declared gives NAME and AGE.

    Source: apiextensions-apiserver/pkg/registry/customresource/tableconvertor (New).
    """
    declared = tuple(
        Column(
            name=str(column.get("name") or ""),
            type=str(column.get("type") or "string"),
            json_path=str(column.get("jsonPath") or ""),
            format=str(column.get("format") or ""),
            description=str(column.get("description") or _CUSTOM_DESCRIPTION + str(column.get("jsonPath") or "")),
            priority=int(column.get("priority") or 0),
        )
        for column in printer_columns
    )
    return (NAME, *declared) if declared else (NAME, AGE)


def _text(value: Any) -> str:
    """A value as client-go's JSONPath prints it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "<no value>"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return orjson.dumps(value).decode() if isinstance(value, (dict, list)) else str(value)


def _typed(kind: str, value: Any, now: datetime) -> object:
    match kind:
        case "integer":
            return _whole(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        case "number":
            return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return age_of(value, now) if isinstance(value, str) else None
    return None


def _whole(number: float) -> int:
    """A number without its fraction; one beyond 64 bits as Go on amd64 shows it."""
    return int(number) if -(2.0**63) <= number < 2.0**63 else -(2**63)


def age_of(timestamp: str, now: datetime) -> str:
    """How long ago an RFC 3339 instant was, as kubectl prints ages; `<unknown>` for "".

    >>> age_of("2026-01-01T00:00:00Z", datetime(2026, 1, 1, 0, 5, 30, tzinfo=UTC))
    '5m30s'
    """
    if not timestamp:
        return "<unknown>"
    try:
        then = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    except ValueError:
        return "<invalid>"
    return human_duration(now - (then if then.tzinfo else then.replace(tzinfo=UTC)))


def age(obj: JSONObject, now: datetime) -> str:
    """The age of an object."""
    return age_of(creation_timestamp(obj), now)


def human_duration(elapsed: timedelta) -> str:
    """Two units at most, the smaller only while it says something.

    >>> [human_duration(timedelta(seconds=s)) for s in (5, 119, 185, 7200, 36000, 200000, 86400 * 400)]
    ['5s', '119s', '3m5s', '120m', '10h', '2d7h', '400d']

    Source: k8s.io/apimachinery/pkg/util/duration.HumanDuration.
    """
    seconds = int(elapsed.total_seconds())
    if seconds < -1:
        return "<invalid>"
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
