"""Pods, ReplicaSets and Deployments as the controllers of a simulated cluster see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kcp.sim.workloads.podview import PodView, view


def _pod(name: str = "web", **changes: Any) -> dict[str, Any]:
    containers = [{"name": "app", "image": changes.get("image", "nginx"), "resources": {"requests": changes.get("requests", {})}}]
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": changes.get("labels", {})}
    metadata["creationTimestamp"] = changes.get("created", "2026-01-01T00:00:00Z")
    metadata["annotations"] = changes.get("annotations", {})
    if "owner" in changes:
        kind, uid = changes["owner"]
        metadata["ownerReferences"] = [{"kind": kind, "name": uid, "uid": uid, "controller": True}]
    if changes.get("deleted"):
        metadata |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}
    status: dict[str, Any] = {"phase": changes.get("phase", "Running")}
    if changes.get("ready", True) and status["phase"] == "Running":
        since = changes.get("ready_since", "2026-01-01T00:00:00Z")
        status["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
    if changes.get("ip"):
        status["podIP"] = changes["ip"]
    spec = {"containers": containers, **changes.get("spec", {})}
    if changes.get("node"):
        spec["nodeName"] = changes["node"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


@pytest.fixture(scope="session")
def make_pod() -> Callable[..., dict[str, Any]]:
    """Changes: node, phase, ready, ready_since, labels, annotations, owner (kind, uid), deleted, created, requests, image, ip, spec."""
    return _pod


@pytest.fixture(scope="session")
def make_view() -> Callable[..., PodView]:
    def make(name: str = "web", **changes: Any) -> PodView:
        return view(_pod(name, **changes))

    return make
