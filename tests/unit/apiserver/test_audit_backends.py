"""How audit events get to a file and to a server: modes, batches, sizes, rotation, repetition, and what happens when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from kcp.aio.clock import VirtualClock, settle
from kcp.aio.supervisor import Supervisor
from kcp.apiserver.audit.backends import Batching, Blocking, Losses, backend
from kcp.apiserver.audit.config import AuditConfig, Delivery, LogConfig, WebhookConfig
from kcp.apiserver.audit.logfile import LogFile
from kcp.apiserver.audit.policy import Level
from kcp.apiserver.audit.record import Event
from kcp.apiserver.audit.webhook import Webhook
from kcp.client.transport import RawRequest, RawResponse, TransportError


def event(number: int, *, size: int = 0, level: Level = Level.RESPONSE) -> Event:
    fields: dict[str, Any] = {"level": level.name, "auditID": str(number), "stage": "ResponseComplete", "verb": "get", "requestURI": "/a"}
    fields |= {"user": {"username": 'a"b', "groups": ["g", "h"]}, "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z"}
    if size:
        fields["responseObject"] = orjson.Fragment(b'"%s"' % (b"x" * size))
    return Event.of("ResponseComplete", level, fields)


class Collected:
    """A sink that keeps what it gets, and fails when told to."""

    name = "collected"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.is_broken = False
        self.is_slow = False

    def post(self, events: Sequence[Event]) -> asyncio.Future[bool]:
        self.batches.append([str(e.fields["auditID"]) for e in events])
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if not self.is_slow:
            answer.set_result(not self.is_broken)
        return answer

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_batch_goes_out_when_it_is_full_or_has_waited_long_enough() -> None:
    clock, sink = VirtualClock(), Collected()
    async with Supervisor() as supervisor:
        batching = Batching(sink, Delivery(mode="batch", max_size=3, max_wait_s=30.0), Losses(), clock)
        supervisor.spawn(batching.run(), name="batching")
        for number in range(4):
            assert batching.submit(event(number)) is None
        await settle()
        assert sink.batches == [["0", "1", "2"]]
        await clock.advance(29.0)
        assert sink.batches == [["0", "1", "2"]]
        await clock.advance(1.0)
        assert sink.batches == [["0", "1", "2"], ["3"]]


async def test_batches_are_throttled_and_what_the_buffer_cannot_hold_is_lost_and_counted() -> None:
    clock, sink, losses = VirtualClock(), Collected(), Losses()
    async with Supervisor() as supervisor:
        delivery = Delivery(mode="batch", buffer_size=3, max_size=1, throttle=True, throttle_qps=1.0, throttle_burst=1)
        batching = Batching(sink, delivery, losses, clock)
        supervisor.spawn(batching.run(), name="batching")
        for number in range(5):
            batching.submit(event(number))
        assert losses.counts == {"buffered": 2}
        await clock.advance(0)
        assert sink.batches == [["0"]]
        await clock.advance(1.0)
        assert sink.batches == [["0"], ["1"]]


async def test_a_sink_that_hangs_holds_up_a_bounded_number_of_batches() -> None:
    clock, sink = VirtualClock(), Collected()
    sink.is_slow = True
    async with Supervisor() as supervisor:
        batching = Batching(sink, Delivery(mode="batch", buffer_size=500), Losses(), clock)
        supervisor.spawn(batching.run(), name="batching")
        for number in range(200):
            batching.submit(event(number))
        await settle(500)
        assert len(sink.batches) == 64


async def test_what_waits_is_sent_when_the_server_stops() -> None:
    sink = Collected()
    batching = Batching(sink, Delivery(mode="batch", max_size=2, max_wait_s=30.0), Losses(), VirtualClock())
    for number in range(3):
        batching.submit(event(number))
    await batching.close()
    assert sink.batches == [["0", "1"], ["2"]]


async def test_batches_are_split_by_bytes_where_truncating_is_on() -> None:
    sink = Collected()
    delivery = Delivery(mode="batch", max_size=10, truncate=True, max_event_bytes=1_000, max_batch_bytes=1_500)
    batching = Batching(sink, delivery, Losses(), VirtualClock())
    for number in range(3):
        batching.submit(event(number, size=500))
    await batching.close()
    assert sink.batches == [["0", "1"], ["2"]]


async def test_events_that_are_too_large_lose_their_objects_or_are_lost() -> None:
    kept: list[Event] = []

    class Keeping(Collected):
        def post(self, events: Sequence[Event]) -> asyncio.Future[bool]:
            kept.extend(events)
            return super().post(events)

    losses = Losses()
    blocking = Blocking(Keeping(), Delivery(truncate=True, max_event_bytes=400), losses)
    assert blocking.submit(event(1, size=1_000)) is not None
    assert b'"audit.k8s.io/truncated":"true"' in kept[0].raw
    assert b"responseObject" not in kept[0].raw
    assert blocking.submit(event(2, size=1_000, level=Level.METADATA)) is None
    assert losses.counts == {"truncate": 1}


def test_the_mode_says_whether_anybody_waits() -> None:
    sink, losses, clock = Collected(), Losses(), VirtualClock()
    assert not backend(sink, Delivery(mode="blocking"), losses, clock).is_strict
    assert backend(sink, Delivery(mode="blocking-strict"), losses, clock).is_strict
    assert isinstance(backend(sink, Delivery(mode="batch"), losses, clock), Batching)


# --- the file ---


async def test_lines_are_written_in_order_and_answers_can_wait_for_them(tmp_path: Path) -> None:
    log = LogFile.open(LogConfig(path=str(tmp_path / "new" / "audit.log")), Losses(), lambda: datetime(2026, 1, 1, tzinfo=UTC))
    assert all(await asyncio.gather(*(log.post([event(number)]) for number in range(100))))
    lines = (tmp_path / "new" / "audit.log").read_bytes().splitlines()
    assert [orjson.loads(line)["auditID"] for line in lines] == [str(number) for number in range(100)]
    assert lines[0].startswith(b'{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":')
    assert (tmp_path / "new" / "audit.log").stat().st_mode & 0o777 == 0o600
    await log.close()


async def test_the_legacy_format_is_one_line_of_text(tmp_path: Path) -> None:
    log = LogFile.open(LogConfig(path=str(tmp_path / "a"), format="legacy"), Losses(), lambda: datetime(2026, 1, 1, tzinfo=UTC))
    await log.post([event(7)])
    await log.close()
    assert (tmp_path / "a").read_text() == (
        '2026-01-01T00:00:00.000000Z AUDIT: id="7" stage="ResponseComplete" ip="<unknown>" method="get" user="a\\"b" '
        'groups="\\"g\\",\\"h\\"" as="<self>" asgroups="<lookup>" user-agent="" namespace="<none>" uri="/a" response="<deferred>"\n'
    )


async def test_a_dash_is_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log = LogFile.open(LogConfig(path="-"), Losses(), lambda: datetime(2026, 1, 1, tzinfo=UTC))
    assert await log.post([event(1)])
    await log.close()
    assert orjson.loads(capfdbinary.readouterr().out)["auditID"] == "1"


async def test_a_disk_that_fails_is_told_and_does_not_end_the_server() -> None:
    class Full:
        def write(self, lines: Sequence[bytes]) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            """Nothing is open."""

    losses = Losses()
    log = LogFile(Full(), "json", losses)
    assert await log.post([event(1), event(2)]) is False
    assert losses.counts == {"log": 2}
    await log.close()


# --- the webhook ---


class Receiver:
    """A server that is told how often to fail."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.bodies: list[Any] = []

    async def request(self, request: RawRequest) -> RawResponse:
        assert (request.method, request.path) == ("POST", "/audit")
        self.bodies.append(orjson.loads(request.body))
        answer = self.answers.pop(0) if self.answers else 200
        if not answer:
            raise TransportError("connection refused")
        return RawResponse(answer, {}, b"")

    def stream(self, request: RawRequest) -> AbstractAsyncContextManager[tuple[RawResponse, AsyncIterator[bytes]]]:
        raise AssertionError("a webhook has no streams")

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_list_of_events_is_posted_and_repeated_with_growing_pauses() -> None:
    clock, losses, receiver = VirtualClock(), Losses(), Receiver(0, 503)
    async with Supervisor() as supervisor:
        webhook = Webhook(receiver, "/audit", losses, clock, supervisor, backoff_s=10.0)
        posted = webhook.post([event(1), event(2)])
        await clock.advance(9.9)
        assert len(receiver.bodies) == 1
        await clock.advance(12.1 - 9.9)
        assert len(receiver.bodies) == 2
        await clock.advance(18.1)
        assert await posted
    sent = receiver.bodies[-1]
    assert (sent["kind"], sent["apiVersion"]) == ("EventList", "audit.k8s.io/v1")
    assert [item["auditID"] for item in sent["items"]] == ["1", "2"]
    assert losses.counts == {}


