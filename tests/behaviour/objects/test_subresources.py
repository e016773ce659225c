"""Subresources of built-in kinds: scale, ephemeral containers, resize, finalize, approval, tokens.

Source: conformance.yaml (scale and status tests of apps, "Ephemeral Containers", "Pod InPlace Resize", "ServiceAccounts", CSR).
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.behaviour.objects.world import STRATEGIC, World

PODS = "/api/v1/namespaces/default/pods"
DEBUGGER = {"name": "debugger", "image": "busybox:1"}


def pod(**spec: Any) -> dict[str, Any]:
    container = {"name": "app", "image": "nginx:1", "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a"},
        "spec": {"containers": [container], "schedulerName": "no", **spec},
    }


@pytest.mark.parametrize("plural", ["deployments", "replicasets", "statefulsets", "replicationcontrollers"])
async def test_scale_is_read_replaced_and_patched(world: World, plural: str) -> None:
    is_core = plural == "replicationcontrollers"
    base = f"/api/v1/namespaces/default/{plural}" if is_core else f"/apis/apps/v1/namespaces/default/{plural}"
    labels, template = {"a": "b"}, {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    await world.make(base, {"metadata": {"name": "x"}, "spec": {
        "replicas": 1, "selector": labels if is_core else {"matchLabels": labels}, "template": template,
    }})  # fmt: skip
    scale = await world.get(f"{base}/x/scale")
    assert (scale["kind"], scale["apiVersion"], scale["spec"]) == ("Scale", "autoscaling/v1", {"replicas": 1})
    assert scale["status"]["selector"] == "a=b"
    scale["spec"]["replicas"] = 0
    for _ in range(10):
        answer = await world.call("PUT", f"{base}/x/scale", {**scale, "metadata": {"name": "x", "namespace": "default"}})
        if answer.status != 409:
            break
    assert answer.status == 200, answer.message
    assert answer.body["spec"].get("replicas", 0) == 0
    assert (await world.change(f"{base}/x/scale", {"spec": {"replicas": 2}}))["spec"] == {"replicas": 2}
    assert (await world.get(f"{base}/x"))["spec"]["replicas"] == 2
    refused = await world.call("PATCH", f"{base}/x/scale", {"spec": {"replicas": -1}}, content="application/merge-patch+json")
    assert refused.status == 422
    assert refused.causes == [("spec.replicas", "Invalid value: -1: must be greater than or equal to 0")]


async def test_ephemeral_containers_come_later_and_stay(world: World) -> None:
    early = await world.call("POST", PODS, pod(ephemeralContainers=[DEBUGGER]))
    assert early.causes == [("spec.ephemeralContainers", "Forbidden: cannot be set on create")]
    await world.make(PODS, pod())
    found = await world.change(f"{PODS}/a/ephemeralcontainers", {"spec": {"ephemeralContainers": [DEBUGGER]}}, STRATEGIC)
    assert found["spec"]["ephemeralContainers"][0]["terminationMessagePath"] == "/dev/termination-log"
    second = {"name": "second", "image": "busybox:1", "targetContainerName": "app"}
    found = await world.change(f"{PODS}/a/ephemeralcontainers", {"spec": {"ephemeralContainers": [second]}}, STRATEGIC)
    assert {each["name"] for each in found["spec"]["ephemeralContainers"]} == {"debugger", "second"}
    gone = await world.get(f"{PODS}/a/ephemeralcontainers")
    gone["spec"]["ephemeralContainers"] = [second]
    answer = await world.call("PUT", f"{PODS}/a/ephemeralcontainers", gone)
    assert answer.causes == [("spec.ephemeralContainers", 'Forbidden: existing ephemeral containers "debugger" may not be removed\n')]
    answer = await world.call("PATCH", f"{PODS}/a/ephemeralcontainers", {"spec": {"ephemeralContainers": [{"name": "app", "image": "i"}]}},
                              content=STRATEGIC)  # fmt: skip
    assert answer.causes == [("spec.ephemeralContainers[0].name", 'Duplicate value: "app"')]


async def test_a_pod_is_resized_through_its_subresource_only(world: World) -> None:
    await world.make(PODS, pod())
    more = {"spec": {"containers": [{"name": "app", "resources": {"requests": {"cpu": "150m"}, "limits": {"cpu": "300m"}}}]}}
    directly = await world.call("PATCH", f"{PODS}/a", more, content=STRATEGIC)
    assert directly.status == 422
    resized = await world.change(f"{PODS}/a/resize", more, STRATEGIC)
    assert resized["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "150m"}, "limits": {"cpu": "300m"}}
    other = {"spec": {"containers": [{"name": "app", "image": "nginx:2"}]}}
    assert (await world.change(f"{PODS}/a/resize", other, STRATEGIC))["spec"]["containers"][0]["image"] == "nginx:1"
    wrong = {"spec": {"containers": [{"name": "app", "resources": {"requests": {"cpu": "9"}}}]}}
    answer = await world.call("PATCH", f"{PODS}/a/resize", wrong, content=STRATEGIC)
    assert answer.causes == [
        ("spec.containers[0].resources.requests", 'Invalid value: "9": must be less than or equal to cpu limit of 300m')
    ]
