"""Nodes that lose pods: NoExecute taints, nodes that are not ready, cordons; daemons and tolerating pods stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

Make = Callable[..., dict[str, Any]]
NODE = "east-node-1"


async def nodes_of(world: World, labels: str) -> list[str]:
    pods = await world.list("pods", labels)
    return sorted(p["spec"].get("nodeName", "") for p in pods if not meta.deletion_timestamp(p))


async def run(world: World, deployment: Make, **pod: Any) -> None:
    made = deployment()
    made["spec"]["template"]["spec"] |= pod
    await world.create(made)

    async def is_running() -> bool:
        return len(await world.running("app=web")) == 3

    await world.until(is_running)


async def test_a_taint_drives_pods_away_but_those_that_tolerate_it(world: World, deployment: Make) -> None:
    await run(world, deployment)
    daemon = {"tolerations": [{"operator": "Exists"}], "containers": [{"name": "c", "image": "x"}]}
    template = {"metadata": {"labels": {"app": "daemon"}}, "spec": daemon}
    spec = {"selector": {"matchLabels": {"app": "daemon"}}, "template": template}
    await world.create({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "daemon"}, "spec": spec})
    await world.clock.advance(2)
    assert NODE in await nodes_of(world, "app=web")
    await world.resource("nodes").patch(NODE, {"spec": {"taints": [{"key": "gone", "effect": "NoExecute"}]}})

    async def is_free() -> bool:
        found = await nodes_of(world, "app=web")
        return NODE not in found and len(found) == 3 and "" not in found

    await world.until(is_free, within_s=5)
    assert NODE in await nodes_of(world, "app=daemon")


async def test_a_node_that_is_not_ready_keeps_its_pods_for_five_minutes(world: World, deployment: Make) -> None:
    await run(world, deployment)
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}
    held = await world.resource("nodes").patch(NODE, unready, subresource="status")
    await world.clock.advance(1)
    taints = (await world.get("nodes", NODE, ""))["spec"]["taints"]
    assert [(t["key"], t["effect"]) for t in taints] == [
        ("node.kubernetes.io/not-ready", "NoSchedule"), ("node.kubernetes.io/not-ready", "NoExecute"),
    ]  # fmt: skip
    await world.clock.advance(250)
    assert NODE in await nodes_of(world, "app=web")
    assert held["metadata"]["name"] == NODE


async def test_pods_leave_when_their_patience_ends(world: World, deployment: Make) -> None:
    patience = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 20}]
    await run(world, deployment, tolerations=patience)
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}
    await world.resource("nodes").patch(NODE, unready, subresource="status")
    await world.clock.advance(15)
    assert NODE in await nodes_of(world, "app=web")
    await world.clock.advance(10)
    assert NODE not in await nodes_of(world, "app=web")


async def test_no_pods_go_while_no_node_is_ready(world: World, deployment: Make) -> None:
    """Source: pkg/controller/nodelifecycle/node_lifecycle_controller.go (handleDisruption: all zones fully disrupted)."""
    await run(world, deployment, tolerations=[{"key": "x", "operator": "Exists"}])
    names = [meta.name(node) for node in await world.list("nodes")]

    async def tell(name: str, status: str) -> None:
        told = {"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        await world.resource("nodes").patch(name, {"status": {"conditions": [told]}}, subresource="status")

    async def effects(name: str) -> list[str]:
        return [t["effect"] for t in (await world.get("nodes", name, ""))["spec"].get("taints", ())]

    for name in names:
        await tell(name, "Unknown")
    await world.clock.advance(10)
    assert [await effects(name) for name in names] == [["NoSchedule"]] * 3
    assert await nodes_of(world, "app=web") == names
    await tell(names[0], "True")
    await world.clock.advance(1)
    assert [await effects(name) for name in names] == [[], ["NoSchedule", "NoExecute"], ["NoSchedule", "NoExecute"]]


async def test_a_cordoned_node_says_so_and_keeps_its_pods(world: World, deployment: Make) -> None:
    await run(world, deployment)
    await world.resource("nodes").patch(NODE, {"spec": {"unschedulable": True}})
    await world.clock.advance(1)
    assert [t["key"] for t in (await world.get("nodes", NODE, ""))["spec"]["taints"]] == ["node.kubernetes.io/unschedulable"]
    assert NODE in await nodes_of(world, "app=web")
    await world.resource("nodes").patch(NODE, {"spec": {"unschedulable": None}})
    await world.clock.advance(1)
    assert "taints" not in (await world.get("nodes", NODE, ""))["spec"]


async def test_a_node_made_by_hand_is_tainted_until_it_is_ready(world: World) -> None:
    made = await world.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "new"}})
    assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]
    assert made["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 0}}
    assert (len(made["status"]["nodeInfo"]), made["status"]["nodeInfo"]["kubeletVersion"]) == (10, "")
    ready = {"type": "Ready", "status": "True", "reason": "E2E", "message": ""}
    await world.resource("nodes").patch("new", {"status": {"conditions": [ready]}}, subresource="status")
    await world.clock.advance(1)
    assert "taints" not in (await world.get("nodes", "new", ""))["spec"]


async def test_a_node_of_which_no_kubelet_speaks_is_unknown_after_a_minute(world: World) -> None:
    """Source: pkg/controller/nodelifecycle/node_lifecycle_controller.go, --node-startup-grace-period."""
    pressure = {"type": "DiskPressure", "status": "False", "reason": "E2E", "message": ""}
    await world.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "new"}, "status": {"conditions": [pressure]}})
    await world.clock.advance(55)
    assert [c["type"] for c in (await world.get("nodes", "new", ""))["status"]["conditions"]] == ["DiskPressure"]
    await world.clock.advance(10)
    node = await world.get("nodes", "new", "")
    told = {c["type"]: (c["status"], c["reason"]) for c in node["status"]["conditions"]}
    never = ("Unknown", "NodeStatusNeverUpdated")
    assert told == {"DiskPressure": ("False", "E2E"), "Ready": never, "MemoryPressure": never, "PIDPressure": never}
    assert {(t["key"], t["effect"]) for t in node["spec"]["taints"]} == {
        ("node.kubernetes.io/unreachable", "NoSchedule"), ("node.kubernetes.io/unreachable", "NoExecute"),
    }  # fmt: skip


async def test_a_node_is_made_with_its_status(world: World) -> None:
    """Source: the conformance test of a node's lifecycle, whose node says itself that it is ready."""
    ready = {"type": "Ready", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    status = {"phase": "Running", "conditions": [ready], "capacity": {"cpu": "1000m"}}
    made = await world.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "new"}, "status": status})
    assert made["status"]["conditions"][0]["message"] == "Set from e2e test"
    assert (made["status"]["phase"], made["status"]["capacity"], made["status"]["allocatable"]) == ("Running", {"cpu": "1"}, {"cpu": "1"})


async def test_the_lease_of_a_node_belongs_to_it(world: World) -> None:
    """Source: test/e2e/common/node/node_lease.go (NodeLease should have OwnerReferences set)."""
    await world.clock.advance(1)
    lease = await world.client.resource(GVR("coordination.k8s.io", "v1", "leases")).get("east-node-1", namespace="kube-node-lease")
    node = await world.get("nodes", "east-node-1", namespace="")
    assert meta.owner_references(lease) == [{"apiVersion": "v1", "kind": "Node", "name": "east-node-1", "uid": meta.uid(node)}]
