"""What a kcp server stands on: certificates, store, watch cache, and the catalog that follows them.

Before: `server.compose`. After: `storage`, `registry.catalog`, `exports.source`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.table import Column
from kcp.apis.schemas import load_crds
from kcp.exports.apiconversion import CONVERSIONS, RuleConversion
from kcp.exports.boundresources import BoundResource
from kcp.exports.cached.index import NOWHERE, CachedIndex, VirtualResources
from kcp.exports.cached.names import ALL_KINDS
from kcp.exports.claimindex import ClaimIndex
from kcp.exports.claimpolicies import CLAIM_POLICIES, ClaimPolicies
from kcp.exports.claims import claim_label
from kcp.exports.conversion import conversion_of
from kcp.exports.exportindex import ExportIndex, ExportRecord
from kcp.exports.keptschemas import BOUND_CRDS, kept_name
from kcp.exports.namelocks import NameLocks
from kcp.exports.names import BINDINGS, EXPORTS, SCHEMAS, ExportedResource, VirtualStorage
from kcp.exports.source import BoundSource
from kcp.exports.spellings import SpellingSource, both
from kcp.exports.system import CACHE_CRDS, POLICIES_CRD, SYSTEM_CRDS
from kcp.registry.builtin import WORKSPACE_KINDS, builtin_resources
from kcp.registry.catalog import DynamicCatalog, StaticCatalog
from kcp.registry.crd import LocalCRDSource, resource_from_crd, resources_from_schema
from kcp.registry.resource import Origin, Resource
from kcp.server.options import Options
from kcp.storage.interface import Store
from kcp.storage.item import Item
from kcp.storage.keyspace import object_key, resource_prefix
from kcp.storage.memory import MemoryStore, revision_of
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.restored import Restored
from kcp.storage.restored import read as read_restored
from kcp.storage.sqlite import SQLiteStore
from kcp.storage.watchcache import CacheEvent, WatchCache
from kcp.tenancy.kinds import LOGICAL_CLUSTERS
from kcp.tenancy.logicalcluster.index import WorkspaceIndex

_CRDS = GroupResource("apiextensions.k8s.io", "customresourcedefinitions")

Change = Callable[[ObjectKey, JSONObject | None], None]
ColumnsOf = Callable[[Resource], tuple[Column, ...]]
OWN_COLUMNS: ColumnsOf = attrgetter("columns")
"""What the resource's own schema, or Kubernetes, says."""


async def open_store(options: Options, clock: Clock) -> Store:
    """Raises StoreError if another server owns the root directory, or etcd does not answer."""
    if options.in_memory:
        return MemoryStore(first_revision=revision_of(clock.now()))
    options.root_directory.mkdir(parents=True, exist_ok=True)
    if options.etcd.endpoints:
        from kcp.storage.etcd.store import EtcdStore  # brings gRPC, which takes a while to load

        return await EtcdStore.open(options.etcd, clock)
    return await SQLiteStore.open(options.root_directory / "kcp.db")


