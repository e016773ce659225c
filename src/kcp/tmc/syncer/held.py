"""Deletions that wait because the control plane was restored from a backup and does not know what runs here.

Before: `spec`, `namespaces` put them here, `heartbeat` reports them. After: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kcp.apimachinery.errors import StatusError
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.names import RESTORED_CAUSE

AGAIN_S = 15.0
"""Time until it is asked again whether they may be done."""
_MOST_REPORTED = 50


def restoration(error: StatusError) -> str:
    """The restoration because of which a control plane does not say that an object is gone; "" for any other error."""
    return next((cause.message for cause in error.causes if cause.reason == RESTORED_CAUSE), "")


@dataclass(slots=True)
class HeldDeletions:
    """Of one syncer; after a restart they are found again."""

    restore: str = ""
    _objects: set[str] = field(default_factory=set)

    def hold(self, what: str, restore: str) -> None:
        if restore != self.restore:
            self.restore = restore
            self._objects.clear()
        self._objects.add(what)

    def release(self, what: str) -> None:
        self._objects.discard(what)

    @property
    def count(self) -> int:
        return len(self._objects)

    def report(self) -> JSONObject | None:
        """`status.heldDeletions` of the SyncTarget; None where nothing is held."""
        if not self._objects:
            return None
        return {"restore": self.restore, "count": len(self._objects), "objects": sorted(self._objects)[:_MOST_REPORTED]}
