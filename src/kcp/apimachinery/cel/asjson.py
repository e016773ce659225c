"""Values of CEL as JSON: what an expression gives, on its way into an object.

Before: mutating admission policies, `exports.apiconversion`. After: `values`.
Source: k8s.io/apiserver/pkg/cel/mutation/dynamic/objects.go, github.com/google/cel-go/common/types (ConvertToNative).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from kcp.apimachinery.cel.costs import weight
from kcp.apimachinery.cel.errors import EvaluationError
from kcp.apimachinery.cel.library.conversions import to_string
from kcp.apimachinery.cel.values import Duration, Made, Opaque, Optional

_LARGEST = 200_000
"""Values in one result: no object that can be stored has as many."""


def as_json(value: Any) -> Any:
    """Raises EvaluationError for what JSON has no words for, and for more than an object can hold."""
    if weight(value) > _LARGEST:
        raise EvaluationError("the result is too large")
    return _encoded(value, [_LARGEST])


def _encoded(value: Any, room: list[int]) -> Any:
    room[0] -= 1
    if room[0] < 0:
        raise EvaluationError("the result is too large")
    if isinstance(value, Made):
        return {name: _encoded(held, room) for name, held in value.fields.items()}
    if type(value) is list:
        return [_encoded(item, room) for item in value]
    if type(value) is dict:
        return {key if type(key) is str else to_string(key): _encoded(held, room) for key, held in value.items()}
    if type(value) is Optional:
        return _encoded(value.value, room) if value.has_value else None
    if type(value) in (datetime, Duration):
        return to_string(value)
    if type(value) is bytes or isinstance(value, Opaque):
        raise EvaluationError(f"unsupported type in the result: {type(value).__name__}")
    return int(value) if isinstance(value, int) and type(value) is not bool else value
