"""What the reconcilers of all resources share in one syncer.

Before: `engine` makes it. After: `spec`, `status`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TypeAlias

from kcp.aio.clock import Clock
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.client.rest import Client
from kcp.controller.controller import Result
from kcp.tmc.breaker import Breakers
from kcp.tmc.syncer.access import Tokens
from kcp.tmc.syncer.held import HeldDeletions
from kcp.tmc.syncer.identity import Identity
from kcp.tmc.syncer.namespaces import NamespaceKeeper
from kcp.tmc.syncer.record import Record
from kcp.tmc.syncer.settings import SyncerConfig
from kcp.tmc.syncer.transformations import Transformations


@dataclass(frozen=True, slots=True)
class Parts:
    identity: Identity
    upstream: Callable[[ClusterName], Client]
    """The syncer's view of a workspace."""
    downstream: Client
    namespaces: NamespaceKeeper
    clock: Clock
    config: SyncerConfig
    record: Record
    transformations: Transformations
    tokens: Tokens
    breakers: Breakers
    held: HeldDeletions = field(default_factory=HeldDeletions)
    unserved: set[GVR] = field(default_factory=set)
    """Resources that were synced and that the cluster serves no more."""


Reconcile: TypeAlias = Callable[[ObjectKey], Awaitable[Result]]
Turns: TypeAlias = Callable[[Reconcile], Reconcile]
"""Makes a reconcile wait until it is its turn."""


def turns_of(limit: int, may_go_on: Callable[[], Awaitable[None]] | None = None) -> Turns:
    """At most `limit` objects in work at once, whichever resource they are of; 0: no limit.

    Args: may_go_on: awaited before each; for a syncer that may have to rest.
    """
    free = asyncio.Semaphore(limit) if limit else nullcontext()

    def in_turn(reconcile: Reconcile) -> Reconcile:
        if not limit and may_go_on is None:
            return reconcile

        async def wait_and_reconcile(key: ObjectKey) -> Result:
            if may_go_on is not None:
                await may_go_on()
            async with free:
                return await reconcile(key)

        return wait_and_reconcile

    return in_turn
