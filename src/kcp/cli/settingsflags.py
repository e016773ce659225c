"""Flags and variables of the settings of `server.settings`, and the `--config` file beneath them.

click looks for a value on the command line, in the variable, in the file, and takes the default last; an explicit false is a value. What is
wrong with any of them is gathered, and told together with the faults of the whole. Before: `cli.kcp`. After: `server.options`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from kcp.aio.durations import format_duration
from kcp.aio.sizes import format_size
from kcp.cli.configfile import Configuration, read
from kcp.cli.logs import LogOptions
from kcp.server.settings import SETTINGS, Kind, Setting, Value

F = TypeVar("F", bound=Callable[..., Any])
_CONFIGURATION, _FAULTS = "kcp.configuration", "kcp.faults"


class _Checked(click.ParamType[Value]):
    """Keeps what is wrong for later, so that one start shows every fault."""

    def __init__(self, setting: Setting) -> None:
        self.name = setting.kind.name.lower()
        self._setting = setting

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Value:  # noqa: ARG002 - click's
        if not isinstance(value, str):
            return value  # type: ignore[return-value]  # the file's, checked there
        try:
            return self._setting.parse(value)
        except ValueError as error:
            if ctx is None:
                raise
            ctx.meta.setdefault(_FAULTS, []).append((self._setting, value, str(error)))
            return self._setting.default


def shown(setting: Setting, value: Value) -> str:
    """As it is written in flags and files.

    >>> [shown(s, s.default) for s in SETTINGS if s.path in ("enabled", "health.checkInterval", "sync.maxSyncWorkers")]
    ['false', '5s', '2']
    """
    if isinstance(value, bool):
        return str(value).lower()
    if setting.kind is Kind.SIZE:
        return format_size(int(value))
    return (format_duration(float(value)) if float(value) else "0s") if setting.kind is Kind.DURATION else str(value)


def _option(setting: Setting) -> Callable[[F], F]:
    as_switch: dict[str, Any] = {"is_flag": False, "flag_value": "true", "metavar": "[=true|false]"}
    told = shown(setting, setting.default)
    bounded = f" ({', '.join(setting.words)})" if setting.words else ""
    return click.option(
        setting.flag,
        type=_Checked(setting),
        default=told,
        show_default=bool(told),
        help=setting.help + bounded,
        envvar=setting.env,
        **(as_switch if setting.kind is Kind.BOOL else {}),
    )


def _read_files(ctx: click.Context, _param: click.Parameter, files: tuple[Path, ...]) -> tuple[Path, ...]:
    found = ctx.meta[_CONFIGURATION] = read(files)
    ctx.default_map = {**(ctx.default_map or {}), **found.values}
    return files


def settings_flags(command: F) -> F:
    """`--config`, and one flag for each setting, in the order of the table."""
    for setting in reversed(SETTINGS):
        command = _option(setting)(command)
    return click.option(
        "--config", "--tmc-config", "config_files", multiple=True, is_eager=True, envvar="KCP_TMC_CONFIG", callback=_read_files,
        type=click.Path(path_type=Path),
        help="YAML or JSON file with these settings (TMCConfiguration; repeatable, the last counts); flags and variables win.",
    )(command)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Given:
    """The settings of one command line: values by setting, and what is wrong with them."""

    values: dict[Setting, Value]
    sources: dict[Setting, str]
    """Where each comes from, for people."""
    faults: list[str]
    without_effect: list[str]

    def of(self, part: str) -> dict[str, Any]:
        """Fields of a part's options."""
        return {setting.field: value for setting, value in self.values.items() if setting.part == part}


def take_settings(ctx: click.Context, flags: dict[str, Any]) -> Given:
    """Takes what is the table's out of a command's values."""
    configuration: Configuration = ctx.meta.get(_CONFIGURATION) or Configuration()
    flags.pop("config_files", None)
    values = {setting: flags.pop(setting.parameter) for setting in SETTINGS}
    sources = {setting: _source(ctx, setting, configuration) for setting in SETTINGS}
    typed = [f"{_typed(sources[setting], setting)}={text}: {fault}" for setting, text, fault in ctx.meta.get(_FAULTS, [])]
    return Given(values, sources, [*configuration.faults, *typed], configuration.without_effect)


def _source(ctx: click.Context, setting: Setting, configuration: Configuration) -> str:
    source = ctx.get_parameter_source(setting.parameter)
    if source is ParameterSource.COMMANDLINE:
        return setting.flag
    if source is ParameterSource.ENVIRONMENT:
        return setting.env
    return configuration.places.get(setting.parameter, "") if source is ParameterSource.DEFAULT_MAP else ""


def _typed(source: str, setting: Setting) -> str:
    """Where a faulty text stands."""
    return source or setting.flag


def files_of_settings(ctx: click.Context) -> tuple[Path, ...]:
    return tuple(ctx.params.get("config_files") or ())


def log_options(given: Given, verbosity: int) -> LogOptions:
    told = given.of("log")
    outputs, file = tuple(filter(None, told.pop("outputs").split(","))), told.pop("file")
    return LogOptions(verbosity=verbosity, outputs=outputs, file=Path(file) if file else None, **told)
