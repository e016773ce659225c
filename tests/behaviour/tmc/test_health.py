"""What is told of the health of a whole server in process: `/healthz/tmc`, ComponentHealth objects, the metric, `kubectl tmc status`.

As in test_placement_semantics, what a syncer would report is written by the test.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.test_placement_semantics import CLOCK, place, report, sync_target, until, workspace

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden
from kcp.cli.plugin_status import text
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.registry.backend import UserInfo
from kcp.server.compose import KcpServer, run_server
from kcp.server.options import Options, TMCOptions
from kcp.tmc.health.report import COMPONENT_HEALTHS
from kcp.tmc.model.kinds import RESOURCE_PROJECTIONS, SYNC_TARGETS


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KcpServer]:
    tmc = TMCOptions(enabled=True, health_interval_s=0.02)
    async with run_server(Options(root_directory=tmp_path, in_memory=True, tmc=tmc), clock=CLOCK, with_socket=False) as found:
        yield found


async def told(client: Client, *, verbose: bool = True) -> dict[str, Any]:
    server = client.cluster("")
    response = await server.transport.request(server.request("GET", "/healthz/tmc", query={"verbose": "1"} if verbose else {}))
    found: dict[str, Any] = json.loads(response.body)
    assert (response.status == 503) is (found.get("status") == "Unhealthy")
    return found


def states(found: dict[str, Any]) -> dict[str, str]:
    return {component["componentID"]: component["status"] for component in found["components"]}


async def test_every_part_of_a_server_is_watched(server: KcpServer) -> None:
    found = await until(lambda: told(server.client), lambda f: f["status"] == "Healthy")
    assert {"kcp", "store", "placement", "placements", "synctarget", "tmc-namespace", "namespace"} <= set(states(found))
    assert found["details"]["totalComponents"] == len(found["components"]) == found["details"]["healthyComponents"]
    assert "components" not in await told(server.client, verbose=False)


async def test_a_cluster_that_fails_is_shown_everywhere_and_so_is_its_recovery(server: KcpServer) -> None:
    org = await workspace(server, "root", "org", type_="organization")
    await sync_target(org, "east")
    healths = server.client.cluster("root").resource(COMPONENT_HEALTHS)
    cluster = meta.cluster(await org.resource(SYNC_TARGETS).get("east"))
    name = f"clusterhealthtracker.east-{cluster}"

    async def health(which: str = name) -> str:
        items = (await healths.list()).items
        return next((obj["status"]["overallHealth"] for obj in items if meta.name(obj) == which), "")

    await until(health, lambda state: state == "Healthy")
    await report(org, "east", status="False", reason="ClusterUnreachable")
    await until(health, lambda state: state == "Unhealthy")
    await until(lambda: health("tmcsystem.overall"), lambda state: state == "Unhealthy")
    found = await told(server.client)
    assert f"east-{cluster}: " in found["message"]
    metrics = (await server.client.cluster("").raw("GET", "/metrics")).body.decode()
    assert f'tmc_component_health{{cluster="east",component_id="east-{cluster}",component_type="ClusterHealthTracker"}} 0.0' in metrics
    shown = text(found, everything=False).splitlines()
    assert shown[0].startswith("TMC is Unhealthy: of ")
    assert shown[2].split() == ["COMPONENT", "ID", "CLUSTER", "HEALTH", "SINCE", "MESSAGE"]
    assert shown[3].split()[:4] == ["ClusterHealthTracker", f"east-{cluster}", "east", "Unhealthy"]
    await report(org, "east")
    await until(health, lambda state: state == "Healthy")
    await org.resource(SYNC_TARGETS).delete("east")
    await until(health, lambda state: state == "")


async def test_placements_that_nothing_fits_are_named(server: KcpServer) -> None:
    org = await workspace(server, "root", "org", type_="organization")
    await place(org)
    found = await until(lambda: told(server.client), lambda f: states(f).get("placements") == "Degraded")
    message = next(c["message"] for c in found["components"] if c["componentID"] == "placements")
    assert message.startswith("1 of 1 Placements have no cluster: ")
    assert message.endswith("/p; `kubectl tmc why` says why")


async def test_not_everybody_may_see_which_clusters_there_are(server: KcpServer) -> None:
    nobody = Client(AsgiTransport(server.app, UserInfo("bob", ("system:authenticated",))), clock=CLOCK)
    await until(lambda: told(server.client), lambda f: f["status"] == "Healthy")
    found = await told(nobody, verbose=False)
    assert (found["status"], found["message"]) == ("Healthy", "")
    with pytest.raises(Forbidden, match="cannot list resource"):
        await nobody.raw("GET", "/healthz/tmc", query={"verbose": ""})


async def test_objects_are_written_when_something_changes_and_not_otherwise(server: KcpServer) -> None:
    await until(lambda: told(server.client), lambda f: f["status"] == "Healthy")
    healths = server.client.cluster("root").resource(COMPONENT_HEALTHS)
    await until(healths.list, lambda found: any(meta.name(obj) == "tmcsystem.overall" for obj in found.items))
    before = {meta.name(obj): obj["metadata"]["resourceVersion"] for obj in (await healths.list()).items}
    rounds = (await told(server.client))["components"][0]["sinceSeconds"]
    await until(lambda: told(server.client), lambda f: f["components"][0]["sinceSeconds"] > rounds + 0.2)
    assert {meta.name(obj): obj["metadata"]["resourceVersion"] for obj in (await healths.list()).items} == before


async def test_off_means_not_there(tmp_path: Path) -> None:
    tmc = TMCOptions(enabled=True, health_monitoring=False)
    options = Options(root_directory=tmp_path, in_memory=True, tmc=tmc)
    async with run_server(options, clock=CLOCK, with_socket=False) as server:
        client = server.client.cluster("")
        response = await client.transport.request(client.request("GET", "/healthz/tmc"))
        assert response.status == 404
        assert "tmc_component_health{" not in (await client.raw("GET", "/metrics")).body.decode()


async def test_projections_that_are_refused_are_named(server: KcpServer) -> None:
    org = await workspace(server, "root", "org", type_="organization")
    await sync_target(org, "east")
    spec = {"source": {"clusters": ["east"]}, "targetClusters": ["east"], "resourceSelectors": [{"kind": "Service"}]}
    body = {"apiVersion": RESOURCE_PROJECTIONS.api_version, "kind": "ResourceProjection", "metadata": {"name": "loop"}, "spec": spec}
    await org.resource(RESOURCE_PROJECTIONS).create(body)
    found = await until(lambda: told(server.client), lambda f: states(f).get("projections") == "Degraded")
    message = next(c["message"] for c in found["components"] if c["componentID"] == "projections")
    assert "loop: what it projects would come back: east → east (loop)" in message
