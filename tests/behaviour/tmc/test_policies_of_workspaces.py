"""PlacementPolicies: what they add to the Placements of their namespaces, and how much the workloads there may ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.test_placement_semantics import DEPLOYMENTS, decided, place, running, sync_target, workspace

from kcp.apimachinery.errors import Forbidden, Invalid
from kcp.client.rest import Client
from kcp.tmc.model.kinds import NAMESPACES, PLACEMENT_POLICIES, PLACEMENTS, SYNC_TARGETS

REFERENCE = {
    "namespaceSelector": {"matchLabels": {"tier": "production"}},
    "clusterSelector": {"matchLabels": {"environment": "production"}},
    "placement": {
        "spreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/region"},
            {"maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone"},
        ]
    },
    "resourceQuota": {"hard": {"requests.cpu": "100", "requests.memory": "200Gi"}},
}
"""As the TMC reference writes it."""


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with running(tmp_path) as server:
        yield await workspace(server, "root", "w")


async def policy(client: Client, name: str, spec: dict[str, Any]) -> None:
    written = {"apiVersion": PLACEMENT_POLICIES.api_version, "kind": "PlacementPolicy", "metadata": {"name": name}, "spec": spec}
    await client.resource(PLACEMENT_POLICIES).create(written)


async def namespace(client: Client, name: str, **labels: str) -> None:
    await client.resource(NAMESPACES).create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


async def deploy(client: Client, name: str, where: str, replicas: int, **requests: str) -> None:
    container = {"name": "web", "image": "nginx", "resources": {"requests": requests}}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    written = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
    await client.resource(DEPLOYMENTS).create(written, namespace=where)


async def test_its_constraints_hold_for_placements_of_its_namespaces(client: Client) -> None:
    region, zone = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
    for name, where, environment in (("a", "eu", "production"), ("b", "eu", "production"), ("c", "us", "production"), ("d", "us", "test")):
        labels = {region: where, zone: f"{where}-1", "environment": environment}
        await sync_target(client, name)
        await client.resource(SYNC_TARGETS).patch(name, {"metadata": {"labels": labels}})
    await place(client, numberOfClusters=2, namespaceSelector={"matchNames": ["shop"]})
    await decided(client, {"a": "Selected", "b": "Selected", "c": "EnoughClustersChosen", "d": "EnoughClustersChosen"})
    await policy(client, "multi-region-policy", REFERENCE)
    await namespace(client, "shop", tier="production")
    found = await decided(
        client, {"a": "Selected", "b": "Selected", "c": "EnoughClustersChosen", "d": "ConstraintNotMet"}
    )  # what runs is not moved for a spread
    assert "environment" in next(d["message"] for d in found["status"]["decisions"] if d["syncTarget"] == "d")
    await client.resource(PLACEMENTS).delete("p")
    await place(client, "fresh", numberOfClusters=2, namespaceSelector={"matchNames": ["shop"]})
    await decided(client, {"a": "Selected", "b": "EnoughClustersChosen", "c": "Selected", "d": "ConstraintNotMet"}, "fresh")
    await client.resource(PLACEMENT_POLICIES).delete("multi-region-policy")
    await decided(client, {"a": "Selected", "b": "EnoughClustersChosen", "c": "Selected", "d": "EnoughClustersChosen"}, "fresh")


async def test_a_workload_beyond_the_quota_is_refused_in_words(client: Client) -> None:
    await namespace(client, "shop", tier="production")
    await namespace(client, "lab")
    await policy(client, "limits", {**REFERENCE, "resourceQuota": {"hard": {"requests.cpu": 2, "requests.memory": "1Gi", "pods": 6}}})
    await deploy(client, "web", "shop", 3, cpu="500m", memory="256Mi")
    with pytest.raises(
        Forbidden, match="exceeded quota: placementpolicy limits, requested: requests.cpu=1, used: requests.cpu=1500m, limited"
    ):
        await deploy(client, "more", "shop", 2, cpu="500m")
    await deploy(client, "more", "lab", 20, cpu="500m")
    await deploy(client, "small", "shop", 1, cpu="500m")
    deployments = client.resource(DEPLOYMENTS)
    with pytest.raises(Forbidden, match="requests.cpu"):
        await deployments.patch("web", {"spec": {"replicas": 4}}, namespace="shop")
    with pytest.raises(Forbidden, match="requests.cpu"):
        await deployments.patch("web", {"spec": {"replicas": 4}}, namespace="shop", subresource="scale")
    await deployments.patch("web", {"spec": {"replicas": 2}}, namespace="shop")
    await deployments.patch("web", {"metadata": {"labels": {"seen": "yes"}}}, namespace="shop")
    await deploy(client, "plain", "shop", 3)
    with pytest.raises(Forbidden, match="pods=1, used: pods=6, limited: pods=6"):
        await deploy(client, "plainer", "shop", 1)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"resourceQuota": {"hard": {"services": "3"}}}, "services"),
        ({"resourceQuota": {"hard": {"requests.cpu": "many"}}}, "requests.cpu"),
        ({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}, "namespaceSelector"),
        ({"clusterSelector": {"matchExpressions": [{"key": "capacity.cpu", "operator": "GreaterThan"}]}}, "clusterSelector"),
        ({"placement": {"spreadConstraints": [{"maxSkew": 0, "topologyKey": "zone"}]}}, "maxSkew"),
    ],
)
async def test_what_means_nothing_is_refused(client: Client, spec: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid, match=path):
        await policy(client, "wrong", spec)
