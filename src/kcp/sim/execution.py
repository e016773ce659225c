"""`exec` in a simulated container: small programs over what the container would see, and a shell to type into.

What is written in a container is kept, within bounds, until the container is another one or the cluster ends: it is in no object.
Before: `dialing`. After: `containerfiles`, `workloads.shell`, `workloads.shelltools`.
Source: the words for what cannot be run are containerd's and runc's.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from kcp.aio.clock import Clock, parse_rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.connect.remotecommand import Console, exited, not_started
from kcp.sim.containerfiles import Find, Reader, Surroundings
from kcp.sim.podlogs import container_status
from kcp.sim.workloads.programs import is_shell, left_by
from kcp.sim.workloads.shell import run, run_words
from kcp.sim.workloads.shellmachine import AbsentError, InputNeeded, Machine, Outcome
from kcp.sim.workloads.shelltools import TOOLS, is_directory

_KEPT_CONTAINERS = 64
_KEPT_CHARACTERS = 16 << 20
"""Written in one container."""
_MOST_INPUT = 16 << 20
_START_S = 0.05
"""What it takes to start a program in a container. kubectl before 1.33 loses what arrives before it has set up its streams."""
_INTERRUPT, _END, _ERASE = "\x03", "\x04", ("\x7f", "\x08")

Written: TypeAlias = dict[str, str | None]
"""Path → text, None for what was removed."""


@dataclass
class Executions:
    """Of one cluster."""

    find: Find
    clock: Clock
    _written: OrderedDict[tuple[str, str, int], Written] = field(default_factory=OrderedDict)

    async def execute(
        self, pod: JSONObject, container: Mapping[str, Any], restarts: int, words: Sequence[str], console: Console
    ) -> JSONObject:
        """Run a command until it ends. Returns the Status that its client is told."""
        session = await self._session(pod, container, restarts, console)
        if not words:
            return not_started("exec: no command given")
        if is_shell(words):
            return exited(await session.shell())
        if list(words) == ["cat"]:
            return exited(await session.echo())
        return await session.command(list(words))

    async def shell(self, pod: JSONObject, container: Mapping[str, Any], restarts: int, console: Console) -> int:
        """Be the shell that is the container's own program. Returns its exit code."""
        return await (await self._session(pod, container, restarts, console)).shell()

    async def _session(self, pod: JSONObject, container: Mapping[str, Any], restarts: int, console: Console) -> _Session:
        found = await Reader(pod, self.find).surroundings(container)
        started = meta.nested(container_status(pod, str(container["name"])), "state", "running", "startedAt")
        ran_s = (self.clock.now() - parse_rfc3339(started)).total_seconds() if started else 0.0
        around = Surroundings(found.env, found.files | left_by(pod, container, restarts, ran_s))
        written = self._kept((meta.uid(pod), str(container["name"]), restarts))
        await self.clock.sleep(_START_S)
        return _Session(around, written, self.clock, console, str(container.get("workingDir") or "/"))

    def _kept(self, key: tuple[str, str, int]) -> Written:
        held = self._written.setdefault(key, {})
        self._written.move_to_end(key)
        if len(self._written) > _KEPT_CONTAINERS:
            self._written.popitem(last=False)
        return held


