"""A Shard is cordoned and limited by administrators, says that it heard, and counts what it has.

Source: kcp test/e2e/reconciler/shard/shard_operations_test.go, pkg/reconciler/core/shard.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.lifecycle.town import Town

from kcp.aio.clock import VirtualClock
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ROOT
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import ResourceClient
from kcp.registry.backend import UserInfo
from kcp.tenancy.kinds import KCP_ADMIN, SHARDS, UNSCHEDULABLE, WORKSPACES
from kcp.tenancy.shardstatus import COUNT_DELAY_S, OWN_SHARD, ShardReconciler, described

ADMINISTRATOR = UserInfo("kcp-admin", (KCP_ADMIN, "system:authenticated"))
NOW = "2026-01-01T00:00:00Z"


def shards(town: Town) -> ResourceClient:
    return town.as_user(ADMINISTRATOR).at("/services/admin").resource(SHARDS)


async def created(town: Town, name: str) -> JSONObject:
    """A workspace, once it is scheduled or refused."""
    workspaces = town.at("root").resource(WORKSPACES)
    spec = {"type": {"name": "universal", "path": "root"}}
    await workspaces.create({"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}, "spec": spec})
    return await town.until(workspaces, name, lambda w: conditions.get(w, "WorkspaceScheduled") is not None, name)


def refusal(workspace: JSONObject) -> str:
    said = conditions.get(workspace, "WorkspaceScheduled") or {}
    return f"{said.get('reason', '')}: {said.get('message', '')}" if said["status"] == "False" else ""


async def test_a_cordoned_shard_says_so_and_takes_no_workspace(town: Town) -> None:
    await shards(town).patch("root", {"metadata": {"annotations": {UNSCHEDULABLE: ""}}})
    held = await town.until(shards(town), "root", lambda s: conditions.is_false(s, "Schedulable"), "the cordon")
    assert (conditions.get(held, "Schedulable") or {})["reason"] == "Cordoned"
    assert refusal(await created(town, "late")).startswith("Unschedulable: all matching shards are unschedulable: root")
    await shards(town).patch("root", {"metadata": {"annotations": {UNSCHEDULABLE: None}}})
    await town.until(shards(town), "root", lambda s: conditions.is_true(s, "Schedulable"), "the shard")
    await town.until(town.at("root").resource(WORKSPACES), "late", lambda w: conditions.is_true(w, "WorkspaceScheduled"), "late")


async def test_a_shard_takes_as_many_workspaces_as_its_limit_says(town: Town) -> None:
    count = town.server.foundation.index.count()
    await shards(town).patch("root", {"spec": {"resourceLimits": {"hard": {"workspaces": count + 1}}}})
    told = f"soft/hard: workspaces=-/{count + 1}"
    await town.until(shards(town), "root", lambda s: (conditions.get(s, "ResourceLimitsApplied") or {}).get("message") == told, "the limit")
    assert not refusal(await created(town, "last"))
    assert (
        refusal(await created(town, "late"))
        == f"Unschedulable: all matching shards are unschedulable: root (at its limit of {count + 1} workspaces)"
    )
    await shards(town).patch("root", {"spec": {"resourceLimits": None}})
    await town.until(town.at("root").resource(WORKSPACES), "late", lambda w: conditions.is_true(w, "WorkspaceScheduled"), "late")
    held = await town.until(
        shards(town), "root", lambda s: (conditions.get(s, "ResourceLimitsApplied") or {}).get("message") == "no limits configured", "none"
    )
    assert int(held["status"]["used"]["workspaces"]) > 0


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"soft": {"workspaces": "10"}, "hard": {"workspaces": "20"}}, "soft/hard: workspaces=10/20"),
        ({"hard": {"workspaces": -1}}, "soft/hard: workspaces=-/-1; hard workspaces=-1 is negative and is treated as disabled"),
        (
            {"soft": {"workspaces": 20}, "hard": {"workspaces": 10}},
            "soft/hard: workspaces=20/10; soft workspaces=20 is not below hard workspaces=10, so the shard is never deprioritized before it "
            "refuses new workspaces",
        ),
    ],
)
def test_limits_are_told_and_what_is_wrong_with_them(limits: dict[str, Any], told: str) -> None:
    shard = {"metadata": {"name": "root"}, "spec": {"baseURL": "https://a", "resourceLimits": limits}}
    said = conditions.get(described(shard, 3, now=NOW), "ResourceLimitsApplied") or {}
    assert (said["message"], said["status"]) == (told, "True" if ";" not in told else "False")


async def test_many_workspaces_cost_one_write() -> None:
    shard: JSONObject = {"metadata": {"name": "root", "annotations": {"kcp.io/cluster": ROOT}}, "spec": {"baseURL": "https://a"}}
    counts, written, clock = [7], [shard], VirtualClock()

    async def commit(old: JSONObject, new: JSONObject) -> JSONObject:
        if new != old:
            written.append(new)
        return new

    reconciler = ShardReconciler(lambda key: meta.copy_json(written[-1]), lambda: counts[-1], commit, clock)
    assert (await reconciler.reconcile(OWN_SHARD)).requeue_after_s is None
    for count in range(8, 20):
        counts.append(count)
        assert (await reconciler.reconcile(OWN_SHARD)).requeue_after_s is not None
        await clock.advance(0.1)
    assert len(written) == 2
    await clock.advance(COUNT_DELAY_S)
    await reconciler.reconcile(OWN_SHARD)
    assert [state["status"]["used"] for state in written[1:]] == [{"workspaces": "7"}, {"workspaces": "19"}]
