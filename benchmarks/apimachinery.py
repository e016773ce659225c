"""What schemas, patches and apply cost per object: run `python benchmarks/apimachinery.py`.

Prints microseconds per call, the best of several rounds, for a Deployment of ordinary size and a small ConfigMap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from kcp.apimachinery.apply.manager import server_side_apply, track_update
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.apimachinery.patch import json_patch, merge_patch, strategic
from kcp.apimachinery.schema.structural import Schema, compile_schema
from kcp.apis.kubernetes.definitions import load

T = TypeVar("T")
NOW = "2024-01-01T00:00:00Z"

CONTAINER: JSONObject = {
    "name": "web",
    "image": "registry.example.com/shop/web:1.2.3",
    "args": ["--listen", ":8080"],
    "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}, {"containerPort": 9090, "name": "metrics", "protocol": "TCP"}],
    "env": [
        {"name": "LOG", "value": "info"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
    ],
    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
    "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 5},
    "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "initialDelaySeconds": 10},
    "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}],
    "securityContext": {"allowPrivilegeEscalation": False, "runAsNonRoot": True},
}
DEPLOYMENT: JSONObject = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "labels": {"app": "web", "team": "shop"},
        "annotations": {"owner": "shop@example.com"},
    },
    "spec": {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        "template": {
            "metadata": {"labels": {"app": "web", "team": "shop"}},
            "spec": {
                "containers": [CONTAINER],
                "serviceAccountName": "web",
                "terminationGracePeriodSeconds": 30,
                "volumes": [{"name": "config", "configMap": {"name": "web"}}],
            },
        },
    },
}
CONFIG_MAP: JSONObject = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
    "data": {"a.conf": "listen = 8080\n", "b.conf": "debug = false\n"},
}


def builtin_schema(name: str) -> Schema:
    return compile_schema(load().raw(name), resolve=load().raw)


def microseconds(call: Callable[[], object], *, rounds: int = 5, calls: int = 400) -> float:
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        best = min(best, time.perf_counter() - start)
    return best / calls * 1e6


def with_changed(obj: JSONObject, part: str, **fields: object) -> JSONObject:
    return {**obj, "metadata": dict(obj["metadata"]), part: {**obj[part], **fields}}


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of what waits for nothing: field management without other versions."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("it waits for something")


def rows(schema: Schema, obj: JSONObject, part: str, change: JSONObject) -> dict[str, Callable[[], object]]:
    live = at_once(server_side_apply(None, obj, manager="bench", force=False, schema=schema, now=NOW))
    updated = with_changed(live, part, **change)
    track = partial(track_update, manager="other", schema=schema, now=NOW)
    apply = partial(server_side_apply, manager="bench", force=False, schema=schema, now=NOW)
    return {
        "validate": lambda: schema.validate(live),
        "unknown_fields": lambda: schema.unknown_fields(live),
        "default": lambda: schema.default(live),
        "prune": lambda: schema.prune(live),
        "track_update, create": lambda: at_once(track(None, {**obj, "metadata": dict(obj["metadata"])})),
        "track_update, no change": lambda: at_once(track(live, {**live, "metadata": dict(live["metadata"])})),
        "track_update, one field": lambda: at_once(track(live, {**updated, "metadata": dict(live["metadata"])})),
        "server_side_apply, create": lambda: at_once(apply(None, obj)),
        "server_side_apply, no change": lambda: at_once(apply(live, obj)),
        "server_side_apply, one field": lambda: at_once(apply(live, with_changed(obj, part, **change))),
        "json_patch, one field": lambda: json_patch.apply(live, [{"op": "add", "path": f"/{part}", "value": updated[part]}]),
        "merge_patch, one field": lambda: merge_patch.apply(live, {part: change}),
        "merge_patch, diff": lambda: merge_patch.diff(live, updated),
        "strategic, one field": lambda: strategic.apply(live, {part: change}, schema),
        "copy_json (for comparison)": lambda: copy_json(live),
    }


def main() -> None:
    start = time.perf_counter()
    deployment = builtin_schema("io.k8s.api.apps.v1.Deployment")
    config_map = builtin_schema("io.k8s.api.core.v1.ConfigMap")
    loaded = time.perf_counter()
    deployment.validate(DEPLOYMENT)
    print(f"reading all definitions: {(loaded - start) * 1e3:.1f} ms; first Deployment: {(time.perf_counter() - loaded) * 1e3:.1f} ms")
    left = rows(deployment, DEPLOYMENT, "spec", {"replicas": 4})
    right = rows(config_map, CONFIG_MAP, "data", {"a.conf": "listen = 80\n"})
    print(f"{'µs per call':32}{'Deployment':>12}{'ConfigMap':>12}")
    for name, call in left.items():
        print(f"{name:32}{microseconds(call):12.1f}{microseconds(right[name]):12.1f}")


if __name__ == "__main__":
    main()
