"""APIBinding controller: makes the resources of an export served in the binding's workspace.

observe (binding, export, schemas, what else is bound) → `decide` (pure) → commit. What is served follows from the binding's status alone
(`exports.source`), so a binding is all the state there is.
Source: kcp pkg/reconciler/apis/apibinding/apibinding_reconcile.go, apibindingdeletion.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit, commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.exports.claims import CLAIM_LABEL, OWN_BINDING, applied_claims
from kcp.exports.names import (
    API_EXPORT_VALID,
    BINDING_FINALIZER,
    BINDING_RESOURCE_DELETE_SUCCESS,
    BINDING_UP_TO_DATE,
    BINDINGS,
    EXPORT_LABEL,
    EXPORTS,
    EXTRA_ANNOTATION_PREFIX,
    INITIAL_BINDING_COMPLETED,
    PERMISSION_CLAIMS_APPLIED,
    PERMISSION_CLAIMS_VALID,
    PHASE_BINDING,
    PHASE_BOUND,
    SCHEMAS,
    ExportReference,
    export_label,
    exported_resources,
)

_SUMMARY = (API_EXPORT_VALID, INITIAL_BINDING_COMPLETED, BINDING_UP_TO_DATE, PERMISSION_CLAIMS_VALID, PERMISSION_CLAIMS_APPLIED)


@dataclass(frozen=True, slots=True)
class SchemaSummary:
    """What a binding needs to know of an APIResourceSchema; its specification never changes."""

    name: str
    uid: str
    group_resource: GroupResource
    storage_version: str
    served_versions: tuple[str, ...] = ()

    @classmethod
    def of(cls, schema: JSONObject) -> SchemaSummary:
        spec = schema["spec"]
        storage = next((v["name"] for v in spec["versions"] if v.get("storage")), spec["versions"][0]["name"])
        served = tuple(v["name"] for v in spec["versions"] if v.get("served"))
        return cls(meta.name(schema), meta.uid(schema), GroupResource(spec.get("group", ""), spec["names"]["plural"]), storage, served)


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that decides a binding's status."""

    export: JSONObject | None
    export_cluster: ClusterName
    schemas: Mapping[str, SchemaSummary]
    """By name; those that exist."""
    taken: Mapping[GroupResource, str]
    """Group-resources of this workspace that something else owns → what, for the message."""


def decide(binding: JSONObject, observed: Observed, now: str) -> JSONObject:
    """The binding as it should be, given what was observed. Pure; `binding` is not changed."""
    wanted: JSONObject = meta.copy_json(binding)
    status = meta.ensure(wanted, "status")
    status["phase"] = status.get("phase") or PHASE_BINDING
    reference = ExportReference.of(binding)
    problem = _export_problem(reference, observed)
    if problem is not None:
        reason, message = problem
        _condition(wanted, API_EXPORT_VALID, now, reason=reason, message=message)
        _summarize(wanted, now)
        return wanted
    assert observed.export is not None, "no problem means there is an export"
    _condition(wanted, API_EXPORT_VALID, now)
    _adopt_metadata(wanted, observed)
    status["apiExportClusterName"] = observed.export_cluster
    _grant(wanted, observed.export, now)
    bound, conflicts = _bind(observed, status.get("boundResources") or ())
    if conflicts:
        _condition(wanted, BINDING_UP_TO_DATE, now, reason="NamingConflicts", message="; ".join(conflicts))
        if status["phase"] != PHASE_BOUND:
            _condition(wanted, INITIAL_BINDING_COMPLETED, now, reason="WaitingForEstablished", message="; ".join(conflicts))
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
        return "InternalError", f"{where} has no identity yet"
    missing = [r.schema for r in exported_resources(observed.export) if r.schema not in observed.schemas]
    if missing:
        return "APIResourceSchemaInvalid", f"{where} refers to APIResourceSchemas that do not exist: {', '.join(missing)}"
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


def _grant(wanted: JSONObject, export: JSONObject, now: str) -> None:
    """What the export asks for, and what of it the binding grants. Source: kcp apibinding_reconcile.go, permissionclaims."""
    status = wanted["status"]
    _put(status, "exportPermissionClaims", meta.nested(export, "spec", "permissionClaims", default=[]))
    applied, unexpected = applied_claims(wanted, export)
    text = f"claims that the export does not ask for: {', '.join(map(str, unexpected))}" if unexpected else ""
    _condition(wanted, PERMISSION_CLAIMS_VALID, now, reason="InvalidPermissionClaims" if unexpected else "", message=text)
    if applied != status.get("appliedPermissionClaims", []):
        _put(status, "appliedPermissionClaims", applied)
        _condition(wanted, PERMISSION_CLAIMS_APPLIED, now, reason="ClaimsChanged", message="objects are being labelled")
    elif conditions.get(wanted, PERMISSION_CLAIMS_APPLIED) is None:
        _condition(wanted, PERMISSION_CLAIMS_APPLIED, now)


