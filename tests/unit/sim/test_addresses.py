"""Addresses of Services: allocated once, kept, refused twice, given back; the selector of Jobs."""

from __future__ import annotations

from typing import Any

import pytest

from kcp.aio.clock import VirtualClock
from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import LOCAL
from kcp.apimachinery.meta import copy_json, key
from kcp.registry.backend import Attributes, Scope, UserInfo, Verb
from kcp.registry.generic import AdmitEverything
from kcp.registry.resource import Resource
from kcp.registry.strategy import BUILTIN
from kcp.sim.addresses import Allocator, ClusterAdmission

SERVICES = Resource(
    gvr=GVR("", "v1", "services"), kind="Service", namespaced=True, storage_prefix=b"/registry/core/services/-/", strategy=BUILTIN
)
JOBS = Resource(gvr=GVR("batch", "v1", "jobs"), kind="Job", namespaced=True, storage_prefix=b"/registry/batch/jobs/-/", strategy=BUILTIN)


class Cluster:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.allocator = Allocator(self.clock)
        self.admission = ClusterAdmission(AdmitEverything(), self.allocator)

    async def write(self, obj: dict[str, Any], old: dict[str, Any] | None = None, resource: Resource = SERVICES) -> dict[str, Any]:
        scope = Scope(resource, LOCAL, "default", obj["metadata"]["name"])
        verb: Verb = "UPDATE" if old else "CREATE"
        made = await self.admission.mutate(Attributes(verb, scope, UserInfo("me"), copy_json(obj), old))
        assert made is not None
        if resource is SERVICES:
            self.allocator.on_event(key(made), old, made)
        return made


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [{"port": 80}], **spec}}


async def test_every_service_gets_an_address_of_its_own_and_keeps_it() -> None:
    cluster = Cluster()
    made = [await cluster.write(service(f"s{i}")) for i in range(50)]
    assert len({m["spec"]["clusterIP"] for m in made}) == 50
    assert made[0]["spec"]["clusterIPs"] == [made[0]["spec"]["clusterIP"]]
    again = await cluster.write(service("s0"), old=made[0])
    assert again["spec"]["clusterIP"] == made[0]["spec"]["clusterIP"]


async def test_headless_and_external_services_get_none() -> None:
    cluster = Cluster()
    assert (await cluster.write(service(clusterIP="None")))["spec"]["clusterIP"] == "None"
    assert "clusterIP" not in (await cluster.write(service(type="ExternalName", externalName="x")))["spec"]


async def test_an_address_in_use_is_refused_and_free_again_after_deletion() -> None:
    cluster = Cluster()
    first = await cluster.write(service("a", clusterIP="10.96.5.5"))
    with pytest.raises(Invalid, match=r"provided IP is already allocated"):
        await cluster.write(service("b", clusterIP="10.96.5.5"))
    cluster.allocator.on_event(key(first), first, None)
    assert (await cluster.write(service("b", clusterIP="10.96.5.5")))["spec"]["clusterIP"] == "10.96.5.5"


async def test_of_an_address_that_changes_nothing_is_said_here() -> None:
    """Validation refuses it: whether the address is in range or free does not matter. Source: pkg/registry/core/service/storage/alloc.go."""
    cluster = Cluster()
    made = await cluster.write(service("a"))
    for address in ("192.168.0.1", "10.96.0.77"):
        changed = await cluster.write(service("a", clusterIP=address), old=made)
        assert changed["spec"]["clusterIP"] == address
    other = await cluster.write(service("b", type="ExternalName", externalName="x"))
    with pytest.raises(Invalid, match=r"does not match the current range"):
        await cluster.write(service("b", clusterIP="192.168.0.1"), old=other)


async def test_node_ports_are_allocated_kept_and_given_up_with_the_type() -> None:
    cluster = Cluster()
    made = await cluster.write(service(type="NodePort"))
    port = made["spec"]["ports"][0]["nodePort"]
    assert 30000 <= port <= 32767
    assert (await cluster.write(service(type="NodePort"), old=made))["spec"]["ports"][0]["nodePort"] == port
    plain = await cluster.write({**made, "spec": {**made["spec"], "type": "ClusterIP"}}, old=made)
    assert "nodePort" not in plain["spec"]["ports"][0]


async def test_a_job_selects_the_pods_that_carry_its_uid() -> None:
    obj = {"metadata": {"name": "j", "namespace": "default", "uid": "u"}, "spec": {"template": {"spec": {}}}}
    made = await Cluster().write(obj, resource=JOBS)
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert made["spec"]["template"]["metadata"]["labels"]["job-name"] == "j"