@dataclass
class _Session:
    around: Surroundings
    written: Written
    clock: Clock
    console: Console
    cwd: str

    def _machine(self, stdin: str | None) -> Machine:
        files = {**self.around.files, **{path: text for path, text in self.written.items() if text is not None}}
        for path, text in self.written.items():
            if text is None:
                files.pop(path, None)
        env = dict(self.around.env)
        made = Machine(env, files, host=env["HOSTNAME"], tools=TOOLS, stdin=stdin, now=self.clock.now(), cwd=self.cwd)
        if not is_directory(made.cwd, made):
            made.cwd = "/"
        return made

    async def command(self, words: list[str]) -> JSONObject:
        machine = self._machine(None)
        try:
            try:
                outcome = run_words(words, machine)
                self.console.stdin.abandon()  # nobody reads it
            except InputNeeded:
                machine = self._machine(await self._input())
                outcome = run_words(words, machine)
        except AbsentError as absent:
            return not_started(_not_found(str(absent)))
        if outcome is None:
            await self.console.stderr(b"this command line is not simulated: see docs/simulation.md\n")
            return exited(2)
        self._keep(machine)
        return exited(await self._play(outcome))

    async def _input(self) -> str:
        parts: list[bytes] = []
        size = 0
        while data := await self.console.stdin.get():
            size += len(data)
            if size <= _MOST_INPUT:
                parts.append(data)
        return b"".join(parts).decode("utf-8", "surrogateescape")

    def _keep(self, machine: Machine) -> None:
        """Remember what the command changed."""
        before = self.around.files
        changed: Written = {path: text for path, text in machine.files.items() if before.get(path) != text}
        changed |= {path: None for path in before if path not in machine.files}
        if sum(len(text or "") for text in changed.values()) <= _KEPT_CHARACTERS:
            self.written.clear()
            self.written.update(changed)

    async def _play(self, outcome: Outcome) -> int:
        """Print everything when it is due. Returns the exit code; not at all for what does not end."""
        began_s = self.clock.monotonic()
        for at_s, descriptor, text in outcome.pieces:
            if (left_s := began_s + at_s - self.clock.monotonic()) > 0:
                await self.clock.sleep(left_s)
            await self._print(text, descriptor)
        if outcome.seconds is None:
            await asyncio.Event().wait()  # until the client goes
        elif (left_s := began_s + outcome.seconds - self.clock.monotonic()) > 0:
            await self.clock.sleep(left_s)
        return outcome.code

    async def _print(self, text: str, descriptor: int = 1) -> None:
        if self.console.is_tty:
            text = text.replace("\n", "\r\n")
        out = self.console.stderr if descriptor == 2 and not self.console.is_tty else self.console.stdout
        await out(text.encode("utf-8", "surrogateescape"))

    async def echo(self) -> int:
        """`cat`: what is typed, as it comes."""
        while data := await self.console.stdin.get():
            if self.console.is_tty and _END.encode() in data:
                break
            await self.console.stdout(data)
        return 0

    async def shell(self) -> int:
        """Line by line, until the input ends or the shell is told to."""
        machine = self._machine("")
        lines = _Lines(self)
        while (line := await lines.next(f"{machine.cwd} # " if self.console.is_tty else "")) is not None:
            if not line.strip():
                continue
            machine.out, machine.steps, machine.said, machine.now = Outcome(), 0, 0, self.clock.now()
            outcome = run(line, machine)
            if outcome is None:
                await self._print("sh: this is not simulated: see docs/simulation.md\n", 2)
                machine.code = 2
                continue
            self._keep(machine)
            machine.code = await self._play(outcome)
            if machine.is_over:
                break
        return machine.code


def _not_found(name: str) -> str:
    """Source: github.com/opencontainers/runc (exec.LookPath), containerd's wrapping of it."""
    why = f"stat {name}: no such file or directory" if name.startswith("/") else "executable file not found in $PATH"
    tried = "failed to exec in container: failed to start exec: OCI runtime exec failed: exec failed: unable to start container process"
    return f'{tried}: exec: "{name}": {why}: unknown'


class _Lines:
    """Lines of the input; a terminal's are echoed and can be corrected while they are typed."""

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._console = session.console
        self._unread = ""
        self._line = ""

    async def next(self, prompt: str) -> str | None:
        """The next line, None at the end."""
        await self._show(prompt)
        while True:
            while self._unread:
                char, self._unread = self._unread[0], self._unread[1:]
                if char in "\r\n":
                    line, self._line = self._line, ""
                    await self._show("\r\n")
                    return line
                if self._console.is_tty and not await self._edit(char, prompt):
                    return None
                if not self._console.is_tty:
                    self._line += char
            data = await self._console.stdin.get()
            if not data:
                line, self._line = self._line, ""
                return line or None
            self._unread += data.decode("utf-8", "surrogateescape")

    async def _edit(self, char: str, prompt: str) -> bool:
        """False at the end of the input."""
        if char == _END and not self._line:
            return False
        if char == _INTERRUPT:
            self._line = ""
            await self._show("^C\r\n" + prompt)
        elif char in _ERASE:
            if self._line:
                self._line = self._line[:-1]
                await self._show("\b \b")
        elif char.isprintable() or char == "\t":
            self._line += char
            await self._show(char)
        return True

    async def _show(self, text: str) -> None:
        if self._console.is_tty and text:
            await self._console.stdout(text.encode("utf-8", "surrogateescape"))
