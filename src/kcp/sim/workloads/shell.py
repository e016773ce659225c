"""What a small shell script does, as far as a container that is only simulated can know: when it ends, how, and what it prints.

`run` understands the shell of test workloads and examples (sleep, exit, echo, tests, files, loops, variables) and says None for
anything else, so that a program that is not known is never taken for one that fails. Pure and bounded: a script that does not end within
its steps runs for ever. Before: `programs`. Source: POSIX.1-2017 Shell Command Language, a subset.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from kcp.sim.workloads.shellmachine import AbsentError, ExitError, ForeverError, Machine, Outcome, UnknownError, command

_LONGEST_SCRIPT = 16_384
_LONGEST_VALUE = 8_192
_DEVICES = frozenset(("/dev/null", "/dev/zero", "/dev/full", "/dev/tty"))
"""What is written there is nowhere; any other file below /dev may be where the container's last words are looked for."""
_DEEPEST = 24

_OPERATOR = re.compile(r"&&|\|\||;;|[0-9]?>>?&?[0-9]?|[;&|\n(){}<]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_SUM = re.compile(r"[-+*/%() 0-9]*")
_LONGEST_SUM = 200
_ARITHMETIC: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip


def run(script: str, machine: Machine) -> Outcome | None:
    """The outcome of a script, or None if it holds something that is not simulated."""
    if len(script) > _LONGEST_SCRIPT:
        return None
    return _ended(machine, lambda: _interpret(script, machine))


def run_words(words: list[str], machine: Machine) -> Outcome | None:
    """The same of one command, its words as they are."""
    return _ended(machine, lambda: command(words, machine))


def _ended(machine: Machine, work: Callable[[], int]) -> Outcome | None:
    machine.interpret, machine.add_up = _interpret, _sum
    out = machine.out
    try:
        out.code = work()
    except ExitError as end:
        out.code = end.code
        machine.is_over = True
    except ForeverError:
        out.seconds = None
    except (UnknownError, RecursionError):
        return None
    return out


def _interpret(script: str, machine: Machine) -> int:
    return _Parser(_lex(script), machine).program()


# Words


def _lex(text: str) -> list[str]:
    """Operators and raw words, quotes still in them. Raises: UnknownError for quotes that do not end."""
    tokens: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in " \t\r" or text.startswith("\\\n", at):
            at += 2 if text[at] == "\\" else 1
        elif text[at] == "#":
            at = (text.find("\n", at) + len(text)) % len(text) if "\n" in text[at:] else len(text)
        elif text.startswith("<<", at):
            raise UnknownError
        elif found := _OPERATOR.match(text, at):
            tokens.append(found[0])
            at = found.end()
        else:
            end = _word_end(text, at)
            tokens.append(text[at:end])
            at = end
    return tokens


def _word_end(text: str, at: int) -> int:
    while at < len(text) and text[at] not in " \t\r\n;&|<>(){}":
        char = text[at]
        if char == "\\":
            at += 2
        elif char in "'\"`":
            at = _quote_end(text, at, char)
        elif char == "$" and text[at + 1 : at + 2] in ("(", "{"):
            at = _bracket_end(text, at + 1)
        else:
            at += 1
    return at


def _quote_end(text: str, at: int, quote: str) -> int:
    at += 1
    while at < len(text) and text[at] != quote:
        if quote != "'" and text[at] == "\\":
            at += 1
        elif quote == '"' and text[at] == "$" and text[at + 1 : at + 2] in ("(", "{"):
            at = _bracket_end(text, at + 1) - 1
        at += 1
    if at >= len(text):
        raise UnknownError
    return at + 1


def _bracket_end(text: str, at: int) -> int:
    """Past the bracket that closes the one at `at`."""
    opening, depth = text[at], 0
    closing = ")" if opening == "(" else "}"
    while at < len(text):
        if text[at] in "'\"":
            at = _quote_end(text, at, text[at])
            continue
        depth += (text[at] == opening) - (text[at] == closing)
        at += 1
        if depth == 0:
            return at
    raise UnknownError


def _expand(word: str, machine: Machine) -> str:
    """A raw word without quotes, variables and substitutions filled in. Raises: UnknownError."""
    parts: list[str] = []
    at = 0
    while at < len(word):
        char = word[at]
        if char == "'":
            end = word.index("'", at + 1)
            parts.append(word[at + 1 : end])
            at = end + 1
        elif char == '"':
            end = _quote_end(word, at, '"')
            parts.append(_expand(word[at + 1 : end - 1].replace("'", "\\'"), machine))
            at = end
        elif char == "\\":
            parts.append(word[at + 1 : at + 2])
            at += 2
        elif char == "$":
            value, at = _dollar(word, at, machine)
            parts.append(value)
        elif char == "`":
            raise UnknownError
        else:
            parts.append(char)
            at += 1
    value = "".join(parts)
    if len(value) > _LONGEST_VALUE:
        raise UnknownError
    return value


def _dollar(word: str, at: int, machine: Machine) -> tuple[str, int]:
    """The value of what begins with the dollar sign at `at`, and where it ends."""
    if word.startswith("$((", at):
        end = _bracket_end(word, at + 1)
        return str(_sum(_expand_names(word[at + 3 : end - 2], machine))), end
    if word.startswith("$(", at):
        end = _bracket_end(word, at + 1)
        return _captured(word[at + 2 : end - 1], machine), end
    if word.startswith("${", at):
        end = _bracket_end(word, at + 1)
        name, _, default = word[at + 2 : end - 1].partition(":-")
        if not _NAME.fullmatch(name):
            raise UnknownError
        return _value(name, machine) or _expand(default, machine), end
    if word.startswith("$?", at):
        return str(machine.code), at + 2
    found = _NAME.match(word, at + 1)
    if found is None:
        if word[at + 1 : at + 2] in ("$", "!", "#", "@", "*") or word[at + 1 : at + 2].isdigit():
            raise UnknownError
        return "$", at + 1
    return _value(found[0], machine), found.end()


def _value(name: str, machine: Machine) -> str:
    return str(machine.random()) if name == "RANDOM" else machine.env.get(name, "")


def _expand_names(text: str, machine: Machine) -> str:
    return _NAME.sub(lambda found: _value(found[0], machine) or "0", text.replace("$", ""))


def _captured(script: str, machine: Machine) -> str:
    inner = replace(machine, env=dict(machine.env), out=Outcome())
    inner.code = _Parser(_lex(script), inner).program()
    machine.steps, machine.said = inner.steps, inner.said
    if machine.out.seconds is not None and inner.out.seconds is not None:
        machine.out.seconds += inner.out.seconds
    machine.out.pieces += [piece for piece in inner.out.pieces if piece[1] == 2]
    return inner.out.printed().rstrip("\n")


def _sum(text: str) -> int:
    """Integer arithmetic with brackets. Raises: UnknownError."""
    if not _SUM.fullmatch(text) or len(text) > _LONGEST_SUM:
        raise UnknownError
    try:
        return _evaluated(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError:
        raise UnknownError from None


def _evaluated(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluated(node.operand)
    if not isinstance(node, ast.BinOp) or type(node.op) not in _ARITHMETIC:
        raise UnknownError
    left, right = _evaluated(node.left), _evaluated(node.right)
    if not right and isinstance(node.op, ast.Div | ast.Mod):
        raise ExitError(1)
    return _ARITHMETIC[type(node.op)](left, right)


# Structure

_ENDS = frozenset(("then", "else", "elif", "fi", "do", "done", "}", ")"))


class _Parser:
    """Reads and runs in one go; what must not run is read with `quiet`."""

    def __init__(self, tokens: list[str], machine: Machine) -> None:
        self._tokens = tokens
        self._at = 0
        self._machine = machine
        self._quiet = 0
        self._depth = 0

    def program(self) -> int:
        code = self._list()
        if self._at < len(self._tokens):
            raise UnknownError
        return code

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _expect(self, *tokens: str) -> str:
        token = self._peek()
        if token not in tokens:
            raise UnknownError
        self._at += 1
        return token

    def _skip(self) -> None:
        while self._peek() in (";", "\n"):
            self._at += 1

    def _list(self) -> int:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise UnknownError
        code = 0
        self._skip()
        while self._peek() and self._peek() not in _ENDS:
            start = self._at
            self._silently(self._and_or)
            if self._peek() == "&":
                self._at += 1
            elif not self._quiet:
                self._at = start
                code = self._and_or()
            self._skip()
        self._depth -= 1
        return code

    def _and_or(self) -> int:
        code = self._piped()
        while self._peek() in ("&&", "||"):
            joint = self._expect("&&", "||")
            self._skip()
            if (joint == "&&") == (code == 0):
                code = self._piped()
            else:
                self._silently(self._piped)
        self._machine.code = code
        return code

    def _piped(self) -> int:
        """Each command reads what the one before has printed; all of it, once that has ended."""
        machine = self._machine
        held, before = (machine.stdin, machine.is_open, machine.is_typed), len(machine.out.pieces)
        code = self._one()
        while self._peek() == "|":
            self._at += 1
            self._skip()
            machine.stdin, machine.is_open, machine.is_typed = machine.out.printed(before), False, False
            machine.out.pieces[before:] = [piece for piece in machine.out.pieces[before:] if piece[1] == 2]
            code = self._one()
        machine.stdin, machine.is_open, machine.is_typed = held
        return code

    def _silently(self, read: Callable[[], int]) -> None:
        """Read without running: to skip, or to see what follows."""
        self._quiet += 1
        read()
        self._quiet -= 1

    def _one(self) -> int:
        match self._peek():
            case "!":
                self._at += 1
                return int(self._one() == 0)
            case "if":
                self._at += 1
                return self._branch()
            case "while" | "until":
                return self._loop()
            case "for":
                return self._for()
            case "{" | "(":
                closing = "}" if self._expect("{", "(") == "{" else ")"
                code = self._list()
                self._expect(closing)
                return code
        return self._simple()

    def _branch(self) -> int:
        met = self._list() == 0
        self._expect("then")
        code = self._list() if met else 0
        if not met:
            self._silently(self._list)
            return self._otherwise()
        self._silently(self._otherwise)
        return code

    def _otherwise(self) -> int:
        match self._expect("elif", "else", "fi"):
            case "elif":
                return self._branch()
            case "else":
                code = self._list()
                self._expect("fi")
                return code
        return 0

    def _loop(self) -> int:
        wanted, start = self._expect("while", "until") == "while", self._at
        code = 0
        while True:
            self._at = start
            met = (self._list() == 0) == wanted
            self._expect("do")
            if not met or self._quiet:
                self._silently(self._list)
                self._expect("done")
                return code
            code = self._list()
            self._expect("done")
            self._machine.step()

    def _for(self) -> int:
        self._expect("for")
        name = self._peek()
        self._at += 1
        self._expect("in")
        words: list[str] = []
        while self._peek() not in (";", "\n", ""):
            words += _expand(self._peek(), self._machine).split()
            self._at += 1
        self._skip()
        self._expect("do")
        start, code = self._at, 0
        self._silently(self._list)
        self._expect("done")
        end = self._at
        for word in () if self._quiet else words:
            self._machine.env[name] = word
            self._at = start
            code = self._list()
            self._machine.step()
        self._at = end
        return code

    def _simple(self) -> int:
        raw: list[str] = []
        target, appends = "", False
        while (token := self._peek()) and not (_OPERATOR.fullmatch(token) and ">" not in token and token not in ("{", "}", "<")):
            self._at += 1
            if ">" in token and _OPERATOR.fullmatch(token):
                if "&" not in token:
                    errors_only = token.startswith("2")
                    word = self._peek()
                    self._at += 1
                    target, appends = ("", False) if errors_only else (word, ">>" in token)
                elif token in (">&2", "1>&2"):
                    target = "/dev/stderr"
            elif token == "<":
                self._at += 1
            else:
                raw.append(token)
        if not raw and not target:
            raise UnknownError
        return 0 if self._quiet else self._execute(raw, target, appends=appends)

    def _execute(self, raw: list[str], target: str, *, appends: bool) -> int:
        machine = self._machine
        machine.step()
        while raw and (assigned := _ASSIGNMENT.fullmatch(raw[0])):
            machine.env[assigned[1]] = _expand(assigned[2], machine)
            raw = raw[1:]
        words = list(_words(raw, machine))
        if not target:
            return _called(words, machine) if words else 0
        before = len(machine.out.pieces)
        code = _called(words, machine) if words else 0
        printed = machine.out.printed(before)
        path = _expand(target, machine)
        if path == "/dev/stderr":
            machine.out.pieces[before:] = [(at_s, 2, text) for at_s, _, text in machine.out.pieces[before:]]
        if path not in ("/dev/stdout", "/dev/stderr", "/proc/1/fd/1"):
            machine.out.pieces[before:] = [piece for piece in machine.out.pieces[before:] if piece[1] == 2]
            if path not in _DEVICES:
                path = path if path.startswith("/") or not machine.tools else f"{machine.cwd.rstrip('/')}/{path}"
                held = machine.files.get(path, "") if appends else ""
                machine.files[path] = (held + printed)[:_LONGEST_VALUE]
        return code


def _called(words: list[str], machine: Machine) -> int:
    """A command as the shell runs it: it says itself what is not there."""
    try:
        return command(words, machine)
    except AbsentError:
        machine.complain(f"sh: {words[0]}: not found")
        return 127


def _words(raw: list[str], machine: Machine) -> Iterator[str]:
    for word in raw:
        expanded = _expand(word, machine)
        if word.startswith("$") and '"' not in word:
            yield from expanded.split()  # an unquoted variable is split, and nothing if it is empty
        else:
            yield expanded
