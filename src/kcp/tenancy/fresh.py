"""An informer's objects, with one's own writes already in them.

Between a write and its event the informer shows the state before it; a reconciler that runs then would decide on old facts, and its next
write would conflict. `FreshReads` remembers what a write answered until the informer has something else than the state it replaced. No
resourceVersions are compared but for equality; forgetting everything costs a conflict, never correctness.
Before: the reconcilers of tenancy, which share one per resource. After: `controller.informer`, `controller.commit`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, ResourceClient
from kcp.controller.commit import commit


class Reads(Protocol):
    """What is needed of an informer."""

    @property
    def gvr(self) -> GVR: ...
    def get(self, key: ObjectKey) -> JSONObject | None: ...
    def version_of(self, key: ObjectKey) -> str | None: ...


@dataclass
class _Written:
    obj: JSONObject | None = None
    """None: the write made it disappear."""
    replaced: set[str] = field(default_factory=set)
    """resourceVersions that are known to be older."""


class FreshReads:
    """Reads and writes of one resource in all clusters."""

    def __init__(self, informer: Reads, client: Client) -> None:
        self._informer = informer
        self._client = client
        self._written: dict[ObjectKey, _Written] = {}

    def get(self, key: ObjectKey) -> JSONObject | None:
        """The newest state known; the caller's to change."""
        written = self._written.get(key)
        if written is None:
            return self._informer.get(key)
        if self._informer.version_of(key) not in written.replaced:
            del self._written[key]
            return self._informer.get(key)
        copied: JSONObject | None = meta.copy_json(written.obj)
        return copied

    async def commit(self, old: JSONObject, new: JSONObject) -> JSONObject:
        """As `controller.commit`: one patch of the difference between what was read and what is wanted.

        Returns: the object as it is now; its last state if this ended it, or if it had gone before.
        """
        try:
            made = await commit(self.resource(meta.cluster(old)), old, new)
        except NotFound:
            self._remember(old, None)
            return old
        if made is not old:
            self._remember(old, None if meta.deletion_timestamp(made) and not meta.finalizers(made) else made)
        return made

    def resource(self, cluster: ClusterName) -> ResourceClient:
        return self._client.cluster(cluster).resource(self._informer.gvr)

    def _remember(self, old: JSONObject, made: JSONObject | None) -> None:
        key = meta.key(old)
        written = self._written.setdefault(key, _Written())
        written.replaced.add(meta.resource_version(old))
        written.obj = made

    def statistics(self) -> dict[str, int]:
        return {"remembered": len(self._written)}
