"""CEL of ResourceProjections: what an expression may read of a cluster and of an object. Pure.

Before: `spec`, `transform`, `clusters`. After: CEL.
Source: tmc reference §4 (condition examples: `cluster.capacity.cpu > 4`, `cluster.type == 'edge'`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kcp.tmc.placement.snapshot import Target

if TYPE_CHECKING:
    from kcp.apimachinery.cel.admission import Compiled

_TYPE = ("type", "tmc.kcp.io/cluster-type")


class ExpressionError(Exception):
    """An expression that cannot be evaluated; the message holds its text."""


def facts_of(target: Target) -> dict[str, Any]:
    """What an expression reads as `cluster`: capacity in cores, bytes and the like; capabilities by type, with what is told of them."""
    kind = next((held[name] for name in _TYPE for held in (target.cells, target.labels) if name in held), "")
    return {
        "name": target.name,
        "labels": dict(target.labels),
        "cells": dict(target.cells),
        "type": kind,
        "capacity": dict(target.allocatable),
        "capabilities": {name: dict(told) for name, told in target.capabilities.items()},
    }


@lru_cache(maxsize=512)
def _compiled(text: str, variables: tuple[str, ...]) -> Compiled:
    from kcp.apimachinery.cel.admission import compile_typed
    from kcp.apimachinery.cel.checker import Environment
    from kcp.apimachinery.cel.types import DYN

    return compile_typed(text, Environment(dict.fromkeys(variables, DYN)), ("bool",))


def text_fault(text: str, variables: tuple[str, ...]) -> str:
    """Why an expression can never be evaluated; ""."""
    return _compiled(text, variables).error


def holds(text: str, values: Mapping[str, Any]) -> bool:
    """Raises: ExpressionError; what asks for a key that is not there fails, and says so."""
    compiled = _compiled(text, tuple(values))
    if compiled.program is None:
        raise ExpressionError(f"{text}: {compiled.error}")
    found = compiled.program.evaluate(values)
    if found.error:
        raise ExpressionError(f"{text}: {found.error}")
    return found.value is True
