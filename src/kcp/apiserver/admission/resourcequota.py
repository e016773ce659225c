"""ResourceQuota: what a write uses is reserved in the status of every quota it concerns, before the write happens.

One evaluator for all logical clusters. Reservations of a cluster are made in turn, those that wait together in one write per quota; each
write compares the quota's revision, so a quota that moved meanwhile is looked at again. Without quotas in a cluster nothing happens.
The plugin comes last in the chain: what is reserved for a write that fails after all stays until the quota controller counts again.
Before: `admission.chain`. After: `apis.kubernetes.quota`, the store.
Source: k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go; kcp pkg/admission/kubequota.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kcp.aio.clock import Clock
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import quota
from kcp.apis.kubernetes.quota import Exceeded, Write
from kcp.apis.kubernetes.quota_usage import evaluator
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.registry.backend import Attributes, Item
from kcp.registry.encoding import encode
from kcp.registry.translate import as_status, conflict
from kcp.storage.interface import Revision, RevisionMismatch, Store, StoreError
from kcp.storage.keyspace import object_key, resource_prefix
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.subscriptions import CacheEvent
from kcp.storage.watchcache import WatchCache

QUOTAS = GroupResource("", "resourcequotas")
_MOST_ROUNDS = 10
"""Against writers other than this plugin: the quota controller, and whoever changes limits."""
_BOOTSTRAP = {
    GroupResource("core.kcp.io", "logicalclusters"): "",
    GroupResource("rbac.authorization.k8s.io", "clusterrolebindings"): "workspace-admin",
}
"""Never counted, for a workspace cannot begin without them: the resource, and the name of the one object ("": all)."""


class QuotaIndex:
    """Where there are quotas: fed within each change of the watch cache."""

    def __init__(self) -> None:
        self._by_scope: dict[tuple[ClusterName, str], dict[ObjectKey, None]] = {}
        """Cluster and namespace ("" for quotas over the whole cluster) → quotas."""
        self._scope_of: dict[ObjectKey, tuple[ClusterName, str]] = {}
        self._in_cluster: dict[ClusterName, int] = {}

    def on_event(self, event: CacheEvent) -> None:
        key = event.item.key
        held = self._scope_of.pop(key, None)
        if held is not None:
            del self._by_scope[held][key]
            if not self._by_scope[held]:
                del self._by_scope[held]
            self._in_cluster[key.cluster] -= 1
            if not self._in_cluster[key.cluster]:
                del self._in_cluster[key.cluster]
        if event.type != "DELETED":
            scope = key.cluster, "" if quota.is_cluster_scoped(event.item.decode()) else key.namespace
            self._scope_of[key] = scope
            self._by_scope.setdefault(scope, {})[key] = None
            self._in_cluster[key.cluster] = self._in_cluster.get(key.cluster, 0) + 1

    def __contains__(self, cluster: ClusterName) -> bool:
        return cluster in self._in_cluster

    def of(self, cluster: ClusterName, namespace: str) -> list[ObjectKey]:
        """The quotas that may concern objects of a namespace, or with "" objects outside of all, in order."""
        found = [*self._by_scope.get((cluster, ""), ()), *(self._by_scope.get((cluster, namespace), ()) if namespace else ())]
        return sorted(found)


@dataclass(slots=True, eq=False)
class _Asked:
    """One write that waits for its reservation."""

    quotas: Sequence[ObjectKey]
    write: Write
    fault: str = ""
    is_settled: bool = False


@dataclass(slots=True, eq=False)
class _Desk:
    """Where the writes of one cluster are settled, one batch at a time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: dict[_Asked, None] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Ledger:
    """Quotas as read for one batch, with what was charged to them since."""

    held: dict[ObjectKey, tuple[Item, JSONObject]] = field(default_factory=dict)
    charged: dict[ObjectKey, None] = field(default_factory=dict)


