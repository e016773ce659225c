"""Processes that are told by one file: a change as one trace over all of them, logs in files, another content without a restart."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.fleet import WORKSPACE, Fleet
from tests.e2e.processes import Process, eventually
from tests.otlp import Received, Receiver, receiving_in_threads

pytestmark = pytest.mark.e2e

PLACEMENT = '{"apiVersion": "scheduling.kcp.io/v1alpha1", "kind": "Placement", "metadata": {"name": "all"}, "spec": {}}'
HOPS = {
    "APIServer.create", "Admission.mutate", "TmcResourceController.reconcile", "SyncerSpecController.reconcile", "cluster.apply",
    "SyncerStatusController.reconcile", "CrossClusterResourceAggregator.reconcile",
}  # fmt: skip


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    started = Fleet(tmp_path, kcp_flags=("--config=tmc.yaml",))
    try:
        yield started
    finally:
        started.stop()


def configure(fleet: Fleet, endpoint: str, ratio: float) -> None:
    (fleet.directory / "tmc.yaml").write_text(
        f"""
        kind: TMCConfiguration
        enabled: true
        tracing: {{enabled: true, otlpEndpoint: "{endpoint}", samplingRate: {ratio}}}
        logging:
          level: info
          format: json
          outputs: ["file:kcp.log"]
          logRotation: {{maxSize: 100MB, maxAge: 30, maxBackups: 10}}
        """
    )


def said(fleet: Fleet, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (fleet.directory / name).read_text().splitlines(keepends=True) if line.endswith("\n")]


def whole_trace(receiver: Receiver) -> list[Received] | None:
    """Of the Deployment that was made, once all of it has come."""
    for span in list(receiver.spans):
        if span.name == "APIServer.create" and span.attributes.get("tmc.resource.gvk") == "apps/v1/deployments":
            spans = receiver.trace(span.trace_id)
            known = {one.span_id for one in spans}
            if {one.name for one in spans} >= HOPS and [one.name for one in spans if one.parent_id not in known] == ["APIServer.create"]:
                return spans
    return None


def _seen(receiver: Receiver) -> list[tuple[str, str, int]]:
    """Traces that begin with a Deployment: service and name of each span, and how many traces there are of either program."""
    begun = [span.trace_id for span in receiver.spans if span.attributes.get("tmc.resource.gvk") == "apps/v1/deployments"]
    return [(span.service, span.name, begun.count(span.trace_id)) for span in receiver.spans if span.trace_id in begun]


def test_a_fleet_is_observed(fleet: Fleet) -> None:
    with receiving_in_threads() as (receiver, server):
        configure(fleet, receiver.grpc_endpoint, 1.0)
        fleet.start(("east",))
        fleet.syncers["east"].stop()
        command = fleet.syncer_command(
            "east", tracing="true", tracing_endpoint=receiver.grpc_endpoint, log_format="json", log_file="syncer.log"
        )
        fleet.syncers["east"] = Process.start(command, cwd=fleet.directory)
        kubectl = fleet.at(WORKSPACE)
        kubectl("apply", "-f", "-", stdin=PLACEMENT)
        kubectl.until("get", "namespace", "default", is_right=lambda obj: "state.workload.kcp.io" in str(obj))
        for name in ("first", "second"):  # the first one the syncer may find by a list, when it begins: a list tells of no traces
            kubectl("create", "deployment", name, "--image=nginx", "--replicas=1")
            kubectl.until("get", "deployment", name, is_right=lambda obj: obj["status"].get("readyReplicas") == 1)
        spans = eventually(lambda: whole_trace(receiver), timeout_s=30, what=lambda: f"whole trace: {_seen(receiver)}")
        assert {span.service for span in spans} == {"kcp-tmc", "workload-syncer"}
        assert "kubectl" in next(span for span in spans if span.name == "APIServer.create").attributes["user_agent.original"]
        server.stop(0).wait()
    kubectl("get", "deployments")
    lost = [line for line in eventually_said(fleet, "kcp.log", "traces are not received") if "traces" in line["msg"]]
    assert len(lost) == 1, "one line, however long"
    assert any(line["msg"].startswith("serving SyncTarget") for line in said(fleet, "syncer.log"))
    configure(fleet, receiver.grpc_endpoint, 0.25)
    assert fleet.kcp is not None
    fleet.kcp.popen.send_signal(signal.SIGHUP)
    eventually_said(fleet, "kcp.log", "changed and in force: tracing.samplingRate=0.25")
    kubectl("get", "deployments")


def eventually_said(fleet: Fleet, name: str, text: str) -> list[dict[str, Any]]:
    """All lines, once one has the text."""

    def look() -> list[dict[str, Any]] | None:
        lines = said(fleet, name)
        return lines if any(text in line["msg"] for line in lines) else None

    return eventually(look, timeout_s=30, what=lambda: f"{text!r} in {name}")
