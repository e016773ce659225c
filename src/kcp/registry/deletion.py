"""Delete: at once, or marked and kept until finalizers and grace periods are over.

`plan` is the decision, a pure function; `Deletions` carries it out, again when the object moved.
Before: `generic`. After: `storage`. Source: k8s.io/apiserver/pkg/registry/rest/delete.go (BeforeDelete),
pkg/registry/generic/registry/store.go (deletionFinalizersForGarbageCollection, Delete, DeleteCollection).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from kcp.aio.clock import parse_rfc3339, rfc3339
from kcp.apimachinery.errors import NotFound, StatusError
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject, deletion_timestamp, finalizers, metadata, set_finalizers
from kcp.registry.backend import Attributes, Deleted, DeleteOptions, Scope
from kcp.registry.encoding import encode, stored_item
from kcp.registry.strategy import Strategy
from kcp.registry.translate import as_status, conflict
from kcp.registry.writes import Writing, moved
from kcp.storage.interface import Revision, RevisionMismatch, StoreError
from kcp.storage.item import Item
from kcp.storage.keyspace import object_key

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_MOST_RETRIES = 200
_WORKERS = 16
"""Objects of one collection deleted at the same time, so that they share the store's commits."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What deleting means for one object as it is."""

    obj: JSONObject
    """The object as it stays for now; as it was if it goes."""
    is_gone: bool


def plan(obj: JSONObject, options: DeleteOptions, strategy: Strategy, now: datetime) -> Plan:
    """Decide. `obj` is the caller's to give away and may be changed."""
    held = _finalizers(obj, options, strategy)
    waits = bool(held) or strategy.held_by_spec(obj)
    if deletion_timestamp(obj):
        grace_s = _remaining_grace(obj, options)
    else:
        grace_s = strategy.grace_s(obj, options.grace_period_s)
    if not waits and grace_s == 0:
        return Plan(obj, is_gone=True)
    set_finalizers(obj, held)
    if not deletion_timestamp(obj):
        _mark(obj, now, grace_s)
        strategy.prepare_delete(obj)
    return Plan(obj, is_gone=False)


def _finalizers(obj: JSONObject, options: DeleteOptions, strategy: Strategy) -> list[str]:
    """The finalizers with the garbage collector's two set as the client wants them; without a wish they stay, or are the kind's.

    Source: k8s.io/apiserver/pkg/registry/generic/registry/store.go (deletionFinalizersForGarbageCollection).
    """
    held = finalizers(obj)
    propagation = options.propagation
    if not propagation and not {FOREGROUND, ORPHAN}.intersection(held):
        propagation = strategy.default_propagation
    if not propagation:
        return held
    wanted = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(propagation)
    if wanted in held and (FOREGROUND if wanted == ORPHAN else ORPHAN) not in held:
        return held
    kept = [f for f in held if f not in (FOREGROUND, ORPHAN)]
    return [*kept, wanted] if wanted else kept


def _remaining_grace(obj: JSONObject, options: DeleteOptions) -> int:
    """Grace of an object that is being deleted already: a later delete can only shorten it, and does so in `obj`."""
    held = metadata(obj).get("deletionGracePeriodSeconds") or 0
    asked = options.grace_period_s
    if asked is None or asked >= held:
        return int(held)
    shortened = parse_rfc3339(deletion_timestamp(obj)) - timedelta(seconds=held - asked)
    obj["metadata"]["deletionTimestamp"] = rfc3339(shortened)
    obj["metadata"]["deletionGracePeriodSeconds"] = asked
    return asked


def _mark(obj: JSONObject, now: datetime, grace_s: int) -> None:
    held = obj["metadata"]
    held["deletionTimestamp"] = rfc3339(now + timedelta(seconds=grace_s))
    held["deletionGracePeriodSeconds"] = grace_s
    if held.get("generation"):
        held["generation"] += 1


def _check_preconditions(scope: Scope, item: Item, uid: str, options: DeleteOptions) -> None:
    """Raises Conflict, which names the kind here. Source: k8s.io/apiserver/pkg/registry/rest/delete.go, BeforeDelete."""
    kind = GroupResource(scope.resource.gvr.group, scope.resource.kind)
    if options.uid and options.uid != uid:
        why = f"the UID in the precondition ({options.uid}) does not match the UID in record ({uid})"
        raise conflict(kind, scope.name, f"{why}. The object might have been deleted and then recreated")
    if options.resource_version and options.resource_version != str(item.revision):
        asked = options.resource_version
        why = f"the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record ({item.revision})"
        raise conflict(kind, scope.name, f"{why}. The object might have been modified")


class Deletions:
    """The deleting part of `Registry`."""

    def __init__(self, writing: Writing) -> None:
        self._w = writing

    async def delete(self, scope: Scope, options: DeleteOptions) -> Deleted:
        try:
            return await self._delete_until_done(scope, options)
        except StoreError as error:
            raise as_status(error, scope.resource.group_resource, scope.name) from error

    async def _delete_until_done(self, scope: Scope, options: DeleteOptions) -> Deleted:
        current = await self._w.current(scope)
        for _ in range(_MOST_RETRIES):
            if current is None:
                raise NotFound.of(scope.resource.group_resource, scope.name)
            try:
                return await self._delete(scope, current, options)
            except RevisionMismatch as error:
                current = moved(scope, error)
        raise conflict(scope.resource.group_resource, scope.name)

    async def _delete(self, scope: Scope, current: Item, options: DeleteOptions) -> Deleted:
        """One round. Raises RevisionMismatch where the object has moved since `current`."""
        resource = scope.resource
        shown = await self._w.presentation.one(current, resource)
        old = shown.decode()
        uid = metadata(old).get("uid", "")
        _check_preconditions(scope, current, uid, options)
        attributes = Attributes("DELETE", scope, options.user, None, old, options.dry_run, notes=options.notes)
        await self._w.admission.mutate(attributes)
        await self._w.admission.validate(attributes)
        planned = plan(shown.decode(), options, resource.strategy, self._w.clock.now())
        key, expected = object_key(resource.storage_prefix, scope.key), Revision(current.revision)
        if planned.is_gone:
            if not options.dry_run:
                await self._w.cache.wait_revision(await self._w.store.delete(key, expected))
            return Deleted(shown, gone=True, warnings=tuple(attributes.warnings))
        if planned.obj == old:
            return Deleted(shown, gone=False, warnings=tuple(attributes.warnings))
        if options.dry_run:
            stays = stored_item(scope.key, encode(planned.obj, resource.gvr.api_version), current.revision)
        else:
            value = await self._w.presentation.stored(planned.obj, resource)
            revision = await self._w.store.update(key, value, expected)
            await self._w.cache.wait_revision(revision)
            stays = await self._w.presentation.one(stored_item(scope.key, value, revision), resource)
        return Deleted(stays, gone=False, warnings=tuple(attributes.warnings))

    async def delete_all(self, scope: Scope, items: list[Item], options: DeleteOptions) -> None:
        """Delete each of `items`; those that are gone already do not matter. Raises the first refusal, after all were tried."""
        todo = iter(items)
        refusals: list[StatusError] = []
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_WORKERS, len(items))):
                group.create_task(self._delete_from(todo, scope, options, refusals))
        if refusals:
            raise refusals[0]

    async def _delete_from(self, todo: Iterator[Item], scope: Scope, options: DeleteOptions, refusals: list[StatusError]) -> None:
        for item in todo:
            try:
                await self.delete(Scope(scope.resource, item.key.cluster, item.key.namespace, item.key.name), options)
            except NotFound:
                continue
            except StatusError as refusal:
                refusals.append(refusal)
