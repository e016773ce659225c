"""One API of several clusters: what all of them take, as a NegotiatedAPIResource, and on every import whether it goes along.

Imports that say no more than a name (Kubernetes' own APIs) are not negotiated: everybody knows what they look like.
Before: `server.tmc`. After: `compare`; `publishing` offers the outcome to the workspace.
Source: kcp release-0.11 pkg/reconciler/apis/apiresource/negotiation.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit, commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tmc.apis.compare import KEEPS_ALL, Incompatible, lowest_common, refusals
from kcp.tmc.apis.imports import AVAILABLE, COMPATIBLE, IMPORTS, NEGOTIATED, PUBLISHED, gvr_of, negotiated_name, schema_of

BY_API = "tmc-api"
"""Index of imports with a schema: the NegotiatedAPIResource that they go into."""
_SHARED = (
    "groupVersion",
    "scope",
    "plural",
    "singular",
    "kind",
    "listKind",
    "shortNames",
    "categories",
    "subResources",
    "columnDefinitions",
)


class Outcome(NamedTuple):
    schema: JSONObject
    refused: Mapping[str, str]
    """Name of an import → why it does not go along."""


def negotiate(imports: Sequence[JSONObject], held: JSONObject | None, *, is_published: bool) -> Outcome:
    """The widest schema that all take; the oldest import begins. Pure.

    Args: imports: at least one. held: the schema as it was negotiated before. is_published: consumers may have objects by it, so that only
    imports with strategy UpdatePublished may narrow it; and with UpdateNever none ever does.
    """
    schema = held if is_published else None
    refused: dict[str, str] = {}
    for imported in sorted(imports, key=lambda obj: (meta.creation_timestamp(obj), meta.name(obj))):
        offered, strategy = schema_of(imported), meta.nested(imported, "spec", "schemaUpdateStrategy", default="UpdateUnpublished")
        if schema is None:
            schema = offered
        elif strategy == "UpdatePublished" or (strategy == "UpdateUnpublished" and not is_published):
            try:
                schema = lowest_common(schema, offered)
            except Incompatible as error:
                refused[meta.name(imported)] = str(error)
        elif found := refusals(schema, offered, is_native=False):
            refused[meta.name(imported)] = "; ".join(found)
    return Outcome(schema or KEEPS_ALL, refused)


def index_by_api(obj: Mapping[str, Any]) -> Iterable[str]:
    return [] if schema_of(obj) == KEEPS_ALL else [str(api_of(obj))]


def api_of(obj: Mapping[str, Any]) -> ObjectKey:
    """The NegotiatedAPIResource of an import."""
    return ObjectKey(meta.cluster(obj), "", negotiated_name(gvr_of(obj)))


@dataclass(frozen=True, slots=True)
class NegotiationReconciler:
    """Keys are those of NegotiatedAPIResources."""

    get: Callable[[ObjectKey], JSONObject | None]
    imports_of: Callable[[ObjectKey], Sequence[JSONObject]]
    for_cluster: Callable[[ClusterName], Client]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        imports, held = self.imports_of(key), self.get(key)
        if not imports:
            await self._withdraw(key, held)
            return Result()
        is_published = held is not None and conditions.is_true(held, PUBLISHED)
        outcome = negotiate(imports, schema_of(held) if held is not None else None, is_published=is_published)
        await self._write(key, imports[0], outcome.schema, held)
        for imported in imports:
            await self._tell(imported, outcome.refused.get(meta.name(imported), ""), is_published=is_published)
        return Result()

    async def _write(self, key: ObjectKey, first: JSONObject, schema: JSONObject, held: JSONObject | None) -> None:
        resource = self.for_cluster(key.cluster).resource(NEGOTIATED)
        shared = {field: first["spec"][field] for field in _SHARED if field in first["spec"]}
        if held is None:
            spec = {**shared, "openAPIV3Schema": schema, "publish": False}
            made = {"apiVersion": NEGOTIATED.api_version, "kind": "NegotiatedAPIResource", "metadata": {"name": key.name}, "spec": spec}
            try:
                await resource.create(made)
            except AlreadyExists:
                pass  # it is on its way to us
        else:
            await commit(resource, held, {**held, "spec": {**held["spec"], "openAPIV3Schema": schema}})

    async def _withdraw(self, key: ObjectKey, held: JSONObject | None) -> None:
        """No cluster has it any more. What was published of it stays: consumers may have objects."""
        if held is None:
            return
        imports = await self.for_cluster(key.cluster).resource(IMPORTS).list()
        if any(index_by_api(imported) and api_of(imported) == key for imported in imports.items):
            return  # it is on its way to us
        try:
            await self.for_cluster(key.cluster).resource(NEGOTIATED).delete(key.name, uid=meta.uid(held))
        except NotFound:
            pass  # gone is what was wanted

    async def _tell(self, imported: JSONObject, refusal: str, *, is_published: bool) -> None:
        wanted: JSONObject = meta.copy_json(imported)
        now = rfc3339(self.clock.now())
        state, reason = (conditions.FALSE, "IncompatibleSchema") if refusal else (conditions.TRUE, "")
        told = conditions.build(COMPATIBLE, state, reason=reason, message=refusal, severity="Error" if refusal else "", now=now)
        conditions.set_condition(wanted, told)
        available = conditions.TRUE if is_published and not refusal else conditions.FALSE
        conditions.set_condition(wanted, conditions.build(AVAILABLE, available, severity="Info", now=now))
        await commit_both(self.for_cluster(meta.cluster(imported)).resource(IMPORTS), imported, wanted)


def build_negotiation_controller(informers: InformerFactory, for_cluster: Callable[[ClusterName], Client], *, clock: Clock) -> Controller:
    imports = informers.informer(IMPORTS, indexers={BY_API: index_by_api})
    negotiated = informers.informer(NEGOTIATED)

    def of_import(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:
        return {api_of(obj) for obj in (old, new) if obj is not None and index_by_api(obj)}

    reconciler = NegotiationReconciler(negotiated.get, lambda key: imports.by_index(BY_API, str(key)), for_cluster, clock)
    controller = Controller("apiresource-negotiation", reconciler.reconcile, clock=clock, workers=2)
    controller.watch(negotiated)
    controller.watch(imports, of_import)
    return controller