async def test_after_five_failures_events_are_given_up_and_counted() -> None:
    clock, losses, receiver = VirtualClock(), Losses(), Receiver(*[500] * 9)
    async with Supervisor() as supervisor:
        webhook = Webhook(receiver, "/audit", losses, clock, supervisor, backoff_s=10.0)
        posted = webhook.post([event(1), event(2)])
        await clock.advance(1_000.0)
        assert await posted is False
    assert len(receiver.bodies) == 5
    assert losses.counts == {"webhook": 2}


async def test_a_server_that_stops_does_not_wait_for_repetitions() -> None:
    clock, losses, receiver = VirtualClock(), Losses(), Receiver(*[500] * 9)
    async with Supervisor() as supervisor:
        webhook = Webhook(receiver, "/audit", losses, clock, supervisor, backoff_s=10.0)
        posted = webhook.post([event(1)])
        await settle()
        await webhook.close()
        assert await posted is False
    assert len(receiver.bodies) == 1


# --- what can be set ---


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (AuditConfig(policy_file=Path("/nowhere")), "--audit-policy-file=/nowhere: no such file"),
        (AuditConfig(log=LogConfig(path="-", format="xml")), "--audit-log-format=xml: must be one of json, legacy"),
        (AuditConfig(log=LogConfig(path="-", max_age_days=-1)), "--audit-log-maxage=-1: must not be negative"),
        (AuditConfig(log=LogConfig(path="-", version="audit.k8s.io/v1beta1")), "only audit.k8s.io/v1 is there"),
        (AuditConfig(log=LogConfig(path="-", delivery=Delivery(mode="later"))), "must be one of batch, blocking, blocking-strict"),
        (AuditConfig(log=LogConfig(path="-", delivery=Delivery(mode="batch", max_size=0))), "--audit-log-batch-max-size=0"),
        (AuditConfig(log=LogConfig(path="-", delivery=Delivery(max_event_bytes=0))), "--audit-log-truncate-max-event-size=0"),
        (AuditConfig(webhook=WebhookConfig(config_file=Path("/nowhere"))), "--audit-webhook-config-file=/nowhere: no such file"),
    ],
)
def test_settings_that_cannot_be_are_told_by_their_flags(config: AuditConfig, fault: str) -> None:
    assert any(fault in problem for problem in config.problems())


def test_settings_of_what_is_off_are_not_looked_at() -> None:
    assert list(AuditConfig(log=LogConfig(format="xml"), webhook=WebhookConfig(version="x")).problems()) == []
