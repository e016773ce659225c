"""Words that several printers share. Source: k8s.io/kubernetes/pkg/printers/internalversion/printers.go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from kcp.apimachinery.meta import JSONObject, creation_timestamp, nested
from kcp.apimachinery.table import Column, Getter, age, age_of

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"


def text(name: str, getter: Getter, *, wide: bool = False, description: str = "") -> Column:
    return Column(name, priority=int(wide), getter=getter, description=description)


def number(name: str, *path: str, default: int = 0) -> Column:
    """An integer that stands at `path`."""
    return Column(name, type="integer", getter=lambda obj, _now: nested(obj, *path, default=default))


def field(name: str, *path: str, default: str = "", wide: bool = False) -> Column:
    """A string that stands at `path`."""
    return text(name, lambda obj, _now: str(nested(obj, *path, default=default)), wide=wide)


AGE = text("Age", age)
CREATED_AT = Column("Created At", type="date", getter=lambda obj, _now: creation_timestamp(obj))


def since(obj: JSONObject, now: datetime, *path: str) -> str:
    return age_of(nested(obj, *path, default=""), now)


def pod_template_columns(*path: str, selector: bool = True) -> tuple[Column, ...]:
    """The wide columns CONTAINERS, IMAGES and SELECTOR of whatever has a pod template at `path`."""
    found = (*path, "spec", "containers")
    columns = (
        text("Containers", lambda obj, _now: ",".join(c.get("name", "") for c in nested(obj, *found, default=())), wide=True),
        text("Images", lambda obj, _now: ",".join(c.get("image", "") for c in nested(obj, *found, default=())), wide=True),
    )
    if not selector:
        return columns
    return (*columns, text("Selector", lambda obj, _now: format_selector(nested(obj, "spec", "selector")), wide=True))


def format_labels(labels: Mapping[str, Any] | None) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or NONE


def format_selector(selector: Mapping[str, Any] | None) -> str:
    """A metav1.LabelSelector, or a plain map as ReplicationController and Service have it. Source: metav1.FormatLabelSelector."""
    if not selector:
        return NONE
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        return format_labels(selector)
    terms = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or ()))
        match expression.get("operator"):
            case "In":
                terms.append((key, f"{key} in ({values})"))
            case "NotIn":
                terms.append((key, f"{key} notin ({values})"))
            case "Exists":
                terms.append((key, key))
            case "DoesNotExist":
                terms.append((key, f"!{key}"))
    return ",".join(term for _, term in sorted(terms)) or NONE


def truncated(items: Iterable[str], limit: int) -> str:
    """The first items, and how many more there are."""
    listed = list(items)
    shown = ",".join(listed[:limit])
    return f"{shown} + {len(listed) - limit} more..." if len(listed) > limit else shown


_MODES: Mapping[str, str] = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def access_modes(modes: Sequence[str] | None) -> str:
    held = frozenset(modes or ())
    return ",".join(short for mode, short in _MODES.items() if mode in held)
