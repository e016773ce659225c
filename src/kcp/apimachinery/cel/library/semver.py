"""Semantic versions.

Before: `overloads.standard`. Source: k8s.io/apiserver/pkg/cel/library/semverlib.go, https://semver.org (precedence).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kcp.apimachinery.cel.costs import walk
from kcp.apimachinery.cel.errors import EvaluationError
from kcp.apimachinery.cel.overloads import Overload, declare
from kcp.apimachinery.cel.types import Type, opaque

TYPE = opaque("kubernetes.Semver")
_IDENTIFIER = r"(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMVER = re.compile(
    rf"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Semver:
    major: int
    minor: int
    patch: int
    pre: tuple[tuple[int, int, str], ...] = ()
    """Pre-release identifiers in a form that sorts: numbers before words."""

    @property
    def cel_type(self) -> Type:
        return TYPE

    @property
    def order(self) -> tuple[object, ...]:
        return self.major, self.minor, self.patch, not self.pre, self.pre


def _normalized(text: str) -> str:
    """Without a leading `v`, with minor and patch filled in, leading zeros gone."""
    body = text.removeprefix("v")
    core = re.match(r"[^-+]*", body)
    numbers = (core.group() if core else "").split(".")
    rest = body[len(core.group()) :] if core else ""
    return ".".join([n.lstrip("0") or "0" if n.isdigit() else n for n in [*numbers, "0", "0"][: max(3, len(numbers))]]) + rest


def _parse(text: str) -> Semver | None:
    found = _SEMVER.fullmatch(text) if len(text) <= 256 else None
    if found is None:
        return None
    pre = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in found.group(4).split(".")) if found.group(4) else ()
    return Semver(int(found.group(1)), int(found.group(2)), int(found.group(3)), pre)


def parse(text: str, normalize: bool = False) -> Semver:  # noqa: FBT001, FBT002 - the second argument of `semver(text, true)`
    found = _parse(_normalized(text) if normalize else text)
    if found is None:
        raise EvaluationError(f"invalid semantic version: {text}")
    return found


def is_semver(text: str, normalize: bool = False) -> bool:  # noqa: FBT001, FBT002 - the second argument of `isSemver(text, true)`
    return _parse(_normalized(text) if normalize else text) is not None


def _compare(left: Semver, right: Semver) -> int:
    return (left.order > right.order) - (left.order < right.order)


OVERLOADS: tuple[Overload, ...] = (
    *(declare(f"semver({params}) -> kubernetes.Semver", parse, walk()) for params in ("string", "string, bool")),
    *(declare(f"isSemver({params}) -> bool", is_semver, walk()) for params in ("string", "string, bool")),
    declare("kubernetes.Semver.major() -> int", lambda held: held.major),
    declare("kubernetes.Semver.minor() -> int", lambda held: held.minor),
    declare("kubernetes.Semver.patch() -> int", lambda held: held.patch),
    declare("kubernetes.Semver.compareTo(kubernetes.Semver) -> int", _compare),
    declare("kubernetes.Semver.isGreaterThan(kubernetes.Semver) -> bool", lambda left, right: left.order > right.order),
    declare("kubernetes.Semver.isLessThan(kubernetes.Semver) -> bool", lambda left, right: left.order < right.order),
)
