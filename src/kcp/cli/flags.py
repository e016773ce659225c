"""Flags in the form Kubernetes users type them: `--flag`, `--flag=true`, `--flag=false`, `--period=30s`, `--v=2`."""

from __future__ import annotations

import sys
from collections.abc import Callable
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


class _Level(click.ParamType[int]):
    """`-v=4` is `-v 4`, as pflag reads it: click leaves the sign to the value."""

    name = "integer"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).removeprefix("=")
        try:
            return int(text)
        except ValueError:
            self.fail(f"{text!r} is not a valid integer.", param, ctx)


def verbosity_flag(*, default: int, help: str, envvar: str | None = None) -> Callable[[F], F]:  # noqa: A002 - click's word
    """`-v=4`, `-v 4`, `-v4` and `--v=4`, as `verbosity`. Source: k8s.io/component-base/logs; github.com/spf13/pflag parseSingleShortArg."""
    return click.option("-v", "--v", "verbosity", type=_Level(), default=default, show_default=True, envvar=envvar, help=help)


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


def fail(message: str) -> NoReturn:
    """End with `error: …` on standard error, as kubectl does."""
    click.echo(f"error: {message}", err=True)
    sys.exit(1)
