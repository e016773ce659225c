"""How components are watched, under virtual time: states, what many add up to, flapping, hanging and failing providers, controllers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.errors import ServiceUnavailable
from kcp.storage.interface import StoreFull
from kcp.tmc.health.monitor import HealthConfig, Monitor, Provider
from kcp.tmc.health.providers import Controllers, storage
from kcp.tmc.health.report import object_name, summary
from kcp.tmc.health.states import Check, Component, Status, counts, overall

A, B = Component("Controller", "a"), Component("ClusterHealthTracker", "b", "east")
HEALTHY, DEGRADED, UNHEALTHY, UNKNOWN = Status


def check(status: Status, component: Component = A, message: str = "") -> Check:
    return Check(component, status, message)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], UNKNOWN),
        ([HEALTHY, HEALTHY], HEALTHY),
        ([HEALTHY, UNKNOWN], UNKNOWN),
        ([UNKNOWN, DEGRADED, HEALTHY], DEGRADED),
        ([DEGRADED, UNHEALTHY, UNKNOWN], UNHEALTHY),
    ],
)
def test_the_whole_is_as_well_as_its_worst_part(found: list[Status], expected: Status) -> None:
    assert overall([check(status) for status in found]) is expected


def test_the_values_of_the_metric_are_the_references() -> None:
    assert [status.value_of_metric for status in (HEALTHY, DEGRADED, UNHEALTHY, UNKNOWN)] == [1.0, 0.5, 0.0, -1.0]


def test_the_summary_counts_and_names_the_worst() -> None:
    checks = [check(UNHEALTHY, A, "it stands still"), check(DEGRADED, B, "slow")]
    whole = summary(checks)
    assert (whole.status, whole.message) == (UNHEALTHY, "a: it stands still")
    assert counts(checks) == {
        "totalComponents": 2, "healthyComponents": 0, "degradedComponents": 1, "unhealthyComponents": 1, "unknownComponents": 0
    }  # fmt: skip


def test_names_of_objects_are_valid() -> None:
    assert object_name(Component("Controller", "tmc-resource-deployments")) == "controller.tmc-resource-deployments"
    assert object_name(Component("X Y", "_A/b:")) == "x-y.-a-b"


def monitor_of(*looks: Callable[[], Sequence[Check]], clock: VirtualClock | None = None) -> Monitor:
    monitor = Monitor(clock or VirtualClock(), HealthConfig())
    for number, look in enumerate(looks):

        async def ask(look: Callable[[], Sequence[Check]] = look) -> Sequence[Check]:
            return look()

        monitor.add(Provider(Component("Provider", str(number)), ask))
    return monitor


async def test_a_state_is_shown_once_it_was_found_twice_in_a_row() -> None:
    states = iter([HEALTHY, UNHEALTHY, HEALTHY, UNHEALTHY, DEGRADED, UNHEALTHY, UNHEALTHY, HEALTHY, HEALTHY])
    monitor = monitor_of(lambda: [check(next(states))])
    shown = []
    for _ in range(9):
        await monitor.step()
        shown.append(monitor.checks()[0].status)
    assert shown == [HEALTHY] * 6 + [UNHEALTHY] * 2 + [HEALTHY]


async def test_what_is_gone_is_forgotten() -> None:
    present = [[check(HEALTHY, A), check(HEALTHY, B)], [check(HEALTHY, A)]]
    monitor = monitor_of(lambda: present.pop(0))
    await monitor.step()
    assert [c.component for c in monitor.checks()] == [B, A]
    await monitor.step()
    assert [c.component for c in monitor.checks()] == [A]


@pytest.mark.parametrize("error", [ServiceUnavailable("away"), StoreFull("full"), OSError("no route")])
async def test_a_provider_that_fails_is_unhealthy_and_says_why_while_the_others_go_on(error: Exception) -> None:
    def fail() -> Sequence[Check]:
        raise error

    monitor = monitor_of(fail, lambda: [check(HEALTHY)])
    await monitor.step()
    assert [(c.component.type, c.status) for c in monitor.checks()] == [("Controller", HEALTHY), ("Provider", UNHEALTHY)]
    assert str(error) in monitor.checks()[1].message


async def test_a_provider_that_hangs_is_unhealthy_after_the_timeout() -> None:
    clock = VirtualClock()
    monitor = Monitor(clock, HealthConfig(timeout_s=10))

    async def hang() -> Sequence[Check]:
        await asyncio.Event().wait()
        return []

    monitor.add(Provider(A, hang))
    step = asyncio.ensure_future(monitor.step())
    await clock.advance(9.9)
    assert not step.done()
    await clock.advance(0.2)
    await step
    assert monitor.checks()[0].message == "did not answer within 10 s"


async def test_it_looks_again_after_every_interval() -> None:
    clock = VirtualClock()
    monitor = monitor_of(lambda: [check(HEALTHY)], clock=clock)
    running = asyncio.ensure_future(monitor.run())
    await clock.advance(21)
    assert monitor.rounds == 5
    running.cancel()
    assert monitor.since_s(A) == pytest.approx(21)


@dataclass
class FakeWorker:
    name: str = "placement"
    numbers: dict[str, int] = field(
        default_factory=lambda: {"success": 0, "requeue_after": 0, "error": 0, "terminal": 0, "depth": 0, "processing": 0}
    )

    def statistics(self) -> dict[str, int]:
        return self.numbers


@pytest.fixture
def worker() -> FakeWorker:
    return FakeWorker()


@pytest.mark.parametrize(("errors", "expected"), [(1, HEALTHY), (2, DEGRADED), (6, UNHEALTHY)])
async def test_a_controller_is_as_well_as_its_last_reconciles(worker: FakeWorker, errors: int, expected: Status) -> None:
    controllers = Controllers(lambda: [worker], VirtualClock(), HealthConfig)
    await controllers.look()
    worker.numbers |= {"success": 10 - errors, "error": errors}
    (found,) = await controllers.look()
    assert (found.component.type, found.status) == ("PlacementController", expected)
    (found,) = await controllers.look()
    assert found.status is HEALTHY, "errors of long ago are forgotten"


async def test_work_that_stands_still_is_degraded_and_then_unhealthy(worker: FakeWorker) -> None:
    clock = VirtualClock()
    controllers = Controllers(lambda: [worker], clock, lambda: HealthConfig(degraded_s=120, unhealthy_s=300))
    worker.numbers["depth"] = 3
    found = []
    for _ in range(4):
        found.append((await controllers.look())[0].status)
        await clock.advance(110)
    assert found == [HEALTHY, HEALTHY, DEGRADED, UNHEALTHY]
    worker.numbers["success"] = 1
    assert (await controllers.look())[0].status is HEALTHY


async def test_a_slow_store_is_degraded_with_what_was_measured() -> None:
    clock = VirtualClock()

    class Slow:
        async def get(self, key: bytes) -> None:
            await clock.sleep(1.5)

        def statistics(self) -> dict[str, int]:
            return {"keys": 7}

    looking = asyncio.ensure_future(storage(Slow(), clock).look())  # type: ignore[arg-type]
    await clock.advance(2)
    (found,) = await looking
    assert found.status is DEGRADED
    assert found.message.startswith("an answer took 1.5 s")
    assert found.details["keys"] == "7"
