"""Views of an informer's objects are made once for each version, and go with their object."""

from __future__ import annotations

from kcp.aio.clock import VirtualClock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.factory import InformerFactory
from kcp.sim.cluster import SimCluster
from kcp.tmc.model.views import Views

MAPS = GVR("", "v1", "configmaps")


async def test_a_view_is_made_once_for_each_version() -> None:
    made: list[str] = []

    def make(obj: JSONObject) -> str:
        made.append(meta.name(obj))
        return str(obj.get("data", {}).get("a"))

    clock = VirtualClock()
    async with SimCluster.in_process("east", nodes=0, clock=clock) as cluster, Supervisor("informers") as tasks:
        maps = cluster.client().resource(MAPS)
        informers = InformerFactory(cluster.client(), clock=clock)
        informer = informers.informer(MAPS)
        views = Views(informer, make)
        informers.run_all(tasks)
        body: JSONObject = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}}
        held = await maps.create(body, namespace="default")
        await informer.wait_synced()
        key = ObjectKey(ClusterName(meta.cluster(held)), "default", "m")
        while key not in informer:
            await clock.advance(0.01)
        assert [views.get(key), views.get(key)] == ["1", "1"]
        assert made == ["m"]
        await maps.patch("m", {"data": {"a": "2"}}, namespace="default")
        while views.get(key) != "2":
            await clock.advance(0.01)
        assert "2" in views.of_cluster(key.cluster)
        await maps.delete("m", namespace="default")
        while key in informer:
            await clock.advance(0.01)
        assert views.get(key) is None
        assert key not in views._held
