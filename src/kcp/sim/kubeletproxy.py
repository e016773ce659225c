"""What a simulated node's kubelet answers through `nodes/proxy`: its health and its pods.

Before: `dialing`. After: nothing. Source: pkg/kubelet/server/server.go (InstallDefaultHandlers).
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.request import Response, no_path

_HEALTH = frozenset(("/healthz", "/healthz/ping", "/healthz/log", "/healthz/syncloop"))


def kubelet_answer(path: str, pods: Sequence[JSONObject]) -> Response:
    """Args: path: with its slash. pods: of the node."""
    path = path.rstrip("/") or "/"
    if path in _HEALTH:
        return Response(body=b"ok", content_type="text/plain; charset=utf-8")
    if path in ("/pods", "/runningpods"):
        listed = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list(pods)}
        return Response(body=orjson.dumps(listed))
    return no_path()