@dataclass(frozen=True, slots=True)
class Foundation:
    """Made once per server; `lay` it when the watch cache runs."""

    store: Store
    cache: WatchCache
    index: WorkspaceIndex
    bound: BoundSource
    crds: LocalCRDSource
    catalog: DynamicCatalog
    exports: ExportIndex
    claims: ClaimIndex
    schemas: SchemaResources
    names: NameLocks
    cached: tuple[CachedIndex, ...]
    """One of each pair of kinds."""
    policies: ClaimPolicies
    claim_policies: Resource
    """No workspace has it: see the virtual workspace `admin`."""
    restored: Restored | None = None
    """That the store was restored from a backup."""

    @classmethod
    async def lay(
        cls, store: Store, cache: WatchCache, *, clock: Clock, conversion_timeout_s: float, columns_of: ColumnsOf, cache_apis: bool = False
    ) -> Foundation:
        """Build the catalog and keep it, and the index of workspaces, in step with the cache. Args: columns_of: of a bound resource."""
        schemas = await cache.prefix(resource_prefix(SCHEMAS.group_resource))
        conversions = await cache.prefix(resource_prefix(CONVERSIONS.group_resource))
        crds, exports, claims, index = LocalCRDSource(), ExportIndex(), ClaimIndex(), WorkspaceIndex()
        cached = tuple(CachedIndex(kinds, index.resolve) for kinds in ALL_KINDS)

        def consumers(cluster: ClusterName, virtual: VirtualStorage) -> Sequence[ClusterName]:
            return sorted(
                {found for export in exports.stored_in(cluster, virtual) for found in claims.consumers(claim_label(cluster, export))}
            )

        virtual = VirtualResources(cached, lambda cluster, gvr: catalog.resolve(cluster, gvr), consumers)
        readers = SchemaResources(schemas, conversions, exports, virtual, conversion_timeout_s, columns_of)
        bound, system = BoundSource(readers.read_bound), _system_resources((*SYSTEM_CRDS, *(CACHE_CRDS if cache_apis else ())))
        own = [StaticCatalog(builtin_resources(WORKSPACE_KINDS)), StaticCatalog(system)]
        catalog = DynamicCatalog([*own, bound, SpellingSource(bound), crds])
        foundation = cls(
            store,
            cache,
            index,
            bound,
            crds,
            catalog,
            exports,
            claims,
            readers,
            NameLocks(clock, crds.defines),
            cached,
            ClaimPolicies(),
            _system_resources([POLICIES_CRD])[0],
            await read_restored(store),
        )

        def binding_changed(key: ObjectKey, binding: JSONObject | None) -> None:
            bound.changed(key.cluster, key.name, binding)
            claims.changed(key.cluster, key.name, binding)

        def crd_changed(key: ObjectKey, crd: JSONObject | None) -> None:
            crds.changed(key.cluster, key.name, crd)
            foundation.names.stored(key.cluster, key.name)

        await foundation.follow(resource_prefix(CONVERSIONS.group_resource), lambda key, obj: bound.redefined(key.cluster, key.name))
        await foundation.follow(resource_prefix(EXPORTS.group_resource), foundation.export_changed)
        await foundation.follow(resource_prefix(BINDINGS.group_resource), binding_changed)
        await foundation.follow(resource_prefix(_CRDS), crd_changed)
        await foundation.follow(resource_prefix(CLAIM_POLICIES.group_resource), foundation.policies.changed)
        await foundation.follow(resource_prefix(LOGICAL_CLUSTERS.group_resource), lambda key, obj: index.on_logical_cluster(key, None, obj))
        for one in cached if cache_apis else ():
            await foundation.follow(resource_prefix(one.kinds.resources.group_resource), one.resource_changed)
            await foundation.follow(resource_prefix(one.kinds.slices.group_resource), one.slice_changed)
            one.on_change(foundation.redefine_virtual)
        return foundation

    def export_changed(self, key: ObjectKey, export: JSONObject | None) -> None:
        """Consumers are served anew what is now stored otherwise."""
        before = self.exports.get(key)
        self.exports.changed(key, export)
        after = self.exports.get(key)
        for schema in sorted(_virtual_schemas(before) ^ _virtual_schemas(after)):
            self.bound.redefined(key.cluster, schema[0])

    def redefine_virtual(self) -> None:
        """What virtual resources show may be other objects: let who watches them ask again."""
        for key, export in self.exports.virtual_exports.items():
            for schema, _ in _virtual_schemas(export):
                self.bound.redefined(key.cluster, schema)

    async def follow(self, prefix: bytes, changed: Change) -> None:
        """Call `changed` with every object there is and, within each change, with its new state (None: gone)."""
        (await self.cache.prefix(prefix)).listen(_listener(changed))


def _virtual_schemas(export: ExportRecord | None) -> set[tuple[str, str]]:
    """Schemas of an export's virtual resources, with what says where their objects are."""
    return {(own.schema, str(own.virtual)) for own in (export.resources if export is not None else ()) if own.virtual is not None}


