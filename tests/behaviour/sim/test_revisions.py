"""Histories of StatefulSets and DaemonSets: kept, undone as kubectl does, used below a partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kcp.apimachinery import meta
from kcp.client.rest import PatchType

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World


def workload(kind: str, image: str = "nginx:1", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    if kind == "StatefulSet":
        spec = {"serviceName": "web", "replicas": 3, **spec}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"}, "spec": spec}


async def images(world: World) -> list[str]:
    pods = [p for p in await world.list("pods", "app=web") if not meta.deletion_timestamp(p)]
    return [p["spec"]["containers"][0]["image"] for p in sorted(pods, key=meta.name)]


async def bring(world: World, plural: str, image: str) -> None:
    change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
    await world.resource(plural).patch("web", change, namespace="default", type=PatchType.STRATEGIC)
    await world.clock.advance(20)


@pytest.mark.parametrize(("kind", "plural"), [("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets")])
async def test_a_revision_is_kept_for_each_template_and_may_be_undone(world: World, kind: str, plural: str) -> None:
    await world.create(workload(kind))
    await world.clock.advance(20)
    await bring(world, plural, "nginx:2")
    revisions = sorted(await world.list("controllerrevisions"), key=lambda r: r["revision"])
    assert [r["revision"] for r in revisions] == [1, 2]
    assert await images(world) == ["nginx:2"] * 3
    await world.resource(plural).patch("web", revisions[0]["data"], namespace="default", type=PatchType.STRATEGIC)
    await world.clock.advance(20)
    assert await images(world) == ["nginx:1"] * 3
    again = sorted(await world.list("controllerrevisions"), key=lambda r: r["revision"])
    assert [(meta.name(r), r["revision"]) for r in again] == [(meta.name(revisions[1]), 2), (meta.name(revisions[0]), 3)]
    before = [meta.resource_version(o) for o in (*await world.list(plural), *await world.list("controllerrevisions"))]
    await world.clock.advance(60)
    assert [meta.resource_version(o) for o in (*await world.list(plural), *await world.list("controllerrevisions"))] == before
    await world.resource(plural).delete("web", namespace="default")
    await world.clock.advance(20)
    assert await world.list("controllerrevisions") == []


async def test_below_the_partition_pods_come_back_as_they_were(world: World) -> None:
    partition = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    await world.create(workload("StatefulSet", updateStrategy=partition))
    await world.clock.advance(20)
    await bring(world, "statefulsets", "nginx:2")
    assert await images(world) == ["nginx:1", "nginx:1", "nginx:2"]
    for name in ("web-0", "web-2"):
        await world.resource("pods").delete(name, namespace="default")
    await world.clock.advance(60)
    assert await images(world) == ["nginx:1", "nginx:1", "nginx:2"]
