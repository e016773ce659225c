"""The built-in initializers: `system:apibindings` makes the default APIBindings, `root:universal` the namespace `default`.

An initializer is an entry in a LogicalCluster's `status.initializers`; whoever it belongs to does its work and removes it. The work
begins as soon as the cluster exists; entries are removed once it is Initializing.
Before: informer events of LogicalClusters and APIBindings. After: the API of the new cluster; `logicalcluster.lifecycle` sees the last
entry go.
Source: kcp pkg/reconciler/tenancy/initialization/apibinder_initializer_reconcile.go, config/universal/namespace-default.yaml.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists, Conflict, Invalid, NotFound, StatusError
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, PatchType
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.lifecycle import pending_initializers
from kcp.tenancy.workspacetype.model import ExportReference, TypeReference
from kcp.tenancy.workspacetype.names import binding_name
from kcp.tenancy.workspacetype.resolution import ResolvedType, UnresolvableType

_REMOVAL_ATTEMPTS = 10
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


def binding_object(name: str, export: ExportReference) -> JSONObject:
    return {
        "apiVersion": kinds.API_BINDINGS.api_version,
        "kind": "APIBinding",
        "metadata": {"name": name},
        "spec": {"reference": {"export": {"path": export.path, "name": export.export}}},
    }


def exports_for(type_: ResolvedType, path: str) -> list[ExportReference]:
    """The default bindings a workspace at `path` needs; an export is not bound in the workspace it comes from."""
    return [export for export in type_.bindings if export.path != path]


def missing_and_unready(
    wanted: Iterable[ExportReference], bindings: Iterable[Mapping[str, object]]
) -> tuple[list[ExportReference], list[str]]:
    """Exports without a binding, and names of bindings that are not bound yet. Any binding to the export counts, whatever its name."""
    by_export = {_export_of(b): b for b in bindings if not meta.deletion_timestamp(b)}
    missing = [export for export in wanted if export not in by_export]
    unready = sorted(meta.name(by_export[e]) for e in wanted if e in by_export and not _is_bound(by_export[e]))
    return missing, unready


def _export_of(binding: Mapping[str, object]) -> ExportReference:
    export = meta.nested(binding, "spec", "reference", "export", default={})
    return ExportReference(export.get("path") or "", export.get("name") or "")


def _is_bound(binding: Mapping[str, object]) -> bool:
    return meta.nested(binding, "status", "phase") == "Bound" or conditions.is_true(binding, "InitialBindingCompleted")


@dataclass
class DefaultBindings:
    """The `system:apibindings` initializer."""

    resolve_type: Callable[[TypeReference], ResolvedType]
    list_bindings: Callable[[ClusterName], Sequence[JSONObject]]
    create_binding: Callable[[ClusterName, JSONObject], Awaitable[JSONObject]]

    async def __call__(self, cluster: JSONObject) -> Progress:
        name = meta.cluster(cluster)
        annotations = meta.annotations(cluster)
        try:
            type_ = self.resolve_type(TypeReference.parse(annotations.get(kinds.TYPE, "")))
        except UnresolvableType as error:
            return Progress("WorkspaceTypesInvalid", str(error))
        wanted = exports_for(type_, annotations.get(kinds.PATH, ""))
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
            await self.create_binding(cluster, binding_object(binding_name(cluster, export), export))
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
    remove: Callable[[JSONObject, Sequence[str]], Awaitable[None]]
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
        await self._settle(cluster, progress)
        refused = any(p.reason == "APIBindingErrors" for p in progress.values())
        return Result(requeue_after_s=_RETRY_REFUSED_S if refused else None)

    async def _settle(self, cluster: JSONObject, progress: Mapping[str, Progress]) -> None:
        finished = [name for name, p in progress.items() if p.done]
        if finished:
            await self.remove(cluster, finished)
            return  # the new status wakes this again if more is pending
        binding = progress.get(kinds.BINDINGS_INITIALIZER)
        if binding is not None and binding.reason != "WaitingOnAPIBindings":
            await self._report(cluster, binding)

    async def _report(self, cluster: JSONObject, progress: Progress) -> None:
        """Say what is wrong. Mere waiting is not written: it ends within milliseconds, or the bindings themselves say why it does not."""
        wanted = meta.copy_json(cluster)
        condition = conditions.build(
            kinds.BINDINGS_INITIALIZED, conditions.FALSE, reason=progress.reason, message=progress.message, severity="Error",
            now=rfc3339(self.clock.now()),
        )  # fmt: skip
        conditions.set_condition(wanted, condition)
        await self.commit(cluster, wanted)


async def remove_initializers(client: Client, cluster: JSONObject, names: Sequence[str]) -> None:
    """Take entries out of `status.initializers`, whatever others do to the object at the same time.

    Raises: Conflict when the entries keep moving.
    """
    resource = client.cluster(meta.cluster(cluster)).resource(kinds.LOGICAL_CLUSTERS)
    for _ in range(_REMOVAL_ATTEMPTS):
        held = list(meta.nested(cluster, "status", "initializers", default=()))
        operations = _removals(held, names)
        if not operations:
            return
        try:
            await resource.patch(kinds.LOGICAL_CLUSTER_NAME, operations, type=PatchType.JSON, subresource="status")
            return
        except NotFound:
            return
        except (Conflict, Invalid):
            cluster = await resource.get(kinds.LOGICAL_CLUSTER_NAME)
    raise Conflict(f"the initializers of {meta.cluster(cluster)} keep changing")


def _removals(held: Sequence[str], names: Sequence[str]) -> list[JSONObject]:
    """JSON Patch operations, last entry first so that indexes stay true; each tested, so that a moved entry fails the patch.

    A list that becomes empty is removed, together with the condition that told of trouble with it.

    >>> [op["op"] + " " + op["path"] for op in _removals(["a", "b"], ["b"])]
    ['test /status/initializers/1', 'remove /status/initializers/1']
    """
    if held and set(held) <= set(names):
        return [{"op": "test", "path": "/status/initializers", "value": list(held)}, {"op": "remove", "path": "/status/initializers"}]
    operations: list[JSONObject] = []
    for index in reversed(range(len(held))):
        if held[index] in names:
            path = f"/status/initializers/{index}"
            operations += [{"op": "test", "path": path, "value": held[index]}, {"op": "remove", "path": path}]
    return operations


def build_initialization(
    client: Client, informers: InformerFactory, clock: Clock, *, resolve_type: Callable[[TypeReference], ResolvedType]
) -> Controller:
    """The controller of the built-in initializers. `client` may write in every cluster and bind every export."""
    clusters = informers.informer(kinds.LOGICAL_CLUSTERS)
    bindings = informers.informer(kinds.API_BINDINGS)

    async def write(old: JSONObject, new: JSONObject) -> JSONObject:
        return await commit(client.cluster(meta.cluster(old)).resource(kinds.LOGICAL_CLUSTERS), old, new)

    async def remove(cluster: JSONObject, names: Sequence[str]) -> None:
        await remove_initializers(client, cluster, names)

    async def create_binding(cluster: ClusterName, binding: JSONObject) -> JSONObject:
        return await client.cluster(cluster).resource(kinds.API_BINDINGS).create(binding)

    async def default_namespace(cluster: JSONObject) -> Progress:
        namespaces = client.cluster(meta.cluster(cluster)).resource(kinds.NAMESPACES)
        try:
            await namespaces.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
        except AlreadyExists:
            return DONE
        return DONE

    def cluster_of(key: ObjectKey, _old: JSONObject | None, _new: JSONObject | None) -> Iterable[ObjectKey]:
        yield ObjectKey(key.cluster, "", kinds.LOGICAL_CLUSTER_NAME)

    steps: dict[str, Step] = {
        kinds.BINDINGS_INITIALIZER: DefaultBindings(resolve_type, lambda cluster: bindings.list(cluster=cluster), create_binding),
        kinds.UNIVERSAL_INITIALIZER: default_namespace,
    }
    reconciler = InitializationReconciler(clusters.get, steps, remove, write, clock)
    controller = Controller("workspace-initialization", reconciler.reconcile, clock=clock)
    controller.watch(clusters)
    controller.watch(bindings, cluster_of)
    return controller
