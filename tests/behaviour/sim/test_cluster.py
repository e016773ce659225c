"""A simulated cluster as a whole: faults in the same process and over TLS, restart with its data, writes that fail, clear errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kcp.aio.clock import SystemClock, VirtualClock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apiserver.listening import ListenError
from kcp.client import kubeconfig
from kcp.client.endpoint import Endpoint, Timeouts
from kcp.client.rest import Client
from kcp.client.transport import RawRequest, RawResponse, Transport, TransportError
from kcp.registry.backend import UserInfo
from kcp.sim import control
from kcp.sim.cluster import SimCluster
from kcp.sim.faults import Fault, FaultState

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

Make = Callable[..., dict[str, Any]]
DEPLOYMENTS, PODS = GVR("apps", "v1", "deployments"), GVR("", "v1", "pods")
CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}


async def test_a_killed_cluster_refuses_and_goes_on_where_it_was_when_restored(world: World, deployment: Make) -> None:
    await world.create(deployment())
    await world.cluster.set_fault(Fault.KILL)
    with pytest.raises(TransportError, match="connection refused"):
        await world.running()
    await world.clock.advance(600)
    await world.cluster.restore()

    async def runs() -> bool:
        return len(await world.running()) == 3

    await world.until(runs, within_s=1)


async def test_behind_a_partition_the_workloads_go_on(world: World, deployment: Make) -> None:
    await world.create(deployment())
    await world.cluster.set_fault(Fault.PARTITION)
    await world.clock.advance(5)
    await world.cluster.restore()
    assert len(await world.running()) == 3


async def test_a_full_cluster_refuses_writes_clearly_and_catches_up_afterwards(world: World, deployment: Make) -> None:
    await world.create(deployment())
    await world.cluster.set_fault(Fault.FILL)
    with pytest.raises(StatusError, match="disk .* is full"):
        await world.create(CONFIG_MAP)
    await world.clock.advance(30)
    assert await world.running() == []
    await world.cluster.restore()

    async def runs() -> bool:
        return len(await world.running()) == 3

    await world.until(runs, within_s=60)


async def test_users_without_rights_are_refused(world: World) -> None:
    stranger = world.cluster.client(UserInfo("jane", ("system:authenticated",)))
    with pytest.raises(Forbidden, match='User "jane" cannot list resource "pods"'):
        await stranger.resource(PODS).list()
    assert any(r.gvr == PODS for r in await stranger.discover())


class _Flaky:
    """Fails the n-th write of the cluster's own controllers, after or before it happened; what is written beside is not counted."""

    def __init__(self, inner: Transport, *, fail_at: int, after: bool) -> None:
        self._inner = inner
        self._left = fail_at
        self._after = after
        self.stream = inner.stream
        self.close = inner.close

    async def request(self, request: RawRequest) -> RawResponse:
        writes = request.method != "GET" and not any(part in request.path for part in ("leases", "apiservices"))
        self._left -= writes
        if writes and self._left == 0:
            if self._after:
                await self._inner.request(request)
            raise TransportError("the connection broke", where="test")
        return await self._inner.request(request)


class _FlakyCluster(SimCluster):
    fail_at, after = 0, False

    def _own_client(self) -> Client:
        inner = super()._own_client().transport
        return Client(_Flaky(inner, fail_at=self.fail_at, after=self.after), clock=self.clock)


@pytest.mark.parametrize("after", [False, True], ids=["lost request", "lost answer"])
async def test_every_failing_write_is_made_good(deployment: Make, after: bool) -> None:
    """A rollout of a deployment with a service, with the n-th write failing, for every n from the first of the bootstrap on."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }
    for fail_at in range(17, 50):
        clock = VirtualClock()
        cluster = _FlakyCluster.in_process("east", clock=clock)
        cluster.fail_at, cluster.after = fail_at, after
        async with cluster:
            client = cluster.client()
            await clock.advance(1)
            await client.resource(DEPLOYMENTS).create(deployment(replicas=2), namespace="default")
            await client.resource(GVR("", "v1", "services")).create(service, namespace="default")
            await clock.advance(1)
            change = {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}
            await client.resource(DEPLOYMENTS).patch("web", change, namespace="default")
            await clock.advance(10)
            pods = (await client.resource(PODS).list()).items
            assert len(pods) == 2, fail_at
            assert all(meta.labels(p)["v"] == "2" and p["status"]["phase"] == "Running" for p in pods), fail_at
            held = await client.resource(DEPLOYMENTS).get("web", namespace="default")
            assert held["status"]["availableReplicas"] == 2, fail_at
            backing = await client.resource(GVR("", "v1", "endpoints")).get("web", namespace="default")
            assert len(backing["subsets"][0]["addresses"]) == 2, fail_at


async def test_a_cluster_with_a_data_directory_comes_back_as_it_was(tmp_path: Path, deployment: Make) -> None:
    clock = SystemClock()

    def cluster() -> SimCluster:
        return SimCluster("east", listen=False, data_dir=tmp_path, start_delay_s=0.0, clock=clock)

    async def pods(client: Client) -> dict[str, str]:
        return {
            meta.uid(p): meta.resource_version(p) for p in (await client.resource(PODS).list(field_selector="status.phase=Running")).items
        }

    async with cluster() as first:
        deployments = first.client().resource(DEPLOYMENTS)
        await deployments.create(deployment(), namespace="default")
        while (await deployments.get("web", namespace="default")).get("status", {}).get("availableReplicas") != 3:
            await clock.sleep(0.01)  # then nothing is left to be written about its pods
        before = await pods(first.client())
        assert len(before) == 3
    async with cluster() as second:
        await clock.sleep(0.1)
        assert await pods(second.client()) == before


def _client(cluster: SimCluster, path: Path) -> Client:
    cluster.write_kubeconfig(path)
    return kubeconfig.connect(path, timeouts=Timeouts(request_s=2.0))


async def test_over_tls_faults_are_set_at_the_control_port_by_the_administrator_only(tmp_path: Path) -> None:
    path = tmp_path / "east.kubeconfig"
    async with SimCluster("east", nodes=1) as cluster, _client(cluster, path) as client:
        assert path.stat().st_mode & 0o077 == 0
        assert len((await client.resource(GVR("", "v1", "nodes")).list()).items) == 1
        where = control.endpoint_of_file(path)
        assert await control.change(where, FaultState(Fault.KILL)) == FaultState(Fault.KILL)
        with pytest.raises(TransportError, match=r"refused|broke"):
            await client.resource(PODS).list()
        assert await control.change(where, None) == FaultState(Fault.KILL)
        await control.change(where, FaultState(Fault.PAUSE))
        with pytest.raises(TransportError, match="no answer in time"):
            await client.resource(PODS).list()
        await control.change(where, FaultState(Fault.NONE))
        await client.resource(PODS).list()
        with pytest.raises(StatusError, match="only its administrator may"):
            await control.change(Endpoint(server=where.server, ca_pem=where.ca_pem), FaultState(Fault.KILL))


async def test_a_port_in_use_is_told_with_the_flag_to_change(tmp_path: Path) -> None:
    async with SimCluster("east", nodes=0) as cluster:
        port = int(cluster.url.rpartition(":")[2])
        with pytest.raises(ListenError, match=rf"127.0.0.1:{port} is in use.*--port"):
            await SimCluster("west", nodes=0, port=port).start()
