"""Push mode: a SyncTarget that carries a kubeconfig is served by the server itself, over a real connection."""

from __future__ import annotations

import base64
import functools
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from tests.behaviour.tmc.world import CLOCK, World, until, with_control_plane

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.client.kubeconfig import KubeConfigError
from kcp.sim.cluster import SimCluster
from kcp.tmc.model.kinds import PLACEMENTS, SYNC_TARGETS
from kcp.tmc.push.credentials import entry_of

SECRETS = GVR("", "v1", "secrets")


async def condition(world: World, kind: str) -> dict[str, Any]:
    return dict(conditions.get(await world.client.resource(SYNC_TARGETS).get("far"), kind) or {})


def encoded(document: Any) -> str:
    return base64.b64encode(yaml.safe_dump(document).encode()).decode()


async def test_a_cluster_is_served_as_soon_as_its_kubeconfig_is_there_and_no_longer_than_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimCluster("far", nodes=1, clock=CLOCK, start_delay_s=0.0) as cluster:
        async with with_control_plane(tmp_path, monkeypatch, {"far": cluster}, in_memory=True) as world:
            credentials = {"secretRef": {"name": "far", "namespace": "default"}}
            await world.create(SYNC_TARGETS, "SyncTarget", "far", spec={"workloadCluster": {"name": "far", "credentials": credentials}})
            missing = await until(functools.partial(condition, world, "SyncerReady"), bool)
            assert (missing["status"], missing["reason"]) == ("False", "ClusterConfiguration")
            assert "Secret default/far does not exist" in missing["message"]
            data = {"kubeconfig": encoded(orjson.loads(orjson.dumps(cluster.kubeconfig())))}
            await world.create(SECRETS, "Secret", "far", namespace="default", data=data)
            await until(functools.partial(condition, world, "Ready"), lambda c: c.get("status") == "True")
            await world.create(PLACEMENTS, "Placement", "all", spec={})
            await world.deploy("default", "web", 2)
            await world.settle("default", "web", 2)
            target = await world.client.resource(SYNC_TARGETS).get("far")
            assert meta.nested(target, "status", "syncerLease", "holder") == "kcp-server"
            await world.client.resource(SECRETS).patch("far", {"data": {"kubeconfig": encoded({"clusters": []})}}, namespace="default")
            broken = await until(functools.partial(condition, world, "SyncerReady"), lambda c: c.get("status") == "False")
            assert "current-context" in broken["message"]
            assert await world.below("web") == {"far": 2}, "what runs stays"


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("users", {"exec": {"command": "sh", "apiVersion": "client.authentication.k8s.io/v1"}}),
        ("users", {"tokenFile": "/etc/shadow"}),
        ("users", {"client-key": "/etc/kcp/key", "client-certificate": "/etc/kcp/cert"}),
        ("clusters", {"server": "https://x", "certificate-authority": "/etc/passwd"}),
    ],
)
def test_a_kubeconfig_that_reaches_for_the_servers_files_or_programs_is_refused(section: str, value: dict[str, Any]) -> None:
    document: dict[str, Any] = {
        "current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": "https://x"}}], "users": [{"name": "a", "user": {"token": "t"}}],
    }  # fmt: skip
    secret: dict[str, Any] = {"metadata": {"name": "s", "namespace": "n"}, "data": {"value": encoded(document)}}
    assert entry_of(secret).endpoint.token == "t"
    document[section][0][section.removesuffix("s")] = value
    secret["data"] = {"kubeconfig": encoded(document)}
    with pytest.raises(KubeConfigError, match="may not be used here"):
        entry_of(secret)


@pytest.mark.parametrize("data", [{}, {"kubeconfig": "%%%"}, {"kubeconfig": encoded("a")}, {"kubeconfig": encoded({"a": "b"})}])
def test_a_secret_without_a_kubeconfig_says_so(data: dict[str, str]) -> None:
    with pytest.raises(KubeConfigError, match="Secret n/s"):
        entry_of({"metadata": {"name": "s", "namespace": "n"}, "data": data})
