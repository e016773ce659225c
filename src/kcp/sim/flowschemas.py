"""Keeps the FlowSchemas and priority levels that every server has, and tells which FlowSchemas name a level that is not there.

Before: `sim.cluster`. After: the cluster's own API; `apiserver.fairness` reads the objects for itself.
Source: k8s.io/kubernetes/pkg/registry/flowcontrol/{rest/storage_flowcontrol.go,ensurer/strategy.go}, k8s.io/apiserver/pkg/util/
flowcontrol/apf_controller.go (presyncFlowSchemaStatus).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import flowcontrol
from kcp.client.rest import Client
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory

FLOW_SCHEMAS = GVR("flowcontrol.apiserver.k8s.io", "v1", "flowschemas")
PRIORITY_LEVELS = GVR("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations")
_PRODUCER = "api-priority-and-fairness-config-producer-v1"
_CONSUMER = "api-priority-and-fairness-config-consumer-v1"


class Key(NamedTuple):
    gvr: GVR
    name: str


def kept(ours: JSONObject, held: JSONObject, *, is_mandatory: bool) -> JSONObject:
    """What an object of ours should be like: as we made it, unless somebody has taken it over by changing it or by its annotation.

    A mandatory one is nobody else's, but how much of the server the exempt requests count for may be said.
    """
    is_ours = is_mandatory or _is_auto_updated(held)
    wanted: JSONObject = meta.copy_json(held)
    if meta.annotations(held).get(flowcontrol.AUTO_UPDATE) != str(is_ours).lower():
        wanted["metadata"].setdefault("annotations", {})[flowcontrol.AUTO_UPDATE] = str(is_ours).lower()
    if is_ours:
        exempt = {"exempt": held["spec"]["exempt"]} if "exempt" in ours["spec"] and held["spec"].get("exempt") else {}
        wanted["spec"] = {**ours["spec"], **exempt}
    return wanted


def _is_auto_updated(held: JSONObject) -> bool:
    said = meta.annotations(held).get(flowcontrol.AUTO_UPDATE)
    return said == "true" if said in ("true", "false") else meta.metadata(held).get("generation") == 1


@dataclass(frozen=True, slots=True)
class FlowSchemaReconciler:
    get: Mapping[GVR, Callable[[ObjectKey], JSONObject | None]]
    client: Client
    clock: Clock

    async def reconcile(self, key: Key) -> Result:
        found = self.get[key.gvr](ObjectKey(ClusterName(""), "", key.name))
        ours = _OURS.get(key)
        if ours is not None:
            found = await self._ensure(key, ours, found)
        if found is not None and key.gvr == FLOW_SCHEMAS and not meta.deletion_timestamp(found):
            await self._tell(found)
        return Result()

    async def _ensure(self, key: Key, ours: JSONObject, found: JSONObject | None) -> JSONObject | None:
        resource = self.client.resource(key.gvr)
        if found is None:
            try:
                return await resource.create(ours, field_manager=_PRODUCER)
            except AlreadyExists:
                return None  # its own event leads here again
        wanted = kept(ours, found, is_mandatory=ours in flowcontrol.mandatory_objects())
        return await commit(resource, found, wanted, field_manager=_PRODUCER)

    async def _tell(self, schema: JSONObject) -> None:
        """Condition Dangling."""
        level = meta.nested(schema, "spec", "priorityLevelConfiguration", "name", default="")
        is_there = self.get[PRIORITY_LEVELS](ObjectKey(ClusterName(""), "", level)) is not None
        told = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}" '
        reason, told = ("Found", f"{told}and it exists") if is_there else ("NotFound", f"{told}but there is no such object")
        wanted = meta.copy_json(schema)
        now = rfc3339(self.clock.now())
        status = "False" if is_there else "True"
        conditions.set_condition(wanted, conditions.build("Dangling", status, reason=reason, message=told, now=now))
        await commit(self.client.resource(FLOW_SCHEMAS), schema, wanted, field_manager=_CONSUMER)


def _keyed(objects: Iterable[JSONObject]) -> dict[Key, JSONObject]:
    gvrs = {flowcontrol.SCHEMA: FLOW_SCHEMAS, flowcontrol.LEVEL: PRIORITY_LEVELS}
    return {Key(gvrs[obj["kind"]], meta.name(obj)): obj for obj in objects}


_OURS = _keyed((*flowcontrol.mandatory_objects(), *flowcontrol.suggested_objects()))


def build_flow_schema_controller(informers: InformerFactory, client: Client, *, clock: Clock) -> Controller[Key]:
    schemas, levels = informers.informer(FLOW_SCHEMAS), informers.informer(PRIORITY_LEVELS)
    reconciler = FlowSchemaReconciler({FLOW_SCHEMAS: schemas.get, PRIORITY_LEVELS: levels.get}, client, clock)
    controller: Controller[Key] = Controller("priority-and-fairness", reconciler.reconcile, clock=clock, workers=1)

    def of_schema(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[Key]:  # noqa: ARG001
        return (Key(FLOW_SCHEMAS, key.name),)

    def of_level(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[Key]:
        yield Key(PRIORITY_LEVELS, key.name)
        if (old is None) == (new is None):
            return
        for schema in schemas.list():
            if meta.nested(schema, "spec", "priorityLevelConfiguration", "name", default="") == key.name:
                yield Key(FLOW_SCHEMAS, meta.name(schema))

    controller.watch(schemas, of_schema)
    controller.watch(levels, of_level)
    for key in _OURS:  # levels come first, so that no schema is told that its level is missing
        controller.enqueue(key)
    return controller
