"""OverridePolicies on a whole server: each cluster's copy is its own, follows policy, object and labels, and is held back where a policy fails."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.world import DEPLOYMENTS, World, running, until

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GVR
from kcp.tmc.model.kinds import OVERRIDE_POLICIES, SYNC_TARGETS

CONFIG_MAPS = GVR("", "v1", "configmaps")


async def where(world: World, name: str) -> dict[str, Any]:
    """Cluster → data of the copies of a ConfigMap."""
    found = [(c.name, m) for c in world.clusters.values() for m in (await c.client().resource(CONFIG_MAPS).list()).items]
    return {cluster: m.get("data") for cluster, m in found if meta.name(m) == name}


async def override(world: World, *rules: dict[str, Any], name: str = "p") -> None:
    await world.create(OVERRIDE_POLICIES, "OverridePolicy", name, namespace="default", spec={"overrideRules": list(rules)})


async def test_each_cluster_gets_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        targets, policies = world.client.resource(SYNC_TARGETS), world.client.resource(OVERRIDE_POLICIES)
        await override(world, {"targetCluster": {"clusterNames": ["west"]}, "set": [{"path": "/data/where", "expression": "cluster.name"}]})
        await world.create(CONFIG_MAPS, "ConfigMap", "c", namespace="default", data={"a": "1"})
        look = functools.partial(where, world, "c")
        await until(look, lambda found: found == {"east": {"a": "1"}, "west": {"a": "1", "where": "west"}})
        await world.client.resource(CONFIG_MAPS).patch("c", {"data": {"a": "2"}}, namespace="default")
        await until(look, lambda found: found == {"east": {"a": "2"}, "west": {"a": "2", "where": "west"}})
        by_label = {"targetCluster": {"labelSelector": {"matchLabels": {"tier": "prod"}}},
                    "jsonPatch": [{"op": "add", "path": "/data/tier", "value": "prod"}]}  # fmt: skip
        await override(world, by_label, name="tiers")
        await targets.patch("east", {"metadata": {"labels": {"tier": "prod"}}})
        await until(look, lambda found: found == {"east": {"a": "2", "tier": "prod"}, "west": {"a": "2", "where": "west"}})
        for name in ("p", "tiers"):
            await policies.delete(name, namespace="default")
        await until(look, lambda found: found == {"east": {"a": "2"}, "west": {"a": "2"}})
        above = await world.client.resource(CONFIG_MAPS).get("c", namespace="default")
        assert above["data"] == {"a": "2"}, "the object itself is as its user wrote it"


async def test_a_policy_that_fails_holds_the_copy_back_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        deployments = world.client.resource(DEPLOYMENTS)
        await override(
            world, {"targetCluster": {"clusterNames": ["east"]}, "set": [{"path": "/spec/paused", "expression": "object.spec.typo"}]}
        )
        await world.deploy("default", "web", 4)
        found = await until(
            lambda: deployments.get("web", namespace="default"),
            lambda d: (conditions.get(d, "Synced") or {}).get("reason") == "ProjectionTransform",
        )
        message = (conditions.get(found, "Synced") or {})["message"]
        assert "OverridePolicy p, rule 0" in message
        assert "mend the OverridePolicy" in message
        assert "east" not in await world.below("web"), "never without its overrides"
        await world.client.resource(OVERRIDE_POLICIES).delete("p", namespace="default")
        await world.settle("default", "web", 4)


async def test_a_policy_that_can_never_work_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch) as world:
        with pytest.raises(Invalid) as caught:
            await override(
                world, {"when": "1", "jsonPatch": [{"op": "replace", "path": "/metadata/name", "value": "x"}],
                        "targetCluster": {"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}},
            )  # fmt: skip
        assert len(caught.value.causes) == 3
