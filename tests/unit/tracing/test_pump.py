"""Sending spans: in batches, bounded, told once when the receiver goes and comes; the real exporters against a real receiver, or none."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.otlp import receiving

from kcp.aio.clock import SystemClock, VirtualClock, settle
from kcp.tracing.config import TracingFileError, TracingOptions
from kcp.tracing.exporting import tracing
from kcp.tracing.pump import Pump
from kcp.tracing.tracer import Span, Tracer

KIND = "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: TracingConfiguration\n"


class Far:
    """Receives until `fault` says why not."""

    def __init__(self) -> None:
        self.fault = ""
        self.batches: list[int] = []

    def send(self, spans: Sequence[Span]) -> str:
        if not self.fault:
            self.batches.append(len(spans))
        return self.fault


def spans(pump: Pump, count: int) -> None:
    made = Tracer(VirtualClock(), pump.take)
    for _ in range(count):
        with made.begin("work"):
            pass


async def test_spans_go_in_batches_and_the_rest_at_the_end() -> None:
    far = Far()
    pump = Pump(far.send, VirtualClock(), endpoint="x")
    spans(pump, 1100)
    await pump.flush()
    spans(pump, 3)
    await pump.close(lambda: None)
    assert far.batches == [512, 512, 76, 3]
    assert pump.statistics() == {"spans_exported": 1103, "spans_lost": 0, "spans_waiting": 0}


async def test_a_receiver_that_is_away_costs_two_lines_and_no_memory(caplog: pytest.LogCaptureFixture) -> None:
    far = Far()
    pump = Pump(far.send, VirtualClock(), endpoint="far:4317", most=50)
    far.fault = "UNAVAILABLE"
    with caplog.at_level(logging.INFO, logger="kcp.tracing.pump"):
        for _ in range(20):
            spans(pump, 100)
            assert pump.statistics()["spans_waiting"] == 50
            await pump.flush()
        far.fault = ""
        spans(pump, 1)
        await pump.flush()
        await pump.close(lambda: None)
    assert [record.getMessage() for record in caplog.records] == [
        "traces are not received at far:4317: UNAVAILABLE; spans are lost until they are",
        "traces are received at far:4317 again; 2000 spans were lost",
    ]


async def test_whoever_ends_does_not_wait_long_for_a_receiver_that_hangs() -> None:
    free, clock = threading.Event(), VirtualClock()

    def hang(_spans: Sequence[Span]) -> str:
        free.wait()
        return "given up"

    pump = Pump(hang, clock, endpoint="x")
    spans(pump, 1)
    closing = asyncio.ensure_future(pump.close(free.set))
    await settle()
    await clock.advance(2.0)
    await closing


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_opentelemetry_s_exporters_reach_a_receiver(protocol: str) -> None:
    async with receiving() as receiver:
        endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
        options = TracingOptions(enabled=True, ratio=1.0, endpoint=endpoint, protocol=protocol, environment="test")
        async with tracing(options, SystemClock(), component="kcp") as made:
            with made.tracer.begin("whole", kind="server") as whole, made.tracer.span("part", whole.context) as part:
                part.fail("it broke", "SyncFailure")
        found = {span.name: span for span in receiver.spans}
        assert found["part"].parent_id == found["whole"].span_id
        assert (found["part"].is_error, found["whole"].is_error) == (True, False)
        assert found["part"].attributes == {"tmc.error.type": "SyncFailure"}
        resource = found["whole"].resource
        assert (resource["service.name"], resource["service.version"], resource["deployment.environment.name"]) == (
            "kcp-tmc",
            "v1.0.0",
            "test",
        )


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_nobody_there_is_one_line_of_the_log(protocol: str) -> None:
    endpoint = "127.0.0.1:1" if protocol == "grpc" else "http://127.0.0.1:1/v1/traces"
    options = TracingOptions(enabled=True, endpoint=endpoint, protocol=protocol)
    said: list[str] = []
    outside = logging.Handler()
    outside.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(outside)
    async with tracing(options, SystemClock(), component="kcp") as made:
        with made.tracer.begin("whole"):
            pass
        await made.pump.flush()
    logging.getLogger().removeHandler(outside)
    assert len(said) == 1
    assert said[0].startswith(f"traces are not received at {endpoint}: ")
    assert "refused" in said[0]


def test_the_configuration_of_kube_apiserver_is_understood(tmp_path: Path) -> None:
    file = tmp_path / "tracing.yaml"
    file.write_text(KIND + "endpoint: collector:4317\nsamplingRatePerMillion: 10000\n")
    found = TracingOptions(config_file=file)
    assert list(found.problems()) == []
    assert found.is_on
    assert (found.complete().ratio, found.complete().endpoint, found.complete().protocol) == (0.01, "collector:4317", "grpc")
    file.write_text(KIND)
    assert (found.complete().ratio, found.complete().endpoint) == (0.0, "localhost:4317"), "only traces of others are joined"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (KIND + "samplingRatePerMillion: 1000001", "sampling rate per million must be less than or equal to one million"),
        (KIND + "samplingRatePerMillion: -1", "sampling rate must be positive"),
        (KIND + "samplingRatePerMillion: half", "samplingRatePerMillion: must be a whole number"),
        (KIND + "endpoint: ftp://x", "unsupported scheme"),
        (KIND + "endpont: x", "endpont: there is no such field"),
        ("kind: Tracing", "kind must be TracingConfiguration"),
        ("[1]", "must hold a TracingConfiguration"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(text: str, fault: str, tmp_path: Path) -> None:
    file = tmp_path / "tracing.yaml"
    file.write_text(text)
    assert fault in next(TracingOptions(config_file=file).problems())
    with pytest.raises(TracingFileError):
        TracingOptions(config_file=file).complete()


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    assert "No such file" in next(TracingOptions(config_file=tmp_path / "none").problems())


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (TracingOptions(ratio=1.5), "--tracing-sampling-ratio=1.5"),
        (TracingOptions(endpoint="collector:4318", protocol="http"), "must be a URL"),
        (TracingOptions(endpoint="ftp://collector"), "unsupported scheme"),
    ],
)
def test_flags_are_checked(options: TracingOptions, fault: str) -> None:
    assert fault in next(options.problems())
