"""Flags in the form Kubernetes users type them: `--flag`, `--flag=true`, `--flag=false`, `--period=30s`, `--v=2`."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from kcp.aio.durations import parse_duration

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType[float]):
    """A Go duration; the value is seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def bool_flag(name: str, *, default: bool, help: str, envvar: str | None = None) -> Callable[[F], F]:  # noqa: A002 - click's word
    """`--name` alone and `--name=true` mean true, `--name=false` means false; an explicit false stays false."""
    return click.option(
        name,
        type=bool,
        is_flag=False,
        flag_value=True,
        default=default,
        show_default=True,
        help=help,
        envvar=envvar,
        metavar="[=true|false]",
    )


def setup_logging(verbosity: int, *, form: str = "text", file: Path | None = None, also_stderr: bool = False) -> None:
    """Args: verbosity: 0 errors, 1 warnings, 2 progress, 4 and more debug. form: "text", or "json" for one object a line.
    file: where it goes instead of standard error, or as well, with `also_stderr`.

    Raises: OSError if the file cannot be written.
    """
    level = {0: logging.ERROR, 1: logging.WARNING}.get(verbosity, logging.DEBUG if verbosity >= 4 else logging.INFO)
    handlers: list[logging.Handler] = [logging.FileHandler(file)] if file is not None else []
    if file is None or also_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    formatter = _JSONLines() if form == "json" else _Text("%(asctime)s %(levelname).1s %(name)s: %(message)s")
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=handlers, force=True)


_OF_EVERY_RECORD = frozenset((*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"))


def _details(record: logging.LogRecord) -> dict[str, object]:
    """What a line says beside its message: the `extra` of the call."""
    return {name: value for name, value in record.__dict__.items() if name not in _OF_EVERY_RECORD}


class _Text(logging.Formatter):
    """`message key=value …`, as klog writes it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        return " ".join((super().formatMessage(record), *(f"{name}={value}" for name, value in _details(record).items())))


class _JSONLines(logging.Formatter):
    """One JSON object a line, with the keys of Kubernetes' components. Source: k8s.io/component-base/logs/json."""

    def format(self, record: logging.LogRecord) -> str:
        shown: dict[str, object] = {
            "ts": round(record.created * 1000, 3), "level": record.levelname.lower(), "logger": record.name, "msg": record.getMessage(),
            **{name: str(value) for name, value in _details(record).items()},
        }  # fmt: skip
        if record.exc_info:
            shown["stacktrace"] = self.formatException(record.exc_info)
        return json.dumps(shown)


def fail(message: str) -> NoReturn:
    """End with `error: …` on standard error, as kubectl does."""
    click.echo(f"error: {message}", err=True)
    sys.exit(1)
