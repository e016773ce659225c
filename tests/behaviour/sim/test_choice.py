"""Simulated clusters that lack controllers or admission plugins, as kube-apiserver's own tests and envtest run one."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from kcp.aio.clock import SystemClock, VirtualClock
from kcp.apimachinery.gvk import GVR
from kcp.sim.choice import Choice
from kcp.sim.cluster import SimCluster, SimError
from kcp.sim.workloads.endpoints import SERVICES


async def test_a_pod_that_waits_is_replaced_by_the_file_it_was_made_from() -> None:
    """What admission put into its spec may be missing in the replacement, as far as admission puts it there once more."""
    choice = Choice(without_admission=("ServiceAccount",))
    async with SimCluster.in_process("east", nodes=0, clock=VirtualClock(), choice=choice) as cluster:
        pods = cluster.client().resource(GVR("", "v1", "pods"))
        spec = {"containers": [{"name": "c", "image": "busybox"}], "activeDeadlineSeconds": 60}
        file = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
        made = await pods.create(file, namespace="default")
        assert "serviceAccountName" not in made["spec"]
        labelled = {**file, "metadata": {"name": "p", "labels": {"status": "replaced"}}}
        replaced = await pods.update(labelled, namespace="default")
        assert replaced["metadata"]["labels"] == {"status": "replaced"}
        assert replaced["spec"] == made["spec"]


async def test_a_cluster_without_controllers_only_stores() -> None:
    """As an API server does that nobody else joined: no account in a new namespace, none that ends, no pods of a deployment; but CRDs."""
    async with SimCluster.in_process("east", nodes=0, clock=VirtualClock(), choice=Choice(controllers=())) as cluster:
        assert set(cluster.controllers) == {"crd", "apiservice", "event-ttl", "ip-addresses", "priority-and-fairness"}


async def test_controllers_and_plugins_that_there_are_not_end_the_start() -> None:
    for choice in (Choice(controllers=("nope",)), Choice(without_admission=("Nope",))):
        with pytest.raises(SimError, match="there is no [nN]ope; there are "):
            async with SimCluster.in_process("east", clock=VirtualClock(), choice=choice):
                pass


async def test_who_deletes_the_service_of_the_api_finds_it_again() -> None:
    """Source: pkg/controlplane/controller/kubernetesservice/controller.go."""
    clock = SystemClock()  # it listens: its service has an address
    async with SimCluster("east", nodes=0, clock=clock, choice=Choice(controllers=())) as cluster:
        services = cluster.client().resource(SERVICES)
        before = await services.get("kubernetes", namespace="default")
        async with aclosing(services.watch(namespace="default", resource_version=before["metadata"]["resourceVersion"])) as events:
            await services.delete("kubernetes", namespace="default")
            seen = []
            async for event in events:
                seen.append(event.type)
                if event.type == "ADDED":
                    break
        assert seen == ["DELETED", "ADDED"]
        after = await services.get("kubernetes", namespace="default")
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        assert after["spec"]["clusterIP"] == before["spec"]["clusterIP"]