def _put(status: JSONObject, name: str, value: list[JSONObject]) -> None:
    if value:
        status[name] = value
    else:
        status.pop(name, None)


def _bind(observed: Observed, before: Iterable[JSONObject]) -> tuple[list[JSONObject], list[str]]:
    """`status.boundResources` for the whole export, and a text for each resource whose name is taken.

    Args: before: what was bound already; versions that objects were stored in are remembered, the latest last.
    """
    assert observed.export is not None
    identity = observed.export["status"]["identityHash"]
    stored = {GroupResource(b.get("group", ""), b["resource"]): b.get("storageVersions") or () for b in before}
    bound: list[JSONObject] = []
    conflicts: list[str] = []
    for resource in exported_resources(observed.export):
        summary = observed.schemas[resource.schema]
        if owner := observed.taken.get(summary.group_resource):
            conflicts.append(f"{summary.group_resource} is already served by {owner}")
        schema = {"name": summary.name, "UID": summary.uid, "identityHash": identity}
        gr, now = summary.group_resource, summary.storage_version
        versions = [*(version for version in stored.get(gr, ()) if version != now), now]
        bound.append({"group": gr.group, "resource": gr.resource, "schema": schema, "storageVersions": versions})
    return bound, conflicts


def _condition(obj: JSONObject, kind: str, now: str, *, reason: str = "", message: str = "") -> None:
    status = conditions.FALSE if reason else conditions.TRUE
    conditions.set_condition(obj, conditions.build(kind, status, reason=reason, message=message, severity="Error", now=now))


def _summarize(obj: JSONObject, now: str) -> None:
    conditions.summarize(obj, [k for k in _SUMMARY if conditions.get(obj, k) is not None], now=now)


_SOONEST_LOOK_S, _LATEST_LOOK_S = 0.3, 5.0


@dataclass(frozen=True, slots=True)
class BindingReconciler:
    """Keeps one binding's status true, and empties its resources before it goes."""

    get: Callable[[ObjectKey], JSONObject | None]
    find_export: Callable[[ClusterName, ExportReference], tuple[ClusterName, JSONObject | None]]
    """(binding's cluster, reference) → (export's cluster or "", export)."""
    schema: Callable[[ClusterName, str], Awaitable[SchemaSummary | None]]
    others: Callable[[ObjectKey], Mapping[GroupResource, str]]
    """Group-resources of the workspace that other bindings or local CRDs own."""
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        binding = self.get(key)
        if binding is None:
            return Result()
        if meta.deletion_timestamp(binding):
            return await self._finalize(key, binding)
        reference = ExportReference.of(binding)
        cluster, export = self.find_export(key.cluster, reference) if reference else (ClusterName(""), None)
        schemas: dict[str, SchemaSummary] = {}
        for resource in exported_resources(export) if export else ():
            if (summary := await self.schema(cluster, resource.schema)) is not None:
                schemas[resource.schema] = summary
        observed = Observed(export, cluster, schemas, self.others(key))
        wanted = decide(binding, observed, rfc3339(self.clock.now()))
        await commit_both(self.for_cluster(key.cluster).resource(BINDINGS), binding, wanted)
        # Another workspace's export or CRD may free the name without an event that leads here.
        blocked = meta.nested(wanted, "status", "phase") != PHASE_BOUND
        return Result(requeue_after_s=self._next_look_s(binding) if blocked else None)

    def _next_look_s(self, binding: JSONObject) -> float:
        """Soon while the binding is young: after a restart, what it refers to may just not be known yet."""
        age_s = (self.clock.now() - parse_rfc3339(meta.creation_timestamp(binding))).total_seconds()
        return min(max(age_s / 4, _SOONEST_LOOK_S), _LATEST_LOOK_S)

    async def _finalize(self, key: ObjectKey, binding: JSONObject) -> Result:
        """Delete every instance in this workspace, then let the binding go."""
        if BINDING_FINALIZER not in meta.finalizers(binding):
            return Result()
        client = self.for_cluster(key.cluster)
        if not await self._withdraw(client, binding):
            return Result()
        remaining = [text for text in [await self._empty(client, b) for b in _bound(binding)] if text]
        wanted: JSONObject = meta.copy_json(binding)
        if not remaining:
            meta.set_finalizers(wanted, [f for f in meta.finalizers(binding) if f != BINDING_FINALIZER])
            await commit(client.resource(BINDINGS), binding, wanted)
            return Result()
        now = rfc3339(self.clock.now())
        _condition(wanted, BINDING_RESOURCE_DELETE_SUCCESS, now, reason="SomeResourcesRemain", message="; ".join(remaining))
        await commit(client.resource(BINDINGS), binding, wanted)
        return Result(requeue_after_s=1.0)

    async def _withdraw(self, client: Client, binding: JSONObject) -> bool:
        """Whether no claim of this binding is granted any more and no object labelled for one; else see that it becomes so."""
        if not meta.nested(binding, "status", "appliedPermissionClaims", default=()):
            return not conditions.is_false(binding, PERMISSION_CLAIMS_APPLIED)
        wanted: JSONObject = meta.copy_json(binding)
        del wanted["status"]["appliedPermissionClaims"]
        now = rfc3339(self.clock.now())
        _condition(wanted, PERMISSION_CLAIMS_APPLIED, now, reason="ClaimsWithdrawn", message="labels of claims are being removed")
        await commit(client.resource(BINDINGS), binding, wanted)
        return False

    async def _empty(self, client: Client, bound: BoundResource) -> str:
        """Delete all instances of one bound resource; says what still waits, "" when nothing is left."""
        resource = client.resource(GVR(bound.group_resource.group, bound.version, bound.group_resource.resource))
        found = (await resource.list()).items
        for namespace in sorted({meta.namespace(obj) for obj in found if not meta.deletion_timestamp(obj)}):
            await resource.delete_collection(namespace=namespace)
        left = (await resource.list()).items if found else []
        if not left:
            return ""
        waiting = sorted({f for obj in left for f in meta.finalizers(obj)})
        return f"{len(left)} {bound.group_resource} remain, waiting for finalizers: {', '.join(waiting) or 'none'}"


