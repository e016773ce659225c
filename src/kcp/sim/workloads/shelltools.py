"""The programs that `exec` finds in a simulated container, beside those of every `shellmachine`: what one looks around with.

They see what the container would have: its variables, its mounted ConfigMaps, Secrets and downward files, and what was written before.
Messages are busybox's. Before: `sim.execution`. After: `shelltar`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TypeAlias

from kcp.sim.workloads.shellmachine import Machine, UnknownError, command
from kcp.sim.workloads.shelltar import tar

Tool: TypeAlias = Callable[[list[str], Machine], int]


def at(path: str, machine: Machine) -> str:
    """The absolute path."""
    return posixpath.normpath(posixpath.join(machine.cwd, path)).replace("//", "/")


def is_directory(path: str, machine: Machine) -> bool:
    beneath = path.rstrip("/") + "/"
    return path == "/" or any(held.startswith(beneath) for held in machine.files)


def _readable(args: list[str], machine: Machine, name: str) -> Iterator[str | None]:
    """The text of each file, of the input where none is named; None, with a complaint, for what cannot be read."""
    for arg in args or ["-"]:
        if arg == "-":
            yield machine.read()
        elif (path := at(arg, machine)) in machine.files:
            yield machine.files[path]
        elif path == "/dev/null":
            yield ""
        else:
            why = "read error: Is a directory" if is_directory(path, machine) else f"can't open '{arg}': No such file or directory"
            machine.complain(f"{name}: {why}")
            yield None


def _options(args: list[str]) -> tuple[str, list[str]]:
    """Single letters, and what is no option."""
    letters = "".join(arg[1:] for arg in args if arg.startswith("-") and len(arg) > 1)
    return letters, [arg for arg in args if not arg.startswith("-") or arg == "-"]


def _cat(args: list[str], machine: Machine) -> int:
    code = 0
    for text in _readable(_options(args)[1], machine, "cat"):
        code |= int(text is None)
        machine.put(text or "")
    return code


def _ls(args: list[str], machine: Machine) -> int:
    letters, paths = _options(args)
    code = 0
    for arg in paths or ["."]:
        path = at(arg, machine)
        if path in machine.files:
            names = [arg]
        elif is_directory(path, machine):
            beneath = path.rstrip("/") + "/"
            names = sorted({held[len(beneath) :].partition("/")[0] for held in machine.files if held.startswith(beneath)} - {""})
            names = names if "a" in letters or "A" in letters else [name for name in names if not name.startswith(".")]
        else:
            code = machine.complain(f"ls: {arg}: No such file or directory")
            continue
        if len(paths) > 1 and path not in machine.files:
            machine.say(f"{arg}:")
        for name in names:
            machine.say(_long(path, name, machine) if "l" in letters else name)
    return code


def _long(path: str, name: str, machine: Machine) -> str:
    full = path if path in machine.files else at(posixpath.join(path, name), machine)
    is_file = full in machine.files
    size = len(machine.files[full].encode("utf-8", "surrogateescape")) if is_file else 4096
    return f"{'-rw-r--r--' if is_file else 'drwxr-xr-x'}    1 root     root     {size:9} {name}"


def _env(args: list[str], machine: Machine) -> int:
    while args and "=" in args[0]:
        name, _, value = args[0].partition("=")
        machine.env[name], args = value, args[1:]
    if args:
        return command(args, machine)
    for name, value in machine.env.items():
        machine.say(f"{name}={value}")
    return 0


def _printenv(args: list[str], machine: Machine) -> int:
    if not args:
        return _env([], machine)
    for name in args:
        if name in machine.env:
            machine.say(machine.env[name])
    return int(any(name not in machine.env for name in args))


def _date(args: list[str], machine: Machine) -> int:
    if machine.now is None:
        raise UnknownError
    now = machine.now + timedelta(seconds=machine.out.seconds or 0.0)
    form = next((arg[1:] for arg in args if arg.startswith("+")), "%a %b %e %H:%M:%S UTC %Y")
    machine.say(now.strftime(form))
    return 0


def _cd(args: list[str], machine: Machine) -> int:
    path = at(args[0] if args else "/", machine)
    if not is_directory(path, machine):
        return machine.complain(f"sh: cd: can't cd to {args[0] if args else path}: No such file or directory") + 1
    machine.cwd = path
    return 0


def _pwd(_args: list[str], machine: Machine) -> int:
    machine.say(machine.cwd)
    return 0


def _whoami(_args: list[str], machine: Machine) -> int:
    machine.say("root")
    return 0


def _id(_args: list[str], machine: Machine) -> int:
    machine.say("uid=0(root) gid=0(root) groups=0(root)")
    return 0


def _uname(args: list[str], machine: Machine) -> int:
    machine.say(f"Linux {machine.host} simulated" if "a" in _options(args)[0] else "Linux")
    return 0


def _part(args: list[str], machine: Machine, name: str) -> int:
    """`head` and `tail`."""
    count, paths, rest = 10, [], list(args)
    while rest:
        arg = rest.pop(0)
        if arg == "-n" and rest:
            arg = f"-{rest.pop(0)}"
        if arg.startswith("-") and (number := arg.removeprefix("-n").lstrip("-+")).isdigit():
            count = int(number)
        elif arg in ("-f", "-F"):
            return command(["sleep", "infinity"], machine)
        else:
            paths.append(arg)
    code = 0
    for text in _readable(paths, machine, name):
        code |= int(text is None)
        lines = (text or "").splitlines(keepends=True)
        machine.put("".join(lines[:count] if name == "head" else lines[max(len(lines) - count, 0) :]))
    return code


def _wc(args: list[str], machine: Machine) -> int:
    letters, paths = _options(args)
    code = 0
    for path, text in zip(paths or [""], _readable(paths, machine, "wc"), strict=True):
        if text is None:
            code = 1
            continue
        counts = {"l": text.count("\n"), "w": len(text.split()), "c": len(text.encode("utf-8", "surrogateescape"))}
        machine.say(" ".join([*(str(counts[letter]) for letter in letters or "lwc" if letter in counts), *filter(None, [path])]))
    return code


def _grep(args: list[str], machine: Machine) -> int:
    """Fixed texts only: what looks like a pattern is not known."""
    letters, words = _options(args)
    if not words or any(char in words[0] for char in "\\[]*+?(){}|"):
        raise UnknownError
    anchored, wanted = words[0].startswith("^"), words[0].removeprefix("^")
    found = False
    for text in _readable(words[1:], machine, "grep"):
        for line in (text or "").splitlines():
            one, other = (line.lower(), wanted.lower()) if "i" in letters else (line, wanted)
            if (one.startswith(other) if anchored else other in one) != ("v" in letters):
                found = True
                if "q" not in letters:
                    machine.say(line)
    return int(not found)


def _tee(args: list[str], machine: Machine) -> int:
    text = machine.read()
    for arg in _options(args)[1]:
        path = at(arg, machine)
        machine.files[path] = (machine.files.get(path, "") if "a" in _options(args)[0] else "") + text
    machine.put(text)
    return 0


def _mkdir(args: list[str], machine: Machine) -> int:
    for arg in _options(args)[1]:
        machine.files.setdefault(at(arg, machine).rstrip("/") + "/", "")
    return 0


def _touch(args: list[str], machine: Machine) -> int:
    for arg in _options(args)[1]:
        machine.files.setdefault(at(arg, machine), "")
    return 0


def _rm(args: list[str], machine: Machine) -> int:
    letters, paths = _options(args)
    code = 0
    for arg in paths:
        path = at(arg, machine)
        beneath = [held for held in machine.files if held.startswith(f"{path}/")] if "r" in letters or "R" in letters else []
        if path not in machine.files and not beneath and "f" not in letters:
            code = machine.complain(f"rm: can't remove '{arg}': No such file or directory")
        for held in (path, *beneath):
            machine.files.pop(held, None)
    return code


def _test(args: list[str], machine: Machine) -> int:
    """Files and directories are told apart here; all else is as everywhere."""
    if len(args) == 2 and args[0] in ("-d", "-e", "-f", "-s", "-r"):
        path = at(args[1], machine)
        is_file = path in machine.files
        met = {"-d": is_directory(path, machine), "-f": is_file, "-s": bool(machine.files.get(path))}
        return int(not met.get(args[0], is_file or is_directory(path, machine)))
    outside = Machine(machine.env, machine.files, host=machine.host, out=machine.out)
    return command(["test", *args], outside)


def _bracket(args: list[str], machine: Machine) -> int:
    return _test(args[:-1], machine) if args and args[-1] in ("]", "]]") else 2


TOOLS: Mapping[str, Tool] = {
    "cat": _cat, "ls": _ls, "env": _env, "printenv": _printenv, "date": _date, "cd": _cd, "pwd": _pwd, "whoami": _whoami, "id": _id,
    "uname": _uname, "wc": _wc, "grep": _grep, "tee": _tee, "mkdir": _mkdir, "touch": _touch, "rm": _rm, "test": _test, "[": _bracket,
    "[[": _bracket, "tar": tar, "head": lambda args, machine: _part(args, machine, "head"),
    "tail": lambda args, machine: _part(args, machine, "tail"),
}  # fmt: skip
