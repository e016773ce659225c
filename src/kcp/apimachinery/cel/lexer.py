"""From text to tokens.

Before: `parser`. Source: github.com/google/cel-spec/blob/master/doc/langdef.md#syntax.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from kcp.apimachinery.cel.errors import Issue
from kcp.apimachinery.cel.values import UInt

MOST_CHARACTERS = 100_000
"""Source: cel-go parser/options.go, expressionSizeCodePointLimit."""


class Token(NamedTuple):
    kind: str
    """ident, int, uint, float, string, bytes, end; an operator is its own kind."""
    text: str
    pos: int
    value: Any = None


class LexError(Exception):
    def __init__(self, issue: Issue) -> None:
        super().__init__(issue.text)
        self.issue = issue


_QUOTED = r'"""(?:[^\\]|\\.)*?"""|' r"'''(?:[^\\]|\\.)*?'''|" r'"(?:[^"\\\n\r]|\\.)*"|' r"'(?:[^'\\\n\r]|\\.)*'"
_RAW = r'"""[\s\S]*?"""|' r"'''[\s\S]*?'''|" r'"[^"\n\r]*"|' r"'[^'\n\r]*'"
_TOKEN = re.compile(
    rf"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
    |(?P<raw>(?:[rR][bB]?|[bB][rR])(?:{_RAW}))
    |(?P<quoted>[bB]?(?:{_QUOTED}))
    |(?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
    |(?P<number>(?:0[xX][0-9a-fA-F]+|\d+)[uU]?)
    |(?P<ident>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<op>==|!=|<=|>=|&&|\|\||[<>+\-*/%!?:.,()\[\]{{}}])""",
    re.VERBOSE | re.DOTALL,
)


def tokens(text: str) -> list[Token]:
    """Raises LexError."""
    if len(text) > MOST_CHARACTERS:
        raise LexError(Issue(0, f"expression code point size exceeds limit: size: {len(text)}, limit {MOST_CHARACTERS}"))
    return [*_scan(text), Token("end", "<EOF>", len(text))]


def _scan(text: str) -> Iterator[Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise LexError(Issue(at, f"Syntax error: token recognition error at: '{text[at : at + 2]}'"))
        kind, held = match.lastgroup, match.group()
        match kind:
            case "space":
                pass
            case "op" | "ident":
                yield Token(held if kind == "op" else "ident", held, at)
            case "number":
                yield _number(held, at)
            case "float":
                yield Token("float", held, at, float(held))
            case _:
                yield _string(held, at, is_raw=kind == "raw")
        at = match.end()


def _number(held: str, at: int) -> Token:
    digits = held.rstrip("uU")
    value = int(digits, 16) if digits[:2] in ("0x", "0X") else int(digits)
    if digits != held:
        if value >= 1 << 64:
            raise LexError(Issue(at, "invalid uint literal"))
        return Token("uint", held, at, UInt(value))
    return Token("int", held, at, value)


def _string(held: str, at: int, *, is_raw: bool) -> Token:
    start = min(i for i in (held.find("'"), held.find('"')) if i >= 0)
    is_bytes = "b" in held[:start].lower()
    width = 3 if held[start : start + 3] in ('"""', "'''") and len(held) >= start + 6 else 1
    body = held[start + width : len(held) - width]
    if is_bytes:
        return Token("bytes", held, at, body.encode() if is_raw else _unescape_bytes(body, at))
    return Token("string", held, at, body if is_raw else _unescape(body, at))


_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|X[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", re.DOTALL)
_SINGLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "?": "?", '"': '"', "'": "'", "`": "`"}


def _unescape(body: str, at: int) -> str:
    def one(match: re.Match[str]) -> str:
        code = match.group(1)
        if code in _SINGLE:
            return _SINGLE[code]
        number = _code_point(code, at)
        if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise LexError(Issue(at, "Syntax error: invalid unicode code point"))
        return chr(number)

    return _ESCAPE.sub(one, body) if "\\" in body else body


def _unescape_bytes(body: str, at: int) -> bytes:
    out, end = bytearray(), 0
    for match in _ESCAPE.finditer(body):
        out += body[end : match.start()].encode()
        code = match.group(1)
        if code in _SINGLE:
            out += _SINGLE[code].encode()
        elif code[0] in "uU" and len(code) > 1:
            raise LexError(Issue(at, "Syntax error: illegal escape sequence in a bytes literal"))
        else:
            out.append(_code_point(code, at))
        end = match.end()
    return bytes(out + body[end:].encode())


def _code_point(code: str, at: int) -> int:
    if len(code) == 1:
        raise LexError(Issue(at, f"Syntax error: token recognition error at: '\\{code}'"))
    return int(code[1:], 16) if code[0] in "xXuU" else int(code, 8)
