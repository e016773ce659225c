"""The machine that a small shell script runs on: its variables and files, the time its commands take, and the commands.

Before: `shell`, which reads the scripts. Pure and bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

_MOST_STEPS = 2_000
_MOST_SAID = 65_536


@dataclass(slots=True)
class Outcome:
    """How a script ends. `seconds` is None if it never does."""

    seconds: float | None = 0.0
    code: int = 0
    pieces: list[tuple[float, int, str]] = field(default_factory=list)
    """Seconds since the start, and what was printed then, to which descriptor: 1 or 2."""

    @property
    def lines(self) -> list[tuple[float, str]]:
        """What was printed to either, line by line, each when it was whole."""
        found: list[tuple[float, str]] = []
        begun = ""
        at_s = 0.0
        for at_s, _, text in self.pieces:
            *whole, begun = (begun + text).split("\n")
            found += [(at_s, line) for line in whole]
        return [*found, (at_s, begun)] if begun else found

    def printed(self, since: int = 0, descriptor: int = 1) -> str:
        """Args: since: the first piece that counts."""
        return "".join(text for _, to, text in self.pieces[since:] if to == descriptor)


class UnknownError(Exception):
    """Something that is not simulated."""


class InputNeeded(Exception):
    """It reads its input, which nobody has looked at so far."""


class AbsentError(Exception):
    """There is no such program."""


class ExitError(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


class ForeverError(Exception):
    """It does not end."""


@dataclass(slots=True)
class Machine:
    """What a script sees: variables, files, and the time that its commands take."""

    env: dict[str, str]
    files: dict[str, str]
    host: str = ""
    random: Callable[[], int] = lambda: 0
    interpret: Callable[[str, Machine], int] = lambda _script, _machine: 0
    """Of a script within a script; `shell` sets it."""
    add_up: Callable[[str], int] = int
    tools: Mapping[str, Callable[[list[str], Machine], int]] = field(default_factory=dict)
    """Programs beside those that every machine has. With any, the container is known as a whole: what is not there is not there."""
    stdin: str | None = None
    """What is piped in; None: nothing, or not known yet."""
    is_open: bool = False
    """More may come in: whoever reads to the end does not end."""
    is_typed: bool = False
    """It is the input of the container, not of a pipe."""
    read_s: float | None = None
    """When the input was first read to its end; None: not at all."""
    now: datetime | None = None
    """The time at its start."""
    cwd: str = "/"
    until_s: float | None = None
    """How long it has run so far: it is in the sleep that lasts longer."""
    is_over: bool = False
    """The shell itself has ended, not only its last command."""
    out: Outcome = field(default_factory=Outcome)
    steps: int = 0
    said: int = 0
    """Characters printed so far; what comes after the first many is not kept."""
    code: int = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise ForeverError

    def say(self, text: str) -> None:
        """One or several whole lines."""
        self.put(f"{text}\n")

    def put(self, text: str, descriptor: int = 1) -> None:
        """As it is."""
        self.said += len(text)
        if text and (self.said <= _MOST_SAID or self.tools):
            self.out.pieces.append((self.out.seconds or 0.0, descriptor, text))

    def complain(self, text: str) -> int:
        """To the standard error. Returns 1, for convenience."""
        self.put(f"{text}\n", 2)
        return 1

    def read(self) -> str:
        """All of the input. Raises InputNeeded; ForeverError where nobody will write."""
        if self.stdin is None:
            raise InputNeeded if self.tools else ForeverError
        if self.is_open:
            raise ForeverError
        if self.is_typed and self.read_s is None:
            self.read_s = self.out.seconds or 0.0
        return self.stdin


def command(words: list[str], machine: Machine) -> int:
    """Raises: UnknownError for a program that is not simulated."""
    if not words:
        return 0
    name, args = words[0].rsplit("/", 1)[-1] if words[0].startswith("/") else words[0], words[1:]
    found = machine.tools.get(name) or _COMMANDS.get(name)
    if found is None:
        raise AbsentError(words[0]) if machine.tools else UnknownError
    return found(args, machine)


def _sleep(args: list[str], machine: Machine) -> int:
    if not args or args[0] in ("inf", "infinity"):
        raise ForeverError
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
    text = args[0]
    factor = units.get(text[-1:], 1.0)
    try:
        machine.out.seconds = (machine.out.seconds or 0.0) + float(text.rstrip("smhd")) * factor
    except ValueError:
        return 1
    if machine.until_s is not None and machine.out.seconds > machine.until_s:
        raise ForeverError
    return 0


def _exit(args: list[str], machine: Machine) -> int:
    code = args[0] if args else str(machine.code)
    raise ExitError(int(code) % 256 if code.lstrip("-").isdigit() else 2)


def _echo(args: list[str], machine: Machine) -> int:
    ends = "\n"
    while args and args[0] in ("-n", "-e", "-ne", "-en"):
        ends = "" if "n" in args[0] else ends
        args = args[1:]
    machine.put(" ".join(args) + ends)
    return 0


def _printf(args: list[str], machine: Machine) -> int:
    text = args[0] if args else ""
    for value in args[1:]:
        text = re.sub(r"%[sd]", lambda _found, value=value: value, text, count=1)  # type: ignore[misc]
    machine.put(text.replace("\\n", "\n").replace("\\t", "\t"))
    return 0


def _shell(args: list[str], machine: Machine) -> int:
    while args and args[0].startswith("-") and "c" not in args[0]:
        args = args[1:]
    if len(args) < 2 or not args[0].startswith("-"):
        if not args:
            return 0  # an interactive shell without input ends
        raise UnknownError
    try:
        return machine.interpret(args[1], machine)
    except ExitError as end:
        return end.code


def _exec(args: list[str], machine: Machine) -> int:
    raise ExitError(command(args, machine)) if args else UnknownError


def _touch(args: list[str], machine: Machine) -> int:
    for path in args:
        machine.files.setdefault(path, "")
    return 0


def _rm(args: list[str], machine: Machine) -> int:
    for path in args:
        machine.files.pop(path, None)
    return 0


def _cat(args: list[str], machine: Machine) -> int:
    if not args:
        if machine.is_open:
            machine.put(machine.stdin or "")
        machine.put(machine.read())
        return 0
    missing = [path for path in args if path not in machine.files and path != "/dev/null"]
    for path in args:
        if path in machine.files:
            machine.put(machine.files[path])
    return int(bool(missing))


def _tail(args: list[str], _machine: Machine) -> int:
    if "-f" in args or "-F" in args:
        raise ForeverError
    raise UnknownError


def _read(paths: Sequence[str], machine: Machine) -> str:
    """The text of files, or what is piped in where none is named. Raises: ForeverError where nobody will write; UnknownError."""
    if not paths:
        return machine.read().removesuffix("\n")
    if any(path not in machine.files for path in paths):
        raise UnknownError
    return "".join(machine.files[path] for path in paths).removesuffix("\n")


def _grep(args: list[str], machine: Machine) -> int:
    """Of a plain text, with -q, -v, -i or -F."""
    flags = "".join(arg[1:] for arg in args if arg.startswith("-"))
    rest = [arg for arg in args if not arg.startswith("-")]
    if not rest or set(flags) - set("qviF") or re.search(r"[][\\^$.*]", rest[0]):
        raise UnknownError
    fold = str.lower if "i" in flags else str
    found = [line for line in _read(rest[1:], machine).split("\n") if (fold(rest[0]) in fold(line)) != ("v" in flags)]
    if found and "q" not in flags:
        machine.say("\n".join(found))
    return int(not found)


def _cut(args: list[str], machine: Machine) -> int:
    """One field of each line: -f N, -d X."""
    options = {arg[:2]: arg[2:] for arg in args if arg.startswith("-")}
    paths = [arg for arg in args if not arg.startswith("-")]
    number = options.pop("-f", "")
    mark = options.pop("-d", "\t")
    if not number.isdigit() or not mark or options:
        raise UnknownError
    parts = [(line, line.split(mark)) for line in _read(paths, machine).split("\n")]
    at = int(number) - 1
    machine.say("\n".join(line if len(held) == 1 else held[at] if at < len(held) else "" for line, held in parts))
    return 0


def _expr(args: list[str], machine: Machine) -> int:
    value = machine.add_up(" ".join(args))
    machine.say(str(value))
    return int(value == 0)


def _bracket(args: list[str], machine: Machine) -> int:
    if not args or args[-1] not in ("]", "]]"):
        return 2
    return _test(args[:-1], machine)


def _test(args: list[str], machine: Machine) -> int:
    if args[:1] == ["!"]:
        return int(_test(args[1:], machine) == 0)
    if len(args) == 1:
        return int(not args[0])
    if len(args) == 2:
        checks: Mapping[str, Callable[[str], bool]] = {
            "-z": lambda text: not text,
            "-n": bool,
            **dict.fromkeys(("-e", "-f", "-r", "-s", "-d", "-w"), lambda path: path in machine.files),
        }
        if args[0] not in checks:
            raise UnknownError
        return int(not checks[args[0]](args[1]))
    if len(args) != 3:
        raise UnknownError
    return int(not _compared(*args))


def _compared(one: str, operator: str, other: str) -> bool:
    if operator in ("=", "=="):
        return one == other
    if operator == "!=":
        return one != other
    try:
        left, right = int(one), int(other)
    except ValueError:
        raise ExitError(2) from None
    found = {
        "-eq": left == right,
        "-ne": left != right,
        "-lt": left < right,
        "-le": left <= right,
        "-gt": left > right,
        "-ge": left >= right,
    }
    if operator not in found:
        raise UnknownError
    return found[operator]


def _export(args: list[str], machine: Machine) -> int:
    for arg in args:
        name, is_set, value = arg.partition("=")
        if is_set:
            machine.env[name] = value
    return 0


def _hostname(_args: list[str], machine: Machine) -> int:
    machine.say(machine.host)
    return 0


def _nothing(_args: list[str], _machine: Machine) -> int:
    return 0


def _fail(_args: list[str], _machine: Machine) -> int:
    return 1


def _forever(_args: list[str], _machine: Machine) -> int:
    raise ForeverError


_COMMANDS: Mapping[str, Callable[[list[str], Machine], int]] = {
    "sleep": _sleep, "exit": _exit, "echo": _echo, "printf": _printf, "sh": _shell, "bash": _shell, "ash": _shell, "exec": _exec,
    "touch": _touch, "rm": _rm, "cat": _cat, "tail": _tail, "expr": _expr, "[": _bracket, "[[": _bracket, "test": _test,
    "grep": _grep, "cut": _cut, "export": _export, "hostname": _hostname, "false": _fail, "pause": _forever,
    **dict.fromkeys(("true", ":", "trap", "set", "mkdir", "cd", "sync", "wait", "chmod", "ls"), _nothing),
}  # fmt: skip
