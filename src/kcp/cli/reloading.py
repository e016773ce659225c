"""Another content of the `--config` files, in force without a restart where that is safe.

The files are looked at every five seconds, and at once on SIGHUP, which also begins log files anew that somebody has moved away. The same
command line and variables are read once more, so that what wins over the files still does. Faults change nothing; what needs a restart is
said. Before: `cli.kcp`. After: `server.settings`, whatever `apply` reaches.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import click

from kcp.aio.clock import Clock
from kcp.aio.deadline import within
from kcp.cli.logs import LogOptions, reopen_files, setup_logging
from kcp.cli.running import on_hangup
from kcp.cli.settingsflags import shown
from kcp.server.settings import Setting, Value

log = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_EVERY_S = 5.0
_ARGUMENTS = "kcp.arguments"


class Repeatable(click.Command):
    """A command whose line can be read again, with the same arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)


def repeated(ctx: click.Context) -> click.Context:
    """As if the command had been typed now."""
    return ctx.command.make_context(ctx.info_name, list(ctx.meta[_ARGUMENTS]))


@dataclass(frozen=True, slots=True)
class Configured(Generic[T]):
    """What a command was told."""

    options: T
    log: LogOptions
    values: Mapping[Setting, Value]
    faults: Sequence[str]
    without_effect: Sequence[str]


class Reloading(Generic[T]):
    """Follows the files; run `run` as a task."""

    def __init__(self, told: Configured[T], read: Callable[[], Configured[T]], files: Sequence[Path], clock: Clock) -> None:
        self._told, self._read, self._files, self._clock = told, read, files, clock
        self._contents = self._look()
        self._wanted = asyncio.Event()

    async def run(self, apply: Callable[[T], None]) -> None:
        """Until cancelled. Args: apply: takes over what may change while everything runs."""
        with on_hangup(self._wanted.set):
            while True:
                await self.step(apply)

    async def step(self, apply: Callable[[T], None]) -> None:
        """Wait, look, and take over what changed."""
        try:
            await within(self._clock, _LOOK_EVERY_S, self._wanted.wait())
        except TimeoutError:
            is_asked = False
        else:
            is_asked = True
            self._wanted.clear()
            reopen_files()
        contents = self._look()
        if is_asked or contents != self._contents:
            self._contents = contents
            self.reload(apply)

    def reload(self, apply: Callable[[T], None]) -> None:
        try:
            told = self._read()
            faults = list(told.faults)
        except (SystemExit, click.ClickException) as error:
            faults = [getattr(error, "message", "") or "see standard error"]
        if faults:
            log.error("the configuration is kept as it was: %s", "; ".join(faults))
            return
        changed = {setting: value for setting, value in told.values.items() if value != self._told.values[setting]}
        self._take_log(told.log)
        apply(told.options)
        self._told = told
        self._say(changed)

    def _take_log(self, wanted: LogOptions) -> None:
        if wanted == self._told.log:
            return
        try:
            setup_logging(wanted)
        except OSError as error:
            log.error("the log goes where it went: %s cannot be written: %s", error.filename, error.strerror)

    def _say(self, changed: Mapping[Setting, Value]) -> None:
        for is_live, what in ((True, "changed and in force"), (False, "changed, and in force after a restart")):
            names = ", ".join(f"{setting.path}={shown(setting, value)}" for setting, value in changed.items() if setting.is_live is is_live)
            if names:
                log.log(logging.INFO if is_live else logging.WARNING, "%s: %s", what, names)

    def _look(self) -> tuple[bytes, ...]:
        return tuple(_content(path) for path in self._files)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
