"""What can go wrong with an expression: before it runs (`CompileError`), while it runs (`EvaluationError`), by its cost (`CostExceeded`).

Before: every module of this package, and those who compile and evaluate. Texts are those of cel-go, which clients and tests know.
Source: github.com/google/cel-go/common/error.go, common/types/err.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Issue:
    """One fault at one place of an expression."""

    pos: int
    text: str

    def show(self, source: str) -> str:
        """The fault with its line and a caret.

        >>> print(Issue(4, "undefined field 'x'").show("self.x"))
        ERROR: <input>:1:5: undefined field 'x'
         | self.x
         | ....^
        """
        start = source.rfind("\n", 0, self.pos) + 1
        end = source.find("\n", self.pos)
        line = source[start : end if end >= 0 else len(source)]
        column = self.pos - start
        number = source.count("\n", 0, start) + 1
        return f"ERROR: <input>:{number}:{column + 1}: {self.text}\n | {line}\n | {'.' * column}^"


class CompileError(Exception):
    """The expression is not one, or does not fit the declared types."""

    def __init__(self, source: str, issues: Sequence[Issue]) -> None:
        self.issues = tuple(sorted(issues))
        super().__init__("\n".join(issue.show(source) for issue in self.issues))


class EvaluationError(Exception):
    """An error value of CEL: `no such key: x`, `division by zero`. The logical operators can absorb it."""


class CostExceeded(Exception):
    """The evaluation was ended because it cost more than it may. Nothing absorbs it."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


def no_such_overload() -> EvaluationError:
    return EvaluationError("no such overload")


def no_such_key(key: object) -> EvaluationError:
    return EvaluationError(f"no such key: {key}")
