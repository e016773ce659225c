"""Stored objects as one version of a custom resource shows them, and back: fitted to the schemas, converted by rules or a webhook.

What is read from the store is pruned and defaulted by the schema of the version it is stored in, then converted to the version of the
request, then pruned by that one's schema. Each object is worked on once for each version, however many read it.
Before: `reads`, `watches`, `writes`, `deletion`. After: `encoding`, and a `Converter`, which the composition root brings along.
Source: k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go (crdConversionRESTOptionsGetter, schemaCoercingDecoder,
schemaCoercingConverter), pkg/apiserver/conversion; KEP-598 (defaulting), KEP-575 (pruning).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias
from weakref import WeakKeyDictionary

from kcp.apimachinery.apply.versions import Show, Shown
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject, copy_json
from kcp.registry.encoding import api_version_of, as_json, encode, serve, stored_api_version, stored_value
from kcp.registry.resource import Resource
from kcp.storage.item import Item, make_item

if TYPE_CHECKING:
    from kcp.apimachinery.schema.structural import Schema

_MOST_AT_ONCE = 100
_MOST_BYTES_AT_ONCE = 2 * 1024 * 1024
"""Of the objects that one call of a webhook carries; a single larger one goes alone."""


@dataclass(frozen=True, slots=True)
class WebhookConversion:
    """How the versions of one CRD are converted."""

    cluster: ClusterName
    client_config: JSONObject
    review_versions: tuple[str, ...]


ConvertByRules: TypeAlias = Callable[[JSONObject, str], JSONObject]
"""(object, apiVersion) → a new object in that version. Raises Unexplained."""


class Converter(Protocol):
    """Asks conversion webhooks."""

    async def convert(self, webhook: WebhookConversion, objects: Sequence[JSONObject], api_version: str) -> list[JSONObject]:
        """The objects in another version, in order. Raises Unexplained."""


@dataclass(frozen=True, slots=True, eq=False)
class Versions:
    """What a custom resource has to know of its versions to show stored objects in one of them."""

    schemas: Mapping[str, Callable[[], Schema | None]]
    """Of every version of the CRD, served or not, by apiVersion."""
    webhook: WebhookConversion | None
    is_changed: bool
    """Whether there may be objects that were stored under other schemas than these."""
    shown: WeakKeyDictionary[Item, Item | None]
    """Stored objects and how they look; None: just as they are."""
    rules: ConvertByRules | None = None
    """Go before a webhook."""

    def schema(self, api_version: str) -> Schema | None:
        source = self.schemas.get(api_version)
        return source() if source is not None else None


def fit(obj: JSONObject, schema: Schema | None) -> None:
    """Prune and default an object that comes from the store."""
    if schema is not None:
        schema.prune(obj)
        schema.default(obj)


class Presentation:
    """Shows stored objects, and stores shown ones. Stateless: what it remembers belongs to the resources."""

    def __init__(self, converter: Converter | None) -> None:
        """`converter` None: of a server without conversion webhooks; versions then differ in their names only."""
        self._converter = converter

    async def one(self, item: Item, resource: Resource) -> Item:
        """Raises Unexplained where a webhook fails."""
        if resource.versions is None:
            return serve(item, resource)
        return (await self.all([item], resource))[0]

    async def all(self, items: Sequence[Item], resource: Resource) -> Sequence[Item]:
        """Each item as the resource shows it, in order. Raises Unexplained where a webhook fails."""
        versions = resource.versions
        if versions is None:
            return [serve(item, resource) for item in items]
        known = versions.shown
        missing = [item for item in items if item not in known]
        for item, made in [entry for batch in _batches(missing) for entry in await self._made(batch, resource, versions)]:
            known[item] = made
        return [known[item] or item for item in items]

    async def _made(self, items: Sequence[Item], resource: Resource, versions: Versions) -> Sequence[tuple[Item, Item | None]]:
        wanted = resource.gvr.api_version
        done: list[tuple[Item, Item | None]] = []
        foreign: list[tuple[Item, JSONObject]] = []
        for item in items:
            held = api_version_of(item.raw)
            if held == wanted and not versions.is_changed:
                done.append((item, None))
                continue
            obj = item.decode()
            fit(obj, versions.schema(held))
            if held == wanted:
                raw = as_json(obj)
                done.append((item, None if raw == item.raw else Item(item.key, item.revision, raw, item.labels)))
            else:
                foreign.append((item, obj))
        if foreign:
            converted = await self._convert([obj for _, obj in foreign], wanted, versions)
            done += [(item, _item(item, obj, wanted)) for (item, _), obj in zip(foreign, converted, strict=True)]
        return done

    async def _convert(self, objects: list[JSONObject], api_version: str, versions: Versions) -> list[JSONObject]:
        if versions.rules is not None:
            converted = [versions.rules(obj, api_version) for obj in objects]
        elif versions.webhook is None or self._converter is None:
            converted = objects
        else:
            converted = await self._converter.convert(versions.webhook, objects, api_version)
        schema = versions.schema(api_version)
        for obj in converted:
            obj["apiVersion"] = api_version
            if schema is not None:
                schema.prune(obj)
        return converted

    def elsewhere(self, resource: Resource) -> Show | None:
        """Shows objects of this resource in its other versions; None where they look alike in all of them."""
        versions = resource.every_version
        if versions is None:
            return partial(_seen_as, resource) if resource.alternatives() else None

        async def converted(obj: JSONObject, api_version: str) -> Shown | None:
            if api_version not in versions.schemas:
                return None
            (made,) = await self._convert([copy_json(obj)], api_version, versions)
            return Shown(made, versions.schema(api_version))

        return converted

    async def stored(self, obj: JSONObject, resource: Resource) -> bytes:
        """The stored form of an object of this resource, which is not changed. Raises RequestEntityTooLarge, Unexplained."""
        versions, wanted = resource.versions, stored_api_version(resource)
        if versions is None or wanted == resource.gvr.api_version:
            return stored_value(obj, resource)
        (converted,) = await self._convert([copy_json(obj)], wanted, versions)
        return encode(converted, wanted)


async def _seen_as(resource: Resource, obj: JSONObject, api_version: str) -> Shown | None:
    known = {**resource.alternatives(), resource.gvr.api_version: resource}
    shown, other = known.get(obj.get("apiVersion") or "", resource), known.get(api_version)
    if other is None:
        return None
    stored = obj if shown.conversion is None else shown.conversion.to_stored(obj)
    seen = stored if other.conversion is None else other.conversion.from_stored(stored)
    return Shown({**seen, "apiVersion": api_version}, other.schema)


def _item(stored: Item, obj: JSONObject, api_version: str) -> Item:
    return make_item(stored.key, encode(obj, api_version, limit=0), stored.revision)


def _batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    batch: list[Item] = []
    size = 0
    for item in items:
        if batch and (len(batch) == _MOST_AT_ONCE or size + len(item.raw) > _MOST_BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += len(item.raw)
    if batch:
        yield batch
