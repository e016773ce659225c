"""APIBinding controller: makes the resources of an export served in the binding's workspace.

observe (binding, export, schemas, what else is bound) → `decide` (pure) → commit. What is served follows from the binding's status alone
(`exports.source`), so a binding is all the state there is. Deletion is in `bindingdeletion`.
Source: kcp pkg/reconciler/apis/apibinding/apibinding_reconcile.go, apibindingdeletion.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.exports.bindingdeletion import BindingFinalizer, successor_of
from kcp.exports.boundresources import BoundResource, bound_resources
from kcp.exports.claims import CLAIM_LABEL, OWN_BINDING, ClaimKey
from kcp.exports.conflicts import ApiNames, Taken, conflict
from kcp.exports.grants import grant
from kcp.exports.namelocks import NameLocks
from kcp.exports.names import (
    API_EXPORT_VALID,
    BINDING_FINALIZER,
    BINDING_UP_TO_DATE,
    BINDINGS,
    EXPORT_LABEL,
    EXPORTS,
    EXTRA_ANNOTATION_PREFIX,
    INITIAL_BINDING_COMPLETED,
    PERMISSION_CLAIMS_APPLIED,
    PHASE_BINDING,
    PHASE_BOUND,
    SCHEMAS,
    ExportReference,
    export_label,
    exported_resources,
)
from kcp.registry.resource import Resource


@dataclass(frozen=True, slots=True)
class SchemaSummary:
    """What a binding needs to know of an APIResourceSchema; its specification never changes."""

    name: str
    uid: str
    names: ApiNames
    storage_version: str

    @property
    def group_resource(self) -> GroupResource:
        return self.names.group_resource

    @classmethod
    def of(cls, schema: JSONObject) -> SchemaSummary:
        spec = schema["spec"]
        storage = next((v["name"] for v in spec["versions"] if v.get("storage")), spec["versions"][0]["name"])
        return cls(meta.name(schema), meta.uid(schema), ApiNames.of(spec.get("group", ""), spec["names"]), storage)


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that decides a binding's status."""

    export: JSONObject | None
    export_cluster: ClusterName
    schemas: Mapping[str, SchemaSummary]
    """By name; those that exist."""
    taken: Sequence[Taken]
    """What other bindings and local CRDs of this workspace are called."""
    is_known: Callable[[ClaimKey], bool] = lambda key: True  # noqa: E731 - a default
    """Whether any export provides what a claim is about."""


def decide(binding: JSONObject, observed: Observed, now: str) -> JSONObject:
    """The binding as it should be, given what was observed. Pure; `binding` is not changed."""
    wanted: JSONObject = meta.copy_json(binding)
    status = meta.ensure(wanted, "status")
    status["phase"] = status.get("phase") or PHASE_BINDING
    if conditions.get(wanted, INITIAL_BINDING_COMPLETED) is None:
        waiting = "Waiting for API(s) to be established"
        _condition(wanted, INITIAL_BINDING_COMPLETED, now, reason="WaitingForEstablished", message=waiting, severity="Info")
    problem = _export_problem(ExportReference.of(binding), observed)
    if problem is not None:
        reason, message = problem
        _condition(wanted, API_EXPORT_VALID, now, reason=reason, message=message)
        _summarize(wanted, now)
        return wanted
    assert observed.export is not None, "no problem means there is an export"
    _condition(wanted, API_EXPORT_VALID, now)
    _adopt_metadata(wanted, observed)
    status["apiExportClusterName"] = observed.export_cluster
    grant(wanted, observed.export, observed.is_known, now)
    bound, conflicts = _bind(observed, status.get("boundResources") or ())
    if conflicts:
        message = f"Unable to bind APIs: {'; '.join(conflicts)}"
        _condition(wanted, BINDING_UP_TO_DATE, now, reason="NamingConflicts", message=message)
        if not conditions.is_true(wanted, INITIAL_BINDING_COMPLETED):
            _condition(wanted, INITIAL_BINDING_COMPLETED, now, reason="NamingConflicts", message=message)
    else:
        status["boundResources"] = bound
        status["phase"] = PHASE_BOUND
        _condition(wanted, INITIAL_BINDING_COMPLETED, now)
        _condition(wanted, BINDING_UP_TO_DATE, now)
    _summarize(wanted, now)
    return wanted


