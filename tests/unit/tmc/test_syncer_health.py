"""What a syncer says of itself, by what really happens to it."""

from __future__ import annotations

import pytest

from kcp.aio.clock import SystemClock, VirtualClock
from kcp.controller.controller import Controller, Outcome, Result
from kcp.tmc.syncer.health import Status, SyncerHealth
from kcp.tmc.syncer.record import DOWN, Record
from kcp.tmc.syncer.settings import Filters


async def nothing(key: object) -> Result:  # noqa: ARG001 - never asked
    return Result()


class Watched:
    """A record on a clock of its own, and the health that is read from it."""

    def __init__(self) -> None:
        self.clock = VirtualClock(SystemClock().now())
        self.record = Record(self.clock)
        self.health = SyncerHealth("east", self.record, 20.0, 3)
        self.controller: Controller = Controller("syncer-spec-x", nothing, clock=self.clock)

    def start(self) -> None:
        self.record.started_s = self.clock.monotonic()
        self.record.observe_connection("heartbeat", worked=True)
        self.record.observe_connection("cluster", worked=True)
        self.record.add_controller("x", self.controller)

    def sync(self, times: int, *, result: str = "success") -> None:
        hook = self.record.hook("x", DOWN)
        for _ in range(times):
            hook(Outcome("syncer-spec-x", "k", result, 0.01, 0))  # type: ignore[arg-type]


@pytest.fixture
def watched() -> Watched:
    return Watched()


async def test_it_is_not_ready_until_it_has_started_and_told_kcp_so(watched: Watched) -> None:
    assert watched.health.not_ready() == "the engine has not started"
    assert watched.health.assess().status is Status.UNHEALTHY
    watched.record.started_s = watched.clock.monotonic()
    assert watched.health.not_ready() == "no heartbeat was written yet"
    watched.start()
    assert watched.health.not_ready() == ""
    assert watched.health.assess().status is Status.HEALTHY


async def test_a_side_that_is_away_makes_it_degraded_and_not_ready(watched: Watched) -> None:
    watched.start()
    watched.record.observe_connection("cluster", worked=False)
    assert (watched.health.assess().status, watched.health.not_ready()) == (Status.DEGRADED, "cluster cannot be reached")


@pytest.mark.parametrize(("failed", "status"), [(0, Status.HEALTHY), (2, Status.DEGRADED), (6, Status.UNHEALTHY)])
async def test_errors_of_the_last_minutes_count(watched: Watched, failed: int, status: Status) -> None:
    watched.start()
    watched.sync(10 - failed)
    watched.sync(failed, result="error")
    assert watched.health.assess().status is status
    await watched.clock.advance(600.0)
    watched.record.observe_connection("heartbeat", worked=True)
    assert watched.health.assess().status is Status.HEALTHY


@pytest.mark.parametrize(("seconds", "status"), [(30.0, Status.HEALTHY), (60.0, Status.DEGRADED), (301.0, Status.UNHEALTHY)])
async def test_a_heartbeat_that_does_not_come_counts(watched: Watched, seconds: float, status: Status) -> None:
    watched.start()
    await watched.clock.advance(seconds)
    assert watched.health.assess().status is status


async def test_a_backlog_above_its_limit_counts(watched: Watched) -> None:
    watched.start()
    for number in range(4):
        watched.controller.enqueue(number)  # type: ignore[arg-type]
    assert (watched.health.assess().status, watched.health.report()["details"]["backlog"]) == (Status.DEGRADED, 4)


@pytest.mark.parametrize(
    ("filters", "refused"),
    [
        (Filters(), False),
        (Filters(namespaces=("prod", "team-*")), False),
        (Filters(namespaces=("prod",)), True),
        (Filters(excluded_namespaces=("team-*",)), True),
        (Filters(required_labels={"a": "b"}), False),
        (Filters(required_labels={"a": "c"}), True),
    ],
)
def test_filters(filters: Filters, *, refused: bool) -> None:
    view = {"metadata": {"namespace": "team-a", "labels": {"a": "b"}}}
    assert bool(filters.refusal(view)) is refused
