"""Workloads on a simulated cluster: they run, scale, roll out, finish and go, and then nothing more is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

Make = Callable[..., dict[str, Any]]


async def _ready(world: World, name: str, replicas: int) -> bool:
    status = (await world.get("deployments", name)).get("status") or {}
    return bool(status.get("readyReplicas", 0) == replicas == status.get("updatedReplicas", 0) == status.get("replicas", 0))


async def test_a_deployment_runs_on_all_nodes_within_a_fraction_of_a_second(world: World, deployment: Make) -> None:
    await world.create(deployment())
    await world.until(lambda: _ready(world, "web", 3), within_s=0.5)
    pods = await world.list("pods", "app=web")
    assert sorted(p["spec"]["nodeName"] for p in pods) == ["east-node-1", "east-node-2", "east-node-3"]
    assert len({p["status"]["podIP"] for p in pods}) == 3
    assert all(meta.controller_of(p) for p in pods)
    held = await world.get("deployments", "web")
    assert conditions.is_true(held, "Available")
    assert meta.annotations(held)["deployment.kubernetes.io/revision"] == "1"


async def test_once_converged_nothing_is_written(world: World, deployment: Make) -> None:
    await world.create(deployment())
    await world.create(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
    )
    await world.until(lambda: _ready(world, "web", 3))
    await world.clock.advance(5)

    async def versions() -> dict[str, str]:
        kinds = ("deployments", "replicasets", "pods", "services", "endpoints", "endpointslices")
        return {meta.uid(o): meta.resource_version(o) for kind in kinds for o in await world.list(kind)}

    before = await versions()
    await world.clock.advance(120)
    assert await versions() == before


async def test_scaling_up_and_down_keeps_the_oldest_pods(world: World, deployment: Make) -> None:
    await world.create(deployment(replicas=3))
    await world.until(lambda: _ready(world, "web", 3))
    first = set(await world.running("app=web"))
    await world.clock.advance(5)
    await world.resource("deployments").patch("web", {"spec": {"replicas": 6}}, namespace="default")
    await world.until(lambda: _ready(world, "web", 6))
    await world.resource("deployments").patch("web", {"spec": {"replicas": 3}}, namespace="default")
    await world.until(lambda: _ready(world, "web", 3))
    assert set(await world.running("app=web")) == first


async def test_a_rollout_never_has_too_few_or_too_many_pods(world: World, deployment: Make) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await world.create(deployment(replicas=4, strategy=strategy))
    await world.until(lambda: _ready(world, "web", 4))
    change = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "nginx:2"}]}}}}
    await world.resource("deployments").patch("web", change, namespace="default")

    async def done() -> bool:
        pods = [p for p in await world.list("pods", "app=web") if not meta.deletion_timestamp(p)]
        assert len(pods) <= 5
        assert len(await world.running("app=web")) >= 4
        return len(pods) == 4 and all(p["spec"]["containers"][0]["image"] == "nginx:2" for p in pods)

    await world.until(done, step_s=0.01)


async def test_an_image_that_does_not_exist_stops_the_rollout_and_the_old_pods_go_on(world: World, deployment: Make) -> None:
    await world.create(deployment(replicas=4, progressDeadlineSeconds=30))
    await world.until(lambda: _ready(world, "web", 4))
    change = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "does-not-exist:2"}]}}}}
    await world.resource("deployments").patch("web", change, namespace="default")

    async def stuck() -> bool:
        held = conditions.get(await world.get("deployments", "web"), "Progressing")
        return held is not None and held.get("reason") == "ProgressDeadlineExceeded"

    await world.until(stuck, within_s=60, step_s=1)
    assert len(await world.running("app=web")) == 3
    waiting = [p for p in await world.list("pods", "app=web") if p["status"]["phase"] == "Pending"]
    assert {p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] for p in waiting} == {"ImagePullBackOff"}


async def test_a_deleted_pod_ends_gracefully_and_is_replaced(world: World, deployment: Make) -> None:
    await world.create(deployment())
    await world.until(lambda: _ready(world, "web", 3))
    victim = (await world.running("app=web"))[0]
    await world.resource("pods").delete(victim, namespace="default")
    assert meta.deletion_timestamp(await world.get("pods", victim))

    async def replaced() -> bool:
        running = await world.running("app=web")
        return len(running) == 3 and victim not in running

    await world.until(replaced)


async def test_deleting_a_deployment_takes_everything_with_it(world: World, deployment: Make) -> None:
    for propagation in ("Background", "Foreground"):
        await world.create(deployment())
        await world.until(lambda: _ready(world, "web", 3))
        await world.resource("deployments").delete("web", namespace="default", propagation=propagation)

        async def gone() -> bool:
            return not await world.list("pods") and not await world.list("replicasets") and not await world.list("deployments")

        await world.until(gone, within_s=60)


async def test_deleting_a_namespace_takes_everything_with_it(world: World, deployment: Make) -> None:
    await world.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}})
    await world.create(deployment(), namespace="demo")

    async def runs() -> bool:
        return len(await world.running()) == 3

    await world.until(runs)
    await world.resource("namespaces").delete("demo")

    async def gone() -> bool:
        try:
            await world.resource("namespaces").get("demo")
        except NotFound:
            return not await world.list("pods")
        return False

    await world.until(gone, within_s=60)


async def test_a_pod_that_fits_nowhere_says_why_and_runs_when_room_is_made(world: World, deployment: Make) -> None:
    def pod(name: str) -> dict[str, Any]:
        container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": "6"}}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}

    for number in range(4):
        await world.create(pod(f"p{number}"))

    async def refused() -> bool:
        held = conditions.get(await world.get("pods", "p3"), "PodScheduled")
        return held is not None and str(held.get("message")).startswith("0/3 nodes are available: 3 Insufficient cpu. ")

    await world.until(refused)
    await world.resource("pods").delete("p0", namespace="default")

    async def runs() -> bool:
        return sorted(await world.running()) == ["p1", "p2", "p3"]

    await world.until(runs)


async def test_a_service_follows_its_pods(world: World, deployment: Make) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    made = await world.create({**service, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}})
    assert made["spec"]["clusterIP"].startswith("10.96.")
    await world.create(deployment(replicas=2))

    async def addresses() -> set[str]:
        try:
            held = await world.get("endpoints", "web")
        except NotFound:
            return set()
        return {a["ip"] for subset in held.get("subsets") or () for a in subset.get("addresses") or ()}

    async def all_there() -> bool:
        return len(await addresses()) == 2

    await world.until(all_there)
    slices = await world.list("endpointslices", "kubernetes.io/service-name=web")
    assert [e["conditions"]["ready"] for e in slices[0]["endpoints"]] == [True, True]
    await world.resource("deployments").patch("web", {"spec": {"replicas": 0}}, namespace="default")

    async def none_there() -> bool:
        return not await addresses()

    await world.until(none_there)
    await world.resource("services").delete("web", namespace="default")

    async def gone() -> bool:
        return not await world.list("endpoints", "!endpointslice.kubernetes.io/skip-mirror") and not await world.list("endpointslices")

    await world.until(gone, within_s=60)


async def test_a_job_runs_to_completion_and_goes_after_its_time(world: World, deployment: Make) -> None:
    template = {"spec": {"containers": [{"name": "c", "image": "x"}], "restartPolicy": "Never"}}
    spec = {"completions": 3, "parallelism": 2, "template": template, "ttlSecondsAfterFinished": 60}
    await world.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"}, "spec": spec})

    async def complete() -> bool:
        return conditions.is_true(await world.get("jobs", "work"), "Complete")

    await world.until(complete)
    assert (await world.get("jobs", "work"))["status"]["succeeded"] == 3

    async def gone() -> bool:
        return not await world.list("jobs") and not await world.list("pods")

    await world.until(gone, within_s=200, step_s=5)


async def test_a_daemonset_follows_the_nodes(world: World, deployment: Make) -> None:
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"selector": {"matchLabels": {"app": "d"}}, "template": template}
    await world.create({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"}, "spec": spec})

    async def covers_three() -> bool:
        return bool((await world.get("daemonsets", "d")).get("status", {}).get("numberAvailable") == 3)

    await world.until(covers_three)
    status = (await world.get("nodes", "east-node-1", namespace=""))["status"]
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "extra"}, "status": status}
    await world.create(node)
    await world.resource("nodes").patch("extra", {"status": status}, subresource="status")

    async def covers_four() -> bool:
        return bool((await world.get("daemonsets", "d")).get("status", {}).get("numberAvailable") == 4)

    await world.until(covers_four)


async def test_claims_are_bound_and_their_volumes_go_with_them(world: World) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
    await world.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec})

    async def bound() -> bool:
        return bool(meta.nested(await world.get("persistentvolumeclaims", "data"), "status", "phase") == "Bound")

    await world.until(bound)
    await world.clock.advance(1)
    volumes = await world.list("persistentvolumes")
    assert [(v["spec"]["capacity"]["storage"], v["status"]["phase"]) for v in volumes] == [("2Gi", "Bound")]
    await world.resource("persistentvolumeclaims").delete("data", namespace="default")

    async def gone() -> bool:
        return not await world.list("persistentvolumes")

    await world.until(gone)


async def test_a_statefulset_comes_in_order(world: World, deployment: Make) -> None:
    template = {"metadata": {"labels": {"app": "s"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"replicas": 3, "serviceName": "s", "selector": {"matchLabels": {"app": "s"}}, "template": template}
    await world.create({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"}, "spec": spec})
    seen: list[list[str]] = []

    async def three() -> bool:
        running = sorted(await world.running("app=s"))
        if not seen or seen[-1] != running:
            seen.append(running)
        return len(running) == 3

    await world.until(three, step_s=0.01)
    assert seen == [[], ["s-0"], ["s-0", "s-1"], ["s-0", "s-1", "s-2"]]
