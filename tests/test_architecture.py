"""The shape of the code: budgets for files and functions, forbidden names, and who may catch everything.

The import rules themselves are import-linter contracts in pyproject.toml.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "kcp"
FILES = sorted(SRC.rglob("*.py"))
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}
# The ASGI outermost filter, the controller worker loop, the CLI main, the task supervisor; see docs/adr/0004.
BROAD_EXCEPT_ALLOWED = {"apiserver/filters.py", "controller/controller.py", "aio/supervisor.py"}


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_files_and_functions_stay_within_their_budget(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_FILE_LINES, f"{path} has {lines} lines; split it by reason to change"
    long = {f.name: n for f in _functions(path) if (n := (f.end_lineno or f.lineno) - f.lineno + 1) > MAX_FUNCTION_LINES}
    assert not long, f"{path}: functions over {MAX_FUNCTION_LINES} lines: {long}"


def test_no_module_has_a_name_that_says_nothing() -> None:
    nothing = [str(p.relative_to(SRC)) for p in FILES if p.stem in FORBIDDEN_NAMES and p.parent.name != "apply"]
    assert nothing == []


def test_every_module_says_why_it_exists() -> None:
    silent = [str(p.relative_to(SRC)) for p in FILES if p.read_text().strip() and not ast.get_docstring(ast.parse(p.read_text()))]
    assert silent == []


def test_only_four_places_catch_every_exception() -> None:
    broad: list[str] = []
    for path in FILES:
        where = str(path.relative_to(SRC))
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = node.type
            catches_all = caught is None or (isinstance(caught, ast.Name) and caught.id in {"Exception", "BaseException"})
            passes_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None  # cleans up, and raises it again
            if catches_all and not passes_on and where not in BROAD_EXCEPT_ALLOWED and not where.startswith("cli/"):
                broad.append(f"{where}:{node.lineno}")
    assert broad == []


def test_tasks_are_created_by_the_supervisor_alone() -> None:
    offenders = [
        f"{path.relative_to(SRC)}:{node.lineno}"
        for path in FILES
        if path.name != "supervisor.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"create_task", "ensure_future"}
        and not (isinstance(node.func.value, ast.Name) and node.func.value.id in {"tg", "group", "tasks"})
    ]
    assert offenders == []


def test_time_comes_from_the_injected_clock() -> None:
    offenders: list[str] = []
    for path in FILES:
        where = str(path.relative_to(SRC))
        if where == "aio/clock.py" or where.startswith("cli/"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                name = f"{node.value.id}.{node.attr}"
                if name in {"time.time", "time.sleep", "datetime.now", "datetime.utcnow", "asyncio.sleep"}:
                    offenders.append(f"{where}:{node.lineno} {name}")
    assert offenders == []
