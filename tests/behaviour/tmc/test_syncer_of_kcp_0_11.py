"""The Go syncer of kcp 0.11, played request by request by `gosyncer`: start and heartbeat, spec down, status up, withdrawal, upsync, imports."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from tests.behaviour.tmc.gosyncer import GoSyncer, started
from tests.behaviour.tmc.world import CLOCK, DEPLOYMENTS, World, until, with_target

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import BadRequest, Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client
from kcp.registry.backend import UserInfo
from kcp.tmc.model.kinds import NAMESPACES, PLACEMENTS, SYNC_TARGETS

PODS = GVR("", "v1", "pods")
ADMIN = UserInfo("kcp-admin", ("system:kcp:admin", "system:authenticated"))


async def ready(world: World, name: str = "east") -> GoSyncer:
    syncer = await started(world, name)
    await syncer.heartbeat()
    await syncer.authorized()
    await until(lambda: world.client.resource(SYNC_TARGETS).get(name), lambda t: conditions.is_true(t, "Ready"))
    return syncer


async def placed(world: World, syncer: GoSyncer) -> JSONObject:
    """A Deployment on the syncer's cluster, as its informer shows it."""
    await world.deploy("default", "web", 2)
    seen: dict[str, JSONObject] = await until(functools.partial(syncer.seen, DEPLOYMENTS), lambda found: "web" in found)
    return seen["web"]


async def test_it_starts_and_its_heartbeat_makes_the_target_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        syncer = await started(world, "east")
        beaten = await syncer.heartbeat()
        assert beaten["status"]["lastSyncerHeartbeatTime"]
        await syncer.authorized()
        await until(lambda: world.client.resource(SYNC_TARGETS).get("east"), lambda t: conditions.is_true(t, "Ready"))


async def test_it_sees_what_is_placed_with_the_url_of_its_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        obj = await placed(world, await ready(world))
        url = meta.annotations(obj)["internal.workload.kcp.io/workspace-url"]
        assert url == f"https://127.0.0.1:6443/clusters/{meta.cluster(obj)}"
        stored = await world.client.resource(DEPLOYMENTS).get("web", namespace="default")
        assert "internal.workload.kcp.io/workspace-url" not in meta.annotations(stored)


@pytest.mark.parametrize("advanced", [False, True], ids=["status", "annotation, for advanced scheduling"])
async def test_spec_goes_down_and_status_comes_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, advanced: bool) -> None:  # noqa: FBT001
    async with with_target(tmp_path, monkeypatch) as world:
        syncer = await ready(world)
        await syncer.sync_down(DEPLOYMENTS, await placed(world, syncer))

        async def look() -> JSONObject:
            obj = (await syncer.seen(DEPLOYMENTS))["web"]
            await syncer.status_up(DEPLOYMENTS, obj, advanced=advanced)
            return await world.client.resource(DEPLOYMENTS).get("web", namespace="default")

        await until(look, lambda d: meta.nested(d, "status", "readyReplicas") == 2)


async def test_what_is_deleted_goes_from_the_cluster_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        syncer = await ready(world)
        await syncer.sync_down(DEPLOYMENTS, await placed(world, syncer))
        await world.client.resource(DEPLOYMENTS).delete("web", namespace="default")
        marked = f"deletion.internal.workload.kcp.io/{syncer.key}"
        leaving = (await until(functools.partial(syncer.seen, DEPLOYMENTS), lambda found: marked in meta.annotations(found["web"])))["web"]
        assert meta.deletion_timestamp(leaving)
        assert (await world.client.resource(DEPLOYMENTS).get("web", namespace="default"))["metadata"]["finalizers"] == [syncer.finalizer]
        await syncer.sync_down(DEPLOYMENTS, leaving)
        await world.gone(DEPLOYMENTS, "web", "default")
        assert await world.below("web") == {}


async def test_what_leaves_the_cluster_alone_loses_every_mark_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        syncer = await ready(world)
        await syncer.sync_down(DEPLOYMENTS, await placed(world, syncer))
        await world.client.resource(PLACEMENTS).delete("all")
        marked = f"deletion.internal.workload.kcp.io/{syncer.key}"
        leaving = (await until(functools.partial(syncer.seen, DEPLOYMENTS), lambda found: marked in meta.annotations(found["web"])))["web"]
        await syncer.sync_down(DEPLOYMENTS, leaving)
        stored = await world.client.resource(DEPLOYMENTS).get("web", namespace="default")
        assert not any(syncer.key in text for text in (*meta.labels(stored), *meta.annotations(stored), *meta.finalizers(stored)))


async def shown(world: World, syncer: GoSyncer) -> JSONObject:
    """A Pod of the cluster, upsynced into the workspace."""
    obj = await placed(world, syncer)
    await syncer.sync_down(DEPLOYMENTS, obj)
    namespace = syncer.downstream_namespace(obj).downstream_namespace
    running = lambda pods: any(meta.nested(p, "status", "phase") == "Running" for p in pods.items)  # noqa: E731
    pods = await until(lambda: syncer.downstream.resource(PODS).list(namespace=namespace), running)
    pod = next(p for p in pods.items if p["status"].get("phase") == "Running")
    patch = {"metadata": {"labels": {f"state.workload.kcp.io/{syncer.key}": "Upsync"}}}
    pod = await syncer.downstream.resource(PODS).patch(meta.name(pod), patch, namespace=namespace)
    await syncer.upsync(PODS, pod, meta.cluster(obj), "default")
    return pod


