"""Claims and volumes on a simulated cluster: made by hand or on demand, bound, waited for, released, lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

VOLUMES = GVR("", "v1", "persistentvolumes")
CLAIMS = GVR("", "v1", "persistentvolumeclaims")


async def claim(world: World, name: str = "data", **spec: Any) -> None:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    obj = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": wanted}
    await world.client.resource(CLAIMS).create(obj, namespace="default")
    await world.clock.advance(3)


async def by_hand(world: World, name: str = "disk", **spec: Any) -> None:
    offer = {
        "capacity": {"storage": "2Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/x"},
        "storageClassName": "manual",
        **spec,
    }
    obj = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": offer}
    await world.client.resource(VOLUMES).create(obj)
    await world.clock.advance(3)


async def phases(world: World) -> dict[str, str]:
    """Of every volume and claim."""
    held = [*(await world.client.resource(VOLUMES).list()).items, *(await world.client.resource(CLAIMS).list()).items]
    return {meta.name(o): meta.nested(o, "status", "phase", default="") for o in held}


async def get(world: World, name: str = "data") -> dict[str, Any]:
    return await world.client.resource(CLAIMS).get(name, namespace="default")


async def test_a_claim_of_the_default_class_gets_a_volume_made_and_takes_it_along(world: World) -> None:
    await claim(world)
    held = await get(world)
    assert held["spec"]["storageClassName"] == "standard"
    volume = held["spec"]["volumeName"]
    assert await phases(world) == {"data": "Bound", volume: "Bound"}
    await world.client.resource(CLAIMS).delete("data", namespace="default")
    await world.clock.advance(3)
    assert await phases(world) == {}


async def test_a_volume_made_by_hand_is_bound_kept_and_released(world: World) -> None:
    await by_hand(world)
    assert await phases(world) == {"disk": "Available"}
    await claim(world, storageClassName="manual")
    assert await phases(world) == {"disk": "Bound", "data": "Bound"}
    held = await get(world)
    assert (held["spec"]["volumeName"], held["status"]["capacity"]) == ("disk", {"storage": "2Gi"})
    assert meta.annotations(held)["pv.kubernetes.io/bind-completed"] == "yes"
    await world.client.resource(CLAIMS).delete("data", namespace="default")
    await world.clock.advance(3)
    assert await phases(world) == {"disk": "Released"}


async def test_two_claims_do_not_share_a_volume_and_a_late_one_is_found(world: World) -> None:
    await by_hand(world, storageClassName="")
    for name in ("one", "two"):
        await claim(world, name, storageClassName="")
    assert await phases(world) == {"disk": "Bound", "one": "Bound", "two": "Pending"}
    await by_hand(world, "late", storageClassName="")
    assert (await phases(world))["two"] == "Bound"


async def test_a_class_may_wait_for_the_first_pod(world: World) -> None:
    lazy = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "lazy"}, "provisioner": "x"}
    await world.resource("storageclasses").create({**lazy, "volumeBindingMode": "WaitForFirstConsumer", "reclaimPolicy": "Retain"})
    await claim(world, storageClassName="lazy")
    assert await phases(world) == {"data": "Pending"}
    volume = {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}
    spec = {"containers": [{"name": "c", "image": "x"}], "volumes": [volume]}
    await world.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    await world.clock.advance(3)
    made = (await get(world))["spec"]["volumeName"]
    await world.client.resource(CLAIMS).delete("data", namespace="default")
    await world.resource("pods").delete("p", namespace="default", grace_period_s=0)
    await world.clock.advance(3)
    assert await phases(world) == {made: "Released"}


async def make_class(world: World, name: str, provisioner: str = "x", *, annotations: dict[str, str] | None = None, **more: Any) -> None:
    named = {"name": name, "annotations": annotations or {}}
    made = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": named, "provisioner": provisioner, **more}
    await world.resource("storageclasses").create(made)
    await world.clock.advance(3)


async def told(world: World) -> set[tuple[str, str, str]]:
    return {(e["type"], e["reason"], e["message"]) for e in await world.list("events") if e["involvedObject"]["name"] == "data"}


async def test_a_claim_of_a_class_that_is_not_there_waits_for_it(world: World) -> None:
    await claim(world, storageClassName="gold")
    assert await phases(world) == {"data": "Pending"}
    assert ("Warning", "ProvisioningFailed", 'storageclass.storage.k8s.io "gold" not found') in await told(world)
    await make_class(world, "gold")
    assert (await phases(world))["data"] == "Bound"


async def test_a_claim_of_a_class_that_is_not_there_takes_a_volume_made_by_hand(world: World) -> None:
    await by_hand(world, storageClassName="gold")
    await claim(world, storageClassName="gold")
    assert await phases(world) == {"disk": "Bound", "data": "Bound"}


async def test_a_class_without_provisioner_makes_no_volumes(world: World) -> None:
    await make_class(world, "local", "kubernetes.io/no-provisioner")
    await claim(world, storageClassName="local")
    assert await phases(world) == {"data": "Pending"}
    assert ("Warning", "ProvisioningFailed", "no volume plugin matched name: kubernetes.io/no-provisioner") in await told(world)


async def test_a_claim_without_a_class_gets_the_default_one_that_comes_later(world: World) -> None:
    """KEP-3333."""
    await world.resource("storageclasses").delete("standard")
    await claim(world)
    assert await phases(world) == {"data": "Pending"}
    text = "no persistent volumes available for this claim and no storage class is set"
    assert ("Normal", "FailedBinding", text) in await told(world)
    await make_class(world, "late", annotations={"storageclass.kubernetes.io/is-default-class": "true"})
    assert (await get(world))["spec"]["storageClassName"] == "late"
    assert (await phases(world))["data"] == "Bound"


async def test_a_class_that_waits_for_a_pod_takes_no_volume_before(world: World) -> None:
    await make_class(world, "lazy", "kubernetes.io/no-provisioner", volumeBindingMode="WaitForFirstConsumer")
    await by_hand(world, storageClassName="lazy")
    await claim(world, storageClassName="lazy")
    assert await phases(world) == {"disk": "Available", "data": "Pending"}
    assert ("Normal", "WaitForFirstConsumer", "waiting for first consumer to be created before binding") in await told(world)
    await user(world)
    assert await phases(world) == {"disk": "Bound", "data": "Bound"}


async def test_a_claim_whose_volume_vanishes_is_lost_and_nothing_is_written_once_all_is_said(world: World) -> None:
    await by_hand(world)
    await claim(world, storageClassName="manual")
    await world.client.resource(VOLUMES).delete("disk")
    await world.client.resource(VOLUMES).patch("disk", {"metadata": {"finalizers": None}})  # as somebody does who knows better
    await world.clock.advance(3)
    assert await phases(world) == {"data": "Lost"}
    before = meta.resource_version(await get(world))
    await world.clock.advance(300)
    assert meta.resource_version(await get(world)) == before


async def user(world: World, name: str = "p", **spec: Any) -> None:
    volume = {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}
    wanted = {"containers": [{"name": "c", "image": "x"}], "volumes": [volume], "terminationGracePeriodSeconds": 1, **spec}
    await world.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": wanted})
    await world.clock.advance(3)


async def test_a_claim_in_use_stays_until_its_last_pod_is_gone(world: World) -> None:
    await claim(world)
    assert meta.finalizers(await get(world)) == ["kubernetes.io/pvc-protection"]
    for name in ("p", "q"):
        await user(world, name)
    await world.client.resource(CLAIMS).delete("data", namespace="default")
    for name in ("p", "q"):
        await world.clock.advance(3)
        assert meta.deletion_timestamp(await get(world))
        await world.resource("pods").delete(name, namespace="default")
    await world.clock.advance(5)
    assert await phases(world) == {}


async def test_a_pod_without_a_node_keeps_no_claim(world: World) -> None:
    await claim(world)
    await user(world, nodeSelector={"no": "where"})
    await world.client.resource(CLAIMS).delete("data", namespace="default")
    await world.clock.advance(3)
    assert await phases(world) == {}


async def test_a_bound_volume_stays_until_its_claim_is_gone(world: World) -> None:
    await by_hand(world)
    await claim(world, storageClassName="manual")
    volumes = world.client.resource(VOLUMES)
    assert meta.finalizers(await volumes.get("disk")) == ["kubernetes.io/pv-protection"]
    await volumes.delete("disk")
    await world.clock.advance(3)
    assert await phases(world) == {"disk": "Bound", "data": "Bound"}
    await world.client.resource(CLAIMS).delete("data", namespace="default")
    await world.clock.advance(3)
    assert await phases(world) == {}


async def test_what_was_made_before_gets_its_finalizer_back(world: World) -> None:
    await claim(world)
    await world.client.resource(CLAIMS).patch("data", {"metadata": {"finalizers": None}}, namespace="default")
    await world.clock.advance(3)
    assert meta.finalizers(await get(world)) == ["kubernetes.io/pvc-protection"]
