"""Where the workspaces of a type are prepared and cleared: `status.virtualWorkspaces` of WorkspaceTypes.

observe (type, shards) → `decide` (pure) → commit.
Before: informer events of WorkspaceTypes and Shards. After: the URLs served by `virtual.lifecycle`.
Source: kcp pkg/reconciler/tenancy/workspacetype/workspacetype_controller_reconcile.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.keys import ROOT, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tenancy import kinds

_SERVICES = (("initializing", "initializingworkspaces"), ("terminating", "terminatingworkspaces"))


def decide(type_: JSONObject, shards: Iterable[Mapping[str, object]], now: str) -> JSONObject:
    """The type as it should be; of shards those count that say where their virtual workspaces are."""
    wanted: JSONObject = meta.copy_json(type_)
    identifier = f"{meta.cluster(type_)}:{meta.name(type_)}"
    bases = [str(meta.nested(shard, "spec", "virtualWorkspaceURL", default="")) for shard in shards]
    urls = [{"url": f"{base.rstrip('/')}/services/{name}/{identifier}", "type": kind} for base in bases if base for kind, name in _SERVICES]
    status = meta.ensure(wanted, "status")
    if urls:
        status["virtualWorkspaces"] = sorted(urls, key=lambda entry: entry["url"])
    else:
        status.pop("virtualWorkspaces", None)
    conditions.set_condition(wanted, conditions.build(kinds.VIRTUAL_WORKSPACE_URLS_READY, conditions.TRUE, now=now))
    conditions.summarize(wanted, [kinds.VIRTUAL_WORKSPACE_URLS_READY], now=now)
    return wanted


@dataclass(frozen=True, slots=True)
class TypeReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    list_shards: Callable[[], Sequence[JSONObject]]
    commit: Callable[[JSONObject, JSONObject], Awaitable[JSONObject]]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        held = self.get(key)
        if held is not None and not meta.deletion_timestamp(held):
            await self.commit(held, decide(held, self.list_shards(), rfc3339(self.clock.now())))
        return Result()


def build_type_controller(client: Client, informers: InformerFactory, clock: Clock) -> Controller:
    """`client` may write in every cluster."""
    types, shards = informers.informer(kinds.WORKSPACE_TYPES), informers.informer(kinds.SHARDS)

    async def write(old: JSONObject, new: JSONObject) -> JSONObject:
        return await commit(client.cluster(meta.cluster(old)).resource(kinds.WORKSPACE_TYPES), old, new)

    def every_type(_key: ObjectKey, _old: JSONObject | None, _new: JSONObject | None) -> Iterable[ObjectKey]:
        return types.keys()

    reconciler = TypeReconciler(types.get, lambda: shards.list(cluster=ROOT), write, clock)
    controller = Controller("workspacetype", reconciler.reconcile, clock=clock)
    controller.watch(types)
    controller.watch(shards, every_type)
    return controller