def _export_problem(reference: ExportReference | None, observed: Observed) -> tuple[str, str] | None:
    if reference is None or not reference.name:
        return "APIExportInvalidReference", "spec.reference.export is missing"
    where = f'APIExport "{reference.name}" in workspace "{reference.path or "."}"'
    if observed.export is None:
        return "APIExportNotFound", f"{where} not found: check the path and the name, or create the export"
    if not meta.nested(observed.export, "status", "identityHash"):
        return "MissingIdentityHash", f"{where} is missing status.identityHash"
    missing = [r.schema for r in exported_resources(observed.export) if r.schema not in observed.schemas]
    if missing:
        return (
            "InternalError",
            f"{where} refers to APIResourceSchemas that do not exist: {', '.join(missing)}: ask its owner to create them",
        )
    return None


def _adopt_metadata(wanted: JSONObject, observed: Observed) -> None:
    assert observed.export is not None
    label = export_label(observed.export_cluster, meta.name(observed.export))
    meta.set_label(wanted, EXPORT_LABEL, label)
    if CLAIM_LABEL + label not in meta.labels(wanted):
        meta.set_label(wanted, CLAIM_LABEL + label, OWN_BINDING)
    for name, value in meta.annotations(observed.export).items():
        if name.startswith(EXTRA_ANNOTATION_PREFIX):
            meta.set_annotation(wanted, name, value)
    if BINDING_FINALIZER not in meta.finalizers(wanted):
        meta.set_finalizers(wanted, [*meta.finalizers(wanted), BINDING_FINALIZER])


def _bind(observed: Observed, before: Iterable[JSONObject]) -> tuple[list[JSONObject], list[str]]:
    """`status.boundResources` for the whole export, and a text for each resource whose name is taken.

    What an export offers no more stays bound as it was: its objects are the workspace's.

    Args: before: what was bound already; versions that objects were stored in are remembered, the latest last. What is virtual has none,
    and stays so for as long as its schema does, whatever becomes of the export.
    """
    assert observed.export is not None
    identity = observed.export["status"]["identityHash"]
    held = {GroupResource(b.get("group", ""), b["resource"]): b for b in before}
    conflicts: list[str] = []
    for resource in exported_resources(observed.export):
        summary = observed.schemas[resource.schema]
        if text := conflict(summary.names, observed.taken):
            conflicts.append(text)
        schema = {"name": summary.name, "UID": summary.uid, "identityHash": identity}
        gr, now = summary.group_resource, summary.storage_version
        before_now = held.get(gr) or {"schema": {}}
        is_virtual = not before_now.get("storageVersions") if before_now["schema"].get("UID") == summary.uid else bool(resource.virtual)
        versions = [] if is_virtual else [*(version for version in before_now.get("storageVersions") or () if version != now), now]
        held[gr] = {"group": gr.group, "resource": gr.resource, "schema": schema, "storageVersions": versions}
    return list(held.values()), conflicts


def _condition(obj: JSONObject, kind: str, now: str, *, reason: str = "", message: str = "", severity: str = "Error") -> None:
    status = conditions.FALSE if reason else conditions.TRUE
    conditions.set_condition(obj, conditions.build(kind, status, reason=reason, message=message, severity=severity, now=now))


def _summarize(obj: JSONObject, now: str) -> None:
    """What comes later does not make a binding unready that was ready: it goes on serving."""
    conditions.summarize(obj, [INITIAL_BINDING_COMPLETED], now=now)


_SOONEST_LOOK_S, _LATEST_LOOK_S = 0.3, 5.0


