"""Timestamps and durations.

Timestamps hold microseconds here (nanoseconds upstream): Kubernetes' own times have no finer part.
Before: `overloads.standard`. Source: github.com/google/cel-go/common/types/{timestamp,duration}.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kcp.apimachinery.cel.errors import EvaluationError, no_such_overload
from kcp.apimachinery.cel.overloads import Overload, declare
from kcp.apimachinery.cel.values import Duration

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNITS_NS = {
    "ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip


def parse_timestamp(text: str) -> datetime:
    if not _RFC3339.fullmatch(text):
        raise EvaluationError("type conversion error from 'string' to 'google.protobuf.Timestamp'")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise EvaluationError("type conversion error from 'string' to 'google.protobuf.Timestamp'") from None


def parse_duration(text: str) -> Duration:
    """Go's time.ParseDuration.

    >>> parse_duration("1h30m").ns, parse_duration("-1.5s").ns
    (5400000000000, -1500000000)
    """
    body = text[1:] if text[:1] in ("+", "-") else text
    at, total = 0, Decimal(0)
    while match := _PART.match(body, at):
        total += Decimal(match.group(1)) * _UNITS_NS[match.group(2)]
        at = match.end()
    if (at != len(body) or not body or len(body) > 64) and body != "0":
        raise EvaluationError("type conversion error from 'string' to 'google.protobuf.Duration'")
    return Duration(int(-total if text[:1] == "-" else total))


def show_timestamp(moment: datetime) -> str:
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(20 - 1, "0")
    return text + (f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else "") + "Z"


def to_timestamp(value: Any) -> datetime:
    if type(value) is datetime:
        return value
    if type(value) is str:
        return parse_timestamp(value)
    if type(value) is int:
        try:
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)
        except OverflowError:
            raise EvaluationError("timestamp overflow") from None
    raise no_such_overload()


def to_duration(value: Any) -> Duration:
    if type(value) is Duration:
        return value
    if type(value) is str:
        return parse_duration(value)
    if type(value) is int:
        return Duration(value)
    raise no_such_overload()


def _zone(name: str) -> tzinfo:
    if re.fullmatch(r"[+-]?\d\d:\d\d", name, re.ASCII):
        hours, minutes = int(name[-5:-3]), int(name[-2:])
        offset = timedelta(hours=hours, minutes=minutes)
        return timezone(-offset if name[0] == "-" else offset)
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise EvaluationError(f"unknown time zone {name}") from None


def _part(take: Callable[[datetime], int]) -> Callable[..., int]:
    def part(moment: datetime, zone: str = "") -> int:
        return take(moment.astimezone(_zone(zone)) if zone else moment)

    return part


def _of_duration(unit_ns: int, within: int = 0) -> Callable[[Duration], int]:
    def part(span: Duration) -> int:
        whole = abs(span.ns) // unit_ns * (1 if span.ns >= 0 else -1)
        return whole % within if within else whole

    return part


_PARTS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
    "getHours": lambda moment: moment.hour,
    "getMinutes": lambda moment: moment.minute,
    "getSeconds": lambda moment: moment.second,
    "getMilliseconds": lambda moment: moment.microsecond // 1000,
}

OVERLOADS: tuple[Overload, ...] = (
    *(declare(f"timestamp({t}) -> timestamp", to_timestamp) for t in ("timestamp", "string", "int")),
    *(declare(f"duration({t}) -> duration", to_duration) for t in ("duration", "string", "int")),
    *(declare(f"timestamp.{name}() -> int", _part(take)) for name, take in _PARTS.items()),
    *(declare(f"timestamp.{name}(string) -> int", _part(take)) for name, take in _PARTS.items()),
    declare("duration.getHours() -> int", _of_duration(3600 * 10**9)),
    declare("duration.getMinutes() -> int", _of_duration(60 * 10**9)),
    declare("duration.getSeconds() -> int", _of_duration(10**9)),
    declare("duration.getMilliseconds() -> int", _of_duration(10**6, 1000)),
)
