"""The function libraries of Kubernetes' CEL environment, one module each.

Before: `overloads.standard`. Source: k8s.io/apiserver/pkg/cel/environment/base.go (what is in it).
"""

from __future__ import annotations

from collections.abc import Iterator

from kcp.apimachinery.cel.library import (
    authorization,
    conversions,
    formats,
    lists,
    network,
    operators,
    optionals,
    quantities,
    regexes,
    semver,
    strings,
    times,
    urls,
)
from kcp.apimachinery.cel.overloads import Overload


def overloads() -> Iterator[Overload]:
    """Everything that Kubernetes 1.36 offers to every expression."""
    for module in (
        operators, conversions, times, strings, regexes, lists, optionals, urls, network, quantities, semver, formats, authorization,
    ):  # fmt: skip
        yield from module.OVERLOADS