@dataclass(frozen=True, slots=True)
class BindingReconciler:
    """Keeps one binding's status true, and empties its resources before it goes."""

    get: Callable[[ObjectKey], JSONObject | None]
    find_export: Callable[[ClusterName, ExportReference], tuple[ClusterName, JSONObject | None]]
    """(binding's cluster, reference) → (export's cluster or "", export)."""
    schema: Callable[[ClusterName, str], Awaitable[SchemaSummary | None]]
    others: Callable[[ObjectKey], Sequence[Taken]]
    """What other bindings or local CRDs of the workspace are called."""
    is_known: Callable[[ClaimKey], bool]
    """Whether any export provides what a claim is about."""
    for_cluster: Callable[[ClusterName], Client]
    finalizer: BindingFinalizer
    clock: Clock
    locks: NameLocks

    async def reconcile(self, key: ObjectKey) -> Result:
        binding = self.get(key)
        if binding is None:
            return Result()
        if meta.deletion_timestamp(binding):
            return await self.finalizer.finalize(key, binding)
        reference = ExportReference.of(binding)
        cluster, export = self.find_export(key.cluster, reference) if reference else (ClusterName(""), None)
        schemas: dict[str, SchemaSummary] = {}
        for resource in exported_resources(export) if export else ():
            if (summary := await self.schema(cluster, resource.schema)) is not None:
                schemas[resource.schema] = summary
        wanted = await self._bind(key, binding, export, cluster, schemas)
        # Another workspace's export or CRD may free the name, or have a claimed identity, without an event that leads here.
        blocked = meta.nested(wanted, "status", "phase") != PHASE_BOUND or conditions.is_false(wanted, PERMISSION_CLAIMS_APPLIED)
        return Result(requeue_after_s=self._next_look_s(binding) if blocked else None)

    async def _bind(
        self, key: ObjectKey, binding: JSONObject, export: JSONObject | None, cluster: ClusterName, schemas: Mapping[str, SchemaSummary]
    ) -> JSONObject:
        """Decide and commit; in between, nobody else takes the names."""
        names = [summary.names for summary in schemas.values()]

        def decided(taken: Iterable[Taken] = ()) -> JSONObject:
            others = [*self.others(key), *self.locks.taken(key.cluster, key.name, names), *taken]
            return decide(binding, Observed(export, cluster, schemas, others, self.is_known), rfc3339(self.clock.now()))

        wanted = decided()
        if conditions.is_true(wanted, BINDING_UP_TO_DATE):
            self.locks.hold(key.cluster, key.name, names)
        try:
            if self.locks.shared is not None and (new := _newly_bound(binding, wanted)):
                elsewhere = set(await self.locks.shared.hold(key.cluster, key.name, new))
                wanted = decided(Taken.by_crd(each) for each in names if each.group_resource in elsewhere)
            await commit_both(self.for_cluster(key.cluster).resource(BINDINGS), binding, wanted)
        finally:
            self.locks.release(key.cluster, key.name)
        return wanted

    def _next_look_s(self, binding: JSONObject) -> float:
        """Soon while the binding is young: after a restart, what it refers to may just not be known yet."""
        age_s = (self.clock.now() - parse_rfc3339(meta.creation_timestamp(binding))).total_seconds()
        return min(max(age_s / 4, _SOONEST_LOOK_S), _LATEST_LOOK_S)


def _newly_bound(binding: JSONObject, wanted: JSONObject) -> Sequence[GroupResource]:
    """What `wanted` has bound and the binding has not."""
    before = {bound.group_resource for bound in bound_resources(binding)}
    return [bound.group_resource for bound in bound_resources(wanted) if bound.group_resource not in before]


def taken_by_others(
    apis: Iterable[tuple[Resource, str]], binding: str, reference_of: Callable[[str], ExportReference | None]
) -> list[Taken]:
    """What else of a workspace has names. Args: apis: each resource and the binding behind it, "" for a local CRD."""
    found: list[Taken] = []
    for resource, owner in apis:
        names = ApiNames.of_resource(resource)
        if not owner:
            found.append(Taken.by_crd(names))
        elif owner != binding:
            found.append(Taken(names, f'APIBinding "{owner}" bound to {_exported(reference_of(owner))}'))
    return found


def _exported(reference: ExportReference | None) -> str:
    if reference is None:
        return "an APIExport"
    return f"APIExport {reference.path}:{reference.name}" if reference.path else f'local APIExport "{reference.name}"'


