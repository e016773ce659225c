"""One change followed from the request to the cluster and back, as one trace, through a real OTLP receiver; objects look as without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.behaviour.tmc.world import CLOCK, DEPLOYMENTS, World, syncing, with_clusters, with_control_plane
from tests.otlp import Received, Receiver, receiving

from kcp.aio.tracecontext import CURRENT, HEADER, SpanContext
from kcp.apimachinery.errors import NotFound
from kcp.client import kubeconfig
from kcp.server.compose import run_server
from kcp.server.options import Options
from kcp.tracing.config import TracingOptions
from kcp.tracing.exporting import tracing

TRACE = SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
HOPS = [
    "APIServer.create", "Admission.mutate", "Admission.validate", "TmcResourceController.reconcile", "SyncerSpecController.reconcile",
    "cluster.apply", "SyncerStatusController.reconcile", "APIServer.patch", "CrossClusterResourceAggregator.reconcile",
]  # fmt: skip


def roots(spans: list[Received]) -> list[str]:
    known = {span.span_id for span in spans}
    return [span.name for span in spans if span.parent_id not in known]


def is_whole(spans: list[Received]) -> bool:
    """Every hop is there, and every span but the first has its parent: the two programs send each on its own."""
    return set(HOPS) <= {span.name for span in spans} and roots(spans) == ["APIServer.create"]


async def deploy_traced(world: World, name: str) -> None:
    token = CURRENT.set(TRACE)
    try:
        await world.deploy("default", name, 2)
    finally:
        CURRENT.reset(token)


async def test_a_change_is_one_trace_from_admission_to_the_clusters_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver, with_clusters() as clusters:
        options = TracingOptions(enabled=True, ratio=0.0, endpoint=receiver.grpc_endpoint)
        above = with_control_plane(tmp_path, monkeypatch, clusters, in_memory=True, tracing=options)
        below = TracingOptions(enabled=True, ratio=0.0, endpoint=receiver.http_endpoint, protocol="http", service_name="workload-syncer")
        async with above as world, tracing(below, CLOCK, component="workload-syncer") as of_syncers:
            await world.set_up()
            async with syncing(world, tracer=of_syncers.tracer):
                await world.spread()
                await deploy_traced(world, "web")
                await world.settle("default", "web", 2)
                trace = f"{TRACE.trace_id:032x}"
                await receiver.wait(lambda held: is_whole(held.trace(trace)))
                _check(receiver, trace)
                obj = await world.client.resource(DEPLOYMENTS).get("web", namespace="default")
                copies = [(await cluster.client().resource(DEPLOYMENTS).list()).items[0] for cluster in clusters.values()]
                assert "0af7651916cd43dd" not in str([obj, *copies]), "nothing of a trace stands in objects"


def _check(receiver: Receiver, trace: str) -> None:
    spans = receiver.trace(trace)
    assert {span.trace_id for span in receiver.spans} == {trace}, "nothing else is recorded"
    services = {span.name: span.service for span in spans}
    assert services["APIServer.create"] == services["TmcResourceController.reconcile"] == "kcp-tmc"
    assert services["cluster.apply"] == services["SyncerSpecController.reconcile"] == "workload-syncer"
    applied = {span.attributes["tmc.cluster"] for span in spans if span.name == "cluster.apply"}
    assert applied == {"east", "west"}
    created = next(span for span in spans if span.name == "APIServer.create")
    assert created.attributes["tmc.resource.gvk"] == "apps/v1/deployments"
    assert created.attributes["tmc.resource.namespace"] == "default"
    assert created.attributes["http.response.status_code"] == 201
    assert created.resource["service.type"] == "kcp-controller"
    assert created.duration_ns > 0
    assert len(spans) < 100


async def test_strangers_decide_on_nothing_and_what_controllers_do_by_themselves_begins_nothing(tmp_path: Path) -> None:
    async with receiving() as receiver:
        traced = TracingOptions(enabled=True, ratio=0.0, endpoint=receiver.grpc_endpoint)
        options = Options(root_directory=tmp_path, in_memory=True, secure_port=0, tracing=traced)
        async with run_server(options, clock=CLOCK) as server:
            entry = kubeconfig.load(options.admin_kubeconfig, "base")
            path = "/clusters/root/api/v1/namespaces/default/configmaps/none"
            async with entry.connect() as admin, kubeconfig.load(options.admin_kubeconfig, "shard-base").connect() as master:
                for client, trace in ((admin, TRACE), (master, SpanContext(7, 7))):
                    with pytest.raises(NotFound):
                        await client.raw("GET", path, headers={HEADER: str(trace)})
            assert server.is_bootstrapped
        assert [(span.name, int(span.trace_id, 16)) for span in receiver.spans] == [("APIServer.get", 7)], "that of system:masters alone"
        assert receiver.spans[0].attributes["http.response.status_code"] == 404
        assert receiver.spans[0].attributes["tmc.error.type"] == "NotFound"
        assert not receiver.spans[0].is_error, "of the client, not of the server"


async def test_a_stranger_s_trace_is_linked_from_one_that_is_recorded(tmp_path: Path) -> None:
    async with receiving() as receiver:
        traced = TracingOptions(enabled=True, ratio=1.0, endpoint=receiver.grpc_endpoint)
        options = Options(root_directory=tmp_path, in_memory=True, secure_port=0, tracing=traced)
        async with run_server(options, clock=CLOCK):
            async with kubeconfig.load(options.admin_kubeconfig, "base").connect() as admin:
                await admin.raw("GET", "/clusters/root/api/v1/namespaces", headers={HEADER: str(TRACE)})
                await admin.raw("GET", "/readyz")
        assert [(span.name, span.links) for span in receiver.spans] == [("APIServer.list", [f"{TRACE.trace_id:032x}"])]
        assert receiver.spans[0].trace_id != f"{TRACE.trace_id:032x}"


async def test_the_ratio_changes_while_everything_runs(tmp_path: Path) -> None:
    async with receiving() as receiver:
        traced = TracingOptions(enabled=True, ratio=0.0, endpoint=receiver.grpc_endpoint)
        options = Options(root_directory=tmp_path, in_memory=True, secure_port=0, tracing=traced)
        async with run_server(options, clock=CLOCK) as server, kubeconfig.load(options.admin_kubeconfig, "base").connect() as admin:
            await admin.raw("GET", "/clusters/root/api/v1/namespaces")
            server.reload(replace(options, tracing=replace(traced, ratio=1.0)))
            await admin.raw("GET", "/clusters/root/api/v1/configmaps")
        assert [span.attributes["tmc.resource.gvk"] for span in receiver.spans] == ["v1/configmaps"]
