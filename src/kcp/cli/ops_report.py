"""What `kcp ops` says: one row for each check, with what was found and what to do about it, and the exit code that follows.

Before: the checks, `ops`. After: the terminal.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TextIO

_LEAST_WIDTH = 130
"""Of a table that does not go to a terminal."""


class State(StrEnum):
    """How a check came out."""

    OK = "ok"
    LOOK = "look"
    """A person is needed."""
    UNKNOWN = "unknown"
    """It could not be looked at, which needs a person too."""
    LEFT_OUT = "left out"
    """Nobody asked for it."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    state: State
    result: str
    remedy: str = ""
    """What to do; "" where there is nothing."""
    server: str = ""
    """Which one said so, where several were asked."""


def judged(name: str, result: str, *, fault: bool, remedy: str) -> Check:
    """The remedy is told only where there is a fault."""
    return Check(name, State.LOOK, result, remedy) if fault else Check(name, State.OK, result)


def exit_code(checks: Sequence[Check]) -> int:
    return 1 if any(check.state in (State.LOOK, State.UNKNOWN) for check in checks) else 0


def verdict(checks: Sequence[Check]) -> str:
    """
    >>> verdict([Check("a", State.OK, ""), Check("b", State.LOOK, ""), Check("c", State.OK, "")])
    '3 checks: 2 ok, 1 look'
    """
    counted = [(state, sum(check.state is state for check in checks)) for state in State]
    return f"{len(checks)} checks: {', '.join(f'{number} {state}' for state, number in counted if number)}"


def as_json(title: str, checks: Sequence[Check]) -> str:
    import json

    return json.dumps({"title": title, "verdict": verdict(checks), "checks": [asdict(check) for check in checks]}, indent=2)


def show(title: str, checks: Sequence[Check], out: TextIO) -> None:
    """For people: as wide as their terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {State.OK: "green", State.LOOK: "bold red", State.UNKNOWN: "bold yellow", State.LEFT_OUT: "dim"}
    width = shutil.get_terminal_size((_LEAST_WIDTH, 24)).columns if out.isatty() else _LEAST_WIDTH
    console = Console(file=out, width=width, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    is_told = {"SERVER": any(check.server for check in checks), "WHAT TO DO": any(check.remedy for check in checks)}
    headings = [heading for heading in ("CHECK", "SERVER", "STATE", "RESULT", "WHAT TO DO") if is_told.get(heading, True)]
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading in ("CHECK", "SERVER", "STATE"))
    for check in checks:
        cells = {
            "CHECK": Text(check.name), "SERVER": Text(check.server), "STATE": Text(check.state, colours[check.state]),
            "RESULT": Text(check.result), "WHAT TO DO": Text(check.remedy),
        }  # fmt: skip
        table.add_row(*(cells[heading] for heading in headings))
    with console.capture() as captured:
        console.print(Text(title), Text(""), table, Text(""), Text(verdict(checks)), sep="\n")
    out.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())
