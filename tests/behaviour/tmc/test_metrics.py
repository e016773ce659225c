"""What /metrics says of a server with TMC, and of its syncers: true numbers under the reference's names, promtool's rules, bounded series."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from tests.behaviour.tmc.world import CLOCK, World, running, until

from kcp.aio.exposition import scrape
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client
from kcp.server.compose import run_server
from kcp.server.options import Options, TMCOptions
from kcp.tmc.model.kinds import PLACEMENTS, SYNC_TARGETS

CONFIG_MAPS = GVR("", "v1", "configmaps")


class Numbers:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def __call__(self, name: str, /, **labels: str) -> float | None:
        """Sum over the series with these labels; None without any."""
        found = [s.value for s in self._samples if s.name == name and labels.items() <= s.labels.items()]
        return sum(found) if found else None

    def samples(self, name: str) -> list[Sample]:
        return [sample for sample in self._samples if sample.name == name]

    def names(self) -> Iterator[str]:
        return (sample.name for sample in self._samples)

    def __len__(self) -> int:
        return len(self._samples)


async def scraped(client: Client) -> Numbers:
    return Numbers((await client.cluster("").raw("GET", "/metrics")).body.decode())


def of_syncer(world: World, name: str) -> Numbers:
    metrics = world.records[name].metrics
    assert metrics is not None
    return Numbers(scrape(metrics.meter.text).decode())


def faults(text: str) -> str:
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with running(tmp_path, monkeypatch) as found:
        await found.spread()
        await found.deploy("default", "web", 4)
        await found.settle("default", "web", 4)
        yield found


def of_server(world: World) -> Callable[[], Awaitable[Numbers]]:
    return lambda: scraped(world.server.client)


async def test_a_deployment_on_two_clusters_is_counted_at_every_station(world: World) -> None:
    shown = await until(of_server(world), lambda n: n("tmc_sync_resources", gvk="deployments.apps", status="Synced") == 2)
    assert shown("tmc_sync_resources_total", gvk="deployments.apps", cluster="east", namespace="default") == 1
    assert shown("tmc_cluster_resources", gvk="deployments.apps", cluster="west") == 1
    assert shown("tmc_cluster_health") == shown("tmc_cluster_connectivity") == 2
    assert shown("tmc_placements", status="Bound") == 1
    assert shown("tmc_placement_clusters", placement="all") == 2
    assert (shown("tmc_placement_clusters_selected"), shown("tmc_placement_success_rate")) == (2, 1)
    assert (shown("tmc_placement_requests_total", status="success") or 0) >= 1
    assert shown("tmc_placement_duration_seconds_count") == shown("tmc_placement_requests_total")
    assert (shown("tmc_resource_aggregations_total", gvk="deployments.apps", strategy="Combined") or 0) >= 1
    assert (shown("tmc_component_operations_total", component_id="placement", status="success") or 0) >= 1
    assert shown("tmc_component_operations_total", component_id="placement") == shown(
        "tmc_component_operation_duration_seconds_count", component_id="placement"
    )
    assert (shown("tmc_api_requests_total", endpoint="/apis/apps/v1/deployments", method="POST", status_code="201") or 0) >= 1
    assert (shown("workqueue_adds_total", name="placement") or 0) >= 1
    assert shown("workqueue_depth", name="placement") == 0
    assert (shown("etcd_request_duration_seconds_count", operation="create") or 0) >= 1
    assert shown("apiserver_storage_objects", resource="deployments.apps") == 1
    assert not [s for s in shown.samples("apiserver_watch_events_total") if ":" in s.labels["resource"]]
    for name in ("tmc_memory_usage_bytes", "tmc_tasks", "process_cpu_seconds_total"):
        assert shown(name), name

    async def of_east() -> Numbers:
        return of_syncer(world, "east")

    syncer = await until(of_east, lambda n: n("tmc_sync_lag_seconds", cluster="east", gvk="deployments.apps") == 0)
    assert (syncer("syncer_resources_synced_total", gvk="deployments.apps", direction="kcp-to-cluster") or 0) >= 1
    assert syncer("syncer_connection_status", sync_target="east", workspace="root:work", target="cluster") == 1
    assert syncer("syncer_sync_backlog_size", gvk="deployments.apps") == syncer("tmc_sync_backlog_size", queue="deployments.apps") == 0


async def test_an_object_that_a_cluster_refuses_is_counted_as_failed_until_it_is_mended(world: World) -> None:
    await world.client.resource(CONFIG_MAPS).create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd", "annotations": {"syncer.kcp.io/sync-policy": "someday"}}},
        namespace="default",
    )
    shown = await until(of_server(world), lambda n: n("tmc_sync_resources", gvk="configmaps", status="Failed") == 2)
    assert shown("tmc_sync_resources_total", gvk="configmaps", status="Failed", cluster="east") == 1
    await world.client.resource(CONFIG_MAPS).delete("odd", namespace="default")
    await until(of_server(world), lambda n: n("tmc_sync_resources", gvk="configmaps", status="Failed") is None)


async def test_a_placement_without_clusters_is_counted_with_its_reason(world: World) -> None:
    await world.create(PLACEMENTS, "Placement", "mars", spec={"locationSelectors": [{"matchLabels": {"planet": "mars"}}]})
    shown = await until(of_server(world), lambda n: n("tmc_placement_success_rate") == 0.5)
    assert shown("tmc_placements", status="Pending") == 1
    assert sum(1 for name in shown.names() if name == "tmc_placement_constraints_violated") == 1
    assert (shown("tmc_placement_errors_total", error_type="PlacementConstraint") or 0) >= 1


async def test_a_cluster_that_is_gone_leaves_no_series(world: World) -> None:
    await until(of_server(world), lambda n: n("tmc_cluster_health", cluster="east") == 1)
    await world.client.resource(SYNC_TARGETS).delete("east")
    await until(of_server(world), lambda n: 'cluster="east"' not in n.text and "syncer-east" not in n.text, timeout_s=20)


async def test_series_do_not_grow_with_objects(world: World) -> None:
    maps = world.client.resource(CONFIG_MAPS)

    async def add(numbers: range) -> Numbers:
        for number in numbers:
            await maps.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{number}"}}, namespace="default")
        wanted = 2 * (numbers.stop + 1)  # and the cluster's certificates
        found: Numbers = await until(
            of_server(world), lambda n: n("tmc_sync_resources", gvk="configmaps", status="Synced") == wanted, timeout_s=40
        )
        return found

    before = await add(range(2))
    after = await add(range(2, 10))
    grown = Counter(after.names()) - Counter(before.names())
    ours = [name for name in grown if not name.startswith(("apiserver_", "tmc_api_", "tmc_component_", "workqueue_"))]
    assert not ours, "those have one for each kind of request and each component"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here: apt-get install prometheus")
async def test_promtool_finds_nothing_wrong(world: World) -> None:
    server = await scraped(world.server.client)
    cluster = Numbers((await world.clusters["east"].client().raw("GET", "/metrics")).body.decode())
    for text in (server.text, of_syncer(world, "east").text, cluster.text):
        assert faults(text) == ""
    assert "apiserver_request_total" in cluster.text


async def test_off_means_not_there(tmp_path: Path) -> None:
    options = Options(root_directory=tmp_path, in_memory=True, tmc=TMCOptions(enabled=True, metrics=False))
    async with run_server(options, clock=CLOCK, with_socket=False) as server:
        shown = await scraped(server.client)
        assert not [name for name in shown.names() if name.startswith("tmc_")]
        assert "apiserver_request_total" in shown.text
