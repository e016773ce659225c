"""DaemonSets on a simulated cluster: which nodes, updates with and without surge, failures, rollback, taints.

Conformance: sig-apps DaemonSet; KEP-1591 (maxSurge).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcp.apimachinery import conditions, meta

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World


def daemon(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "httpd:1"}], **spec.pop("pod", {})}}
    wanted = {"selector": {"matchLabels": {"app": "d"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"}, "spec": wanted}


def image(name: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}}


async def available(world: World, count: int) -> None:
    async def there() -> bool:
        return bool(((await world.get("daemonsets", "d")).get("status") or {}).get("numberAvailable", 0) == count)

    await world.until(there, within_s=60)


async def test_pods_follow_node_labels(world: World) -> None:
    await world.create(daemon(pod={"nodeSelector": {"color": "blue"}}))
    await world.clock.advance(2)
    assert await world.list("pods") == []
    await world.resource("nodes").patch("east-node-2", {"metadata": {"labels": {"color": "blue"}}})
    await available(world, 1)
    await world.resource("nodes").patch("east-node-2", {"metadata": {"labels": {"color": "green"}}})
    await world.clock.advance(3)
    assert await world.list("pods") == []


async def test_a_failed_daemon_pod_is_replaced(world: World) -> None:
    await world.create(daemon())
    await available(world, 3)
    name = (await world.running())[0]
    await world.resource("pods").patch(name, {"status": {"phase": "Failed"}}, namespace="default", subresource="status")
    await world.clock.advance(5)
    assert name not in {meta.name(p) for p in await world.list("pods")} or meta.uid(await world.get("pods", name))
    assert len(await world.running()) == 3
    assert "FailedDaemonPod" in {e["reason"] for e in await world.list("events")}


async def test_a_surge_starts_the_new_pod_before_the_old_one_ends(world: World) -> None:
    await world.create(daemon(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}))
    await available(world, 3)
    await world.resource("daemonsets").patch("d", image("httpd:2"), namespace="default")

    async def done() -> bool:
        assert len(await world.running()) >= 3
        pods = [p for p in await world.list("pods") if not meta.deletion_timestamp(p)]
        assert len(pods) <= 4
        return len(pods) == 3 and all(p["spec"]["containers"][0]["image"] == "httpd:2" for p in pods)

    await world.until(done, step_s=0.01, within_s=60)
    await world.clock.advance(3)
    assert (await world.get("daemonsets", "d"))["status"]["updatedNumberScheduled"] == 3


async def test_a_rollback_does_not_restart_what_was_never_touched(world: World) -> None:
    await world.create(daemon())
    await available(world, 3)
    before = {meta.uid(p) for p in await world.list("pods")}
    await world.resource("daemonsets").patch("d", image("does-not-exist:1"), namespace="default")
    await world.clock.advance(5)
    assert len(before & {meta.uid(p) for p in await world.list("pods")}) == 2
    await world.resource("daemonsets").patch("d", image("httpd:1"), namespace="default")
    await available(world, 3)
    assert len(before & {meta.uid(p) for p in await world.list("pods")}) == 2
    assert len(await world.list("controllerrevisions")) == 2


async def test_a_taint_that_comes_later_only_drives_away_if_it_says_so(world: World) -> None:
    await world.create(daemon())
    await available(world, 3)
    await world.resource("nodes").patch("east-node-1", {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})
    await world.clock.advance(3)
    held = (await world.get("daemonsets", "d"))["status"]
    assert len(await world.running()) == 3
    assert (held["desiredNumberScheduled"], held["numberMisscheduled"]) == (2, 1)
    await world.resource("nodes").patch("east-node-1", {"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}})
    await world.clock.advance(3)
    assert len(await world.running()) == 2


async def test_conditions_that_others_set_stay(world: World) -> None:
    await world.create(daemon())
    await available(world, 3)
    told = {"status": {"conditions": [{"type": "StatusUpdate", "status": "True"}]}}
    await world.resource("daemonsets").patch("d", told, namespace="default", subresource="status")
    await world.resource("daemonsets").patch("d", image("httpd:2"), namespace="default")
    await world.clock.advance(20)
    held = await world.get("daemonsets", "d")
    assert held["status"]["updatedNumberScheduled"] == 3
    assert conditions.is_true(held, "StatusUpdate")


async def test_a_failed_pod_is_followed_by_one_of_another_name(world: World) -> None:
    """Whoever waits for the failed pod to go asks for its name. Source: test/e2e/apps/daemon_set.go (DaemonSet-FailedPodCreation)."""
    await world.create(daemon())
    await available(world, 3)
    before = {meta.name(p) for p in await world.list("pods")}
    failed = min(before)
    await world.resource("pods").patch(failed, {"status": {"phase": "Failed"}}, namespace="default", subresource="status")
    await world.clock.advance(40)
    await available(world, 3)
    after = {meta.name(p) for p in await world.list("pods")}
    assert failed not in after
    assert len(before & after) == 2


async def test_the_data_of_a_revision_are_in_the_order_in_which_clients_compare_them(world: World) -> None:
    """Source: pkg/controller/daemon/update.go (Match compares bytes)."""
    await world.create(daemon())
    await available(world, 3)
    template = (await world.list("controllerrevisions"))[0]["data"]["spec"]["template"]
    assert list(template) == ["$patch", "metadata", "spec"]
    assert list(template["spec"]) == sorted(template["spec"])
