"""The facts of the build and production guides, out of the table docs/spec-coverage.md, which keeps them: guide → section → rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "spec-coverage.md"
_TESTED = re.compile(r"\]\(\.\./(tests/[^)]+)\)((?:,? `test_\w+`)+)")


@dataclass(frozen=True)
class Row:
    """What a guide says, in one or several lines; where that is here; and what shows it."""

    line: int
    facts: tuple[str, ...]
    here: str
    shown: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        """Path and function of each.

        >>> Row(1, (), "", "[e2e/test_x.py](../tests/e2e/test_x.py) `test_a`, `test_b`; by hand").tests
        [('tests/e2e/test_x.py', 'test_a'), ('tests/e2e/test_x.py', 'test_b')]
        """
        return [(path, name) for path, names in _TESTED.findall(self.shown) for name in re.findall(r"\w+", names)]


def guides() -> dict[str, dict[str, list[Row]]]:
    found: dict[str, dict[str, list[Row]]] = {}
    guide = section = ""
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        if line.startswith("## "):
            guide = line[3:]
            found[guide] = {}
        elif line.startswith("### "):
            section = line[4:]
            found[guide][section] = []
        elif line.startswith("| `"):
            found[guide][section].append(_row(number, line))
    return found


def rows() -> list[Row]:
    return [row for sections in guides().values() for held in sections.values() for row in held]


def _row(number: int, line: str) -> Row:
    facts, here, shown = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
    return Row(number, tuple(fact.replace("\\|", "|") for fact in re.findall(r"`([^`]+)`", facts)), here, shown)