@dataclass(frozen=True, slots=True)
class BoundResource:
    """One entry of `status.boundResources`."""

    group_resource: GroupResource
    version: str
    schema_name: str
    schema_uid: str
    identity: str


def _bound(binding: JSONObject) -> list[BoundResource]:
    return list(bound_resources(binding))


def bound_resources(binding: JSONObject) -> Iterable[BoundResource]:
    for entry in meta.nested(binding, "status", "boundResources", default=()):
        schema = entry["schema"]
        version = (entry.get("storageVersions") or [""])[-1]
        yield _bound_resource(entry.get("group", ""), entry["resource"], version, schema["name"], schema["UID"], schema["identityHash"])


@lru_cache(maxsize=4096)
def _bound_resource(group: str, resource: str, version: str, schema_name: str, schema_uid: str, identity: str) -> BoundResource:
    """One value for all workspaces that bind the same: thousands of them hold it."""
    return BoundResource(GroupResource(group, resource), version, schema_name, schema_uid, identity)


def taken_by_others(
    key: ObjectKey, owners: Mapping[GroupResource, str], crds: Iterable[tuple[GroupResource, str]]
) -> dict[GroupResource, str]:
    """Who owns which group-resource in this workspace, beside the binding `key`. Args: owners: names of bindings, `BoundSource.owners`."""
    taken = {gr: f'CustomResourceDefinition "{name}"' for gr, name in crds}
    taken |= {gr: f'APIBinding "{name}"' for gr, name in owners.items() if name != key.name}
    return taken


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


def build_binding_controller(
    informers: InformerFactory,
    for_cluster: Callable[[ClusterName], Client],
    *,
    resolve: Callable[[str], ClusterName | None],
    owners: Callable[[ClusterName], Mapping[GroupResource, str]],
    local_crds: Callable[[ClusterName], Iterable[tuple[GroupResource, str]]],
    clock: Clock,
) -> Controller:
    """Args: resolve: workspace path → cluster. owners, local_crds: what of a workspace is taken, by which binding and by which CRD."""
    bindings = informers.informer(BINDINGS, indexers={"export": lambda obj: [meta.labels(obj).get(EXPORT_LABEL, "")]})
    exports = informers.informer(EXPORTS)
    schemas = informers.informer(SCHEMAS, metadata_only=True)

    def find_export(cluster: ClusterName, reference: ExportReference) -> tuple[ClusterName, JSONObject | None]:
        home = resolve(reference.path) if reference.path else cluster
        return (home, exports.get(ObjectKey(home, "", reference.name))) if home else (ClusterName(""), None)

    def others(key: ObjectKey) -> Mapping[GroupResource, str]:
        return taken_by_others(key, owners(key.cluster), local_crds(key.cluster))

    def of_export(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        known = [meta.key(b) for b in bindings.by_index("export", export_label(key.cluster, key.name))]
        return known or [meta.key(b) for b in bindings.by_index("export", "")]

    summaries = SchemaSummaries(lambda key: meta.uid(schemas.get(key) or {}), for_cluster)
    reconciler = BindingReconciler(bindings.get, find_export, summaries.get, others, for_cluster, clock)
    controller = Controller("apibinding", reconciler.reconcile, clock=clock, workers=8)
    controller.watch(bindings)
    controller.watch(exports, of_export)
    return controller
