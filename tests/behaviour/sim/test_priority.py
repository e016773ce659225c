"""Priorities of pods: the classes of the system, the default class, numbers that disagree with a class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import name

if TYPE_CHECKING:
    from tests.behaviour.sim.conftest import World

CLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")


def pod(pod_name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod_name},
        "spec": {"containers": [{"name": "c", "image": "x"}], **spec},
    }


def priority_class(class_name: str, value: int, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": class_name}, "value": value, **more}


async def test_a_pod_gets_the_number_of_its_class_or_of_the_default_one(world: World) -> None:
    classes = world.client.resource(CLASSES)
    assert [(name(c), c["value"]) for c in (await classes.list()).items] == [
        ("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000),
    ]  # fmt: skip
    plain = await world.create(pod("plain"))
    assert (plain["spec"]["priority"], plain["spec"]["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    assert "priorityClassName" not in plain["spec"]
    critical = await world.create(pod("critical", priorityClassName="system-node-critical"), namespace="kube-system")
    assert critical["spec"]["priority"] == 2_000_001_000
    await classes.create(priority_class("usual", 7, globalDefault=True, preemptionPolicy="Never"))
    usual = (await world.create(pod("usual")))["spec"]
    assert (usual["priority"], usual["preemptionPolicy"], usual["priorityClassName"]) == (7, "Never", "usual")


async def test_what_disagrees_is_refused(world: World) -> None:
    classes = world.client.resource(CLASSES)
    await classes.create(priority_class("usual", 7, globalDefault=True))
    for spec, told in (
        ({"priorityClassName": "nope"}, "no PriorityClass with name nope was found"),
        (
            {"priority": 9},
            r"the integer value of priority \(9\) must not be provided in pod spec; priority admission controller computed 7",
        ),
        ({"preemptionPolicy": "Never"}, r"the string value of PreemptionPolicy \(Never\) must not be provided in pod spec"),
    ):
        with pytest.raises(Forbidden, match=told):
            await world.create(pod("refused", **spec))
    with pytest.raises(Forbidden, match="PriorityClass usual is already marked as default. Only one default can exist"):
        await classes.create(priority_class("other", 8, globalDefault=True))
