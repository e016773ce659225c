"""What a syncer is told of objects that a restored control plane does not know: not that they are gone, until somebody says so who saw what
would be deleted.

A control plane that was restored is older than its clusters: what users made after the backup is there and not here. The syncer asks before
it deletes anything whose object is gone; while its SyncTarget has not acknowledged the restoration, the answer is a conflict that says why,
so that also syncers that know nothing of restorations leave what runs alone.
Before: `view.syncer`. After: `virtual.transform` raises it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Cause, Conflict, NotFound, StatusError
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Scope
from kcp.storage.restored import Restored
from kcp.tmc.model.names import RESTORE_ACKNOWLEDGED_ANNOTATION, RESTORED_CAUSE


@dataclass(frozen=True, slots=True)
class Hold:
    """Of one restoration."""

    restored: Restored
    target_of: Callable[[str], JSONObject | None]
    """K → its SyncTarget."""

    def absent(self, key: str, scope: Scope) -> StatusError:
        """What the syncer of K hears of an object that is not there."""
        group_resource, name = scope.resource.group_resource, scope.name
        target = self.target_of(key)
        if target is not None and meta.annotations(target).get(RESTORE_ACKNOWLEDGED_ANNOTATION) == self.restored.id:
            return NotFound.of(group_resource, name)
        text = (
            f'{group_resource} "{name}" is not known to this control plane, which was restored to {self.restored.created}: '
            "nothing is deleted before its SyncTarget acknowledges that (kubectl tmc restored)"
        )
        cause = Cause("", RESTORED_CAUSE, self.restored.id)
        return Conflict(text, resource=group_resource, name=name, causes=(cause,))
