"""The scheduler of a simulated cluster: resources, ports, affinity, spreading, claims, gates, preemption, and what it says.

Conformance: sig-scheduling SchedulerPredicates, SchedulerPreemption; KEP-3521 (gates).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kcp.apimachinery import conditions, meta
from kcp.sim.workloads.podbook import PodBook

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World


def pod(name: str, requests: dict[str, str] | None = None, labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "pause", **({"resources": {"requests": requests, "limits": requests}} if requests else {})}
    metadata = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


async def nodes_of(world: World) -> dict[str, str]:
    return {meta.name(p): p["spec"].get("nodeName", "") for p in await world.list("pods")}


async def why(world: World, name: str) -> str:
    return str((conditions.get(await world.get("pods", name), "PodScheduled") or {}).get("message") or "")


async def test_why_a_pod_waits_is_said_in_a_condition_and_once_in_an_event(world: World) -> None:
    await world.create(pod("big", {"cpu": "100"}))
    await world.clock.advance(60)
    told = (
        "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: "
        "3 Preemption is not helpful for scheduling."
    )
    assert await why(world, "big") == told
    (event,) = [e for e in await world.list("events") if e["reason"] == "FailedScheduling"]
    assert (event["type"], event["message"], event["source"]["component"]) == ("Warning", told, "default-scheduler")
    await world.create(pod("small"))
    await world.clock.advance(1)
    (event,) = [e for e in await world.list("events") if e["reason"] == "Scheduled"]
    assert event["message"] == f"Successfully assigned default/small to {(await nodes_of(world))['small']}"


async def test_extended_resources_count(world: World) -> None:
    await world.resource("nodes").patch("east-node-2", {"status": {"capacity": {"example.com/foo": "2"}}}, subresource="status")
    await world.clock.advance(1)
    assert (await world.get("nodes", "east-node-2", ""))["status"]["allocatable"]["example.com/foo"] == "2", "as a kubelet says"
    for number in range(3):
        await world.create(pod(f"p{number}", {"example.com/foo": "1"}))
    await world.clock.advance(1)
    assert sorted((await nodes_of(world)).values()) == ["", "east-node-2", "east-node-2"]
    assert "3 Insufficient example.com/foo" in await why(world, "p2")


async def test_host_ports_conflict_only_for_the_same_address_and_protocol(world: World) -> None:
    def on(name: str, address: str, protocol: str) -> dict[str, Any]:
        made = pod(name, nodeSelector={"kubernetes.io/hostname": "east-node-1"})
        made["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 54321, "hostIP": address, "protocol": protocol}]
        return made

    for body in (on("a", "127.0.0.1", "TCP"), on("b", "172.18.0.2", "TCP"), on("c", "172.18.0.2", "UDP"), on("d", "0.0.0.0", "UDP")):
        await world.create(body)
        await world.clock.advance(1)
    assert await nodes_of(world) == {"a": "east-node-1", "b": "east-node-1", "c": "east-node-1", "d": ""}
    assert "1 node(s) didn't have free ports for the requested pod ports" in await why(world, "d")


def near(kind: str, value: str, key: str = "kubernetes.io/hostname") -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": {"app": value}}, "topologyKey": key}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


async def test_pods_keep_to_and_away_from_each_other(world: World) -> None:
    await world.create(pod("base", labels={"app": "db"}))
    await world.clock.advance(1)
    home = (await nodes_of(world))["base"]
    await world.create(pod("friend", affinity=near("podAffinity", "db")))
    for number in range(3):
        await world.create(pod(f"rival-{number}", labels={"app": "rival"}, affinity=near("podAntiAffinity", "rival")))
    await world.clock.advance(1)
    held = await nodes_of(world)
    assert held["friend"] == home
    assert len({held[f"rival-{n}"] for n in range(3)}) == 3
    await world.create(pod("rival-3", labels={"app": "rival"}, affinity=near("podAntiAffinity", "rival")))
    await world.create(pod("plain-rival", labels={"app": "rival"}))
    await world.create(pod("lonely", affinity=near("podAffinity", "nobody")))
    await world.clock.advance(1)
    assert "3 node(s) didn't match pod anti-affinity rules" in await why(world, "rival-3")
    assert "3 node(s) didn't satisfy existing pods anti-affinity rules" in await why(world, "plain-rival")
    assert "3 node(s) didn't match pod affinity rules" in await why(world, "lonely")
    await world.create(pod("nobody", labels={"app": "nobody"}))
    await world.clock.advance(1)
    held = await nodes_of(world)
    assert held["lonely"] == held["nobody"] != ""


async def test_pods_are_spread_over_domains(world: World) -> None:
    rule = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "s"}}}
    for name, zone in (("east-node-1", "a"), ("east-node-2", "b")):
        await world.resource("nodes").patch(name, {"metadata": {"labels": {"zone": zone}}})
    for number in range(4):
        await world.create(pod(f"s{number}", labels={"app": "s"}, topologySpreadConstraints=[rule]))
    await world.clock.advance(1)
    assert sorted((await nodes_of(world)).values()) == ["east-node-1", "east-node-1", "east-node-2", "east-node-2"]
    only_a: dict[str, Any] = {"nodeSelector": {"zone": "a"}, "topologySpreadConstraints": [{**rule, "minDomains": 2}]}
    await world.create(pod("s4", None, {"app": "s"}, **only_a))
    await world.clock.advance(1)
    assert "node(s) didn't match pod topology spread constraints" in await why(world, "s4")


async def test_a_pod_waits_for_its_claims(world: World) -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    await world.create(pod("p", volumes=volumes))
    await world.clock.advance(1)
    assert await why(world, "p") == '0/3 nodes are available: persistentvolumeclaim "data" not found. not found'
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}
    await world.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec})
    await world.clock.advance(1)
    assert await why(world, "p") == "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
    made_by_hand = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    await world.create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v1"}, "spec": made_by_hand})
    await world.clock.advance(3)
    assert await world.running() == ["p"]


async def test_a_gated_pod_waits_until_its_gates_are_gone(world: World) -> None:
    await world.create(pod("p", schedulingGates=[{"name": "example.com/wait"}]))
    await world.clock.advance(1)
    held = conditions.get(await world.get("pods", "p"), "PodScheduled") or {}
    assert (held["reason"], held["message"]) == ("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
    await world.resource("pods").patch("p", {"spec": {"schedulingGates": None}}, namespace="default")
    await world.clock.advance(2)
    assert await world.running() == ["p"]


async def test_a_pod_of_higher_priority_takes_the_place_of_the_least_important(world: World) -> None:
    for name, value in (("low", 1), ("middle", 100), ("high", 1000), ("patient", 1000)):
        policy = "Never" if name == "patient" else "PreemptLowerPriority"
        body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}}
        await world.resource("priorityclasss").create({**body, "value": value, "preemptionPolicy": policy})
    for name, priority in (("a", "low"), ("b", "middle"), ("c", "middle")):
        await world.create(pod(name, {"cpu": "6"}, priorityClassName=priority))
    await world.clock.advance(2)
    home = (await nodes_of(world))["a"]
    await world.create(pod("never", {"cpu": "6"}, priorityClassName="patient"))
    await world.clock.advance(1)
    assert "Preemption is not helpful for scheduling" in await why(world, "never")
    await world.resource("pods").delete("never", namespace="default", grace_period_s=0)
    await world.create(pod("important", {"cpu": "6"}, priorityClassName="high"))
    await world.clock.advance(3)
    held = await nodes_of(world)
    assert held == {"important": home, "b": held["b"], "c": held["c"]}
    assert "Preempted" in {e["reason"] for e in await world.list("events")}
    await world.create(pod("another", {"cpu": "6"}, priorityClassName="low"))
    await world.clock.advance(1)
    assert "3 No preemption victims found for incoming pod" in await why(world, "another")


async def test_room_that_is_freed_for_a_pod_is_kept_for_it(world: World) -> None:
    """Pods that a ReplicaSet makes anew do not take it meanwhile. Source: test/e2e/scheduling/preemption.go (PreemptionExecutionPath)."""
    home = {"kubernetes.io/hostname": "east-node-1"}
    for at, (name, cpu) in enumerate((("first", "2"), ("second", "2500m"), ("third", "3500m"), ("fourth", "4")), 1):
        body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": at}
        await world.resource("priorityclasss").create(body)
        spec = {**pod(name, {"cpu": cpu}, priorityClassName=name, nodeSelector=home)["spec"], "terminationGracePeriodSeconds": at}
        if name == "fourth":
            await world.create({**pod(name), "spec": spec})
            continue
        stops = {"sim.kcp.io/stop-seconds": str(at)}  # one after the other
        template = {"metadata": {"labels": {"a": name}, "annotations": stops}, "spec": spec}
        wanted = {"replicas": 1, "selector": {"matchLabels": {"a": name}}, "template": template}
        await world.create({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name}, "spec": wanted})
        await world.clock.advance(1)
    await world.clock.advance(10)
    bound = {meta.name(p): p for p in await world.list("pods") if meta.nested(p, "spec", "nodeName")}
    assert sorted(name.partition("-")[0] for name in bound) == ["fourth", "third"]
    assert "nominatedNodeName" not in bound["fourth"]["status"]
    made = [e for e in await world.list("events") if e["reason"] == "SuccessfulCreate"]
    assert len(made) == 5, "each of the two that had to go was made anew once"


async def test_a_pod_that_the_watch_brings_late_is_scheduled_all_the_same(world: World) -> None:
    """Its ReplicaSet tells of it as soon as it is made; on a busy machine the watch may take longer than the scheduler."""
    scheduler = world.cluster.controllers["scheduler"]
    book, made = PodBook(world.clock), pod("late")
    created = {**made, "apiVersion": "v1", "metadata": {"name": "late", "namespace": "default", "uid": "u"}}
    mirrored: dict[str, dict[str, Any]] = {}
    reconciler = replace(scheduler._reconcile.__self__, pods=book, get_pod=lambda key: mirrored.get(key.name))  # type: ignore[attr-defined]
    book.assume(created)
    found = await reconciler.reconcile(None)
    assert found.requeue_after_s is not None, "nothing else would bring it back here: the watch tells nothing new"
    mirrored["late"] = created
    assert (await reconciler.reconcile(None)).requeue_after_s is None


async def test_nor_is_one_waited_for_that_never_comes(world: World) -> None:
    book = PodBook(world.clock)
    book.assume({**pod("never"), "metadata": {"name": "never", "namespace": "default", "uid": "u"}})
    assert book.unassigned()
    await world.clock.advance(6)
    assert not book.unassigned()
