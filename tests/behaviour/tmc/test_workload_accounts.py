"""Service accounts that workloads name: they go down with their namespace, and one that is missing is told where the user looks."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, World, running, until

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject

ACCOUNTS, PODS = GVR("", "v1", "serviceaccounts"), GVR("", "v1", "pods")


async def as_account(world: World, name: str) -> None:
    patch = {"spec": {"template": {"spec": {"serviceAccountName": name}}}}
    await world.client.resource(DEPLOYMENTS).patch("web", patch, namespace="default")


async def accounts_of_pods(world: World) -> set[str]:
    pods = [pod for cluster in world.clusters.values() for pod in (await cluster.client().resource(PODS).list()).items]
    return {pod["spec"]["serviceAccountName"] for pod in pods if not meta.deletion_timestamp(pod)}


async def test_the_account_of_a_workload_is_there_for_its_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.deploy("default", "web", 2)
        await world.create(ACCOUNTS, "ServiceAccount", "bot", namespace="default")
        await as_account(world, "bot")
        await until(lambda: accounts_of_pods(world), lambda found: found == {"bot"}, timeout_s=20.0)
        await world.settle("default", "web", 2)


async def test_a_workload_whose_account_is_missing_says_so_and_goes_on_once_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, monkeypatch) as world:
        await world.deploy("default", "web", 2)
        await world.settle("default", "web", 2)
        await as_account(world, "bot")

        async def look() -> JSONObject:
            return await world.client.resource(DEPLOYMENTS).get("web", namespace="default")

        found = await until(look, lambda held: conditions.is_true(held, "ReplicaFailure"), timeout_s=20.0)
        assert 'serviceaccount "bot" not found' in (conditions.get(found, "ReplicaFailure") or {})["message"]
        assert meta.nested(found, "status", "readyReplicas"), "the old pods go on"
        await world.create(ACCOUNTS, "ServiceAccount", "bot", namespace="default")
        await until(lambda: accounts_of_pods(world), lambda found: found == {"bot"}, timeout_s=20.0)