async def test_pods_of_the_cluster_are_shown_in_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        syncer = await ready(world)
        pod = await shown(world, syncer)
        name = meta.name(pod)
        seen = await world.client.resource(PODS).get(name, namespace="default")
        assert (seen["status"]["phase"], seen["spec"]["nodeName"]) == ("Running", pod["spec"]["nodeName"])
        assert meta.annotations(seen)["workload.kcp.io/rv"] == meta.resource_version(pod)
        assert list(await syncer.seen(PODS, view="upsyncer")) == [name]
        user = Client(AsgiTransport(world.server.app, ADMIN), clock=CLOCK).cluster("root:work").resource(PODS)
        assert (await user.get(name, namespace="default"))["status"]["phase"] == "Running"
        for refused in (
            user.patch(name, {"metadata": {"labels": {"a": "b"}}}, namespace="default"),
            user.delete(name, namespace="default"),
        ):
            with pytest.raises(Forbidden, match='shows what runs in cluster "east"'):
                await refused
        await syncer.take_back(PODS, seen)
        await world.gone(PODS, name, "default")


async def test_what_a_cluster_showed_goes_when_its_target_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        syncer = await ready(world)
        pod = await shown(world, syncer)
        await world.client.resource(SYNC_TARGETS).delete("east")
        await world.gone(PODS, meta.name(pod), "default")
        copies = await syncer.downstream.resource(PODS).list(namespace=meta.namespace(pod))
        assert meta.name(pod) in {meta.name(p) for p in copies.items}, "what runs stays"


async def test_the_upsyncer_view_takes_only_what_bears_its_label_in_placed_namespaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        syncer = await ready(world)
        pod = await shown(world, syncer)
        cluster = meta.cluster(await world.client.resource(NAMESPACES).get("default"))
        pods = syncer.views["upsyncer"].cluster(str(cluster)).resource(PODS)

        def other(**labels: str) -> JSONObject:
            metadata = {"name": "other", "namespace": "default", "labels": labels}
            return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "c", "image": "i"}]}}

        with pytest.raises(BadRequest, match="bears the label"):
            await pods.create(other())
        mine: Any = {f"state.workload.kcp.io/{syncer.key}": "Upsync"}
        await world.create(NAMESPACES, "Namespace", "kube-system-like", metadata={"name": "alone", "labels": {"x": "y"}})
        await world.client.resource(PLACEMENTS).patch("all", {"spec": {"namespaceSelector": {"matchNames": ["default"]}}})
        await until(
            lambda: world.client.resource(NAMESPACES).get("alone"), lambda n: f"state.workload.kcp.io/{syncer.key}" not in meta.labels(n)
        )
        with pytest.raises((Forbidden, NotFound)):
            await pods.create({**other(**mine), "metadata": {"name": "other", "namespace": "alone", "labels": mine}})
        held = await pods.get(meta.name(pod), namespace="default")
        meta.set_label(held, f"state.workload.kcp.io/{syncer.key}", None)
        with pytest.raises(BadRequest, match="bears the label"):
            await pods.update(held)
        await world.create(PODS, "Pod", "own", namespace="default", spec={"containers": [{"name": "c", "image": "i"}]})
        with pytest.raises(NotFound):
            await pods.delete("own", namespace="default")


async def test_its_view_says_that_nothing_is_made_or_deleted_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with with_target(tmp_path, monkeypatch) as world:
        found = {resource.gvr.resource: resource for resource in await (await ready(world)).views["syncer"].cluster("*").discover()}
        for name in ("configmaps", "namespaces", "services"):
            assert set(found[name].verbs) == {"get", "list", "patch", "update", "watch"}


async def test_what_a_cluster_runs_is_shown_as_it_is_and_becomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its upsyncer sends the pod before it has a node, and updates it; and it may know of no image."""
    async with with_target(tmp_path, monkeypatch) as world:
        syncer = await ready(world)
        await placed(world, syncer)
        labels = {f"state.workload.kcp.io/{syncer.key}": "Upsync"}
        cluster = meta.cluster(await world.client.resource(NAMESPACES).get("default"))
        pods = syncer.views["upsyncer"].cluster(str(cluster)).resource(PODS)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels}, "spec": {"containers": [{"name": "c"}]}}
        made = await pods.create({**pod, "status": {"phase": "Running"}}, namespace="default")
        assert "status" not in made
        made["spec"] |= {"nodeName": "n", "serviceAccountName": "a"}
        changed = await pods.update(made)
        assert (changed["spec"]["nodeName"], changed["spec"]["serviceAccountName"]) == ("n", "a")
