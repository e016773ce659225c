"""Faults as objects: created, the cluster is broken; deleted, or over, it is whole; whatever the fault is, they can be read and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kcp.apimachinery.errors import Invalid
from kcp.client.rest import ResourceClient
from kcp.client.transport import TransportError
from kcp.sim.faultobjects import FAULTS
from kcp.sim.faults import Fault, FaultState

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World


def fault(name: str = "f", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": FAULTS.api_version, "kind": "Fault", "metadata": {"name": name}, "spec": spec}


def faults(world: World) -> ResourceClient:
    """Past the fault, as at the control URL."""
    return world.cluster.observer().resource(FAULTS)


def state(world: World) -> FaultState:
    return world.cluster.faults.state


async def phase(world: World, name: str = "f") -> str:
    return str((await faults(world).get(name)).get("status", {}).get("phase"))


@pytest.mark.parametrize("kind", ["kill", "pause", "partition", "slow", "fill", "skew"])
async def test_a_fault_breaks_its_cluster_until_it_is_deleted(kind: str, world: World) -> None:
    await world.client.resource(FAULTS).create(fault(type=kind))
    await world.clock.advance(1)
    assert state(world).fault is Fault(kind)
    assert await phase(world) == "Active"
    await faults(world).delete("f")
    await world.clock.advance(1)
    assert state(world) == FaultState()


async def test_a_fault_has_amounts_with_defaults(world: World) -> None:
    await faults(world).create(fault("late", type="slow", latency="2s"))
    await world.clock.advance(1)
    assert state(world) == FaultState(Fault.SLOW, latency_s=2.0)
    await faults(world).create(fault("wrong", type="skew", skew="-10m"))
    await world.clock.advance(1)
    assert state(world) == FaultState(Fault.SKEW, skew_s=-600.0), "the newest counts"
    assert await phase(world, "late") == "Waiting"
    await faults(world).delete("wrong")
    await world.clock.advance(1)
    assert state(world).fault is Fault.SLOW, "and then the one before it again"


async def test_a_fault_begins_later_and_ends_by_itself(world: World) -> None:
    await faults(world).create(fault(type="skew", after="30s", duration="1m"))
    await world.clock.advance(29)
    assert state(world).fault is Fault.NONE
    assert await phase(world) == "Waiting"
    await world.clock.advance(2)
    assert state(world).fault is Fault.SKEW
    await world.clock.advance(57)
    assert state(world).fault is Fault.SKEW, "its time is the right one, not that of the cluster"
    await world.clock.advance(3)
    assert state(world).fault is Fault.NONE
    assert (await faults(world).list()).items == []


async def test_what_is_meant_for_another_cluster_or_makes_no_sense_is_left_alone(world: World) -> None:
    await faults(world).create(fault("other", type="kill", cluster="west"))
    await faults(world).create(fault("odd", type="kill", after="soon"))
    await world.clock.advance(1)
    assert state(world).fault is Fault.NONE
    assert (await faults(world).get("other"))["status"]["message"] == "meant for cluster west; this is east"
    assert "spec.after: 'soon' is not a duration" in (await faults(world).get("odd"))["status"]["message"]
    with pytest.raises(Invalid, match="kill"):
        await faults(world).create(fault("no", type="explode"))


async def test_restore_removes_the_objects_too(world: World) -> None:
    await faults(world).create(fault(type="kill"))
    await world.clock.advance(1)
    with pytest.raises(TransportError, match="killed"):
        await world.client.raw("GET", "/version")
    await world.cluster.restore()
    await world.clock.advance(1)
    assert state(world).fault is Fault.NONE
    assert (await faults(world).list()).items == []
    await world.cluster.set_fault(Fault.PAUSE)
    await world.clock.advance(5)
    assert state(world).fault is Fault.PAUSE, "a command is left alone by the objects there are not"
