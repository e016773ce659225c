"""Whether one type may stand where another is declared, and what type parameters come to mean on the way.

Before: `checker`. Source: github.com/google/cel-go/checker/types.go (internalIsAssignable, isValidTypeSubstitution, substitute).
"""

from __future__ import annotations

from collections.abc import Iterable

from kcp.apimachinery.cel.types import DYN, Type, same

_NULLABLE = frozenset(("object", "opaque", "duration", "timestamp", "optional"))


class Bindings:
    """What the type parameters seen so far stand for."""

    def __init__(self) -> None:
        self._bound: dict[str, Type] = {}
        self._count = 0

    def fresh(self) -> Type:
        """A parameter that nothing else uses."""
        self._count += 1
        return Type("param", f"_{self._count}")

    def renamed(self, declared: Iterable[Type]) -> list[Type]:
        """The types of one declaration with parameters of their own."""
        names: dict[str, Type] = {}
        return [self._rename(one, names) for one in declared]

    def _rename(self, one: Type, names: dict[str, Type]) -> Type:
        if one.kind == "param":
            return names.setdefault(one.name, self.fresh())
        if not one.params:
            return one
        params = tuple(self._rename(param, names) for param in one.params)
        return one if all(a is b for a, b in zip(params, one.params, strict=True)) else Type(one.kind, one.name, params)

    def resolve(self, one: Type, *, is_final: bool = False) -> Type:
        """The type with everything put in that is known; finally, what is still unknown is dyn."""
        if one.kind == "param":
            bound = self._bound.get(one.name)
            if bound is None:
                return DYN if is_final else one
            return self.resolve(bound, is_final=is_final)
        if not one.params:
            return one
        params = tuple(self.resolve(param, is_final=is_final) for param in one.params)
        if all(a is b for a, b in zip(params, one.params, strict=True)):
            return one
        return Type(one.kind, one.name, params, max_size=one.max_size, schema=one.schema, convert=one.convert)

    def accept(self, declared: Iterable[Type], given: Iterable[Type]) -> bool:
        """Whether all of `given` fit, in which case what they say about parameters is kept."""
        before = dict(self._bound)
        if all(self._fits(actual, wanted) for wanted, actual in zip(declared, given, strict=True)):
            return True
        self._bound = before
        return False

    def _fits(self, actual: Type, wanted: Type) -> bool:
        if wanted.kind == "param" or actual.kind == "param":
            return self._bind(actual, wanted) if wanted.kind == "param" else self._bind(wanted, actual)
        if actual.kind in ("dyn", "error") or wanted.kind in ("dyn", "error"):
            return True
        if actual.kind == "null" and wanted.kind in _NULLABLE:
            return True
        if wanted.kind == "null" and actual.kind in _NULLABLE:
            return True
        if actual.kind == "type" and wanted.kind == "type":
            return True
        if actual.kind != wanted.kind or actual.name != wanted.name or len(actual.params) != len(wanted.params):
            return False
        if actual.kind == "object":
            return actual is wanted
        return all(self._fits(a, w) for a, w in zip(actual.params, wanted.params, strict=True))

    def _bind(self, one: Type, param: Type) -> bool:
        if same(one, param):
            return True
        held = self._bound.get(param.name)
        if held is not None:
            if same(one, held):
                return True
            if not self._fits(one, held):
                return False
            general = one if one.kind == "dyn" else held
            if not self._mentions(general, param):
                self._bound[param.name] = general
            return True
        if self._mentions(one, param):
            return False
        self._bound[param.name] = one
        return True

    def _mentions(self, one: Type, param: Type) -> bool:
        resolved = self.resolve(one)
        return same(resolved, param) or any(self._mentions(inner, param) for inner in resolved.params)
