"""Plain scalars of YAML as the values they stand for, by the rules of the YAML library inside Kubernetes.

Before: `yamlbody`. They differ from PyYAML's: no base 60 (`12:30` is a text), `y` and `n` are booleans, dates are texts.
Source: sigs.k8s.io/yaml/goyaml.v2/resolve.go.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]{1,20}|0[bB][01]{1,70}|0[oO]?[0-7]{1,30}|0|[1-9][0-9]{0,19})\Z")
_STARTS_NUMBER = frozenset("+-.0123456789")
_LONGEST_NUMBER = 400
"""Longer ones are beyond every number of JSON."""
_NO_NUMBERS = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_PREFIX = "tag:yaml.org,2002:"
_TEXTS = ("str", "timestamp")
_TYPES = ("int", "float", "bool", "null")


class NoSuchValue(ValueError):
    """A scalar that JSON has no value for, or that is not of the type its tag says."""


def resolve(text: str, tag: str | None, *, plain: bool) -> str | int | float | bool | None:
    """The value of a scalar. Args: tag: as written, resolved to a full one; None or "!" where there is none. Raises NoSuchValue."""
    if tag is None or tag == "!":
        return _plain(text) if plain else text
    name = tag.removeprefix(_PREFIX)
    if name in _TEXTS:
        return text
    if name == "binary":
        return _binary(text)
    if name not in _TYPES:
        raise NoSuchValue(f"unknown tag {tag[:100]}")
    value = _plain(text)
    if not _is_of(name, value):
        raise NoSuchValue(f"cannot decode {text[:40]!r} as a !!{name}")
    return float(value) if name == "float" and isinstance(value, int) else value


def _is_of(name: str, value: object) -> bool:
    if name == "null":
        return value is None
    if name == "bool":
        return isinstance(value, bool)
    return isinstance(value, int if name == "int" else (int, float)) and not isinstance(value, bool)


def _plain(text: str) -> str | int | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _STARTS_NUMBER or len(text) > _LONGEST_NUMBER:
        return text
    digits = text.replace("_", "")
    if _INTEGER.match(digits) and (number := _integer(digits)) is not None:
        return number
    if _FLOAT.match(digits):
        value = float(digits)
        return value if value - value == 0 else text  # an infinite one is out of range, and stays a text
    if _NO_NUMBERS.match(text):
        raise NoSuchValue(f"json: unsupported value: {text}")
    return text


def _integer(digits: str) -> int | None:
    """In the base its prefix says; None beyond 64 bits."""
    sign, rest = (digits[0], digits[1:]) if digits[0] in "+-" else ("", digits)
    octal = len(rest) > 1 and rest[0] == "0" and rest[1].isdigit()
    number = int(sign + (rest.lstrip("0") or "0"), 8) if octal else int(digits, 0)
    return number if -(1 << 63) <= number < 1 << 64 else None


def _binary(text: str) -> str:
    try:
        return base64.b64decode(text, validate=False).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise NoSuchValue(f"!!binary value contains invalid base64 data: {error}") from error
