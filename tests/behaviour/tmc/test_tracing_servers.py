"""A change that one server takes and another works on is one trace, where both share an etcd."""

from __future__ import annotations

from pathlib import Path

from tests.behaviour.tmc.test_tracing import TRACE, roots
from tests.behaviour.tmc.world import CLOCK
from tests.etcd import Etcd
from tests.otlp import Received, receiving

from kcp.aio.tracecontext import CURRENT
from kcp.apimachinery.gvk import GVR
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.server.compose import SYSTEM, run_server
from kcp.server.options import Options
from kcp.storage.etcd.config import EtcdConfig
from kcp.tracing.config import TracingOptions

WORKSPACES = GVR("tenancy.kcp.io", "v1alpha1", "workspaces")
ID = f"{TRACE.trace_id:032x}"


def is_whole(spans: list[Received]) -> bool:
    hops = {(span.service, span.name) for span in spans}
    worked = any(service == "leader" and name.endswith(".reconcile") for service, name in hops)
    return worked and ("follower", "APIServer.create") in hops and roots(spans) == ["APIServer.create"]


async def test_the_leader_goes_on_with_the_trace_of_a_change_that_another_server_took(tmp_path: Path) -> None:
    etcd = Etcd(tmp_path).start()
    try:
        async with receiving() as receiver:
            leader, follower = (
                Options(
                    root_directory=tmp_path / name, etcd=EtcdConfig(endpoints=etcd.endpoints),
                    tracing=TracingOptions(enabled=True, ratio=0.0, endpoint=receiver.grpc_endpoint, service_name=name),
                )
                for name in ("leader", "follower")
            )  # fmt: skip
            async with run_server(leader, clock=CLOCK, with_socket=False), run_server(follower, clock=CLOCK, with_socket=False) as taker:
                client = Client(AsgiTransport(taker.app, SYSTEM), clock=CLOCK).cluster("root")
                spec = {"type": {"name": "universal", "path": "root"}}
                made = {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": "work"}, "spec": spec}
                token = CURRENT.set(TRACE)
                await client.resource(WORKSPACES).create(made)
                CURRENT.reset(token)
                await receiver.wait(lambda held: is_whole(held.trace(ID)))
                assert {span.trace_id for span in receiver.spans} == {ID}, "nothing else is recorded"
    finally:
        etcd.stop()
