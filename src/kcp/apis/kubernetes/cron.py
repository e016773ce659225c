"""Cron schedules: reading one, and the next time it names. Pure.

Before: validation of CronJobs, `sim.workloads.cronjob`.
Source: github.com/robfig/cron/v3 (parser.go, spec.go), which CronJobs are defined by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from types import MappingProxyType
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DESCRIPTORS: Mapping[str, str] = MappingProxyType(
    {
        "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
        "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
    }
)  # fmt: skip
_EVERY = "@every "
_UNITS = {"h": 3600, "m": 60, "s": 1}
_MOST_YEARS = 5
_MOST_DIGITS = 18
_LONGEST_S = (1 << 63) // 10**9
"""Go's durations are nanoseconds in 64 bits."""


class ScheduleError(ValueError):
    """The text is not a schedule; the message is upstream's."""


@dataclass(frozen=True, slots=True)
class _Bounds:
    least: int
    most: int
    names: tuple[str, ...] = ()
    """Names of the values from `least` on."""

    def number(self, text: str) -> int:
        if text.lower() in self.names:
            return self.names.index(text.lower()) + self.least
        if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
            raise ScheduleError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
        return int(text)


_FIELDS = (_Bounds(0, 59), _Bounds(0, 23), _Bounds(1, 31), _Bounds(1, 12, _MONTHS), _Bounds(0, 6, _DAYS))


@dataclass(frozen=True, slots=True)
class Schedule:
    """The minutes, hours, days of the month, months and days of the week (0 is Sunday) it names; or an interval."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    is_any_day: bool = True
    """Whether day of month or day of week is `*`: then both must fit, else either."""
    every: timedelta | None = None

    def after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first moment after `moment`, in `zone`; None if there is none within five years.

        A local time that a change of clocks skips is skipped, one that it repeats comes twice.
        """
        if self.every is not None:
            return moment.replace(microsecond=0) + self.every
        instant = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        last = instant + timedelta(days=366 * _MOST_YEARS)
        while instant <= last:
            local = instant.astimezone(zone)
            if local.month not in self.months:
                instant = _midnight(_next_month(local), zone, after=instant)
            elif not self._has_day(local):
                instant = _midnight(local + timedelta(days=1), zone, after=instant)
            elif local.hour not in self.hours:
                instant += timedelta(minutes=60 - local.minute)
            elif local.minute not in self.minutes:
                instant += timedelta(minutes=1)
            else:
                return local
        return None

    def _has_day(self, local: datetime) -> bool:
        in_month, in_week = local.day in self.days, (local.weekday() + 1) % 7 in self.weekdays
        return (in_month and in_week) if self.is_any_day else (in_month or in_week)


def _next_month(local: datetime) -> datetime:
    return local.replace(year=local.year + 1, month=1, day=1) if local.month == 12 else local.replace(month=local.month + 1, day=1)


def _midnight(local: datetime, zone: tzinfo, *, after: datetime) -> datetime:
    """The instant at which the local day of `local` begins."""
    begins = local.replace(hour=0, minute=0, tzinfo=zone, fold=0).astimezone(UTC)
    return max(begins, after + timedelta(minutes=1))


def time_zone(name: str) -> tzinfo | None:
    """The zone of this name; "" is UTC; None for one that is not known here."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def is_time_zone(name: str) -> bool:
    return time_zone(name) is not None


def parse(text: str) -> Schedule:
    """Raises: ScheduleError.

    >>> sorted(parse("*/20 9-17 * * mon-fri").minutes), parse("@every 90m").every
    ([0, 20, 40], datetime.timedelta(seconds=5400))
    """
    if text.startswith(_EVERY):
        return Schedule(every=_interval(text[len(_EVERY) :]))
    if text.startswith("@"):
        spelled = _DESCRIPTORS.get(text)
        if spelled is None:
            raise ScheduleError(f"unrecognized descriptor: {text}")
        text = spelled
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ScheduleError(f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]")
    minutes, hours, days, months, weekdays = (_field(part, bounds) for part, bounds in zip(parts, _FIELDS, strict=True))
    return Schedule(minutes, hours, days, months, weekdays, is_any_day=_is_star(parts[2]) or _is_star(parts[4]))


def _is_star(part: str) -> bool:
    return any(piece.startswith(("*", "?")) for piece in part.split(","))


def _field(part: str, bounds: _Bounds) -> frozenset[int]:
    return frozenset(number for piece in part.split(",") if piece for number in _range(piece, bounds))


def _range(piece: str, bounds: _Bounds) -> range:
    """`*`, `5`, `1-5`, each perhaps with `/2`. Source: parser.go getRange."""
    span, *steps = piece.split("/")
    ends = span.split("-")
    if len(steps) > 1:
        raise ScheduleError(f"too many slashes: {piece}")
    if len(ends) > 2:
        raise ScheduleError(f"too many hyphens: {piece}")
    if ends[0] in ("*", "?"):
        start, end = bounds.least, bounds.most
    else:
        start = bounds.number(ends[0])
        end = bounds.number(ends[1]) if len(ends) == 2 else bounds.most if steps else start
    step = _Bounds(1, bounds.most).number(steps[0]) if steps else 1
    if start < bounds.least:
        raise ScheduleError(f"beginning of range ({start}) below minimum ({bounds.least}): {piece}")
    if end > bounds.most:
        raise ScheduleError(f"end of range ({end}) above maximum ({bounds.most}): {piece}")
    if start > end:
        raise ScheduleError(f"beginning of range ({start}) beyond end of range ({end}): {piece}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {piece}")
    return range(start, end + 1, step)


def _interval(text: str) -> timedelta:
    """A Go duration of whole seconds."""
    seconds, digits = 0, ""
    for letter in text:
        if letter.isascii() and letter.isdigit() and len(digits) < _MOST_DIGITS:
            digits += letter
        elif digits and letter in _UNITS:
            seconds, digits = seconds + int(digits) * _UNITS[letter], ""
        else:
            raise ScheduleError(f'failed to parse duration @every {text}: time: invalid duration "{text}"')
    if digits or not seconds:
        raise ScheduleError(f'failed to parse duration @every {text}: time: missing unit in duration "{text}"')
    if seconds > _LONGEST_S:
        raise ScheduleError(f'failed to parse duration @every {text}: time: invalid duration "{text}"')
    return timedelta(seconds=max(seconds, 1))
