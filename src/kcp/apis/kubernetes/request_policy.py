"""How much of a device's capacity a request may take: a list of amounts, or a range with steps. Before: `slice_validation`.

Source: k8s.io/kubernetes/pkg/apis/resource/validation/validation.go (validateRequestPolicy), KEP-5075.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from kcp.apimachinery import quantity
from kcp.apimachinery.errors import Cause
from kcp.apis.kubernetes.checks import list_at, obj_at, too_many

_MOST_VALUES = 10
_BOTH = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'


def request_policy(policy: Mapping[str, Any], capacity: Any, at: str) -> Iterator[Cause]:
    values, limits, default = list_at(policy, "validValues"), policy.get("validRange"), policy.get("default")
    if values and limits is not None:
        yield Cause.forbidden(at, _BOTH)
        return
    kind = "validValues" if values else "validRange" if limits is not None else ""
    if kind and default is None:
        yield Cause.required(f"{at}.default", f"required when {kind} is defined")
    elif kind and not any(quantity.fault(each) for each in (default, *values, *obj_at(limits).values())):
        yield from (
            _values(values, default, capacity, f"{at}.{kind}") if values else _range(obj_at(limits), default, capacity, f"{at}.{kind}")
        )


def _values(values: Sequence[Any], default: Any, capacity: Any, at: str) -> Iterator[Cause]:
    for index, (before, value) in enumerate(pairwise(values), 1):
        if quantity.compare(before, value) > 0:
            yield Cause.invalid(f"{at}[{index}]", quantity.canonical(value), "values must be sorted in ascending order")
    if len(values) > _MOST_VALUES:
        yield too_many(at, len(values), _MOST_VALUES)
    else:
        for index, value in enumerate(values):
            if quantity.compare(value, capacity) > 0:
                told = f"option is larger than capacity value: {quantity.canonical(capacity)}"
                yield Cause.invalid(f"{at}[{index}]", quantity.canonical(value), told)
        for index, value in enumerate(values):
            if any(quantity.compare(value, other) == 0 for other in values[:index]):
                yield Cause.duplicate(f"{at}[{index}]", str(quantity.whole(value)))
    if len(values) > _MOST_VALUES or all(quantity.compare(value, default) for value in values):
        yield Cause.invalid(at, quantity.canonical(default), "default value is not valid according to the requestPolicy")


def _range(limits: Mapping[str, Any], default: Any, capacity: Any, at: str) -> Iterator[Cause]:
    least, most, step = limits.get("min"), limits.get("max"), limits.get("step")
    if least is None:
        yield Cause.required(f"{at}.min", "required when validRange is defined")
        return
    yield from _ordered(least, capacity, f"{at}.min", least, "min is larger than capacity value: ", capacity)
    yield from _ordered(least, default, f"{at}.min", default, "default is less than min: ", least)
    if most is not None:
        yield from _ordered(least, most, f"{at}.max", least, "min is larger than max: ", most)
        yield from _ordered(most, capacity, f"{at}.max", most, "max is larger than capacity value: ", capacity)
        yield from _ordered(default, most, f"{at}.max", default, "default is more than max: ", most)
    if step is None:
        return
    first = quantity.add(least, step)
    told = f"one step {first} is larger than capacity value: "
    yield from _ordered(first, capacity, f"{at}.step", step, told, capacity)
    for value in (default,) if most is None else (default, most):
        if (width := quantity.whole(step)) and (quantity.whole(value) - quantity.whole(least)) % width:
            told = f"value is not a multiple of a given step ({quantity.canonical(step)}) from ({quantity.canonical(least)})"
            yield Cause.invalid(f"{at}.step", quantity.canonical(value), told)


def _ordered(less: Any, more: Any, at: str, shown: Any, told: str, named: Any) -> Iterator[Cause]:  # noqa: PLR0913 - two amounts and a sentence
    if quantity.compare(less, more) > 0:
        yield Cause.invalid(at, quantity.canonical(shown), told + quantity.canonical(named))
