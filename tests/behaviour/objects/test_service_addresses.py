"""ServiceCIDRs and IPAddresses: the ranges that Services get their addresses from, and an object for each address in use.

Source: KEP-1880; test/e2e/network/service_cidrs.go; pkg/controller/servicecidrs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.behaviour.objects.world import World

RANGES, ADDRESSES = "/apis/networking.k8s.io/v1/servicecidrs", "/apis/networking.k8s.io/v1/ipaddresses"
SERVICES = "/api/v1/namespaces/default/services"


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


async def until(world: World, met: Callable[[], Awaitable[bool]], *, seconds: float = 5) -> None:
    for _ in range(int(seconds * 20)):
        if await met():
            return
        await world.clock.advance(0.05)
    raise AssertionError("not met in time")


async def is_there(world: World, path: str) -> bool:
    return (await world.call("GET", path)).status == 200


async def ready(world: World, name: str) -> dict[str, Any]:
    conditions = (await world.get(f"{RANGES}/{name}")).get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == "Ready"), {})


async def has_range(world: World, name: str, cidr: str) -> None:
    await world.make(
        RANGES, {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name}, "spec": {"cidrs": [cidr]}}
    )

    async def is_ready() -> bool:
        return (await ready(world, name)).get("status") == "True"

    await until(world, is_ready)


async def test_an_address_object_comes_and_goes_with_its_service(world: World) -> None:
    address = (await world.make(SERVICES, service("web")))["spec"]["clusterIP"]
    await until(world, lambda: is_there(world, f"{ADDRESSES}/{address}"))
    held = await world.get(f"{ADDRESSES}/{address}")
    assert held["spec"]["parentRef"] == {"group": "", "resource": "services", "namespace": "default", "name": "web"}
    assert held["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }  # fmt: skip
    await world.call("DELETE", f"{SERVICES}/web")

    async def is_gone() -> bool:
        return not await is_there(world, f"{ADDRESSES}/{address}")

    await until(world, is_gone)


async def test_an_address_that_somebody_reserved_is_given_to_nobody_else(world: World) -> None:
    parent = {"group": "example.com", "resource": "gateways", "name": "edge"}
    reserved = {"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": "10.96.7.7"}, "spec": {"parentRef": parent}}
    await world.make(ADDRESSES, reserved)
    await world.clock.advance(1)
    refused = await world.call("POST", SERVICES, service("web", clusterIP="10.96.7.7"))
    assert (refused.status, refused.causes[0][0]) == (422, "spec.clusterIPs")
    assert "provided IP is already allocated" in refused.message
    assert await is_there(world, f"{ADDRESSES}/10.96.7.7"), "it is not the allocator's to remove"


async def test_a_further_range_gives_addresses_and_stays_while_they_are_used(world: World) -> None:
    refused = await world.call("POST", SERVICES, service("web", clusterIP="10.200.0.5"))
    assert "the provided network does not match the current range" in refused.message
    await has_range(world, "more", "10.200.0.0/28")
    assert (await world.get(f"{RANGES}/more"))["metadata"]["finalizers"] == ["networking.k8s.io/service-cidr-finalizer"]
    await world.make(SERVICES, service("web", clusterIP="10.200.0.5"))
    await until(world, lambda: is_there(world, f"{ADDRESSES}/10.200.0.5"))
    await world.call("DELETE", f"{RANGES}/more")

    async def waits() -> bool:
        return (await ready(world, "more")).get("reason") == "Terminating"

    await until(world, waits)
    assert (await world.call("POST", SERVICES, service("late", clusterIP="10.200.0.6"))).status == 422
    await world.clock.advance(60)
    assert await is_there(world, f"{RANGES}/more")
    await world.call("DELETE", f"{SERVICES}/web")

    async def is_gone() -> bool:
        return not await is_there(world, f"{RANGES}/more")

    await until(world, is_gone, seconds=20)


async def test_an_unused_range_goes_when_nobody_can_be_allocating_from_it_any_more(world: World) -> None:
    await has_range(world, "more", "10.200.0.0/28")
    await world.call("DELETE", f"{RANGES}/more")
    await world.clock.advance(5)
    assert await is_there(world, f"{RANGES}/more")
    await world.clock.advance(10)
    assert not await is_there(world, f"{RANGES}/more")
