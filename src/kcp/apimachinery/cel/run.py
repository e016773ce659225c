"""One evaluation in progress: the variables' values and the cost so far.

Before: `program` makes one; `plan`, `loops` and `operations` read and charge it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from kcp.apimachinery.cel.errors import CostExceeded


class Run:
    __slots__ = ("cost", "limit", "values")

    def __init__(self, values: list[Any], limit: int) -> None:
        self.values = values
        """By slot: the declared variables, then those that macros bind."""
        self.cost = 0
        self.limit = limit

    def charge(self, amount: int) -> None:
        self.cost += amount
        if self.cost > self.limit:
            raise CostExceeded


Code: TypeAlias = Callable[[Run], Any]


class Planned(NamedTuple):
    """Code and the fixed cost of running it, which whoever runs it charges: once for a whole branch, not node by node."""

    code: Code
    cost: int


def charged(planned: Planned) -> Code:
    """Code that charges its own fixed cost: what is run conditionally or many times."""
    code, cost = planned
    if not cost:
        return code

    def run_charged(run: Run) -> Any:
        run.cost += cost
        if run.cost > run.limit:
            raise CostExceeded
        return code(run)

    return run_charged
