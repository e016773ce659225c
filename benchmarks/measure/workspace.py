"""A workspace with ConfigMaps in it, ready to be measured.

Before: `api.py`, `server.py`. After: the server, through its API.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from measure.plain import Plain, watching
from measure.processes import ControlPlane

WORKSPACES = "/apis/tenancy.kcp.io/v1alpha1/workspaces"
BENCH = "/clusters/root:bench"
NAMESPACES = f"{BENCH}/api/v1/namespaces"


def collection(namespace: str) -> str:
    """Path of the ConfigMaps of a namespace of the workspace."""
    return f"{NAMESPACES}/{namespace}/configmaps"


def workspace(name: str) -> dict[str, Any]:
    """As `kubectl ws create --type root:universal` makes it."""
    spec = {"type": {"name": "universal", "path": "root"}}
    return {"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": spec}


def create_workspaces(server: ControlPlane, token: str, parent: str, names: Iterable[str]) -> None:
    client = server.client(token)
    for name in names:
        client.json("POST", f"/clusters/{parent}{WORKSPACES}", workspace(name))
    client.close()


async def until_ready(server: ControlPlane, token: str, parent: str, count: int, create: Callable[[], None]) -> dict[str, float]:
    """When each of `count` workspaces was seen Ready by a watch, while `create` makes them in a thread."""
    path = f"/clusters/{parent}{WORKSPACES}"
    revision = server.client(token).json("GET", path)["metadata"]["resourceVersion"]
    ready: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    async with watching(server.url, token, f"{path}?watch=1&resourceVersion={revision}") as lines:
        creating = loop.run_in_executor(None, create)
        async for line in lines:
            event = json.loads(line)
            if event["object"].get("status", {}).get("phase") == "Ready":
                ready.setdefault(event["object"]["metadata"]["name"], time.perf_counter())
            if len(ready) == count:
                break
        await creating
    return ready


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"bench": "yes"}}, "data": {"key": "v" * 100}}


def fill(client: Plain, path: str, count: int, prefix: str) -> None:
    for number in range(count):
        client.json("POST", path, config_map(f"{prefix}-{number:04}"))


def prepare(server: ControlPlane, *namespaces: str) -> Plain:
    """Make the workspace root:bench with these namespaces. Returns an administrator's connection."""
    admin = server.admin_token()
    asyncio.run(until_ready(server, admin, "root", 1, lambda: create_workspaces(server, admin, "root", ["bench"])))
    client = server.client(admin)
    for namespace in namespaces:
        client.json("POST", NAMESPACES, {"metadata": {"name": namespace}})
    return client


def count(client: Plain, path: str) -> int:
    listed = client.json("GET", f"{path}?limit=1")
    return len(listed["items"]) + int(listed["metadata"].get("remainingItemCount", 0))