class SchemaSummaries:
    """Summaries of APIResourceSchemas by uid. Schemas are large and immutable: each is read once."""

    def __init__(self, uid_of: Callable[[ObjectKey], str], for_cluster: Callable[[ClusterName], Client]) -> None:
        self._uid_of = uid_of
        self._for_cluster = for_cluster
        self._by_uid: dict[str, SchemaSummary] = {}

    async def get(self, cluster: ClusterName, name: str) -> SchemaSummary | None:
        uid = self._uid_of(ObjectKey(cluster, "", name))
        if not uid:
            return None
        if uid not in self._by_uid:
            self._by_uid[uid] = SchemaSummary.of(await self._for_cluster(cluster).resource(SCHEMAS).get(name))
        return self._by_uid[uid]


def _schemas_of(export: Mapping[str, Any]) -> Iterable[str]:
    return [str(ObjectKey(meta.cluster(export), "", resource.schema)) for resource in exported_resources(dict(export))]


def build_binding_controller(
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    resolve: Callable[[str], ClusterName | None],
    apis: Callable[[ClusterName], Iterable[tuple[Resource, str]]],
    is_known: Callable[[ClaimKey], bool],
    may_hold: Callable[[ClusterName, BoundResource], Awaitable[bool]],
    locks: NameLocks,
    clock: Clock,
) -> Controller:
    """Args:
    resolve: workspace path → cluster.
    apis: what a workspace serves beside Kubernetes' own, each with its binding or "".
    is_known: whether any export provides what a claim is about.
    may_hold: whether there may be objects of a bound resource in a workspace, every write counted that was answered before.
    """
    bindings = informers.informer(BINDINGS, indexers={"export": lambda obj: [meta.labels(obj).get(EXPORT_LABEL, "")]})
    exports = informers.informer(EXPORTS, indexers={"schema": _schemas_of})
    schemas = informers.informer(SCHEMAS, metadata_only=True)

    def find_export(cluster: ClusterName, reference: ExportReference) -> tuple[ClusterName, JSONObject | None]:
        home = resolve(reference.path) if reference.path else cluster
        return (home, exports.peek(ObjectKey(home, "", reference.name))) if home else (ClusterName(""), None)

    def others(key: ObjectKey) -> Sequence[Taken]:
        def reference_of(name: str) -> ExportReference | None:
            return ExportReference.of(bindings.peek(ObjectKey(key.cluster, "", name)) or {})

        return taken_by_others(apis(key.cluster), key.name, reference_of)

    def of_export(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return bindings.index_keys("export", export_label(key.cluster, key.name)) or bindings.index_keys("export", "")

    def of_schema(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """A schema that comes, goes or is made anew under its name."""
        return [named for export in exports.index_keys("schema", str(key)) for named in of_export(export, None, None)]

    def freed(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        """Names of a binding that is gone are free for those that waited for them."""
        return () if new is not None else [k for k in bindings.keys(cluster=key.cluster) if k != key]

    def successor(key: ObjectKey, bound: BoundResource) -> str:
        others_there = (b for b in bindings.list(cluster=key.cluster) if meta.name(b) != key.name)
        return successor_of(bound, others_there, lambda reference: find_export(key.cluster, reference)[1])

    def served_version(cluster: ClusterName, bound: BoundResource) -> str:
        served = [resource.gvr.version for resource, _ in apis(cluster) if resource.group_resource == bound.group_resource]
        return bound.version if bound.version in served or not served else served[0]

    summaries = SchemaSummaries(lambda key: meta.uid(schemas.peek(key) or {}), for_cluster)
    finalizer = BindingFinalizer(successor, served_version, may_hold, for_cluster, clock)
    reconciler = BindingReconciler(bindings.get, find_export, summaries.get, others, is_known, for_cluster, finalizer, clock, locks)
    controller = Controller("apibinding", reconciler.reconcile, clock=clock, workers=8)
    controller.watch(bindings)
    controller.watch(bindings, freed)
    controller.watch(exports, of_export)
    controller.watch(schemas, of_schema)
    return controller
