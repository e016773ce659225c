"""A provider's workspace with exports of widgets, and consumers that bind them.

Before: `workspaces.py`. After: the server, through its API.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from measure.plain import Plain, watching
from measure.processes import ControlPlane
from measure.tree import AT_ONCE, Place

PROVIDER = "root:provider"
_EXPORTS, _SCHEMAS, BINDINGS, SLICES = (
    f"/apis/apis.kcp.io/v1alpha1/{name}" for name in ("apiexports", "apiresourceschemas", "apibindings", "apiexportendpointslices")
)
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
_PATIENCE_S = 60.0


def schema(plural: str) -> dict[str, Any]:
    spec = {"type": "object", "properties": {"size": {"type": "integer"}, "text": {"type": "string"}}}
    status = {"type": "object", "properties": {"area": {"type": "integer"}}}
    openapi = {"type": "object", "properties": {"spec": spec, "status": status}}
    version = {"name": "v1", "served": True, "storage": True, "schema": openapi, "subresources": {"status": {}}}
    kind = plural[:-1].capitalize()
    names = {"plural": plural, "singular": plural[:-1], "kind": kind, "listKind": f"{kind}List"}
    return {
        "apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIResourceSchema", "metadata": {"name": f"v1.{plural}.example.com"},
        "spec": {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]},
    }  # fmt: skip


def publish(client: Plain, name: str, *plurals: str) -> None:
    """Schemas, where they are missing, and an export of them in the provider's workspace."""
    for plural in plurals:
        status, answer = client.call("POST", f"/clusters/{PROVIDER}{_SCHEMAS}", schema(plural))
        if status not in (201, 409):
            raise SystemExit(f"schema of {plural}: {status} {answer[:300]!r}")
    client.json("POST", f"/clusters/{PROVIDER}{_EXPORTS}", export(name, *plurals))


def export(name: str, *plurals: str) -> dict[str, Any]:
    schemas = [f"v1.{plural}.example.com" for plural in plurals]
    return {
        "apiVersion": "apis.kcp.io/v1alpha1",
        "kind": "APIExport",
        "metadata": {"name": name},
        "spec": {"latestResourceSchemas": schemas},
    }


def binding(name: str) -> dict[str, Any]:
    reference = {"export": {"path": PROVIDER, "name": name}}
    return {"apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIBinding", "metadata": {"name": name}, "spec": {"reference": reference}}


def export_to_endpoints(server: ControlPlane, token: str, consumers: Sequence[Place]) -> list[float]:
    """Seconds from the creation of an export, which a consumer binds at once, to the URL in its endpoint slice; one for each consumer."""
    return asyncio.run(_export_to_endpoints(server, token, consumers))


async def _export_to_endpoints(server: ControlPlane, token: str, consumers: Sequence[Place]) -> list[float]:
    client, taken = server.client(token), []
    path = f"/clusters/{PROVIDER}{SLICES}"
    revision = client.json("GET", path)["metadata"]["resourceVersion"]
    async with watching(server.url, token, f"{path}?watch=1&resourceVersion={revision}") as lines:
        for number, (parent, name) in enumerate(consumers):
            published = f"export-{number}"
            begun = time.perf_counter()
            client.json("POST", f"/clusters/{PROVIDER}{_EXPORTS}", export(published, f"things{number % 4}s"))
            client.json("POST", f"/clusters/{parent}:{name}{BINDINGS}", binding(published))
            async with asyncio.timeout(_PATIENCE_S):
                while not _has_endpoint(json.loads(await anext(lines))["object"], published):
                    pass
            taken.append(time.perf_counter() - begun)
    return taken


def _has_endpoint(found: dict[str, Any], name: str) -> bool:
    return found["metadata"]["name"] == name and bool(found.get("status", {}).get("endpoints"))


def bind_all(server: ControlPlane, token: str, name: str, consumers: Sequence[Place], per_s: float = 0.0) -> list[float]:
    """Bind an export in every consumer, as fast as it goes or at a steady rate: seconds from each request to phase Bound."""
    return asyncio.run(_bind_all(server, token, name, consumers, per_s))


async def _bind_all(server: ControlPlane, token: str, name: str, consumers: Sequence[Place], per_s: float) -> list[float]:
    path = f"/clusters/*{BINDINGS}"
    revision = server.client(token).json("GET", f"{path}?limit=1")["metadata"]["resourceVersion"]
    begun: dict[str, float] = {}
    taken: dict[str, float] = {}
    local, loop = threading.local(), asyncio.get_running_loop()

    def bind(place: Place) -> None:
        if not hasattr(local, "client"):
            local.client = server.client(token)
        wanted = binding(name)
        wanted["metadata"]["annotations"] = {"place": ":".join(place)}
        begun[":".join(place)] = time.perf_counter()
        local.client.json("POST", f"/clusters/{':'.join(place)}{BINDINGS}", wanted)

    def bind_each() -> None:
        started = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = []
            for number, place in enumerate(consumers):
                if per_s:
                    time.sleep(max(0.0, started + number / per_s - time.perf_counter()))  # the rate is what is asked for
                answers.append(pool.submit(bind, place))
            for answer in answers:
                answer.result()

    async with watching(server.url, token, f"{path}?watch=1&resourceVersion={revision}") as lines:
        binding_all = loop.run_in_executor(None, bind_each)
        while len(taken) < len(consumers):
            async with asyncio.timeout(_PATIENCE_S):
                found = json.loads(await anext(lines))["object"]
            if found["metadata"]["name"] == name and found.get("status", {}).get("phase") == "Bound":
                place = found["metadata"]["annotations"]["place"]
                taken.setdefault(place, time.perf_counter() - begun[place])
        await binding_all
    return list(taken.values())


def view_url(client: Plain, name: str) -> str:
    """Path of the export's virtual workspace over all consumers, from its endpoint slice."""
    found = client.json("GET", f"/clusters/{PROVIDER}{SLICES}/{name}")
    url: str = found["status"]["endpoints"][0]["url"]
    return f"{url.removeprefix(client.url)}/clusters/*"


def widget(name: str) -> dict[str, Any]:
    """With the time at which it was made, for `fanout.Watchers`."""
    metadata = {"name": name, "annotations": {"stamp": f"{time.perf_counter():.6f}"}}
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata, "spec": {"size": 3}}


def make_widgets(url: str, token: str, consumers: Sequence[Place]) -> None:
    """One in each of these workspaces, one after the other. In a process of its own, or it waits for the watchers' interpreter lock."""
    client = Plain(url, token)
    for number, place in enumerate(consumers):
        client.json("POST", f"/clusters/{':'.join(place)}{WIDGETS}", widget(f"w-{number}"))