class QuotaAdmission:
    def __init__(self, quotas: PrefixCache, store: Store, cache: WatchCache, *, clock: Clock) -> None:
        self._quotas = quotas
        self._store = store
        self._cache = cache
        self._clock = clock
        self._index = QuotaIndex()
        self._desks: dict[ClusterName, _Desk] = {}
        quotas.listen(self._index.on_event)

    @classmethod
    async def open(cls, store: Store, cache: WatchCache, *, clock: Clock) -> QuotaAdmission:
        """Fills the cache of ResourceQuotas."""
        return cls(await cache.prefix(resource_prefix(QUOTAS)), store, cache, clock=clock)

    def plugin(self) -> Plugin:
        return Plugin(name="ResourceQuota", validate=self.check)

    async def check(self, attributes: Attributes) -> None:
        """Raises: Forbidden; Conflict where the quotas keep moving."""
        scope = attributes.scope
        if scope.cluster not in self._index or attributes.new is None:
            return
        quotas = self._index.of(scope.cluster, scope.namespace)
        counting = evaluator(scope.resource.group_resource)
        if not quotas or _is_bootstrap(attributes):
            return
        if attributes.verb == "UPDATE" and scope.subresource != "resize" and not counting.on_update(attributes.new, attributes.old or {}):
            return
        if attributes.verb == "CREATE" and await self._exists(attributes):
            return  # the store will refuse it: nothing is used
        asked = _Asked(quotas, Write(counting, attributes.new, attributes.old if attributes.verb == "UPDATE" else None))
        if attributes.dry_run:
            self._charge(_Ledger(), asked, None)
        else:
            await self._reserve(scope.cluster, asked)
        if asked.fault:
            raise forbidden(attributes, asked.fault)

    async def _exists(self, attributes: Attributes) -> bool:
        prefix = attributes.scope.resource.storage_prefix
        return (await self._cache.prefix(prefix)).get(object_key(prefix, attributes.scope.key)) is not None

    async def _reserve(self, cluster: ClusterName, asked: _Asked) -> None:
        desk = self._desks.setdefault(cluster, _Desk())
        desk.waiting[asked] = None
        try:
            async with desk.lock:
                if not asked.is_settled:
                    await self._settle(list(desk.waiting))
        except StoreError as error:
            raise as_status(error, QUOTAS) from error
        finally:
            del desk.waiting[asked]
            if not desk.waiting:
                self._desks.pop(cluster, None)

    async def _settle(self, batch: Sequence[_Asked]) -> None:
        """Charge all that wait, and write each changed quota once. Raises: StoreError, Conflict."""
        only: frozenset[ObjectKey] | None = None
        for _ in range(_MOST_ROUNDS):
            ledger = _Ledger()
            for asked in batch:
                if not asked.fault and not asked.is_settled:
                    self._charge(ledger, asked, only)
            only = frozenset(await self._write(ledger))
            if not only:
                break
            await self._cache.fresh()
        else:
            raise conflict(QUOTAS, min(only).name if only else "")
        for asked in batch:
            asked.is_settled = True

    def _charge(self, ledger: _Ledger, asked: _Asked, only: Iterable[ObjectKey] | None) -> None:
        """Note in the ledger what one write uses, or in the write why it may not happen."""
        keys = [key for key in asked.quotas if (only is None or key in only) and self._load(ledger, key)]
        quotas = [ledger.held[key][1] for key in keys]
        try:
            charges = quota.charge(quotas, asked.write, self._clock.now())
        except Exceeded as exceeded:
            asked.fault = str(exceeded)
            return
        for index, used in charges.items():
            quotas[index]["status"]["used"] = used
            ledger.charged[keys[index]] = None

    def _load(self, ledger: _Ledger, key: ObjectKey) -> bool:
        if key not in ledger.held:
            item = self._quotas.get(object_key(self._quotas.prefix, key))
            if item is None:
                return False
            ledger.held[key] = item, item.decode()
        return True

    async def _write(self, ledger: _Ledger) -> list[ObjectKey]:
        """Store the charged quotas. Returns those that have moved."""
        moved = []
        for key in ledger.charged:
            item, changed = ledger.held[key]
            try:
                revision = await self._store.update(object_key(self._quotas.prefix, key), encode(changed, "v1"), Revision(item.revision))
            except RevisionMismatch:
                moved.append(key)
            else:
                await self._cache.wait_revision(revision)
        return moved

    def statistics(self) -> dict[str, int]:
        return {"waiting": sum(len(desk.waiting) for desk in self._desks.values())}


def _is_bootstrap(attributes: Attributes) -> bool:
    name = _BOOTSTRAP.get(attributes.scope.resource.group_resource)
    return name is not None and name in ("", attributes.scope.name)
