"""Services of a cluster: what is allocated, what a change of type takes along, what cannot be.

Source: conformance.yaml ("Services should be able to change the type …", "… session affinity …"), pkg/registry/core/service/storage.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.objects.world import World

SERVICES = "/api/v1/namespaces/default/services"


def service(name: str = "a", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


PORT = {"port": 80}


async def test_a_new_service_gets_its_address_and_defaults(world: World) -> None:
    made = (await world.make(SERVICES, service(ports=[PORT])))["spec"]
    assert made.pop("clusterIP") == made.pop("clusterIPs")[0]
    assert made == {
        "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
    }  # fmt: skip


async def test_a_service_changes_its_type_and_back(world: World) -> None:
    one = f"{SERVICES}/a"
    first = await world.make(SERVICES, service(type="ExternalName", externalName="example.com"))
    assert "clusterIP" not in first["spec"]
    inner = await world.change(one, {"spec": {"type": "ClusterIP", "externalName": None, "ports": [PORT]}})
    assert inner["spec"]["clusterIP"].startswith("10.96.")
    outer = await world.change(one, {"spec": {"type": "NodePort"}})
    assert outer["spec"]["clusterIP"] == inner["spec"]["clusterIP"]
    assert 30000 <= outer["spec"]["ports"][0]["nodePort"] <= 32767
    assert outer["spec"]["externalTrafficPolicy"] == "Cluster"
    balanced = await world.change(one, {"spec": {"type": "LoadBalancer"}})
    assert balanced["spec"]["allocateLoadBalancerNodePorts"] is True
    assert balanced["spec"]["ports"] == outer["spec"]["ports"]
    back = await world.change(one, {"spec": {"type": "ClusterIP"}})
    gone = ("allocateLoadBalancerNodePorts", "externalTrafficPolicy")
    assert not [field for field in gone if field in back["spec"]]
    assert "nodePort" not in back["spec"]["ports"][0]
    named = await world.change(one, {"spec": {"type": "ExternalName", "externalName": "example.org"}})
    assert {"type", "externalName", "sessionAffinity", "ports"} == set(named["spec"])


async def test_session_affinity_can_be_switched(world: World) -> None:
    one = f"{SERVICES}/a"
    await world.make(SERVICES, service(ports=[PORT], sessionAffinity="ClientIP"))
    assert (await world.get(one))["spec"]["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    assert "sessionAffinityConfig" not in (await world.change(one, {"spec": {"sessionAffinity": "None"}}))["spec"]
    assert (await world.change(one, {"spec": {"sessionAffinity": "ClientIP"}}))["spec"]["sessionAffinity"] == "ClientIP"


async def test_the_manifest_of_a_service_can_be_put_again(world: World) -> None:
    """An update that leaves out what the server allocated keeps it."""
    made = await world.make(SERVICES, service(type="NodePort", ports=[{"name": "a", "port": 80}, {"name": "b", "port": 81}]))
    again = service(type="NodePort", ports=[{"name": "b", "port": 82}, {"name": "a", "port": 80}])
    answer = await world.call("PUT", f"{SERVICES}/a", again)
    assert answer.status == 200, answer.message
    ports = {port["name"]: port["nodePort"] for port in made["spec"]["ports"]}
    assert {port["name"]: port["nodePort"] for port in answer.body["spec"]["ports"]} == ports
    assert answer.body["spec"]["clusterIP"] == made["spec"]["clusterIP"]


REFUSED: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "no ports": ({}, [("spec.ports", "Required value")]),
    "address elsewhere": (
        {"ports": [PORT], "clusterIP": "192.0.2.1"},
        [("spec.clusterIPs", 'Invalid value: ["192.0.2.1"]: failed to allocate IP 192.0.2.1: '
          "the provided network does not match the current range")],
    ),
    "address taken": (
        {"ports": [PORT], "clusterIP": "10.96.9.9"},
        [("spec.clusterIPs", 'Invalid value: ["10.96.9.9"]: failed to allocate IP 10.96.9.9: provided IP is already allocated')],
    ),
    "node port out of range": (
        {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
        [("spec.ports[0].nodePort", "Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767")],
    ),
    "node port without the type": (
        {"ports": [{"port": 80, "nodePort": 30080}]},
        [("spec.ports[0].nodePort", "Forbidden: may not be used when `type` is 'ClusterIP'")],
    ),
    "headless node port": (
        {"type": "NodePort", "clusterIP": "None", "ports": [PORT]},
        [("spec.clusterIPs[0]", 'Invalid value: "None": may not be set to \'None\' for NodePort services')],
    ),
    "traffic policy inside": (
        {"ports": [PORT], "externalTrafficPolicy": "Local"},
        [("spec.externalTrafficPolicy", 'Invalid value: "Local": may only be set for externally-accessible services')],
    ),
    "what only a load balancer has": (
        {"ports": [PORT], "loadBalancerSourceRanges": ["x"], "loadBalancerClass": "example.com/a"},
        [("spec.loadBalancerSourceRanges", "Forbidden: may only be used when `type` is 'LoadBalancer'"),
         ("spec.loadBalancerSourceRanges[0]", 'Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
         ("spec.loadBalancerClass", "Forbidden: may only be used when `type` is 'LoadBalancer'")],
    ),
    "affinity for too long": (
        {"ports": [PORT], "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90000}}},
        [("spec.sessionAffinityConfig.clientIP.timeoutSeconds", "Invalid value: 90000: must be greater than 0 and less than 86400")],
    ),
    "several ports": (
        {"ports": [PORT, {"port": 80}, {"name": "x", "port": 0}]},
        [("spec.ports[0].name", "Required value"), ("spec.ports[1].name", "Required value"),
         ("spec.ports[1]", 'Duplicate value: {"port":80,"protocol":"TCP"}'),
         ("spec.ports[2].port", "Invalid value: 0: must be between 1 and 65535, inclusive"),
         ("spec.ports[2].targetPort", "Invalid value: 0: must be between 1 and 65535, inclusive")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
async def test_a_service_that_cannot_be_is_refused(world: World, what: str) -> None:
    await world.make(SERVICES, service("taken", ports=[PORT], clusterIP="10.96.9.9"))
    spec, causes = REFUSED[what]
    answer = await world.call("POST", SERVICES, service(**spec))
    assert answer.status == 422, answer.body
    assert answer.causes == causes


async def test_an_address_once_given_does_not_change(world: World) -> None:
    await world.make(SERVICES, service(ports=[PORT], clusterIP="10.96.7.7"))
    answer = await world.call("PATCH", f"{SERVICES}/a", {"spec": {"clusterIP": "10.96.7.8"}}, content="application/merge-patch+json")
    assert answer.causes == [("spec.clusterIPs[0]", 'Invalid value: ["10.96.7.8"]: may not change once set')]
