"""Cron schedules: what they name, days of month and week, changes of clocks, faults in upstream's words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kcp.apis.kubernetes import cron
from kcp.apis.kubernetes.workload_validation import cron_job

MOMENT = datetime(2026, 3, 28, 23, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "zone", "expected"),
    [
        ("* * * * *", "", "2026-03-28T23:51:00+00:00"),
        ("*/15 * * * *", "", "2026-03-29T00:00:00+00:00"),
        ("5,10 8-10/2 * jan-jun *", "", "2026-03-29T08:05:00+00:00"),
        ("0 0 1 * *", "", "2026-04-01T00:00:00+00:00"),
        ("0 0 1 * mon", "", "2026-03-30T00:00:00+00:00"),
        ("0 0 * * mon", "", "2026-03-30T00:00:00+00:00"),
        ("0 0 29 2 *", "", "2028-02-29T00:00:00+00:00"),
        ("0 12 * * ?", "America/New_York", "2026-03-29T12:00:00-04:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-30T02:30:00+02:00"),
        ("@weekly", "", "2026-03-29T00:00:00+00:00"),
        ("@every 1h30m", "", "2026-03-29T01:20:00+00:00"),
    ],
)
def test_the_next_time(schedule: str, zone: str, expected: str) -> None:
    found = cron.parse(schedule).after(MOMENT, cron.time_zone(zone) or UTC)
    assert found is not None
    assert found.isoformat() == expected


def test_a_repeated_hour_comes_twice() -> None:
    zone = cron.time_zone("Europe/Berlin")
    assert zone is not None
    found: datetime | None = datetime(2026, 10, 24, 23, 45, tzinfo=UTC)
    times = []
    for _ in range(6):
        assert found is not None
        found = cron.parse("*/30 2 * * *").after(found, zone)
        times.append(found.isoformat() if found else "")
    assert times[:4] == [f"2026-10-25T02:{m}:00+0{h}:00" for h, m in ((2, "00"), (2, "30"), (1, "00"), (1, "30"))]
    assert times[4] == "2026-10-26T02:00:00+01:00"


def test_a_day_that_never_comes() -> None:
    assert cron.parse("0 0 31 2 *").after(MOMENT, UTC) is None


@pytest.mark.parametrize(
    ("schedule", "fault"),
    [
        ("@every 999999999999h", 'failed to parse duration @every 999999999999h: time: invalid duration "999999999999h"'),
        ("² * * * *", 'failed to parse int from ²: strconv.Atoi: parsing "²": invalid syntax'),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
        ("@never", "unrecognized descriptor: @never"),
    ],
)
def test_faults(schedule: str, fault: str) -> None:
    with pytest.raises(cron.ScheduleError) as refused:
        cron.parse(schedule)
    assert str(refused.value) == fault


def test_faulty_cron_jobs_are_invalid() -> None:
    spec = {
        "schedule": "61 * * * *",
        "timeZone": "Mars/Olympus",
        "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never"}}}},
    }
    assert [c.field for c in cron_job({"metadata": {"name": "x"}, "spec": spec}, None)] == ["spec.schedule", "spec.timeZone"]
    for zone, fault in (("", "nil or non-empty"), ("Local", "explicit time zone")):
        causes = cron_job({"metadata": {"name": "x"}, "spec": {**spec, "schedule": "@daily", "timeZone": zone}}, None)
        assert fault in causes[0].message
