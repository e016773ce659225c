"""What a recovery asks of a cluster's syncer, wherever that runs, and what the syncer answers: an annotation, and `status.recovery`.

    control plane: SyncTarget annotation `recovery.tmc.kcp.io/request` = ACTION:REQUEST
    syncer:        does it, then status.recovery = {request, time, missingPermissions}

Before: `clusters`. After: the SyncTarget. Pure, but for `ask`.
"""

from __future__ import annotations

from enum import StrEnum

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.tmc.model.kinds import READY, SYNC_TARGETS
from kcp.tmc.model.names import RECOVERY_REQUEST_ANNOTATION


class Action(StrEnum):
    RECONNECT = "reconnect"
    """Try now whatever waits: connections, circuit breakers, objects that failed."""
    AUTHENTICATE = "authenticate"
    """The same with credentials read anew; and find out which permissions are missing."""
    RESYNC = "resync"
    """Look at every object."""


def is_well(target: JSONObject) -> bool:
    """Whether a cluster is ready and takes every kind of write."""
    open_ = any(b.get("state") == "Open" for b in meta.nested(target, "status", "circuitBreakers", default=()))
    return conditions.is_true(target, READY) and not open_


def is_asked(target: JSONObject, action: Action, request: str) -> bool:
    return meta.annotations(target).get(RECOVERY_REQUEST_ANNOTATION) == f"{action}:{request}"


def is_answered(target: JSONObject, request: str) -> bool:
    return bool(meta.nested(target, "status", "recovery", "request", default="") == request)


def missing_permissions(target: JSONObject) -> list[str]:
    """As its syncer found them when it answered."""
    return list(meta.nested(target, "status", "recovery", "missingPermissions", default=()))


async def ask(workspace: Client, name: str, action: Action, request: str) -> None:
    """The annotation only: nobody else's change is in the way."""
    patch = {"metadata": {"annotations": {RECOVERY_REQUEST_ANNOTATION: f"{action}:{request}"}}}
    await workspace.resource(SYNC_TARGETS).patch(name, patch)
