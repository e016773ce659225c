"""Endpoints and EndpointSlices on a simulated cluster: mirrors of those written by hand, repair of those that are not, and their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kcp.apimachinery import meta
from kcp.sim.workloads.slices import BY_MIRRORING

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

Make = Callable[..., dict[str, Any]]


def service(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], **spec}}


async def slices(world: World) -> list[tuple[str, list[str]]]:
    """Manager and addresses of each slice of the service."""
    held = await world.list("endpointslices", "kubernetes.io/service-name=web")
    return [
        (meta.labels(s)["endpointslice.kubernetes.io/managed-by"], [a for e in s.get("endpoints") or () for a in e["addresses"]])
        for s in held
    ]


async def test_endpoints_written_by_hand_are_mirrored_changed_and_removed(world: World) -> None:
    await world.create(service())
    held = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web"}}
    endpoints = world.resource("endpoints")
    await endpoints.create({**held, "subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]}, namespace="default")
    await world.clock.advance(2)
    assert await slices(world) == [(BY_MIRRORING, ["10.1.2.3"])]
    changed = {"subsets": [{"addresses": [{"ip": "10.2.3.4"}], "ports": [{"port": 80}]}]}
    await endpoints.patch("web", changed, namespace="default")
    await world.clock.advance(2)
    assert await slices(world) == [(BY_MIRRORING, ["10.2.3.4"])]
    await endpoints.delete("web", namespace="default")
    await world.clock.advance(2)
    assert await slices(world) == []


async def test_endpoints_without_a_service_are_left_alone(world: World) -> None:
    held = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web"}}
    await world.resource("endpoints").create(held, namespace="default")
    await world.resource("endpoints").patch("web", {"metadata": {"labels": {"a": "b"}}}, namespace="default")
    await world.clock.advance(30)
    assert meta.labels(await world.get("endpoints", "web")) == {"a": "b"}
    assert await slices(world) == []


async def test_what_somebody_else_breaks_is_put_right_and_what_is_theirs_is_not_touched(world: World, deployment: Make) -> None:
    await world.create(deployment(replicas=1))
    await world.create(service(selector={"app": "web"}))
    await world.clock.advance(5)
    (before,) = await slices(world)
    held = await world.list("endpointslices", "kubernetes.io/service-name=web")
    await world.resource("endpointslices").delete(meta.name(held[0]), namespace="default")
    await world.resource("endpoints").patch("web", {"subsets": None}, namespace="default")
    foreign = {
        **held[0],
        "metadata": {"name": "theirs", "labels": {**meta.labels(held[0]), "endpointslice.kubernetes.io/managed-by": "me"}},
    }
    await world.resource("endpointslices").create(foreign, namespace="default")
    await world.clock.advance(5)
    assert sorted(await slices(world)) == sorted([before, ("me", before[1])])
    assert (await world.get("endpoints", "web"))["subsets"][0]["addresses"][0]["ip"] == before[1][0]
