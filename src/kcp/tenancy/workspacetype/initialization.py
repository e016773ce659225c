"""The built-in initializers: `system:apibindings` makes the default APIBindings, `root:universal` the namespace `default`.

An initializer is an entry in a LogicalCluster's `status.initializers`; whoever it belongs to does its work and removes it. The work
begins as soon as the cluster exists; entries are removed once it is Initializing, and with the last one it becomes Ready.
Before: informer events of LogicalClusters and APIBindings. After: the API of the new cluster.
Source: kcp pkg/reconciler/tenancy/initialization/apibinder_initializer_reconcile.go, config/universal/namespace-default.yaml.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists, StatusError
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tenancy import kinds
from kcp.tenancy.fresh import FreshReads
from kcp.tenancy.logicalcluster.lifecycle import YOUTH_S, advance, pending_initializers
from kcp.tenancy.workspacetype.bindings import ClaimsOf, binding_object, exports_for, missing_and_unready
from kcp.tenancy.workspacetype.model import ExportReference, TypeReference
from kcp.tenancy.workspacetype.names import binding_name
from kcp.tenancy.workspacetype.resolution import ResolvedType, UnresolvableType

_RETRY_REFUSED_S = 2.0
"""Wait before a binding that was refused is tried again: its export may only just be coming."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an initializer has come; `reason` "" means done."""

    reason: str = ""
    message: str = ""

    @property
    def done(self) -> bool:
        return not self.reason


DONE = Progress()
Step = Callable[[JSONObject], Awaitable[Progress]]
"""Does what one initializer is for, as far as it goes, for a LogicalCluster."""


@dataclass
class DefaultBindings:
    """The `system:apibindings` initializer."""

    resolve_type: Callable[[TypeReference], ResolvedType]
    list_bindings: Callable[[ClusterName], Sequence[JSONObject]]
    create_binding: Callable[[ClusterName, JSONObject], Awaitable[JSONObject]]
    claims_of: ClaimsOf

    async def __call__(self, cluster: JSONObject) -> Progress:
        name = meta.cluster(cluster)
        annotations = meta.annotations(cluster)
        try:
            type_ = self.resolve_type(TypeReference.parse(annotations.get(kinds.TYPE, "")))
        except UnresolvableType as error:
            return Progress("WorkspaceTypesInvalid", str(error))
        wanted = exports_for(type_.bindings, annotations.get(kinds.PATH, ""))
        missing, unready = missing_and_unready(wanted, self.list_bindings(name))
        outcomes = await asyncio.gather(*(self._create(name, export) for export in missing))
        refused = [text for text in outcomes if text]
        if refused:
            return Progress("APIBindingErrors", "; ".join(refused))
        waiting = sorted(unready + [binding_name(name, export) for export in missing])
        if waiting:
            return Progress("WaitingOnAPIBindings", f"APIBinding(s) not yet fully bound: {', '.join(waiting)}")
        return DONE

    async def _create(self, cluster: ClusterName, export: ExportReference) -> str:
        """Returns why the binding was refused, or ""."""
        try:
            await self.create_binding(cluster, binding_object(binding_name(cluster, export), export, self.claims_of(export)))
        except AlreadyExists:
            return ""  # the informer lags behind an earlier run
        except StatusError as error:
            return f"unable to bind APIExport {export}: {error.message}"
        return ""


@dataclass
class InitializationReconciler:
    """Runs the steps of one cluster's pending initializers side by side and removes those that are done."""

    get: Callable[[ObjectKey], JSONObject | None]
    steps: Mapping[str, Step]
    commit: Callable[[JSONObject, JSONObject], Awaitable[JSONObject]]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        cluster = self.get(key)
        if cluster is None or meta.deletion_timestamp(cluster):
            return Result()
        mine = [name for name in pending_initializers(cluster) if name in self.steps]
        if not mine:
            return Result()
        progress = dict(zip(mine, await asyncio.gather(*(self.steps[name](cluster) for name in mine)), strict=True))
        if meta.nested(cluster, "status", "phase") != kinds.INITIALIZING:
            return Result()  # the first status wakes this again
        is_young = self._is_young(cluster)
        await self.commit(cluster, settled(cluster, progress, now=rfc3339(self.clock.now()), is_young=is_young))
        if any(p.reason == "APIBindingErrors" for p in progress.values()):
            return Result(requeue_after_s=_RETRY_REFUSED_S)
        is_waiting = not all(p.done for p in progress.values())
        return Result(requeue_after_s=YOUTH_S if is_waiting and is_young else None)

    def _is_young(self, cluster: JSONObject) -> bool:
        created = meta.creation_timestamp(cluster)
        return bool(created) and (self.clock.now() - parse_rfc3339(created)).total_seconds() < YOUTH_S


