"""The macros at run time: each a loop of its own, at the cost of the fold that it stands for.

Before: `plan`. Source: github.com/google/cel-go/parser/macro.go, ext/comprehensions.go, interpreter/interpretable.go (evalFold).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from kcp.apimachinery.cel.ast import Macro
from kcp.apimachinery.cel.errors import EvaluationError, no_such_overload
from kcp.apimachinery.cel.estimate import CHOSEN, LOOP, NOT_CHOSEN, RESULT
from kcp.apimachinery.cel.run import Code, Planned, Run, charged
from kcp.apimachinery.cel.values import NONE, Optional

_Binder: TypeAlias = Callable[[Run, Any], Iterator[None]]
"""Binds the variables to one element after the other."""


def plan_macro(node: Macro, over: Planned, slots: list[int], args: list[Planned]) -> Planned:
    if node.name in ("optMap", "optFlatMap"):
        return Planned(_optional(over.code, slots[0], charged(args[0]), is_flat=node.name == "optFlatMap"), over.cost + 3)
    turn = LOOP[node.name]
    body = [charged(Planned(arg.code, arg.cost + (turn if index == 0 else 0))) for index, arg in enumerate(args)]
    bind = _two_variables(slots[0], slots[1]) if len(slots) == 2 else _one_variable(slots[0])
    return Planned(_LOOPS[node.name](over.code, bind, body), over.cost + RESULT[node.name])


def _one_variable(slot: int) -> _Binder:
    def bind(run: Run, over: Any) -> Iterator[None]:
        values = run.values
        for item in _elements(over):
            values[slot] = item
            yield

    return bind


def _elements(over: Any) -> Iterable[Any]:
    if type(over) is list or type(over) is dict:
        return over
    raise no_such_overload()


def _two_variables(first: int, second: int) -> _Binder:
    def bind(run: Run, over: Any) -> Iterator[None]:
        values = run.values
        _elements(over)
        for key, item in enumerate(over) if type(over) is list else over.items():
            values[first], values[second] = key, item
            yield

    return bind


def _all(over: Code, bind: _Binder, body: list[Code]) -> Code:
    return _quantifier(over, bind, body[0], decides=False)


def _exists(over: Code, bind: _Binder, body: list[Code]) -> Code:
    return _quantifier(over, bind, body[0], decides=True)


def _quantifier(over: Code, bind: _Binder, predicate: Code, *, decides: bool) -> Code:
    """One element can decide; an error elsewhere then does not matter."""
    answer, undecided = decides, not decides

    def run_quantifier(run: Run) -> bool:
        error: EvaluationError | None = None
        for _ in bind(run, over(run)):
            try:
                found = predicate(run)
            except EvaluationError as failed:
                error = error or failed
                continue
            if found is decides:
                return answer
            if found is not undecided:
                error = error or no_such_overload()
        if error is not None:
            raise error
        return undecided

    return run_quantifier


def _is_true(found: Any) -> bool:
    if found is True or found is False:
        return bool(found is True)
    raise no_such_overload()


def _exists_one(over: Code, bind: _Binder, body: list[Code]) -> Code:
    predicate, chosen = body[0], CHOSEN["exists_one"]

    def run_exists_one(run: Run) -> bool:
        count = 0
        for _ in bind(run, over(run)):
            hit = _is_true(predicate(run))
            count += hit
            run.charge(chosen if hit else NOT_CHOSEN)
        return count == 1

    return run_exists_one


def _filter(over: Code, bind: _Binder, body: list[Code]) -> Code:
    predicate, chosen = body[0], CHOSEN["filter"]

    def run_filter(run: Run) -> list[Any]:
        held, found = over(run), []
        items = iter(_elements(held))
        for _ in bind(run, held):
            item = next(items)
            if _is_true(predicate(run)):
                found.append(item)
                run.charge(chosen)
            else:
                run.charge(NOT_CHOSEN)
        return found

    return run_filter


def _map(over: Code, bind: _Binder, body: list[Code]) -> Code:
    *conditions, transform = body

    def run_map(run: Run) -> list[Any]:
        if not conditions:
            return [transform(run) for _ in bind(run, over(run))]
        return [transform(run) for _ in bind(run, over(run)) if _is_true(conditions[0](run))]

    return run_map


def _transform_map(over: Code, bind: _Binder, body: list[Code]) -> Code:
    *conditions, transform = body

    def run_transform(run: Run) -> dict[Any, Any]:
        held, made = over(run), {}
        keys = iter(range(len(held))) if type(held) is list else iter(_elements(held))
        for _ in bind(run, held):
            key = next(keys)
            if not conditions or _is_true(conditions[0](run)):
                made[key] = transform(run)
        return made

    return run_transform


def _transform_entries(over: Code, bind: _Binder, body: list[Code]) -> Code:
    *conditions, transform = body

    def run_transform(run: Run) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for _ in bind(run, over(run)):
            if conditions and not _is_true(conditions[0](run)):
                continue
            entry = transform(run)
            if type(entry) is not dict:
                raise no_such_overload()
            for key, value in entry.items():
                if key in made:
                    raise EvaluationError(f"insert failed: key {key} already exists")
                made[key] = value
            run.charge(len(entry))
        return made

    return run_transform


def _optional(over: Code, slot: int, body: Code, *, is_flat: bool) -> Code:
    def run_optional(run: Run) -> Optional:
        held = over(run)
        if type(held) is not Optional:
            raise no_such_overload()
        if not held.has_value:
            return NONE
        run.values[slot] = held.value
        found = body(run)
        if not is_flat:
            return Optional(found)
        if type(found) is not Optional:
            raise no_such_overload()
        return found

    return run_optional


_LOOPS: dict[str, Callable[[Code, _Binder, list[Code]], Code]] = {
    "all": _all, "exists": _exists, "exists_one": _exists_one, "map": _map, "filter": _filter, "transformList": _map,
    "transformMap": _transform_map, "transformMapEntry": _transform_entries,
}  # fmt: skip
