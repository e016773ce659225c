"""Objects as one export may see them: its own all, of claimed resources those that carry the label of its claim.

Writes to claimed objects must leave them claimed. Admission, which puts the labels on, is that of the workspace.
Before: the handlers of verbs. After: the registry.
Source: kcp pkg/virtual/apiexport/builder/forwarding.go, pkg/virtual/apiexport/admission/{permissionclaim_admission,selector}.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import isawaitable

from kcp.apimachinery import meta
from kcp.apimachinery.apply.versions import Show
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.exports.claimindex import ClaimIndex
from kcp.exports.claims import Claim
from kcp.registry.backend import (
    Backend,
    Deleted,
    DeleteOptions,
    Item,
    ListQuery,
    ListResult,
    Mutate,
    Scope,
    WatchEvent,
    WatchQuery,
    WriteOptions,
    Written,
)
from kcp.registry.resource import Resource


@dataclass(frozen=True, slots=True)
class ExportBackend:
    """Implements Backend over the registry of all workspaces."""

    inner: Backend
    label: str
    """Of objects that this export claims, see `exports.claims`."""
    selectors: Mapping[GroupResource, LabelSelector]
    """What is seen of resources that are not the export's own."""
    claims: ClaimIndex

    async def get(self, scope: Scope, *, resource_version: str = "") -> Item:
        item = await self.inner.get(scope, resource_version=resource_version)
        selector = self._selector(scope)
        if selector is not None and not selector.matches(item.labels):
            raise _absent(scope)
        return item

    async def list(self, scope: Scope, query: ListQuery) -> ListResult:
        return await self.inner.list(scope, replace(query, labels=self._narrowed(scope, query.labels)))

    def watch(self, scope: Scope, query: WatchQuery) -> AsyncIterator[Sequence[WatchEvent]]:
        return self.inner.watch(scope, replace(query, labels=self._narrowed(scope, query.labels)))

    async def create(self, scope: Scope, obj: JSONObject, options: WriteOptions) -> Written:
        return await self.inner.create(scope, self._claimed(scope, obj) if self._selector(scope) is not None else obj, options)

    async def update(self, scope: Scope, mutate: Mutate, options: WriteOptions) -> Written:
        selector = self._selector(scope)
        if selector is None:
            return await self.inner.update(scope, mutate, options)

        async def claimed(live: JSONObject | None) -> JSONObject:
            if live is not None and not selector.matches(meta.labels(live)):
                raise _absent(scope)
            wanted = mutate(live)
            changed = await wanted if isawaitable(wanted) else wanted
            return changed if scope.subresource else self._claimed(scope, changed)

        return await self.inner.update(scope, claimed, options)

    def elsewhere(self, resource: Resource) -> Show | None:
        return self.inner.elsewhere(resource)

    async def delete(self, scope: Scope, options: DeleteOptions) -> Deleted:
        if self._selector(scope) is not None:
            found = await self.get(scope)
            options = replace(options, uid=options.uid or meta.uid(found.decode()))
        return await self.inner.delete(scope, options)

    async def delete_collection(self, scope: Scope, query: ListQuery, options: DeleteOptions) -> ListResult:
        return await self.inner.delete_collection(scope, replace(query, labels=self._narrowed(scope, query.labels)), options)

    def _selector(self, scope: Scope) -> LabelSelector | None:
        """None for what it sees whole: the export's own resources, and what a claim to everything shows of others' virtual ones."""
        if scope.resource.projection is not None:
            return None
        return self.selectors.get(scope.resource.group_resource)

    def _narrowed(self, scope: Scope, wanted: LabelSelector | None) -> LabelSelector | None:
        selector = self._selector(scope)
        if selector is None or wanted is None:
            return selector if wanted is None else wanted
        return wanted.joined(selector)

    def _claimed(self, scope: Scope, obj: JSONObject) -> JSONObject:
        """The object with what a granted claim wants of its labels. Raises Forbidden if no claim would select it."""
        granted = self.claims.granted(scope.cluster, self.label, scope.resource.group_resource)
        for claim in granted:
            stamped = _stamped(obj, claim)
            if claim.selects(stamped):
                return stamped
        gr = scope.resource.group_resource
        why = "the workspace's APIBinding grants a claim to other objects only" if granted else "no permission claim to it is accepted"
        raise Forbidden(f'{gr} "{meta.name(obj)}" is forbidden: operation not permitted: {why}', resource=gr, name=meta.name(obj))


def _stamped(obj: JSONObject, claim: Claim) -> JSONObject:
    held = meta.labels(obj)
    missing = {key: value for key, value in claim.stamp if key not in held}
    if not missing:
        return obj
    return {**obj, "metadata": {**obj["metadata"], "labels": {**held, **missing}}}


def _absent(scope: Scope) -> NotFound:
    return NotFound.of(scope.resource.group_resource, scope.name)
