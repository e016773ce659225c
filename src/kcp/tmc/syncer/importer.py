"""Tells the control plane what the cluster offers: an APIResourceImport for every API that should be synced and that it serves.

Kubernetes' own APIs are told by name and version; of a CustomResourceDefinition the schema goes along. What was told before is known by a
digest on the import, so that a syncer that starts again writes nothing.
Before: `engine`, after each look at what both sides serve. After: the workspace of the SyncTarget.
Source: kcp release-0.11 pkg/syncer/apiimporter.go.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import orjson

from kcp.aio.clock import Clock
from kcp.aio.deadline import within
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.discovery import APIResource
from kcp.client.rest import Client
from kcp.controller.informer import Informer
from kcp.tmc.apis.compare import KEEPS_ALL
from kcp.tmc.apis.imports import API_VERSION_ANNOTATION, IMPORTS, import_name
from kcp.tmc.model.kinds import SYNC_TARGETS
from kcp.tmc.model.names import KEY_LABEL
from kcp.tmc.syncer.identity import Identity

log = logging.getLogger(__name__)

CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
_PATIENCE_S = 5.0
_DIGEST = "internal.tmc.kcp.io/applied"


def listed_apis(target: JSONObject) -> set[GVR]:
    """What `status.syncedResources` of a SyncTarget names, whatever its state."""
    entries = meta.nested(target, "status", "syncedResources", default=())
    return {GVR(e.get("group") or "", version, e["resource"]) for e in entries for version in e.get("versions") or ()}


@dataclass(slots=True)
class Importer:
    """The imports of one SyncTarget."""

    identity: Identity
    workspace: Client
    """Of the SyncTarget."""
    downstream: Client
    target: Informer
    """Of the SyncTarget alone."""
    crds: Informer
    """Of the cluster; its metadata is enough."""
    clock: Clock
    _told: dict[str, str] | None = None
    """Name of an import → digest of what it says; None: not read yet."""
    _seen: dict[GVR, tuple[str | None, JSONObject]] = field(default_factory=dict)
    """What was made of an API, and of which version of its definition."""
    _is_refused: bool = False

    async def tell(self, wanted: Collection[str], served: Mapping[GVR, APIResource]) -> list[str] | None:
        """Look at what the SyncTarget lists, and tell what of it the cluster has.

        Args: wanted: further APIs to tell of, as `resource` or `resource.group`. served: by the cluster.
        Returns: what is listed and not served; None while that cannot be known. Raises: StatusError, TransportError.
        """
        if not await self._is_ready():
            return None
        target = self.target.get(ObjectKey(self.identity.cluster, "", self.identity.name))
        listed = listed_apis(target or {})
        also = {gvr for gvr, r in served.items() if r.preferred and {gvr.resource, str(gvr.group_resource)} & set(wanted)}
        try:
            await self._tell({*(listed & served.keys()), *also}, served)
        except (Forbidden, NotFound) as error:
            if not self._is_refused:
                log.warning("cannot tell the control plane which APIs cluster %s has: %s", self.identity.name, error)
            self._is_refused = True
        lacking = {gvr.group_resource for gvr in listed} - {gvr.group_resource for gvr in listed & served.keys()}
        return sorted(map(str, lacking))

    async def _is_ready(self) -> bool:
        """Both mirrors are filled soon, or another look will find them so. Without CustomResourceDefinitions a cluster has none."""
        try:
            await within(self.clock, _PATIENCE_S, self.target.wait_synced())
            if self.crds.problem is None:
                await within(self.clock, _PATIENCE_S, self.crds.wait_synced())
        except TimeoutError:
            pass
        return self.target.has_synced

    async def _tell(self, gvrs: Collection[GVR], served: Mapping[GVR, APIResource]) -> None:
        told = await self._read()
        specs = {import_name(gvr, self.identity.name): (gvr, await self._spec(gvr, served[gvr])) for gvr in sorted(gvrs)}
        for name, (gvr, spec) in specs.items():
            digest = hashlib.sha256(orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
            if told.get(name) != digest:
                await self._write(name, gvr, spec, digest)
                told[name] = digest
        for name in sorted(set(told) - set(specs)):
            await self._withdraw(name)
            del told[name]

    async def _read(self) -> dict[str, str]:
        if self._told is None:
            imports = self.workspace.resource(IMPORTS, metadata_only=True)
            found = (await imports.list(label_selector=f"{KEY_LABEL}={self.identity.key}")).items
            self._told = {meta.name(obj): meta.annotations(obj).get(_DIGEST, "") for obj in found if self._is_mine(obj)}
        return self._told

    def _is_mine(self, obj: JSONObject) -> bool:
        """Not of a SyncTarget that had this name before; those go with it."""
        return any(owner.get("uid") == self.identity.uid for owner in meta.owner_references(obj))

    async def _spec(self, gvr: GVR, resource: APIResource) -> JSONObject:
        definition = ObjectKey(ClusterName(""), "", f"{gvr.resource}.{gvr.group}")
        version = self.crds.version_of(definition)
        held = self._seen.get(gvr)
        if held is None or held[0] != version:
            schema: JSONObject = KEEPS_ALL
            if version is not None:
                crd = await self.downstream.resource(CRDS).get(definition.name)
                versions = [v for v in crd["spec"]["versions"] if v["name"] == gvr.version]
                schema = meta.nested(versions[0], "schema", "openAPIV3Schema", default=KEEPS_ALL) if versions else KEEPS_ALL
            held = self._seen[gvr] = (version, self._described(gvr, resource, schema))
        return held[1]

    def _described(self, gvr: GVR, resource: APIResource, schema: JSONObject) -> JSONObject:
        names = {"plural": gvr.resource, "singular": resource.singular or resource.kind.lower(), "kind": resource.kind}
        return {
            "location": self.identity.name, "schemaUpdateStrategy": "UpdateUnpublished",
            "groupVersion": {"group": gvr.group, "version": gvr.version}, "scope": "Namespaced" if resource.namespaced else "Cluster",
            **names, "listKind": f"{resource.kind}List", "openAPIV3Schema": schema,
            "subResources": [{"name": name} for name in resource.subresources if name in ("status", "scale")],
        }  # fmt: skip

    async def _write(self, name: str, gvr: GVR, spec: JSONObject, digest: str) -> None:
        owner = {
            "apiVersion": SYNC_TARGETS.api_version, "kind": "SyncTarget", "name": self.identity.name, "uid": self.identity.uid,
            "controller": True,
        }  # fmt: skip
        metadata = {
            "name": name, "labels": {KEY_LABEL: self.identity.key}, "ownerReferences": [owner],
            "annotations": {API_VERSION_ANNOTATION: gvr.api_version, _DIGEST: digest},
        }  # fmt: skip
        made: JSONObject = {"apiVersion": IMPORTS.api_version, "kind": "APIResourceImport", "metadata": metadata, "spec": spec}
        imports = self.workspace.resource(IMPORTS)
        try:
            await imports.create(made)
        except AlreadyExists:
            held = await imports.get(name)
            await imports.update({**made, "metadata": {**metadata, "resourceVersion": meta.resource_version(held)}})

    async def _withdraw(self, name: str) -> None:
        try:
            await self.workspace.resource(IMPORTS).delete(name)
        except NotFound:
            pass  # gone is what was wanted