def settled(cluster: JSONObject, progress: Mapping[str, Progress], *, now: str, is_young: bool) -> JSONObject:
    """A copy of an Initializing cluster without the initializers that are done; Ready when none is left.

    While the cluster is young, the quick ones wait for the others, so that in the normal case there is one write and not several.
    Mere waiting is not reported before that: it ends within milliseconds.
    """
    unfinished = [p for p in progress.values() if not p.done]
    if is_young and all(p.reason == "WaitingOnAPIBindings" for p in unfinished) and unfinished:
        return cluster
    wanted: JSONObject = meta.copy_json(cluster)
    left = [i for i in meta.nested(cluster, "status", "initializers", default=()) if i not in progress or not progress[i].done]
    if left:
        wanted["status"]["initializers"] = left
    else:
        wanted["status"].pop("initializers", None)
    binding = progress.get(kinds.BINDINGS_INITIALIZER)
    if binding is not None:
        _report(wanted, binding, now)
    return advance(wanted, url=meta.nested(cluster, "status", "URL", default=""), now=now)


def _report(wanted: JSONObject, progress: Progress, now: str) -> None:
    """Say what the bindings wait for; a condition that told of trouble becomes true, where there was none there is none."""
    if progress.done and conditions.get(wanted, kinds.BINDINGS_INITIALIZED) is None:
        return
    status = conditions.TRUE if progress.done else conditions.FALSE
    severity = "Info" if progress.reason == "WaitingOnAPIBindings" else "Error"
    condition = conditions.build(
        kinds.BINDINGS_INITIALIZED, status, reason=progress.reason, message=progress.message, severity=severity, now=now
    )
    conditions.set_condition(wanted, condition)


def build_initialization(
    client: Client,
    informers: InformerFactory,
    clock: Clock,
    *,
    resolve_type: Callable[[TypeReference], ResolvedType],
    claims_of: ClaimsOf,
    clusters: FreshReads | None = None,
) -> Controller:
    """The controller of the built-in initializers. `client` may write in every cluster and bind every export."""
    clusters = clusters or FreshReads(informers.informer(kinds.LOGICAL_CLUSTERS), client)
    bindings, namespaces = informers.informer(kinds.API_BINDINGS), informers.informer(kinds.NAMESPACES)

    async def create_binding(cluster: ClusterName, binding: JSONObject) -> JSONObject:
        return await client.cluster(cluster).resource(kinds.API_BINDINGS).create(binding)

    async def default_namespace(cluster: JSONObject) -> Progress:
        name = meta.cluster(cluster)
        if namespaces.get(ObjectKey(name, "", "default")) is not None:
            return DONE
        try:
            await (
                client.cluster(name)
                .resource(kinds.NAMESPACES)
                .create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
            )
        except AlreadyExists:
            return DONE
        return DONE

    def cluster_of(key: ObjectKey, _old: JSONObject | None, _new: JSONObject | None) -> Iterable[ObjectKey]:
        yield ObjectKey(key.cluster, "", kinds.LOGICAL_CLUSTER_NAME)

    steps: dict[str, Step] = {
        kinds.BINDINGS_INITIALIZER: DefaultBindings(
            resolve_type, lambda cluster: bindings.list(cluster=cluster), create_binding, claims_of
        ),
        kinds.UNIVERSAL_INITIALIZER: default_namespace,
    }
    reconciler = InitializationReconciler(clusters.get, steps, clusters.commit, clock)
    controller = Controller("workspace-initialization", reconciler.reconcile, clock=clock)
    controller.watch(informers.informer(kinds.LOGICAL_CLUSTERS))
    controller.watch(bindings, cluster_of)
    return controller
