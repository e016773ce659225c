"""Which of several servers on one etcd runs the controllers, and how the others know that there is something to serve.

All serve the API; the leader also fills `root` and runs every controller. Who loses the lease ends, as kube-controller-manager does; when
started again it stands by. A server that keeps its objects itself is alone and leads without a lease.
Before: `server.compose`. After: `controller.election`. Source: cmd/kube-controller-manager/app/controllermanager.go (leaderElectAndRun).
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.election import LeaderElector
from kcp.server.leadershipoptions import LeadershipOptions
from kcp.tenancy.kinds import SYSTEM_ADMIN
from kcp.tenancy.waiting import wait_for

log = logging.getLogger(__name__)

NAMESPACE = "kcp-system"
"""In the logical cluster system:admin, where users do not come."""
LEASE = "kcp-controllers"
FILLED = "kcp-bootstrap"
"""ConfigMap that the first leader leaves when `root` is complete."""
_CONFIG_MAPS = GVR("", "v1", "configmaps")
_NAMESPACES = GVR("", "v1", "namespaces")
_DAY_S = 86_400.0


class LeadershipLostError(Exception):
    """This server's controllers may not go on: another's may have begun."""


class Leadership:
    """One server's place among those of its etcd."""

    def __init__(self, client: Client, options: LeadershipOptions, clock: Clock) -> None:
        """Args: client: of the whole server, as system:masters."""
        self._system = client.cluster(SYSTEM_ADMIN)
        self.identity = f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        self._elector = LeaderElector(
            self._system, name=LEASE, namespace=NAMESPACE, identity=self.identity, clock=clock, times=options.times(),
            seed=uuid.uuid4().int % 2**31,
        )  # fmt: skip

    @property
    def is_leader(self) -> bool:
        return self._elector.is_leader

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Stand by until the lease is ours, then `lead()` until cancelled; then the lease is given back.

        Raises: LeadershipLostError; what `lead()` raises.
        """
        await self._ensure(_NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, "")
        log.info("waiting for the lease of the controllers", extra={"identity": self.identity})

        async def job() -> None:
            await lead()

        await self._elector.run_once(job)
        raise LeadershipLostError(
            f"this server could not renew lease {NAMESPACE}/{LEASE} in time, and its controllers have stopped: start it again to stand by"
        )

    async def tell_filled(self) -> None:
        """Let the other servers serve."""
        config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": FILLED}, "data": {"by": self.identity}}
        await self._ensure(_CONFIG_MAPS, config_map, NAMESPACE)

    async def wait_filled(self) -> None:
        """Until some leader has filled `root`, however long ago."""
        resource = self._system.resource(_CONFIG_MAPS)
        await wait_for(resource, FILLED, lambda found: bool(meta.name(found)), timeout_s=_DAY_S, what="the content of root")

    async def _ensure(self, gvr: GVR, obj: JSONObject, namespace: str) -> None:
        try:
            await self._system.resource(gvr).create(obj, namespace=namespace)
        except AlreadyExists:
            log.debug("there already", extra={"resource": str(gvr), "key": meta.name(obj)})
