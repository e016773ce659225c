"""What a Placement means, on a whole server in process: locations, ancestors, defaults, cordon and drain, several placements, switches.

The SyncTargets have no syncers here; what a syncer would report is written by the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kcp.aio.clock import SystemClock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Invalid, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client
from kcp.server.compose import KcpServer, run_server
from kcp.server.options import Options, TMCOptions
from kcp.tenancy import kinds
from kcp.tenancy.waiting import wait_for
from kcp.tmc.model.kinds import LOCATIONS, NAMESPACES, PLACEMENTS, SYNC_TARGETS
from kcp.tmc.model.names import DELETION_ANNOTATION, STATE_LABEL, SYNCER_FINALIZER, held_keys, sync_target_key, synced_keys

DEPLOYMENTS = GVR("apps", "v1", "deployments")
CLOCK = SystemClock()


@asynccontextmanager
async def running(tmp_path: Path, **tmc: Any) -> AsyncIterator[KcpServer]:
    options = Options(root_directory=tmp_path / ".kcp", in_memory=True, tmc=TMCOptions(enabled=True, **tmc))
    async with run_server(options, clock=CLOCK, with_socket=False) as server:
        yield server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KcpServer]:
    async with running(tmp_path) as found:
        yield found


async def workspace(server: KcpServer, parent: str, name: str, *, type_: str = "universal") -> Client:
    workspaces = server.client.cluster(parent).resource(kinds.WORKSPACES)
    spec = {"type": {"name": type_, "path": "root"}}
    await workspaces.create({"apiVersion": kinds.WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}, "spec": spec})
    await wait_for(workspaces, name, lambda w: meta.nested(w, "status", "phase") == "Ready", timeout_s=10.0, what=name)
    return server.client.cluster(f"{parent}:{name}")


async def sync_target(client: Client, name: str, *, ready: bool = True, **labels: str) -> str:
    """A SyncTarget whose syncer has reported; gives K."""
    targets = client.resource(SYNC_TARGETS)
    made = await targets.create(
        {"apiVersion": SYNC_TARGETS.api_version, "kind": "SyncTarget", "metadata": {"name": name, "labels": labels}, "spec": {}}
    )
    if ready:
        await report(client, name)
    return sync_target_key(meta.cluster(made), name)


async def report(client: Client, name: str, *, status: str = "True", reason: str = "SyncerConnected") -> None:
    """What a syncer writes with its heartbeat."""
    now = rfc3339(CLOCK.now())
    condition = conditions.build("SyncerReady", status, reason=reason, now=now)
    patch = {"status": {"lastSyncerHeartbeatTime": now, "conditions": [condition]}}
    await client.resource(SYNC_TARGETS).patch(name, patch, subresource="status")


async def place(client: Client, name: str = "p", **spec: Any) -> None:
    await client.resource(PLACEMENTS).create(
        {"apiVersion": PLACEMENTS.api_version, "kind": "Placement", "metadata": {"name": name}, "spec": spec}
    )


async def until(look: Callable[[], Awaitable[Any]], is_right: Callable[[Any], bool], *, timeout_s: float = 5.0) -> Any:
    found: Any = None
    try:
        async with asyncio.timeout(timeout_s):
            while not is_right(found := await look()):  # noqa: ASYNC110 - the server's controllers tell nobody when they are done
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never right; last: {found}") from None
    return found


def reasons(placement: dict[str, Any]) -> dict[str, str]:
    return {d["syncTarget"]: d["reason"] for d in meta.nested(placement, "status", "decisions", default=())}


async def decided(client: Client, expected: dict[str, str], name: str = "p") -> dict[str, Any]:
    placement: dict[str, Any] = await until(lambda: client.resource(PLACEMENTS).get(name), lambda p: reasons(p) == expected)
    return placement


async def test_targets_of_the_nearest_ancestor_are_used(server: KcpServer) -> None:
    org = await workspace(server, "root", "org", type_="organization")
    team = await workspace(server, "root:org", "team")
    await sync_target(server.client.cluster("root"), "far", region="x")
    await sync_target(org, "near", region="x")
    await place(team, locationSelectors=[{"matchLabels": {"region": "x"}}])
    found = await until(lambda: team.resource(PLACEMENTS).get("p"), lambda p: conditions.is_true(p, "Ready"))
    assert set(reasons(found)) == {"near"}
    assert found["status"]["selectedLocation"]["path"] == "root:org"


async def test_a_named_location_workspace_wins_and_a_wrong_one_is_named(server: KcpServer) -> None:
    org = await workspace(server, "root", "org", type_="organization")
    await sync_target(org, "mine", region="x")
    await sync_target(server.client.cluster("root"), "shared", region="x")
    await place(org, locationWorkspace="root")
    await until(lambda: org.resource(PLACEMENTS).get("p"), lambda p: set(reasons(p)) == {"shared"})
    await place(org, "wrong", locationWorkspace="root:nowhere")
    wrong = await until(lambda: org.resource(PLACEMENTS).get("wrong"), lambda p: conditions.is_false(p, "Ready"))
    condition = conditions.get(wrong, "Ready")
    assert condition is not None
    assert condition["reason"] == "LocationNotFound"
    assert "root:nowhere" in condition["message"]


async def test_locations_group_targets(server: KcpServer) -> None:
    org = await workspace(server, "root", "org", type_="organization")
    await sync_target(org, "east", zone="a")
    await sync_target(org, "west", zone="b")
    location = {
        "apiVersion": LOCATIONS.api_version,
        "kind": "Location",
        "metadata": {"name": "zone-a", "labels": {"tier": "gold"}},
        "spec": {"instanceSelector": {"matchLabels": {"zone": "a"}}},
    }
    await org.resource(LOCATIONS).create(location)
    await place(org, locationSelectors=[{"matchLabels": {"tier": "gold"}}], numberOfClusters=2)
    found = await until(
        lambda: org.resource(PLACEMENTS).get("p"),
        lambda p: meta.nested(p, "status", "selectedLocation") is not None and len(reasons(p)) == 2,
    )
    assert reasons(found)["west"] == "LocationNotMatched"
    assert found["status"]["selectedLocation"]["locationName"] == "zone-a"
    await until(
        lambda: org.resource(LOCATIONS).get("zone-a"),
        lambda loc: (meta.nested(loc, "status", "instances"), meta.nested(loc, "status", "availableInstances")) == (1, 1),
    )


async def test_without_number_of_clusters_one_is_chosen_by_name(server: KcpServer) -> None:
    org = await workspace(server, "root", "org", type_="organization")
    await sync_target(org, "b")
    await sync_target(org, "a")
    await place(org)
    placement = await until(lambda: org.resource(PLACEMENTS).get("p"), lambda p: len(reasons(p)) == 2 and conditions.is_true(p, "Ready"))
    assert sum(d["chosen"] for d in placement["status"]["decisions"]) == 1


async def test_a_target_that_turns_ready_is_taken_when_clusters_are_missing(server: KcpServer) -> None:
    org = await workspace(server, "root", "org", type_="organization")
    await sync_target(org, "east")
    await sync_target(org, "west", ready=False)
    await place(org, numberOfClusters=2)
    short = await until(
        lambda: org.resource(PLACEMENTS).get("p"), lambda p: (conditions.get(p, "Ready") or {}).get("reason") == "NotEnoughClusters"
    )
    assert (reasons(short)["west"], short["status"]["phase"]) == ("NotReady", "Bound")
    await report(org, "west")
    await until(lambda: org.resource(PLACEMENTS).get("p"), lambda p: conditions.is_true(p, "Ready"))


async def test_cordon_keeps_and_drain_moves(server: KcpServer) -> None:
    org = await workspace(server, "root", "org", type_="organization")
    east, west = await sync_target(org, "east"), await sync_target(org, "west")
    await place(org)
    await decided_one(org, "east")
    namespaces = org.resource(NAMESPACES)
    await until(lambda: namespaces.get("default"), lambda ns: synced_keys(ns) == [east])
    await org.resource(SYNC_TARGETS).patch("east", {"spec": {"unschedulable": True}})
    await asyncio.sleep(0.05)
    await decided(org, {"east": "Kept", "west": "EnoughClustersChosen"})
    await org.resource(SYNC_TARGETS).patch("east", {"spec": {"evictAfter": rfc3339(CLOCK.now())}})
    await until(lambda: org.resource(PLACEMENTS).get("p"), lambda p: reasons(p).get("east") == "Evicted")
    left = await until(lambda: namespaces.get("default"), lambda ns: STATE_LABEL + west in meta.labels(ns))
    assert DELETION_ANNOTATION + east in meta.annotations(left)
    assert STATE_LABEL + east in meta.labels(left), "the label stays until the syncer says that its copy is gone"


async def decided_one(client: Client, chosen: str) -> None:
    def is_right(placement: dict[str, Any]) -> bool:
        return {d["syncTarget"] for d in meta.nested(placement, "status", "decisions", default=()) if d["chosen"]} == {chosen}

    await until(lambda: client.resource(PLACEMENTS).get("p"), is_right)


async def test_an_unready_target_keeps_its_work_for_the_grace_and_then_loses_it(tmp_path: Path) -> None:
    async with running(tmp_path, eviction_grace_s=1.0) as server:
        org = await workspace(server, "root", "org", type_="organization")
        await sync_target(org, "east")
        await sync_target(org, "west")
        await place(org)
        await decided_one(org, "east")
        await report(org, "east", status="False", reason="ClusterUnreachable")
        await until(lambda: org.resource(PLACEMENTS).get("p"), lambda p: reasons(p).get("east") == "KeptWhileUnready")
        await decided_one(org, "west")


async def test_recovery_switched_off_never_moves_work(tmp_path: Path) -> None:
    async with running(tmp_path, eviction_grace_s=0.0, recovery=False) as server:
        org = await workspace(server, "root", "org", type_="organization")
        await sync_target(org, "east")
        await sync_target(org, "west")
        await place(org)
        await decided_one(org, "east")
        await report(org, "east", status="False", reason="ClusterUnreachable")
        await until(lambda: org.resource(PLACEMENTS).get("p"), lambda p: reasons(p).get("east") == "KeptWhileUnready")


async def test_a_late_heartbeat_counts_only_with_health_monitoring(tmp_path: Path) -> None:
    async with running(tmp_path, heartbeat_threshold_s=0.3) as server:
        org = await workspace(server, "root", "org", type_="organization")
        await sync_target(org, "east")
        late = await until(lambda: org.resource(SYNC_TARGETS).get("east"), lambda t: conditions.is_false(t, "HeartbeatHealthy"))
        ready = await until(lambda: org.resource(SYNC_TARGETS).get("east"), lambda t: conditions.is_false(t, "Ready"))
        assert conditions.get(ready, "Ready")["reason"] == "ErrorHeartbeat"  # type: ignore[index]
        assert "is the syncer running?" in conditions.get(late, "HeartbeatHealthy")["message"]  # type: ignore[index]
    async with running(tmp_path, heartbeat_threshold_s=0.3, health_monitoring=False) as server:
        org = await workspace(server, "root", "org", type_="organization")
        await sync_target(org, "east")
        target = await until(lambda: org.resource(SYNC_TARGETS).get("east"), lambda t: conditions.is_true(t, "Ready"))
        assert conditions.get(target, "HeartbeatHealthy") is None


async def test_new_workspaces_serve_deployments_unless_that_is_switched_off(tmp_path: Path) -> None:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
    spec: dict[str, Any] = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"}, "spec": spec}
    async with running(tmp_path) as server:
        org = await workspace(server, "root", "org", type_="organization")
        made = await org.resource(DEPLOYMENTS).create(deployment)
        assert made["spec"]["replicas"] == 1
        wrong = {**deployment, "spec": {**spec, "replicas": -1, "selector": {}}}
        with pytest.raises(Invalid) as refused:
            await org.resource(DEPLOYMENTS).create(wrong)
        assert len(refused.value.causes) >= 1
    async with running(tmp_path, bind_compute=False) as server:
        org = await workspace(server, "root", "org", type_="organization")
        with pytest.raises(NotFound):
            await org.resource(DEPLOYMENTS).create(deployment)


async def test_two_placements_on_one_namespace_mean_both_their_targets(server: KcpServer) -> None:
    org = await workspace(server, "root", "org", type_="organization")
    keys = [await sync_target(org, "east", region="east"), await sync_target(org, "west", region="west")]
    for region in ("east", "west"):
        await place(org, region, locationSelectors=[{"matchLabels": {"region": region}}])
    await until(lambda: org.resource(NAMESPACES).get("default"), lambda ns: synced_keys(ns) == sorted(keys))
    await org.resource(PLACEMENTS).delete("east")
    await until(lambda: org.resource(NAMESPACES).get("default"), lambda ns: DELETION_ANNOTATION + keys[0] in meta.annotations(ns))


async def test_a_deleted_sync_target_is_forgotten_everywhere_and_holds_nothing(server: KcpServer) -> None:
    org = await workspace(server, "root", "org", type_="organization")
    key = await sync_target(org, "east")
    await place(org)
    await until(lambda: org.resource(NAMESPACES).get("default"), lambda ns: synced_keys(ns) == [key])
    maps = org.resource(GVR("", "v1", "configmaps"))
    held = {"name": "cm", "namespace": "default", "finalizers": [SYNCER_FINALIZER + key]}
    await maps.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": held})
    await until(lambda: maps.get("cm", namespace="default"), lambda cm: synced_keys(cm) == [key])
    await org.resource(SYNC_TARGETS).delete("east")
    await until(lambda: maps.get("cm", namespace="default"), lambda cm: held_keys(cm) == [])
    await until(lambda: org.resource(NAMESPACES).get("default"), lambda ns: held_keys(ns) == [])
