"""A simulated cluster in this process, under virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.client.rest import Client, ResourceClient
from kcp.sim.cluster import SimCluster

GVRS = {
    "configmaps": GVR("", "v1", "configmaps"),
    "pods": GVR("", "v1", "pods"),
    "nodes": GVR("", "v1", "nodes"),
    "events": GVR("", "v1", "events"),
    "replicationcontrollers": GVR("", "v1", "replicationcontrollers"),
    "resourcequotas": GVR("", "v1", "resourcequotas"),
    "priorityclasss": GVR("scheduling.k8s.io", "v1", "priorityclasses"),
    "namespaces": GVR("", "v1", "namespaces"),
    "persistentvolumes": GVR("", "v1", "persistentvolumes"),
    "persistentvolumeclaims": GVR("", "v1", "persistentvolumeclaims"),
    "services": GVR("", "v1", "services"),
    "endpoints": GVR("", "v1", "endpoints"),
    "endpointslices": GVR("discovery.k8s.io", "v1", "endpointslices"),
    "deployments": GVR("apps", "v1", "deployments"),
    "replicasets": GVR("apps", "v1", "replicasets"),
    "daemonsets": GVR("apps", "v1", "daemonsets"),
    "statefulsets": GVR("apps", "v1", "statefulsets"),
    "jobs": GVR("batch", "v1", "jobs"),
    "cronjobs": GVR("batch", "v1", "cronjobs"),
    "poddisruptionbudgets": GVR("policy", "v1", "poddisruptionbudgets"),
    "controllerrevisions": GVR("apps", "v1", "controllerrevisions"),
    "storageclasses": GVR("storage.k8s.io", "v1", "storageclasses"),
}


Objects: TypeAlias = list[dict[str, Any]]
Names: TypeAlias = list[str]


class World:
    """A cluster with its clock, and short words for looking at it."""

    def __init__(self, cluster: SimCluster, clock: VirtualClock) -> None:
        self.cluster = cluster
        self.clock = clock
        self.client: Client = cluster.client()

    def resource(self, plural: str) -> ResourceClient:
        return self.client.resource(GVRS[plural])

    async def create(self, obj: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
        plural = f"{obj['kind'].lower()}s"
        cluster_scoped = plural in ("namespaces", "nodes", "persistentvolumes", "priorityclasss")
        return await self.resource(plural).create(obj, namespace="" if cluster_scoped else namespace)

    async def get(self, plural: str, name: str, namespace: str = "default") -> dict[str, Any]:
        return await self.resource(plural).get(name, namespace=namespace)

    async def list(self, plural: str, labels: str = "") -> Objects:
        return (await self.resource(plural).list(label_selector=labels)).items

    async def running(self, labels: str = "") -> Names:
        """Names of the pods that run and are not ending."""
        pods = await self.list("pods", labels)
        return [meta.name(p) for p in pods if meta.nested(p, "status", "phase") == "Running" and not meta.deletion_timestamp(p)]

    async def until(self, met: Callable[[], Any], *, within_s: float = 20.0, step_s: float = 0.05) -> None:
        """Move time on until `await met()` is true."""
        waited_s = 0.0
        while not await met():
            assert waited_s < within_s, f"not met within {within_s} s"
            await self.clock.advance(step_s)
            waited_s += step_s


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Three nodes of eight cores."""
    clock = VirtualClock()
    async with SimCluster.in_process("east", labels={"region": "east"}, clock=clock) as cluster:
        yield World(cluster, clock)


def _deployment(name: str = "web", replicas: int = 3, image: str = "nginx:1", **spec: Any) -> dict[str, Any]:
    container = {"name": "app", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    wanted = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": wanted}


@pytest.fixture(scope="session")
def deployment() -> Callable[..., dict[str, Any]]:
    return _deployment
