"""Putting one copy into the physical cluster: never over somebody else's object, anew where it cannot change in place.

Before: `spec`. After: the physical cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from kcp.aio.clock import rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest, Conflict, NotFound, StatusError
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.errors import ErrorType, TMCError, is_immutable
from kcp.tmc.model.names import (
    DOWNSTREAM_CLUSTER_LABEL,
    ORIGIN_CLUSTER_ANNOTATION,
    PROJECTED_AT_ANNOTATION,
    PROJECTED_LABEL,
    PROJECTED_TO_ANNOTATION,
    PROJECTION_STATUS_ANNOTATION,
    SYNCER_FIELD_MANAGER,
)
from kcp.tmc.model.wishes import may_recreate
from kcp.tmc.syncer.downstream import is_applied
from kcp.tmc.syncer.identity import Identity
from kcp.tmc.syncer.parts import Parts

_EVERYBODYS = frozenset({(GroupResource("", "serviceaccounts"), "default")})
"""What every cluster makes in each namespace by itself, and what is shared with it."""

_NOBODYS_VERSION = "1"
"""Of no object that a syncer could meet: an empty store is at 1."""
_LONGEST_LABEL = 63
CLUSTER_LABEL = "syncer.kcp.io/cluster"
"""On copies: name of their SyncTarget, where it fits into a label."""


class Put(Enum):
    CREATED = auto()
    UPDATED = auto()
    REMOVED = auto()
    """To be made anew once it is gone."""


def projected_from(view: JSONObject) -> str:
    """Where a projected object comes from: a workspace, or a cluster; "" for one that is not projected."""
    is_projected = meta.labels(view).get(PROJECTED_LABEL) == "true"
    return meta.annotations(view).get(ORIGIN_CLUSTER_ANNOTATION, "") if is_projected else ""


def stamped(desired: JSONObject, view: JSONObject, identity: Identity, now: datetime) -> JSONObject:
    """A copy with where it comes from and when it was written. They are no part of what is compared: a later hour alone writes nothing.

    Source: tmc reference §5.2 (annotations and labels under syncer.kcp.io/), §4 (stamps on projected copies).
    """
    cluster = str(meta.cluster(view))
    stamps = {
        "syncer.kcp.io/sync-target": identity.name,
        "syncer.kcp.io/workspace": cluster,
        "syncer.kcp.io/last-sync": rfc3339(now),
        "syncer.kcp.io/resource-version": meta.resource_version(view),
        "syncer.kcp.io/sync-generation": str(meta.generation(view)),
    }
    if origin := projected_from(view):
        stamps |= {
            ORIGIN_CLUSTER_ANNOTATION: origin,
            PROJECTED_TO_ANNOTATION: identity.name,
            PROJECTED_AT_ANNOTATION: rfc3339(now),
            PROJECTION_STATUS_ANNOTATION: "Active",
        }
    labels = {CLUSTER_LABEL: identity.name, "syncer.kcp.io/origin": cluster}
    metadata = desired["metadata"]
    return {
        **desired,
        "metadata": {
            **metadata,
            "annotations": {**metadata["annotations"], **stamps},
            "labels": {**metadata["labels"], **{name: value for name, value in labels.items() if len(value) <= _LONGEST_LABEL}},
        },
    }


@dataclass(frozen=True, slots=True)
class Putter:
    """For one resource."""

    gvr: GVR
    parts: Parts

    async def put(self, key: ObjectKey, view: JSONObject, desired: JSONObject, actual: JSONObject | None) -> Put:
        """Server-side apply, after the namespace.

        Args: actual: the copy as last seen; None: nothing may be overwritten before it is seen that it is a copy.
        Raises: StatusError, TransportError, TMCError.
        """
        await self.parts.namespaces.ensure(key.cluster, key.namespace)
        told = stamped(desired, view, self.parts.identity, self.parts.clock.now())
        if actual is None:
            if not self._is_everybodys(desired) and await self._make(key, told):
                return Put.CREATED
            actual = await self._live(desired)
        self._refuse_foreign(actual, desired)
        if actual is not None and is_applied(actual, desired):
            return Put.UPDATED  # by a request whose answer, or whose event, we have not seen
        try:
            await self._apply(key, told)
        except StatusError as error:
            if actual is None or not is_immutable(error) or not may_recreate(view):
                raise
            await self._remove(actual)
            return Put.REMOVED
        return Put.UPDATED if actual is not None else Put.CREATED

    async def _make(self, key: ObjectKey, desired: JSONObject) -> bool:
        """Apply it unless there is anything of its name: one request instead of a look and a write, and nobody comes between the two.

        Where there is nothing, an apply creates whatever resourceVersion it shows; where there is something, it must be at that one.
        Source: k8s.io/apiserver/pkg/registry/generic/registry/store.go (Update); kubernetes/kubernetes#106745: Services since 1.23.
        Returns: False where it has to be looked at. Raises: other StatusErrors, TransportError.
        """
        try:
            await self._apply(key, {**desired, "metadata": {**desired["metadata"], "resourceVersion": _NOBODYS_VERSION}})
        except (Conflict, BadRequest):
            return False
        return True

    async def _apply(self, key: ObjectKey, desired: JSONObject) -> None:
        resource = self.parts.downstream.resource(self.gvr)
        try:
            await resource.apply(desired, field_manager=SYNCER_FIELD_MANAGER, force=True)
        except NotFound:  # the namespace may have been removed behind our back
            await self.parts.namespaces.ensure_anew(key.cluster, key.namespace)
            await resource.apply(desired, field_manager=SYNCER_FIELD_MANAGER, force=True)

    async def _live(self, desired: JSONObject) -> JSONObject | None:
        try:
            return await self.parts.downstream.resource(self.gvr).get(meta.name(desired), namespace=meta.namespace(desired))
        except NotFound:
            return None

    def _refuse_foreign(self, actual: JSONObject | None, desired: JSONObject) -> None:
        """Raises TMCError if what is there was not made by this SyncTarget's syncer."""
        if actual is None or self._is_everybodys(desired):
            return
        owner = meta.labels(actual).get(DOWNSTREAM_CLUSTER_LABEL)
        if owner == self.parts.identity.key:
            return
        whose = f"belongs to another SyncTarget (key {owner})" if owner else "was not made by a syncer"
        what = f'{self.gvr.group_resource} "{meta.namespace(desired)}/{meta.name(desired)}"'
        raise TMCError(
            ErrorType.RESOURCE_CONFLICT, f"{what} in the cluster {whose}", self.parts.identity.name, "apply",
            advice="it is left alone: remove or rename it in the cluster, or rename the object in the workspace",
        )  # fmt: skip

    def _is_everybodys(self, desired: JSONObject) -> bool:
        return (self.gvr.group_resource, meta.name(desired)) in _EVERYBODYS

    async def _remove(self, actual: JSONObject) -> None:
        resource = self.parts.downstream.resource(self.gvr)
        try:
            await resource.delete(meta.name(actual), namespace=meta.namespace(actual), uid=meta.uid(actual), propagation="Background")
        except NotFound:
            pass  # gone already, which is what was wanted
