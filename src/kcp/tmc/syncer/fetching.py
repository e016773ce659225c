"""ResourceImports: single objects of the cluster, shown as they are in the workspace of its SyncTarget, for whoever decides by them.

The syncer reads each now and then with its own permissions in the cluster; who may make ResourceImports in that workspace sees what the
syncer may read. Secrets are never shown.
Before: `engine`. After: the workspace of the SyncTarget.
Source: the TMC reference §2.1 (ResourceImport); what its update policies mean is ours, see docs/syncing.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Forbidden, NotFound, StatusError
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.client.transport import TransportError
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.controller.informer import Informer
from kcp.tmc.model.kinds import READY, RESOURCE_IMPORTS, SYNCED

LOOK_AGAIN_S = 30.0
SCHEMA_READY = "SchemaReady"
_SECRETS = GroupResource("", "secrets")


@dataclass(frozen=True, slots=True)
class Fault:
    """What keeps an object from being shown."""

    condition: str
    reason: str
    message: str


def schema_version(gvr: GVR, definition: JSONObject | None) -> str:
    """What an API is defined by: its version, and the generation of its CustomResourceDefinition.

    >>> schema_version(GVR("apps", "v1", "deployments"), None)
    'deployments.apps/v1'
    """
    return f"{gvr.group_resource}/{gvr.version}{f'@{meta.generation(definition)}' if definition is not None else ''}"


def refusal(policy: str, held: str, found: str) -> Fault | None:
    """Why an import does not follow another definition of its API. Pure. Args: held, found: `schema_version`s.

    >>> refusal("UpdateIfNewer", "widgets.a/v1@2", "widgets.a/v1@3") is None
    True
    """
    (api, _, before), (other, _, after) = held.partition("@"), found.partition("@")
    if held in ("", found) or api != other or policy == "UpdateAlways":
        return None
    if policy == "Never":
        return Fault(SCHEMA_READY, "SchemaChanged", f"the cluster defines it as {found}, imported was {held}: schemaUpdatePolicy is Never")
    if int(after or 0) < int(before or 0):
        return Fault(SCHEMA_READY, "SchemaOlder", f"the cluster defines it as {found}, which is older than {held}")
    return None


def render(obj: JSONObject, found: JSONObject | None, schema: str, fault: Fault | None, now: str) -> JSONObject:
    """The ResourceImport with its status; what was imported before stays where nothing new is. Pure."""
    wanted: JSONObject = meta.copy_json(obj)
    status = meta.ensure(wanted, "status")
    if found is not None and fault is None:
        imported = {**found, "metadata": {k: v for k, v in found["metadata"].items() if k != "managedFields"}}
        if status.get("importedResource") != imported:
            status |= {"importedResource": imported, "resourceVersion": meta.resource_version(found), "lastImportTime": now}
        status["schemaVersion"] = schema
    for kind in (SCHEMA_READY, SYNCED, READY):
        is_wrong = fault is not None and kind in (fault.condition, SYNCED, READY)
        state, reason, message = (conditions.FALSE, fault.reason, fault.message) if fault and is_wrong else (conditions.TRUE, "", "")
        conditions.set_condition(wanted, conditions.build(kind, state, reason=reason, message=message, severity="Warning", now=now))
    return wanted


@dataclass(frozen=True, slots=True)
class FetchReconciler:
    """Keys are those of ResourceImports in the workspace of the SyncTarget."""

    cluster: str
    """Name of the SyncTarget."""
    get: Callable[[ObjectKey], JSONObject | None]
    crds: Informer
    """Of the cluster; its metadata is enough."""
    workspace: Client
    downstream: Client
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        obj = self.get(key)
        source = meta.nested(obj or {}, "spec", "source", default={})
        if obj is None or meta.deletion_timestamp(obj) or source.get("cluster") != self.cluster:
            return Result()
        reference = source["resource"]
        gvr = GVR(reference.get("group") or "", reference["version"], reference["resource"])
        definition = self.crds.get(ObjectKey(ClusterName(""), "", f"{gvr.resource}.{gvr.group}"))
        schema = schema_version(gvr, definition)
        fault = refusal(meta.nested(obj, "spec", "schemaUpdatePolicy", default=""), self._held(obj), schema)
        found: JSONObject | None = None
        if fault is None:
            try:
                found = await self._fetch(gvr, reference["name"], reference.get("namespace") or "")
            except (StatusError, TransportError) as error:
                fault = self._fault(error, gvr)
        wanted = render(obj, found, schema, fault, rfc3339(self.clock.now()))
        await commit(self.workspace.resource(RESOURCE_IMPORTS), obj, wanted)
        return Result(requeue_after_s=LOOK_AGAIN_S)

    def _held(self, obj: JSONObject) -> str:
        return str(meta.nested(obj, "status", "schemaVersion", default=""))

    async def _fetch(self, gvr: GVR, name: str, namespace: str) -> JSONObject:
        if gvr.group_resource == _SECRETS:
            raise Forbidden("Secrets are not imported", resource=_SECRETS, name=name)
        return await self.downstream.resource(gvr).get(name, namespace=namespace)

    def _fault(self, error: StatusError | TransportError, gvr: GVR) -> Fault:
        if isinstance(error, NotFound) and not error.name:
            return Fault(SCHEMA_READY, "NotServed", f"cluster {self.cluster} does not serve {gvr.group_resource} in version {gvr.version}")
        if isinstance(error, Forbidden):
            told = f"the syncer of {self.cluster} may not read it: {error}"
            return Fault(READY, "Forbidden", told)
        return Fault(READY, "NotFound" if isinstance(error, NotFound) else "ClusterUnreachable", f"in cluster {self.cluster}: {error}")


def build_fetch_controller(
    cluster: str, upstream: InformerFactory, crds: Informer, workspace: Client, downstream: Client, *, clock: Clock
) -> Controller:  # fmt: skip
    """Args: cluster: name of the SyncTarget. upstream: informers of its workspace. crds: of the cluster."""
    imports = upstream.informer(RESOURCE_IMPORTS)
    reconciler = FetchReconciler(cluster, imports.get, crds, workspace, downstream, clock)
    controller = Controller("resource-import", reconciler.reconcile, clock=clock, workers=1)
    controller.watch(imports)
    return controller
