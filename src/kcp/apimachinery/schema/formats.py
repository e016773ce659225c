"""String formats that are checked, and the ranges behind integer formats.

Before: `validate`. A format that is not listed is not checked, as upstream.
Source: k8s.io/kube-openapi/pkg/validation/strfmt/default.go, apiextensions-apiserver/pkg/apiserver/validation/formats.go.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from datetime import date

INTEGER_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}

_DATE_TIME = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?"
    r"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.ASCII)
_HOSTNAME = re.compile(r"(?=.{1,255}$)[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62})(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62}))*\.?", re.ASCII)
_MAC = re.compile(r"([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}", re.ASCII)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+", re.ASCII)
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:\S*|/\S*", re.ASCII)
_DURATION = re.compile(r"[+-]?((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|[smhdw]))+|0|\d+ ?[a-zA-Z]+", re.ASCII)
_CREDIT = re.compile(r"[\d -]{12,23}", re.ASCII)
_COLOR_HEX = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", re.ASCII)
_SSN = re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}", re.ASCII)
_SHORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_LONG_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)


def _is_base64(text: str) -> bool:
    try:
        binascii.a2b_base64(text.replace("\r", "").replace("\n", ""), strict_mode=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return len(text) == 10


def _is_address(text: str, version: int) -> bool:
    from ipaddress import ip_address  # noqa: PLC0415  # only schemas with this format pay for it

    try:
        return ip_address(text).version == version
    except ValueError:
        return False


def _is_network(text: str) -> bool:
    from ipaddress import ip_network  # noqa: PLC0415  # only schemas with this format pay for it

    try:
        return "/" in text and bool(ip_network(text, strict=False))
    except ValueError:
        return False


def _full(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


STRING_FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": _full(_DATE_TIME),
    "datetime": _full(_DATE_TIME),
    "date": _is_date,
    "byte": _is_base64,
    "uuid": _full(_UUID),
    "uuid3": _full(_UUID),
    "uuid4": _full(_UUID),
    "uuid5": _full(_UUID),
    "hostname": _full(_HOSTNAME),
    "ipv4": lambda text: _is_address(text, 4),
    "ipv6": lambda text: _is_address(text, 6),
    "cidr": _is_network,
    "mac": _full(_MAC),
    "email": _full(_EMAIL),
    "uri": _full(_URI),
    "duration": _full(_DURATION),
    "creditcard": _full(_CREDIT),
    "hexcolor": _full(_COLOR_HEX),
    "ssn": _full(_SSN),
    "k8s-short-name": _full(_SHORT_NAME),
    "k8s-long-name": _full(_LONG_NAME),
}
