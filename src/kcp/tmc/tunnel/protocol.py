"""What syncer and control plane speak: a WebSocket that carries SPDY/3.1, whose streams the control plane opens, one for each request.

A stream begins with the head of a request (`:method`, `:path`, headers) and is answered with the head of an answer (`:status`, headers);
then both bodies follow, or, after status 101, whatever was agreed on. Each stream has a window; both ends ping.
Before: `tunnels`, `syncer.tunnel`. After: `kcp.streams`.
Source: the place of kcp 0.11's reverse connection (pkg/tunneler), which speaks HTTP/2 in bodies of HTTP; the form of KEP-4006.
"""

from __future__ import annotations

import asyncio
import re

from kcp.aio.clock import Clock
from kcp.apimachinery.keys import ClusterName
from kcp.streams.spdy import Session
from kcp.streams.spdyframes import Headers
from kcp.streams.ways import BrokenStream

SUBPROTOCOL = "SPDY/3.1+tunnel.workload.kcp.io"
PING_S = 10.0
SILENT_ROUNDS = 3
"""Rounds of pings without any sign of life after which the other end counts as gone."""

SUBRESOURCES = frozenset(("attach", "exec", "log", "portforward", "proxy"))
_POD = re.compile(r"/api/v1/namespaces/([^/]+)/pods/([^/]+)/([a-z]+)(/.*)?")


def tunnel_path(cluster: ClusterName, name: str) -> str:
    """Where the syncer of a SyncTarget connects to. Source: kcp 0.11 pkg/tunneler/tunnel.go."""
    return f"/clusters/{cluster}/apis/workload.kcp.io/v1alpha1/synctargets/{name}/tunnel"


def meant_pod(path: str) -> tuple[str, str] | None:
    """Namespace and name of the pod that a request is about, None for anything that has no business in a tunnel.

    >>> meant_pod("/api/v1/namespaces/kcp-1/pods/web/exec"), meant_pod("/api/v1/namespaces/kcp-1/pods/web:80/proxy/a/b")
    (('kcp-1', 'web'), ('kcp-1', 'web'))
    >>> meant_pod("/api/v1/namespaces/kcp-1/secrets/a"), meant_pod("/api/v1/namespaces/kcp-1/pods/web/exec/../../../secrets/a")
    (None, None)
    """
    found = _POD.fullmatch(path)
    if found is None or found[3] not in SUBRESOURCES or (found[4] and found[3] != "proxy") or ".." in path.split("/"):
        return None
    name = found[2].split(":")
    return found[1], name[1] if len(name) == 3 else name[0]


def value(headers: Headers, name: str) -> str:
    return next((text for key, text in headers if key == name), "")


async def carry(session: Session, clock: Clock) -> None:
    """Until the connection ends. Raises BrokenStream where it breaks, or falls silent."""
    try:
        async with asyncio.TaskGroup() as group:
            beat = group.create_task(_beat(session, clock))
            await session.run()
            beat.cancel()
    except* BrokenStream as broken:
        raise BrokenStream(str(broken.exceptions[0])) from broken


async def _beat(session: Session, clock: Clock) -> None:
    heard, silent = session.heard, 0
    while True:
        await session.ping()
        await clock.sleep(PING_S)
        heard, silent = session.heard, 0 if session.heard != heard else silent + 1
        if silent >= SILENT_ROUNDS:
            raise BrokenStream(f"the other end has been silent for {PING_S * silent:g} s")