def _listener(changed: Change) -> Callable[[CacheEvent], None]:
    def listen(event: CacheEvent) -> None:
        changed(event.item.key, None if event.type == "DELETED" else event.item.decode())

    return listen


class SchemaResources:
    """Resources of APIResourceSchemas, read from their cache and made once for each schema and identity."""

    def __init__(  # noqa: PLR0913 - what a resource is made of
        self, schemas: PrefixCache, conversions: PrefixCache, exports: ExportIndex, virtual: VirtualResources, timeout_s: float,
        columns_of: ColumnsOf,
    ) -> None:  # fmt: skip
        """Args: timeout_s: how long the conversion of one object by an APIConversion may take. columns_of: what `kubectl get` shows."""
        self._columns_of = columns_of
        self._schemas = schemas
        self._conversions = conversions
        self._exports = exports
        self._virtual = virtual
        self._timeout_s = timeout_s
        self._made: dict[tuple[ClusterName, str, str], tuple[tuple[int, int], tuple[Resource, ...]]] = {}
        """With the revisions of the schema and of the conversion that they were made from."""

    def schema(self, cluster: ClusterName, name: str) -> JSONObject | None:
        """The APIResourceSchema itself."""
        item = _item(self._schemas, cluster, name)
        return item.decode() if item is not None else None

    def read_bound(self, cluster: ClusterName, bound: BoundResource) -> Sequence[Resource]:
        """The same for what is bound: of the very schema that was, deleted or not."""
        if meta.uid(self.schema(cluster, bound.schema_name) or {}) == bound.schema_uid:
            found = self.read(cluster, bound.schema_name, bound.identity)
        else:
            found = self.read(BOUND_CRDS, kept_name(bound.schema_uid, bound.group_resource), bound.identity)
        if not bound.is_virtual:
            return found
        return self._virtual.of(found, cluster, self._exports.virtual(cluster, bound.group_resource, bound.identity) or NOWHERE)

    def read_offered(self, export: ExportRecord, own: ExportedResource) -> Sequence[Resource]:
        """What an export offers, as its consumers have it."""
        found = self.read(export.key.cluster, own.schema, export.identity)
        return self._virtual.of(found, export.key.cluster, own.virtual) if own.virtual is not None else found

    def read(self, cluster: ClusterName, name: str, identity: str) -> Sequence[Resource]:
        """One for each served version; none if there is no such schema."""
        item, rules = _item(self._schemas, cluster, name), _item(self._conversions, cluster, name)
        if item is None:
            self._made.pop((cluster, name, identity), None)
            return ()
        revisions = item.revision, rules.revision if rules is not None else 0
        held = self._made.get((cluster, name, identity))
        if held is None or held[0] != revisions:
            make_rules = partial(RuleConversion, rules.decode(), timeout_s=self._timeout_s) if rules is not None else None
            found = resources_from_schema(item.decode(), identity, make_rules)
            made = both([replace(resource, columns=self._columns_of(resource)) for resource in found])
            held = self._made[cluster, name, identity] = revisions, made
        return held[1]


def _item(cache: PrefixCache, cluster: ClusterName, name: str) -> Item | None:
    return cache.get(object_key(cache.prefix, ObjectKey(cluster, "", name)))


def _system_resources(names: Sequence[str]) -> list[Resource]:
    """The kinds of our own that every workspace has, at each served version."""
    crds = load_crds()
    return [resource for name in names for resource in _system_versions(crds[name])]


def _system_versions(crd: JSONObject) -> list[Resource]:
    served = [version["name"] for version in crd["spec"]["versions"] if version["served"]]
    found: dict[str, Resource] = {}
    for version in served:
        resource = replace(
            resource_from_crd(crd, version, origin=Origin.SYSTEM, source=""),
            conversion=conversion_of(crd["spec"]["names"]["plural"], version),
            alternatives=lambda: found if len(served) > 1 else {},
        )
        found[resource.gvr.api_version] = resource
    return list(found.values())
