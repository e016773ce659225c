"""SyncTargetHeartbeats: whoever writes one is heard as if it had written the SyncTarget's status, and the other way round."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.test_placement_semantics import CLOCK, report, running, sync_target, until, workspace

from kcp.aio.clock import rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Invalid
from kcp.client.rest import Client
from kcp.tmc.model.kinds import SYNC_TARGET_HEARTBEATS, SYNC_TARGETS


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with running(tmp_path) as server:
        yield await workspace(server, "root", "w")


async def heartbeat(client: Client, name: str, **spec: Any) -> dict[str, Any]:
    written = {"apiVersion": "workload.kcp.io/v1alpha1", "kind": "SyncTargetHeartbeat", "metadata": {"name": name}, "spec": spec}
    return await client.resource(SYNC_TARGET_HEARTBEATS).create(written)


async def test_a_beat_written_to_the_object_makes_the_cluster_ready(client: Client) -> None:
    await sync_target(client, "east", ready=False)
    made = await heartbeat(client, "east-beat", syncTarget="east")
    assert made["spec"]["heartbeatInterval"] == "30s"
    now = rfc3339(CLOCK.now())
    usage = {"cpuUsage": 1500, "memoryUsage": 1024, "podCount": 7}
    told = {"lastHeartbeatTime": now, "syncerIdentifier": "fork", "clusterHealth": {"ready": True, "nodeCount": 3, "resourceUsage": usage}}
    await client.resource(SYNC_TARGET_HEARTBEATS).patch("east-beat", {"status": told})
    targets = client.resource(SYNC_TARGETS)
    target = await until(lambda: targets.get("east"), lambda t: conditions.is_true(t, "Ready"))
    assert target["status"]["lastSyncerHeartbeatTime"] == now
    assert target["status"]["syncerIdentifier"] == "fork"
    assert target["status"]["usage"] == {"cpu": "1500m", "memory": "1024", "pods": "7"}
    assert target["status"]["clusterInfo"]["nodes"] == 3
    beats = client.resource(SYNC_TARGET_HEARTBEATS)
    await until(lambda: beats.get("east-beat"), lambda b: conditions.is_true(b, "Ready"))


async def test_a_cluster_that_is_not_ready_says_so_through_its_heartbeat(client: Client) -> None:
    await sync_target(client, "east", ready=False)
    await heartbeat(client, "beat", syncTarget="east")
    told = {"lastHeartbeatTime": rfc3339(CLOCK.now()), "clusterHealth": {"ready": False}}
    await client.resource(SYNC_TARGET_HEARTBEATS).patch("beat", {"status": told})
    targets = client.resource(SYNC_TARGETS)
    target = await until(lambda: targets.get("east"), lambda t: bool(conditions.get(t, "SyncerReady")))
    assert (conditions.get(target, "SyncerReady") or {})["reason"] == "ClusterNotReady"


async def test_the_object_shows_the_beats_of_a_syncer_that_writes_the_status(client: Client) -> None:
    beats = client.resource(SYNC_TARGET_HEARTBEATS)
    await heartbeat(client, "beat", syncTarget="east")
    lost = await until(lambda: beats.get("beat"), lambda b: bool(conditions.get(b, "Ready")))
    assert (conditions.get(lost, "Ready") or {})["reason"] == "SyncTargetNotFound"
    await sync_target(client, "east")
    found = await until(lambda: beats.get("beat"), lambda b: conditions.is_true(b, "Ready"))
    target = await client.resource(SYNC_TARGETS).get("east")
    assert found["status"]["lastHeartbeatTime"] == target["status"]["lastSyncerHeartbeatTime"]
    assert found["status"]["clusterHealth"]["ready"] is True


async def test_a_beat_is_late_after_two_intervals(client: Client) -> None:
    await sync_target(client, "east")
    await heartbeat(client, "beat", syncTarget="east", heartbeatInterval="100ms")
    beats = client.resource(SYNC_TARGET_HEARTBEATS)
    late = await until(
        lambda: beats.get("beat"), lambda b: (conditions.get(b, "Ready") or {}).get("reason") == "HeartbeatLate", timeout_s=20.0
    )
    assert "2 times 100ms" in (conditions.get(late, "Ready") or {})["message"]
    version = meta.resource_version(late)
    await report(client, "east", status="False", reason="Away")  # in the same second, which is no beat
    assert meta.resource_version(await beats.get("beat")) >= version


async def test_an_interval_that_is_none_is_refused(client: Client) -> None:
    for wrong in ("soon", "0s"):
        with pytest.raises(Invalid, match="heartbeatInterval"):
            await heartbeat(client, "beat", syncTarget="east", heartbeatInterval=wrong)
