"""Resource quantities (`500m`, `1.5Gi`, `2e3`), exact and in upstream's canonical form.

Before: placement (capacity), quota, limit ranges, built-in defaults and validation.
Source: k8s.io/apimachinery/pkg/api/resource/{quantity,suffix,amount}.go.
"""

from __future__ import annotations

import re
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

Text: TypeAlias = str | int | float
"""A quantity as it stands in JSON; numbers are legal input."""

_SYNTAX = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([a-zA-Z]*(?:[-+]?[0-9]*))\Z")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)\Z")
_DECIMAL_SUFFIX = {power: suffix for suffix, power in _DECIMAL.items()}
_BINARY_SUFFIX = {power: suffix for suffix, power in _BINARY.items()}
_BLANKS = " \t\n\v\f\r\x85\xa0"
"""What Go trims from a quantity in JSON."""
_MOST_DIGITS = 1_000
"""More than any number that is not capped anyway; and what is longer takes ever longer to read."""
_MAX = Fraction((1 << 63) - 1)
_NANO = 10**9

WRONG_FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
WRONG_NUMBER = "unable to parse numeric part of quantity"
WRONG_SUFFIX = "unable to parse quantity's suffix"


class Form(Enum):
    """How a quantity was written; kept when it is written again."""

    DECIMAL = "DecimalSI"
    BINARY = "BinarySI"
    EXPONENT = "DecimalExponent"


class QuantityError(ValueError):
    """The text is not a quantity; the message is upstream's."""


def parse(text: Text) -> Fraction:
    """The exact value, rounded up (away from zero) to a billionth and capped at 2^63-1. Raises QuantityError.

    >>> parse("1500m"), parse("1Ki"), parse("2e3")
    (Fraction(3, 2), Fraction(1024, 1), Fraction(2000, 1))
    """
    return _parse(text)[0]


def _parse(text: Text) -> tuple[Fraction, Form]:
    if isinstance(text, bool):
        raise QuantityError(WRONG_FORMAT)
    return _parse_text(text if isinstance(text, str) else repr(text))


@lru_cache(maxsize=4096)
def _parse_text(source: str) -> tuple[Fraction, Form]:
    """Remembered: the same few amounts stand in most Pods, and each write of one reads them several times."""
    source = source.strip(_BLANKS)
    found = _SYNTAX.match(source)
    if found is None or not source:
        raise QuantityError(WRONG_FORMAT)
    sign, whole, decimals, suffix = found.group(1), found.group(2), found.group(3) or "", found.group(4)
    if not whole and not decimals:
        raise QuantityError(WRONG_NUMBER if found.group(3) is not None else WRONG_FORMAT)
    if len(source) > _MOST_DIGITS:
        raise QuantityError(WRONG_NUMBER)
    scale, form = _scale(suffix)
    value = Fraction(int(whole + decimals or "0"), 10 ** len(decimals)) * scale
    value = min(Fraction(-((-value.numerator * _NANO) // value.denominator), _NANO), _MAX)
    return (-value if sign == "-" else value), form


def _scale(suffix: str) -> tuple[Fraction, Form]:
    if suffix in _DECIMAL:
        return Fraction(10) ** _DECIMAL[suffix], Form.DECIMAL
    if suffix in _BINARY:
        return Fraction(1024) ** _BINARY[suffix], Form.BINARY
    if (exponent := _EXPONENT.match(suffix)) and abs(int(exponent.group(1))) < 100:
        return Fraction(10) ** int(exponent.group(1)), Form.EXPONENT
    raise QuantityError(WRONG_SUFFIX)


def fault(text: object) -> str:
    """Why this is not a quantity, in upstream's words; "" if it is one."""
    if not isinstance(text, (str, int, float)):
        return WRONG_FORMAT
    try:
        _parse(text)
    except QuantityError as wrong:
        return str(wrong)
    return ""


def form_of(text: Text) -> Form:
    return _parse(text)[1]


def format(value: Fraction, form: Form = Form.DECIMAL) -> str:  # noqa: A001 - the counterpart of parse
    """The canonical text: no fraction, the largest suffix that keeps the number whole.

    >>> format(Fraction(3, 2)), format(Fraction(2 * 1024**3), Form.BINARY), format(Fraction(12000))
    ('1500m', '2Gi', '12k')
    """
    if value == 0:
        return "0"
    if form is Form.BINARY and abs(value) >= 1024 and value.denominator == 1:
        number, power = value.numerator, 0
        while power < 6 and number % 1024 == 0:
            number, power = number // 1024, power + 1
        return f"{number}{_BINARY_SUFFIX.get(power, '')}"
    scaled = value * _NANO
    number, power = scaled.numerator // scaled.denominator, -9
    while power < 18 and number % 1000 == 0:
        number, power = number // 1000, power + 3
    if form is Form.EXPONENT:
        return f"{number}e{power}" if power else str(number)
    return f"{number}{_DECIMAL_SUFFIX[power]}"


def canonical(text: Text) -> str:
    """The same quantity as the API server writes it.

    >>> canonical("0.5"), canonical("1024Mi"), canonical(2)
    ('500m', '1Gi', '2')
    """
    return format(*_parse(text))


def rounded(text: Text) -> str:
    """Canonical, and up to a whole number of thousandths. Source: pkg/apis/core/v1/defaults.go (SetDefaults_ResourceList).

    >>> rounded("100u"), rounded("1.5"), rounded("64Mi")
    ('1m', '1500m', '64Mi')
    """
    value, form = _parse(text)
    return canonical(text) if (value * 1000).denominator == 1 else format(Fraction(_ceil(value * 1000), 1000), form)


def millis(text: Text) -> int:
    """Thousandths, rounded up: CPU."""
    return _ceil(parse(text) * 1000)


def whole(text: Text) -> int:
    """Units, rounded up: bytes, pods."""
    return _ceil(parse(text))


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


def add(a: Text, b: Text) -> str:
    """The sum in the form of `a`, unless that is zero.

    >>> add("1Gi", "512Mi"), add("250m", "1")
    ('1536Mi', '1250m')
    """
    left, form = _parse(a)
    right, other = _parse(b)
    return format(left + right, form if left else other)


def subtract(a: Text, b: Text) -> str:
    left, form = _parse(a)
    right, other = _parse(b)
    return format(left - right, form if left else other)


def compare(a: Text, b: Text) -> int:
    """-1, 0 or 1."""
    left, right = parse(a), parse(b)
    return (left > right) - (left < right)
