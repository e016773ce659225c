"""A backend that shows another backend's objects transformed, and turns writes to the view back into writes to the objects.

Reads: the underlying list or watch, narrowed by a label selector, each object through `outward`. Writes: the underlying compare-and-retry
update, with the user's change applied to the view and `inward` merging it into the object. So a view has no state of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import isawaitable
from typing import Protocol

import orjson

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.apply.versions import Show
from kcp.apimachinery.errors import MethodNotAllowed, NotFound, StatusError
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
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
from kcp.virtual.together import Together


class Transformation(Protocol):
    """How one view sees objects, and what a change of the view means."""

    def outward(self, scope: Scope, obj: JSONObject) -> JSONObject | None:
        """The view of `obj` (which may be changed and returned); None hides it."""

    def inward(self, scope: Scope, live: JSONObject, view: JSONObject) -> JSONObject:
        """`live` with the wanted view merged in. Raises StatusError for what a view may not change."""


@dataclass(frozen=True, slots=True)
class Narrowing:
    """For a view of objects that many views show, each its own part: what is written for one of them is an event for all."""

    opened: Callable[[Item], JSONObject]
    """The object, without what the transformation would hide."""
    is_news: Callable[[WatchEvent], bool]
    """Whether the view shows more of a change than another resourceVersion."""
    folds: Callable[[Item], bool]
    """Whether of several changes in a row the last one is enough."""
    clock: Clock


_LULL_S = 0.1
"""How long a watch lets changes gather that only others see; its own may come that much later."""


def folded(batch: Sequence[WatchEvent], folds: Callable[[Item], bool]) -> list[WatchEvent]:
    """Without the changes of an object that the next one of the same object shows too."""
    following: dict[ObjectKey, str] = {}
    kept: list[WatchEvent] = []
    for event in reversed(batch):
        if event.item is None:
            following.clear()  # a bookmark says that all before it was told
        elif event.type == "MODIFIED" and following.get(event.item.key) == "MODIFIED" and folds(event.item):
            continue
        else:
            following[event.item.key] = event.type
        kept.append(event)
    return kept[::-1]


def _not_found(scope: Scope) -> StatusError:
    return NotFound.of(scope.resource.group_resource, scope.name)


@dataclass(frozen=True, slots=True)
class TransformingBackend:
    """Implements Backend; creation and deletion through the view are refused."""

    inner: Backend
    selector: LabelSelector
    """Which stored objects the view shows."""
    transformation: Transformation
    absent: Callable[[Scope], StatusError] = _not_found
    """What is answered to whoever gets an object that the view does not show."""
    together: Together = field(default_factory=Together)
    """Shared by the views through which many write the same objects."""
    narrowing: Narrowing | None = None

    async def get(self, scope: Scope, *, resource_version: str = "") -> Item:
        try:
            item = await self.inner.get(scope, resource_version=resource_version)
        except NotFound:
            raise self.absent(scope) from None
        view = self._view(scope, item) if self.selector.matches(item.labels) else None
        if view is None:
            raise self.absent(scope)
        return view

    async def list(self, scope: Scope, query: ListQuery) -> ListResult:
        found = await self.inner.list(scope, replace(query, labels=self._narrowed(query.labels)))
        views = [view for view in (self._view(scope, item) for item in found.items) if view is not None]
        return replace(found, items=views)

    async def watch(self, scope: Scope, query: WatchQuery) -> AsyncIterator[Sequence[WatchEvent]]:
        narrowing = self.narrowing
        async for batch in self.inner.watch(scope, replace(query, labels=self._narrowed(query.labels))):
            if narrowing is None:
                yield [event for event in (self._event(scope, e) for e in batch) if event is not None]
                continue
            is_quiet = not any(map(narrowing.is_news, batch))
            yield [event for event in (self._event(scope, e) for e in folded(batch, narrowing.folds)) if event is not None]
            if is_quiet:
                await narrowing.clock.sleep(_LULL_S)

    async def create(self, scope: Scope, obj: JSONObject, options: WriteOptions) -> Written:
        raise MethodNotAllowed(f"{scope.resource.group_resource} cannot be created through this virtual workspace")

    async def update(self, scope: Scope, mutate: Mutate, options: WriteOptions) -> Written:
        async def through_view(live: JSONObject | None) -> JSONObject:
            if live is None or not self.selector.matches(meta.labels(live)):
                raise NotFound.of(scope.resource.group_resource, scope.name)
            view = self.transformation.outward(scope, meta.copy_json(live))
            if view is None:
                raise NotFound.of(scope.resource.group_resource, scope.name)
            wanted = mutate(view)
            changed = await wanted if isawaitable(wanted) else wanted
            return self.transformation.inward(scope, live, changed)

        # The view keeps a target's status in metadata of the object, so every write goes to the object itself.
        whole = replace(scope, subresource="")
        key = (scope.resource.storage_prefix, scope.resource.gvr, scope.key)
        written = await self.together.write(key, through_view, options, partial(self.inner.update, whole))
        view = self._view(scope, written.item)
        return replace(written, item=view if view is not None else written.item)

    def elsewhere(self, resource: Resource) -> Show | None:
        return self.inner.elsewhere(resource)

    async def delete(self, scope: Scope, options: DeleteOptions) -> Deleted:
        raise MethodNotAllowed(f"{scope.resource.group_resource} cannot be deleted through this virtual workspace")

    async def delete_collection(self, scope: Scope, query: ListQuery, options: DeleteOptions) -> ListResult:
        raise MethodNotAllowed(f"{scope.resource.group_resource} cannot be deleted through this virtual workspace")

    def _narrowed(self, wanted: LabelSelector | None) -> LabelSelector:
        return self.selector if wanted is None else wanted.joined(self.selector)

    def _view(self, scope: Scope, item: Item) -> Item | None:
        obj = self.transformation.outward(scope, item.decode() if self.narrowing is None else self.narrowing.opened(item))
        if obj is None:
            return None
        return Item(item.key, item.revision, orjson.dumps(obj), meta.labels(obj))

    def _event(self, scope: Scope, event: WatchEvent) -> WatchEvent | None:
        if event.item is None:
            return event
        view = self._view(scope, event.item)
        if view is None:
            # What is hidden now may have been shown before; its last state tells the watcher which object is gone.
            return WatchEvent("DELETED", event.item, event.revision)
        return WatchEvent(event.type, view, event.revision)
