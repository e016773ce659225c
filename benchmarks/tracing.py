"""What tracing costs: the same requests to a server that records one trace in ten, and to one that records none.

    .venv/bin/python benchmarks/tracing.py [--rounds 15 --requests 600] [--write]

Both servers run, and take turns, so that what else the machine does meets both; counted is the processor time of each for a
request, over the half of the rounds that took the least.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

import grpc
from measure.plain import Plain
from measure.processes import ControlPlane
from measure.report import Report, replace_section
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server

MAPS = "/clusters/root/api/v1/namespaces/default/configmaps"


class Receiver:
    """Counts spans."""

    def __init__(self) -> None:
        self.spans = 0

    def Export(self, request: Any, _context: Any) -> Any:  # noqa: N802 - the service's name for it
        self.spans += sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans)
        return messages.ExportTraceServiceResponse()


def requests(client: Plain, start: int, count: int) -> None:
    """Create, change, read and delete, each a quarter."""
    for number in range(start, start + count // 4):
        one = f"{MAPS}/traced-{number}"
        client.json("POST", MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"traced-{number}"}, "data": {"a": "b"}})
        client.json("PATCH", one, {"data": {"a": "c"}}, "application/merge-patch+json")
        client.json("GET", one)
        client.json("DELETE", one)


def quiet(seconds: Sequence[float]) -> float:
    """Of the rounds that other programs disturbed least."""
    return mean(sorted(seconds)[: (len(seconds) + 1) // 2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--requests", type=int, default=600, help="of each server in a round")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    report = Report("Tracing of one request in ten")
    receiver, collector = Receiver(), grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(receiver, collector)
    port = collector.add_insecure_port("127.0.0.1:0")
    collector.start()
    with tempfile.TemporaryDirectory(prefix="kcp-bench-") as name:
        off = ControlPlane.start(Path(name), name="off")
        on = ControlPlane.start(Path(name), name="on", flags=["--tracing", f"--tracing-endpoint=127.0.0.1:{port}"])
        try:
            measure(report, {"off": off, "on": on}, options.rounds, options.requests)
        finally:
            off.stop()
            on.stop()
    collector.stop(0).wait()
    report.row("spans received", str(receiver.spans))
    text = report.end()
    if options.write:
        replace_section(Path(__file__).parent.parent / "docs/benchmarks.md", "tracing", text)


def measure(report: Report, servers: dict[str, ControlPlane], rounds: int, count: int) -> None:
    clients = {name: server.client(server.admin_token()) for name, server in servers.items()}
    for client in clients.values():
        requests(client, 1_000_000, 200)  # until everything is loaded
    used: dict[str, list[float]] = {name: [] for name in servers}
    for number in range(rounds):
        report.step(f"round {number + 1}")
        for name, server in sorted(servers.items(), reverse=number % 2 == 1):
            before_s = server.program.cpu_s()
            requests(clients[name], number * count, count)
            used[name].append(server.program.cpu_s() - before_s)
    each_ms = {name: quiet(seconds) / count * 1e3 for name, seconds in used.items()}
    cost = each_ms["on"] / each_ms["off"] - 1
    shown = f"{each_ms['off']:.3f} → {each_ms['on']:.3f} ms of processor time a request: {cost * 100:+.1f} %"
    report.row("tracing at 10 %", shown, setting=f"{rounds * count} requests each", target="≤ 5 %", reached=cost <= 0.05)


if __name__ == "__main__":
    main()
