"""Pods on a simulated cluster: init containers, sidecars, restarts, deadlines, readiness, ends, resizes, debugging, and what is said of them.

Conformance: sig-node Pods, InitContainer, "Kubelet when scheduling a busybox command", Container Lifecycle; KEP-753, KEP-277, KEP-1287, KEP-580.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World


def container(name: str = "c", *command: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "command": list(command) or ["sleep", "infinity"], **more}


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    wanted = {"containers": list(containers) or [container()], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": wanted}


async def status(world: World) -> dict[str, Any]:
    return dict((await world.get("pods", "p"))["status"])


def told(held: dict[str, Any], kind: str) -> dict[str, Any]:
    return dict(conditions.get({"status": held}, kind) or {})


async def phase(world: World, wanted: str, within_s: float = 30.0) -> dict[str, Any]:
    async def reached() -> bool:
        return bool((await status(world)).get("phase") == wanted)

    await world.until(reached, within_s=within_s)
    return await status(world)


async def test_init_containers_run_in_order_before_the_others(world: World) -> None:
    inits = [container("first", "sleep", "10"), container("second", "true")]
    await world.create(pod(restartPolicy="Never", initContainers=inits))
    await world.clock.advance(3)
    held = await status(world)
    assert held["phase"] == "Pending"
    assert [next(iter(c["state"])) for c in held["initContainerStatuses"]] == ["running", "waiting"]
    assert held["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert told(held, "Initialized")["reason"] == "ContainersNotInitialized"
    assert told(held, "Initialized")["message"] == "containers with incomplete status: [first second]"
    held = await phase(world, "Running")
    assert [c["state"]["terminated"]["exitCode"] for c in held["initContainerStatuses"]] == [0, 0]
    assert told(held, "Initialized")["status"] == "True"


@pytest.mark.parametrize("policy", ["Never", "Always"])
async def test_a_failing_init_container_keeps_the_others_from_starting(world: World, policy: str) -> None:
    await world.create(pod(restartPolicy=policy, initContainers=[container("first", "false"), container("second", "true")]))
    if policy == "Never":
        held = await phase(world, "Failed")
        assert told(held, "Initialized")["status"] == "False"
    else:
        await world.clock.advance(45)
        held = await status(world)
        assert held["phase"] == "Pending"
        assert held["initContainerStatuses"][0]["restartCount"] >= 3
        assert held["initContainerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert held["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert held["initContainerStatuses"][1]["state"] == {"waiting": {"reason": "PodInitializing"}}


async def test_a_sidecar_runs_beside_and_does_not_keep_the_pod_from_ending(world: World) -> None:
    sidecar = container("side", restartPolicy="Always")
    await world.create(pod(container("c", "sleep", "5"), restartPolicy="Never", initContainers=[sidecar]))
    await world.clock.advance(2)
    held = await status(world)
    assert "running" in held["initContainerStatuses"][0]["state"]
    assert "running" in held["containerStatuses"][0]["state"]
    held = await phase(world, "Succeeded")
    assert "terminated" in held["initContainerStatuses"][0]["state"]


async def test_a_container_that_fails_is_restarted_with_a_growing_delay(world: World) -> None:
    await world.create(pod(container("c", "false")))
    await world.clock.advance(5)
    (held,) = (await status(world))["containerStatuses"]
    assert held["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert held["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=c pod=p_default(")
    assert held["lastState"]["terminated"]["exitCode"] == 1
    assert held["lastState"]["terminated"]["reason"] == "Error"
    before = held["restartCount"]
    await world.clock.advance(60)
    (held,) = (await status(world))["containerStatuses"]
    assert held["restartCount"] == before + 2
    assert "back-off 40s" in held["state"]["waiting"]["message"]
    assert "BackOff" in {e["reason"] for e in await world.list("events")}


async def test_on_failure_restarts_until_it_succeeds(world: World) -> None:
    script = "if [ -f /data/x ]; then exit 0; else touch /data/x; exit 1; fi"
    mounted = container("c", "sh", "-c", script, volumeMounts=[{"name": "data", "mountPath": "/data"}])
    await world.create(pod(mounted, restartPolicy="OnFailure", volumes=[{"name": "data", "emptyDir": {}}]))
    held = await phase(world, "Succeeded")
    assert held["containerStatuses"][0]["restartCount"] == 1
    assert told(held, "Ready")["reason"] == "PodCompleted"


async def test_a_pod_ends_at_its_deadline(world: World) -> None:
    await world.create(pod())
    await phase(world, "Running")
    await world.resource("pods").patch("p", {"spec": {"activeDeadlineSeconds": 5}}, namespace="default")
    held = await phase(world, "Failed")
    assert held["reason"] == "DeadlineExceeded"
    assert held["message"] == "Pod was active on the node longer than the specified deadline"


async def test_readiness_waits_for_probes_and_gates(world: World) -> None:
    probed = container(readinessProbe={"tcpSocket": {"port": 80}, "initialDelaySeconds": 10})
    await world.create(pod(probed, readinessGates=[{"conditionType": "example.com/gate"}]))
    held = await phase(world, "Running")
    assert told(held, "ContainersReady")["reason"] == "ContainersNotReady"
    await world.clock.advance(12)
    held = await status(world)
    assert told(held, "ContainersReady")["status"] == "True"
    assert told(held, "Ready")["reason"] == "ReadinessGatesNotReady"
    assert told(held, "Ready")["message"] == 'corresponding condition of pod readiness gate "example.com/gate" does not exist.'
    gate = {"type": "example.com/gate", "status": "True", "lastTransitionTime": held["startTime"]}
    await world.resource("pods").patch(
        "p", {"status": {"conditions": [*held["conditions"], gate]}}, namespace="default", subresource="status"
    )
    await world.clock.advance(2)
    assert told(await status(world), "Ready")["status"] == "True"


async def test_a_pod_takes_its_time_to_end_but_no_longer_than_its_grace_period(world: World) -> None:
    body = pod(terminationGracePeriodSeconds=20)
    body["metadata"]["annotations"] = {"sim.kcp.io/stop-seconds": "60"}
    await world.create(body)
    await phase(world, "Running")
    await world.resource("pods").delete("p", namespace="default")
    await world.clock.advance(18)
    held = await world.get("pods", "p")
    assert held["metadata"]["deletionGracePeriodSeconds"] == 20
    assert held["status"]["phase"] == "Running"
    await world.clock.advance(3)
    with pytest.raises(NotFound):
        await world.get("pods", "p")
    assert "Stopping container c" in {e["message"] for e in await world.list("events")}


async def test_a_pod_with_a_finalizer_says_how_it_ended_and_stays(world: World) -> None:
    body = pod()
    body["metadata"]["finalizers"] = ["example.com/hold"]
    await world.create(body)
    await phase(world, "Running")
    await world.resource("pods").delete("p", namespace="default")
    held = await phase(world, "Failed")
    assert held["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
    await world.clock.advance(5)
    await world.resource("pods").patch("p", {"metadata": {"finalizers": None}}, namespace="default")
    with pytest.raises(NotFound):
        await world.get("pods", "p")


async def test_a_resize_and_a_new_image_take_effect(world: World) -> None:
    await world.create(pod(container(resources={"requests": {"cpu": "100m"}})))
    await phase(world, "Running")
    change = {"spec": {"containers": [{**container(), "resources": {"requests": {"cpu": "200m"}}}]}}
    await world.resource("pods").patch("p", change, namespace="default", subresource="resize")
    await world.clock.advance(2)
    held = await world.get("pods", "p")
    (running,) = held["status"]["containerStatuses"]
    assert running["allocatedResources"] == running["resources"]["requests"] == {"cpu": "200m"}
    assert held["status"]["observedGeneration"] == held["metadata"]["generation"] == 2
    assert running["restartCount"] == 0
    other = {"spec": {"containers": [{**held["spec"]["containers"][0], "image": "busybox:2"}]}}
    await world.resource("pods").patch("p", other, namespace="default")
    await world.clock.advance(2)
    (running,) = (await status(world))["containerStatuses"]
    assert (running["image"], running["restartCount"]) == ("busybox:2", 1)


async def test_a_container_for_debugging_is_shown_running(world: World) -> None:
    await world.create(pod())
    await phase(world, "Running")
    debugger = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox", "command": ["sleep", "infinity"]}]}}
    await world.resource("pods").patch("p", debugger, namespace="default", subresource="ephemeralcontainers")
    await world.clock.advance(2)
    (held,) = (await status(world))["ephemeralContainerStatuses"]
    assert "running" in held["state"]


async def test_a_pod_put_on_a_node_by_hand_is_refused_where_it_does_not_fit(world: World) -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("ports", {}, "NodePorts"),
        ("cpu", {"resources": {"requests": {"cpu": "100"}}}, "OutOfcpu"),
        ("labels", {}, "NodeAffinity"),
    ]
    for name, more, reason in cases:
        body = pod(container("c", ports=[{"containerPort": 1, "hostPort": 999}] if name == "ports" else [], **more), nodeName="east-node-1")
        if name == "labels":
            body["spec"]["nodeSelector"] = {"no": "such"}
        if name == "ports":
            await world.create({**body, "metadata": {"name": "holder"}})
            await world.clock.advance(2)
        await world.create(body)
        held = await phase(world, "Failed")
        assert held["reason"] == reason
        assert held["message"].startswith("Pod was rejected: ")
        await world.resource("pods").delete("p", namespace="default", grace_period_s=0)


async def test_events_say_what_happens_to_a_pod(world: World) -> None:
    await world.create(pod())
    await phase(world, "Running")
    await world.clock.advance(2)
    (held,) = await world.list("pods")
    events = {e["reason"]: e for e in await world.list("events") if e["involvedObject"]["uid"] == meta.uid(held)}
    assert set(events) == {"Scheduled", "Pulled", "Created", "Started"}
    assert events["Started"]["message"] == "Container started"
    assert events["Started"]["involvedObject"]["fieldPath"] == "spec.containers{c}"
    assert events["Started"]["source"] == {"component": "kubelet", "host": held["spec"]["nodeName"]}
