"""LimitRanges: defaults and their annotation, bounds with upstream's words, claims; what they do not concern."""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.builtin.world import World

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, Invalid
from kcp.apimachinery.meta import JSONObject


def pod_spec(*containers: JSONObject, **more: Any) -> JSONObject:
    return {"containers": [{"name": f"c{n}", "image": "nginx", "resources": held} for n, held in enumerate(containers)], **more}


async def limit(world: World, **item: Any) -> None:
    await world.create("LimitRange", f"limits-{item['type'].lower()}", spec={"limits": [item]})


async def test_containers_get_what_they_lack(world: World) -> None:
    await limit(world, type="Container", default={"cpu": "500m"}, defaultRequest={"cpu": "100m", "memory": "64Mi"})
    init = [{"name": "i", "image": "x"}]
    pod = await world.create("Pod", "a", spec=pod_spec({}, {"limits": {"cpu": "200m", "memory": "1Gi"}}, initContainers=init))
    first, second = (c["resources"] for c in pod["spec"]["containers"])
    assert first == {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "500m"}}
    assert second == {"requests": {"cpu": "200m", "memory": "1Gi"}, "limits": {"cpu": "200m", "memory": "1Gi"}}
    assert meta.annotations(pod)["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container c0; cpu limit for container c0; "
        "cpu, memory request for init container i; cpu limit for init container i"
    )
    assert pod["status"]["qosClass"] == "Burstable"


async def test_containers_out_of_bounds_are_refused_with_every_fault(world: World) -> None:
    await limit(world, type="Container", min={"cpu": "100m"}, max={"cpu": "1", "memory": "1Gi"}, maxLimitRequestRatio={"cpu": "2"})
    good = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    await world.create("Pod", "good", spec=pod_spec(good))
    with pytest.raises(Forbidden) as refused:
        await world.create(
            "Pod", "bad", spec=pod_spec({"requests": {"cpu": "50m", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}})
        )
    assert refused.value.message == (
        'pods "bad" is forbidden: [minimum cpu usage per Container is 100m, but request is 50m, '
        "maximum cpu usage per Container is 1, but limit is 2, maximum memory usage per Container is 1Gi, but limit is 2Gi, "
        "cpu max limit to request ratio per Container is 2, but provided ratio is 40.000000]"
    )
    await world.create("Pod", "elsewhere", namespace="other", spec=pod_spec({}))


async def test_a_pod_is_bounded_as_a_whole(world: World) -> None:
    await limit(world, type="Pod", max={"cpu": "1"})
    with pytest.raises(Forbidden, match=r"maximum cpu usage per Pod is 1\.  No limit is specified"):
        await world.create("Pod", "a", spec=pod_spec({}))
    with pytest.raises(Forbidden, match="maximum cpu usage per Pod is 1, but limit is 1200m"):
        await world.create("Pod", "a", spec=pod_spec({"limits": {"cpu": "600m"}}, {"limits": {"cpu": "600m"}}))
    await world.create("Pod", "a", spec=pod_spec({"limits": {"cpu": "500m"}}, {"limits": {"cpu": "500m"}}))


async def test_claims_are_bounded_when_made_and_when_they_grow(world: World) -> None:
    await limit(world, type="PersistentVolumeClaim", min={"storage": "1Gi"}, max={"storage": "4Gi"})

    async def claim(storage: str) -> JSONObject:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}}
        return await world.create("PersistentVolumeClaim", "data", spec=spec)

    with pytest.raises(Forbidden, match="minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 512Mi"):
        await claim("512Mi")
    await claim("2Gi")
    bound = {"status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}}
    await world.resource("PersistentVolumeClaim").patch("data", bound, namespace="default", subresource="status")
    larger = {"spec": {"resources": {"requests": {"storage": "5Gi"}}}}
    with pytest.raises(Forbidden, match="maximum storage usage per PersistentVolumeClaim is 4Gi, but request is 5Gi"):
        await world.resource("PersistentVolumeClaim").patch("data", larger, namespace="default")


async def test_contradictory_limits_are_invalid(world: World) -> None:
    with pytest.raises(Invalid, match="min value 2 is greater than max value 1"):
        await limit(world, type="Container", min={"cpu": "2"}, max={"cpu": "1"})
    with pytest.raises(Invalid, match="ratio 500m is less than 1"):
        await limit(world, type="Pod", maxLimitRequestRatio={"cpu": "0.5"})
    with pytest.raises(Invalid, match="either minimum or maximum storage value is required"):
        await limit(world, type="PersistentVolumeClaim", min={"cpu": "1"})
