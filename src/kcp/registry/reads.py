"""GET and LIST: served from the watch cache as bytes; only pages of an older revision go to the store.

Before: `generic`. After: `storage.watchcache`, `storage.interface`.
Source: k8s.io/apiserver/pkg/storage/cacher, KEP-2340 (consistent reads from cache), KEP-365 (paginated lists).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from kcp.apimachinery.errors import BadRequest, NotFound
from kcp.registry.backend import ListQuery, ListResult, Scope
from kcp.registry.encoding import is_converted, listed_item, serve
from kcp.registry.resource import Resource
from kcp.registry.scale import scale_item
from kcp.registry.selection import Selection, select
from kcp.registry.translate import ContinueExpired, as_status, too_large_revision
from kcp.registry.versions import Presentation
from kcp.storage.interface import LATEST, Compacted, FutureRevision, Revision, Store, StoreError
from kcp.storage.item import Item
from kcp.storage.keyspace import is_family, object_key

if TYPE_CHECKING:
    from kcp.storage.prefixcache import PrefixCache
    from kcp.storage.watchcache import WatchCache

_INCONSISTENT = -1
"""In a continue token: go on at the latest revision, whatever changed between the pages."""
_MOST_DIGITS = 20
"""Of a 64-bit number."""
_PAGE_ROWS = 500
"""Rows read from the store at once while a selector thins them out."""


class Reads:
    """The reading half of `Registry`."""

    def __init__(self, store: Store, cache: WatchCache, presentation: Presentation) -> None:
        self._store = store
        self._cache = cache
        self._presentation = presentation

    async def get(self, scope: Scope, resource_version: str) -> Item:
        resource = scope.resource
        prefix = resource.storage_prefix
        try:
            items = self._cache.prefix_nowait(prefix)
            if items is None and is_family(prefix):
                items = await self._cache.prefix(prefix)
            if resource_version != "0":
                await self._fresh(resource_version)
            item = items.get(object_key(prefix, scope.key)) if items is not None else await self._cache.stored(prefix, scope.key)
        except StoreError as error:
            raise as_status(error, resource.group_resource, scope.name) from error
        if item is None:
            raise NotFound.of(resource.group_resource, scope.name)
        if resource.versions is not None:
            item = await self._presentation.one(item, resource)
        elif resource.storage_version or resource.conversion is not None:
            item = serve(item, resource)
        return scale_item(item, resource) if scope.subresource == "scale" else item

    async def _fresh(self, resource_version: str) -> None:
        """Wait until the cache shows every write acknowledged so far. Raises BadRequest, and Timeout for a revision of the future."""
        asked = parse_revision(resource_version)
        current = await self._cache.fresh()
        if asked > current:
            raise too_large_revision(asked, current)

    async def list(self, scope: Scope, query: ListQuery) -> ListResult:
        selection = select(scope, query.labels, query.fields)
        if is_family(scope.resource.storage_prefix):
            query = replace(query, limit=0)  # a continue token says a key of one resource
        try:
            if query.continue_token:
                return await self._continued(scope, query, selection)
            revision = _list_revision(query.resource_version)
            if _is_exact(query):
                return await self._at_revision(scope, query, selection, revision, b"")
            items = await self._cache.prefix(scope.resource.storage_prefix)
            if query.resource_version != "0":
                await self._fresh(query.resource_version)
            else:
                query = replace(query, limit=0)  # such a list is whole, whatever its limit: cacher.go, delegateList
        except StoreError as error:
            raise as_status(error, scope.resource.group_resource) from error
        return await self._as_cached(scope, query, selection, items, self._cache.revision(), b"")

    async def _as_cached(  # noqa: PLR0913 - what is listed, and from where on
        self, scope: Scope, query: ListQuery, selection: Selection, items: PrefixCache, revision: int, after: bytes
    ) -> ListResult:
        """A page of what the cache has now, which is what there was at `revision`; in the version of the request, whose content selects."""
        resource, matches = scope.resource, selection.by_content
        if resource.versions is None:
            return self._cached(scope, query, selection, items, revision, after)
        if matches is None:
            found = self._cached(scope, query, selection, items, revision, after)
            return replace(found, items=await self._presentation.all(found.items, resource))
        scanned = items.scan(selection.prefix, after=after)
        held = [item for item in scanned if selection.by_key is None or selection.by_key(item)]
        shown = [item for item in await self._presentation.all(held, resource) if matches(item)]
        if not query.limit or len(shown) <= query.limit:
            return ListResult(shown, revision)
        last = object_key(resource.storage_prefix, shown[query.limit - 1].key)
        return ListResult(shown[: query.limit], revision, encode_continue(revision, last))

    def _cached(  # noqa: PLR0913 - as above
        self, scope: Scope, query: ListQuery, selection: Selection, items: PrefixCache, revision: int, after: bytes
    ) -> ListResult:
        """One page; no await since the revision was asked for, so that scan and revision belong together."""
        if selection.key is not None:
            item = items.get(selection.key)
            found: Sequence[Item] = () if item is None or not _takes(selection, item) else (item,)
            return ListResult(_served(found, scope), revision)
        limit = query.limit
        if selection.matches is None:
            found = items.scan(selection.prefix, after=after, limit=limit + 1 if limit else 0)
            if not limit or len(found) <= limit:
                return ListResult(_served(found, scope), revision)
            page = found[:limit]
            last = object_key(scope.resource.storage_prefix, page[-1].key)
            remaining = items.count(selection.prefix, after=last)
            return ListResult(_served(page, scope), revision, encode_continue(revision, last), remaining)
        found = [item for item in items.scan(selection.prefix, after=after) if selection.matches(item)]
        if not limit or len(found) <= limit:
            return ListResult(_served(found, scope), revision)
        last = object_key(scope.resource.storage_prefix, found[limit - 1].key)
        return ListResult(_served(found[:limit], scope), revision, encode_continue(revision, last))

    async def _continued(self, scope: Scope, query: ListQuery, selection: Selection) -> ListResult:
        if query.resource_version not in ("", "0"):
            raise BadRequest("specifying resource version is not allowed when using continue")
        revision, after = decode_continue(query.continue_token)
        if not after.startswith(selection.prefix):
            raise BadRequest("invalid continue token: continue key is not valid: it belongs to another list")
        items = self._cache.prefix_nowait(scope.resource.storage_prefix)
        if items is not None and selection.key is None and items.is_as_at(revision) and revision <= self._cache.revision():
            return await self._as_cached(scope, query, selection, items, revision, after)
        try:
            return await self._at_revision(scope, query, selection, max(revision, 0), after)
        except Compacted:
            raise ContinueExpired(encode_continue(_INCONSISTENT, after)) from None

    async def _at_revision(self, scope: Scope, query: ListQuery, selection: Selection, revision: int, after: bytes) -> ListResult:
        """A page of the store as it was at `revision` (0: latest)."""
        prefix, at = scope.resource.storage_prefix, Revision(revision) if revision else LATEST
        found: list[Item] = []
        limit = query.limit
        rows = limit if limit and selection.matches is None else _PAGE_ROWS if limit else 0
        while True:
            try:
                page = await self._store.list(selection.prefix, after=after, limit=rows, revision=at)
            except FutureRevision as error:
                raise too_large_revision(revision, error.current) from error
            at = Revision(page.revision)
            listed = await self._shown([listed_item(prefix, kv) for kv in page.items], scope.resource)
            for kv, item in zip(page.items, listed, strict=True):
                if _takes(selection, item):
                    found.append(item)
                    if limit and len(found) == limit:
                        return self._page(scope, found, at, more=page.remaining > 0 or kv is not page.items[-1], remaining=page.remaining,
                                          counted=selection.matches is None)  # fmt: skip
            if not page.items or page.remaining == 0:
                return ListResult(_served(found, scope), at)
            after = page.items[-1].key

    async def _shown(self, items: Sequence[Item], resource: Resource) -> Sequence[Item]:
        """Items read past the cache as the resource shows them; those that have not changed since as they were shown before."""
        if resource.versions is None:
            return items
        prefix = resource.storage_prefix
        held = await self._cache.prefix(prefix)
        same = [
            now if (now := held.get(object_key(prefix, item.key))) is not None and now.revision == item.revision else item for item in items
        ]
        return await self._presentation.all(same, resource)

    def _page(self, scope: Scope, found: Sequence[Item], at: int, *, more: bool, remaining: int, counted: bool) -> ListResult:
        if not more:
            return ListResult(_served(found, scope), at)
        last = object_key(scope.resource.storage_prefix, found[-1].key)
        return ListResult(_served(found, scope), at, encode_continue(at, last), remaining if counted else None)


def _takes(selection: Selection, item: Item) -> bool:
    return selection.matches is None or selection.matches(item)


def _served(items: Sequence[Item], scope: Scope) -> Sequence[Item]:
    resource = scope.resource
    if resource.versions is None and is_converted(resource):
        return [serve(item, resource) for item in items]
    return items


def _is_exact(query: ListQuery) -> bool:
    """`Exact`, or a limit with a revision and no match rule, which has always meant exact."""
    if query.resource_version in ("", "0"):
        return False
    return query.resource_version_match == "Exact" or (not query.resource_version_match and query.limit > 0)


def parse_revision(text: str) -> int:
    """A resourceVersion as a client sends it; "" is 0. Raises BadRequest."""
    if not text:
        return 0
    fault = ""
    if not (text.isascii() and text.isdigit()):
        fault = "invalid syntax"
    elif len(text) > _MOST_DIGITS or int(text) >= 1 << 64:
        fault = "value out of range"
    if fault:
        raise BadRequest(f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": {fault}')
    return int(text)


def _list_revision(text: str) -> int:
    """Source: k8s.io/apiserver/pkg/storage/etcd3/store.go: a list says one word more than a get."""
    try:
        return parse_revision(text)
    except BadRequest as error:
        raise BadRequest(f"invalid resource version: {error}") from None


def encode_continue(revision: int, key: bytes) -> str:
    """Source: k8s.io/apiserver/pkg/storage/continue.go."""
    token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": key.decode()})
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def decode_continue(token: str) -> tuple[int, bytes]:
    """Raises BadRequest for anything `encode_continue` did not make."""
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        held: Any = orjson.loads(text)
        revision, start = held["rv"], held["start"]
    except (ValueError, TypeError, KeyError) as error:
        raise BadRequest("invalid continue token: continue key is not valid: it was not given out by this server") from error
    if type(revision) is not int or not isinstance(start, str):
        raise BadRequest("invalid continue token: continue key is not valid: incorrect encoded start resourceVersion")
    return revision, start.encode()
