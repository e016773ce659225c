"""A program that asks a control plane just what the Go syncer of kcp 0.11 asks, in the same order, with the rights that its manifest gives it.

It reads and writes as that one's informers and controllers do: by wildcard lists with its label, whole objects in updates, JSON patches
for its heartbeat. Source: kcp release-0.11 pkg/syncer/{syncer,apiimporter}.go, pkg/syncer/{spec,status,upsync,shared,synctarget}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.behaviour.tmc.world import CLOCK, World, until

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Conflict, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authn.identity import CLUSTER_EXTRA
from kcp.cli.plugin_manifest import syncer_roles
from kcp.client.inprocess import AsgiTransport
from kcp.client.rest import Client, PatchType
from kcp.registry.backend import UserInfo
from kcp.tmc.model.kinds import NAMESPACES, SYNC_TARGETS
from kcp.tmc.model.names import NamespaceLocator, sync_target_key

IMPORTS = GVR("apiresource.kcp.io", "v1alpha1", "apiresourceimports")
RBAC = "rbac.authorization.k8s.io"


@dataclass
class GoSyncer:
    """One syncer after its start."""

    server: Client
    """Base path "", as the syncer's account."""
    workspace: Client
    """Of the SyncTarget."""
    downstream: Client
    target: JSONObject
    views: Mapping[str, Client]
    """`syncer` and `upsyncer`, each at the URL that the SyncTarget gives."""

    @property
    def key(self) -> str:
        return sync_target_key(meta.cluster(self.target), meta.name(self.target))

    @property
    def finalizer(self) -> str:
        return f"workload.kcp.io/syncer-{self.key}"

    def label(self, state: str) -> str:
        return f"state.workload.kcp.io/{self.key}={state}"

    async def seen(self, gvr: GVR, *, view: str = "syncer") -> dict[str, JSONObject]:
        """What an informer of this resource holds; name → object."""
        listed = await self.views[view].cluster("*").resource(gvr).list(label_selector=self.label("Sync" if view == "syncer" else "Upsync"))
        return {meta.name(obj): obj for obj in listed.items}

    async def heartbeat(self) -> JSONObject:
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": meta.uid(self.target)},
            {"op": "replace", "path": "/status/lastSyncerHeartbeatTime", "value": CLOCK.now().strftime("%Y-%m-%dT%H:%M:%SZ")},
        ]
        targets = self.workspace.resource(SYNC_TARGETS)
        return await targets.patch(meta.name(self.target), patch, type=PatchType.JSON, subresource="status")

    async def authorized(self) -> JSONObject:
        """The condition that its resource controller sets once the cluster lets it do everything."""
        while True:
            try:
                return await self._authorized()
            except Conflict:
                continue  # its controller looks at the key again

    async def _authorized(self) -> JSONObject:
        targets = self.workspace.resource(SYNC_TARGETS)
        held = await targets.get(meta.name(self.target))
        others = [c for c in held["status"].get("conditions", ()) if c["type"] != "SyncerAuthorized"]
        now = CLOCK.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        ours = [{"type": "SyncerAuthorized", "status": "True", "lastTransitionTime": now}]
        patch = {
            "metadata": {"uid": meta.uid(held), "resourceVersion": meta.resource_version(held)},
            "status": {"conditions": others + ours},
        }
        return await targets.patch(meta.name(held), patch, subresource="status")

    def downstream_namespace(self, obj: JSONObject) -> NamespaceLocator:
        cluster, name, uid = meta.cluster(self.target), meta.name(self.target), meta.uid(self.target)
        return NamespaceLocator(cluster, name, uid, meta.cluster(obj), meta.namespace(obj))

    def _upstream(self, gvr: GVR, cluster: ClusterName, *, view: str = "syncer") -> Any:
        return self.views[view].cluster(str(cluster)).resource(gvr)

    async def sync_down(self, gvr: GVR, obj: JSONObject) -> None:
        """One key of its spec controller, until there is nothing to do."""
        if f"deletion.internal.workload.kcp.io/{self.key}" in meta.annotations(obj):
            return await self._withdraw(gvr, obj)
        if self.finalizer not in meta.finalizers(obj):
            held: JSONObject = meta.copy_json(obj)
            held["metadata"]["finalizers"] = [*meta.finalizers(obj), self.finalizer]
            obj = await self._upstream(gvr, meta.cluster(obj)).update(held)
        locator = self.downstream_namespace(obj)
        namespace = {
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": locator.downstream_namespace, "labels": {"internal.workload.kcp.io/cluster": self.key},
                         "annotations": {"kcp.io/namespace-locator": locator.to_json()}},
        }  # fmt: skip
        try:
            await self.downstream.resource(NAMESPACES).get(locator.downstream_namespace)
        except NotFound:
            await self.downstream.resource(NAMESPACES).create(namespace)
        desired: JSONObject = meta.copy_json(obj)
        for field in ("uid", "resourceVersion", "managedFields", "deletionTimestamp", "ownerReferences", "finalizers"):
            desired["metadata"].pop(field, None)
        desired["metadata"]["namespace"] = locator.downstream_namespace
        meta.set_annotation(desired, "kcp.io/cluster", None)
        labels = {k: v for k, v in meta.labels(obj).items() if k != f"state.workload.kcp.io/{self.key}"}
        desired["metadata"]["labels"] = {**labels, "internal.workload.kcp.io/cluster": self.key}
        await self.downstream.resource(gvr).apply(desired, field_manager="syncer", force=True)

    async def _withdraw(self, gvr: GVR, obj: JSONObject) -> None:
        name, namespace = meta.name(obj), self.downstream_namespace(obj).downstream_namespace
        try:
            await self.downstream.resource(gvr).delete(name, namespace=namespace)
            await self.downstream.resource(gvr).get(name, namespace=namespace)
        except NotFound:
            released: JSONObject = meta.copy_json(obj)
            released["metadata"]["finalizers"] = [f for f in meta.finalizers(obj) if f != self.finalizer]
            for prefix in ("deletion.internal.workload.kcp.io/", "experimental.status.workload.kcp.io/"):
                meta.set_annotation(released, prefix + self.key, None)
            meta.set_label(released, f"state.workload.kcp.io/{self.key}", None)
            await self._upstream(gvr, meta.cluster(obj)).update(released)

    async def status_up(self, gvr: GVR, obj: JSONObject, *, advanced: bool = False) -> None:
        """One key of its status controller. Args: advanced: the SyncTarget asks for advanced scheduling."""
        copy = await self.downstream.resource(gvr).get(meta.name(obj), namespace=self.downstream_namespace(obj).downstream_namespace)
        wanted: JSONObject = meta.copy_json(obj)
        if advanced:
            meta.set_annotation(wanted, f"experimental.status.workload.kcp.io/{self.key}", json.dumps(copy["status"]))
            await self._upstream(gvr, meta.cluster(obj)).update(wanted)
            return
        wanted["status"] = copy["status"]
        await self._upstream(gvr, meta.cluster(obj)).update(wanted, subresource="status")

    async def upsync(self, gvr: GVR, copy: JSONObject, cluster: ClusterName, namespace: str) -> JSONObject:
        """Show an object of the cluster in a workspace: create, status, and at last the version that is shown."""
        prepared: JSONObject = meta.copy_json(copy)
        meta.set_annotation(prepared, "kcp.io/namespace-locator", None)
        meta.set_label(prepared, "internal.workload.kcp.io/cluster", None)
        for field in ("uid", "resourceVersion", "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences"):
            prepared["metadata"].pop(field, None)
        prepared["metadata"] |= {"finalizers": [self.finalizer]} | ({"namespace": namespace} if namespace else {})
        upstream = self._upstream(gvr, cluster, view="upsyncer")
        created = await upstream.create(prepared)
        if prepared.get("status"):
            prepared["metadata"]["resourceVersion"] = meta.resource_version(created)
            created = await upstream.update(prepared, subresource="status")
        prepared["metadata"]["resourceVersion"] = meta.resource_version(created)
        meta.set_annotation(prepared, "workload.kcp.io/rv", meta.resource_version(copy))
        updated: JSONObject = await upstream.update(prepared)
        return updated

    async def take_back(self, gvr: GVR, obj: JSONObject) -> None:
        """What was upsynced is gone from the cluster."""
        upstream = self._upstream(gvr, meta.cluster(obj), view="upsyncer")
        held = await upstream.get(meta.name(obj), namespace=meta.namespace(obj))
        held["metadata"]["finalizers"] = None
        await upstream.update(held)
        await upstream.delete(meta.name(obj), namespace=meta.namespace(obj))

    async def import_apis(self, found: Sequence[JSONObject]) -> None:
        """One round of its API importer. Args: found: what the cluster has, as CustomResourceDefinitions, of all that should be synced."""
        for crd in found:
            spec = crd["spec"]
            version, group = spec["versions"][0], spec["group"]
            name, plural = meta.name(self.target), spec["names"]["plural"]
            owner = {
                "apiVersion": SYNC_TARGETS.api_version, "kind": "SyncTarget", "name": name, "uid": meta.uid(self.target), "controller": True,
            }  # fmt: skip
            api_version = f"{group}/{version['name']}" if group else version["name"]
            made: JSONObject = {
                "apiVersion": IMPORTS.api_version, "kind": "APIResourceImport",
                "metadata": {"name": f"{plural}.{name}.{version['name']}.{group or 'core'}", "ownerReferences": [owner],
                             "annotations": {"apiresource.kcp.io/apiVersion": api_version}},
                "spec": {"location": name, "schemaUpdateStrategy": "UpdateUnpublished", "scope": spec["scope"], **spec["names"],
                         "groupVersion": {"group": group, "version": version["name"]},
                         "openAPIV3Schema": version["schema"]["openAPIV3Schema"], "subResources": [{"name": "status"}]},
            }  # fmt: skip
            held = {meta.name(i): i for i in (await self.workspace.resource(IMPORTS).list()).items}.get(made["metadata"]["name"])
            if held is None:
                await self.workspace.resource(IMPORTS).create(made)
            else:
                await self.workspace.resource(IMPORTS).update({**held, "spec": made["spec"]})


async def started(world: World, name: str) -> GoSyncer:
    """The syncer of this SyncTarget and cluster, which has the rights of its manifest and has found its views."""
    for role in syncer_roles({"name": "kcp-syncer"}, name, "default"):
        plural = "clusterroles" if role["kind"] == "ClusterRole" else "clusterrolebindings"
        await world.client.resource(GVR(RBAC, "v1", plural)).create(role)
    home = meta.cluster(await world.client.resource(SYNC_TARGETS).get(name))
    groups = ("system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated")
    account = UserInfo("system:serviceaccount:default:kcp-syncer", groups, extra={CLUSTER_EXTRA: (str(home),)})
    server = Client(AsgiTransport(world.server.app, account), clock=CLOCK)
    workspace = server.cluster("root:work")
    targets = workspace.resource(SYNC_TARGETS)
    target = await until(lambda: targets.get(name), lambda found: bool(found.get("status", {}).get("virtualWorkspaces")))
    urls = target["status"]["virtualWorkspaces"][0]
    views = {view: server.at(urlsplit(urls[f"{view}URL"]).path) for view in ("syncer", "upsyncer")}
    return GoSyncer(server, workspace, world.clusters[name].client(), target, views)
