"""What a simulated node's kubelet answers through `nodes/proxy`: its health, its pods, how many run.

Before: `dialing`. After: nothing. Source: pkg/kubelet/server/server.go (InstallDefaultHandlers).
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from kcp.aio.exposition import CONTENT_TYPE
from kcp.aio.metrics import Meter, gauge
from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.request import Response, no_path

_HEALTH = frozenset(("/healthz", "/healthz/ping", "/healthz/log", "/healthz/syncloop"))


_PODS = gauge("kubelet_running_pods", "Pods that have a running container.")
_CONTAINERS = gauge("kubelet_running_containers", "Containers by their state.", ("container_state",))
"""Source: pkg/kubelet/metrics/metrics.go."""


def kubelet_answer(path: str, pods: Sequence[JSONObject]) -> Response:
    """Args: path: with its slash. pods: of the node."""
    path = path.rstrip("/") or "/"
    if path in _HEALTH:
        return Response(body=b"ok", content_type="text/plain; charset=utf-8")
    if path in ("/pods", "/runningpods"):
        listed = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list(pods)}
        return Response(body=orjson.dumps(listed))
    if path == "/metrics":
        return Response(body="".join(_meter(pods).text()).encode(), content_type=CONTENT_TYPE)
    return no_path()


def _meter(pods: Sequence[JSONObject]) -> Meter:
    meter = Meter()
    states = [
        [next(iter(held.get("state") or {}), "") for held in meta.nested(pod, "status", "containerStatuses", default=())] for pod in pods
    ]
    meter.show(_PODS, lambda: [((), float(sum("running" in of_pod for of_pod in states)))])
    for state, name in (("running", "running"), ("terminated", "exited"), ("waiting", "created")):
        meter.count(_CONTAINERS, name, by=float(sum(of_pod.count(state) for of_pod in states)))
    return meter
