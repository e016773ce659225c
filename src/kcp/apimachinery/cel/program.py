"""An expression ready to run: the way into this package.

Before: `rules`, `apiserver.admission`. After: `parser`, `checker`, `estimate`, `plan`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kcp.apimachinery.cel.ast import Ident, Node, Select, walk
from kcp.apimachinery.cel.checker import Environment, check
from kcp.apimachinery.cel.costs import PER_CALL, Range
from kcp.apimachinery.cel.errors import CostExceeded, EvaluationError
from kcp.apimachinery.cel.estimate import estimate
from kcp.apimachinery.cel.parser import parse
from kcp.apimachinery.cel.plan import Planner
from kcp.apimachinery.cel.run import Run
from kcp.apimachinery.cel.types import Type


class Evaluated(NamedTuple):
    """What came of one evaluation."""

    value: Any
    """None if there is an error."""
    cost: int
    error: str = ""
    is_exceeded: bool = False
    """The error is that it cost too much."""


class Program:
    """One compiled expression; it keeps nothing between evaluations and can be shared."""

    __slots__ = ("_code", "_fixed", "_names", "_width", "cost", "text", "type", "uses")

    def __init__(self, text: str, environment: Environment) -> None:
        """Raises CompileError."""
        root = parse(text)
        self.text = text
        self.type: Type = check(root, environment, text)
        self.cost: Range = estimate(root)
        """The least and the most that running it should cost, as far as sizes are known."""
        self.uses = frozenset(name for name in _names(root) if name in environment.variables)
        """The declared variables that it reads."""
        self._names = tuple(environment.variables)
        planner = Planner({name: slot for slot, name in enumerate(self._names)})
        self._code, self._fixed = planner.plan(root)
        self._width = planner.width

    def evaluate(self, values: Mapping[str, Any], *, limit: int = PER_CALL) -> Evaluated:
        """`values`: by name; a declared variable that is absent must not be read."""
        slots: list[Any] = [values.get(name) for name in self._names]
        slots += [None] * (self._width - len(slots))
        run = Run(slots, limit)
        try:
            run.charge(self._fixed)
            value = self._code(run)
        except EvaluationError as error:
            return Evaluated(None, run.cost, str(error))
        except CostExceeded as error:
            return Evaluated(None, run.cost, str(error), is_exceeded=True)
        return Evaluated(value, run.cost)


def _names(root: Node) -> Iterator[str]:
    for node in walk(root):
        match node:
            case Ident():
                yield node.name
            case Select():
                yield node.qualified
