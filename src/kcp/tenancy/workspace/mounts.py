"""Workspaces that are mounts: no logical cluster stands behind them, but the URL that an object of any kind names in its status.

The object is in the same workspace as the Workspace, marked by an annotation; its `status.URL` and `status.phase` become the Workspace's
URL and phase. One watch for each kind that anybody mounts, over all workspaces and of metadata only, says when to look again.
Before: informer events of Workspaces, of the mounted kinds, and of what defines kinds. After: `commit`, `tenancy.mountproxy`.
Source: kcp pkg/reconciler/tenancy/workspacemounts, docs/content/concepts/workspaces/mounts.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVK, GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import APIResource, Client
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.tenancy import kinds
from kcp.tenancy.fresh import FreshReads
from kcp.tenancy.workspace.status import labelled

MOUNT_READY = "WorkspaceMountReady"
NOT_FOUND, NOT_READY, INVALID_URL = "MountObjectNotFound", "MountObjectNotReady", "MountObjectInvalidURL"
_BY_CLUSTER, _BY_OBJECT = "mounts in a workspace", "mounts of an object"
_CRDS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")

ListResources = Callable[[ClusterName], Awaitable[Sequence[APIResource]]]


@dataclass(frozen=True, slots=True)
class MountReference:
    """`spec.mount.ref` of a Workspace."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, workspace: Mapping[str, Any]) -> MountReference | None:
        """None for a workspace that is no mount."""
        ref = meta.nested(workspace, "spec", "mount", "ref")
        if not ref:
            return None
        return cls(ref.get("apiVersion") or "", ref.get("kind") or "", ref.get("namespace") or "", ref.get("name") or "")

    def __str__(self) -> str:
        return f'{self.kind} "{self.namespace}/{self.name}"'


def url_fault(url: str) -> str:
    """What is wrong with the URL of a mount; "" if nothing.

    >>> url_fault("https://kube.example.com/clusters/a"), url_fault("http://kube")
    ('', 'its scheme must be https')
    """
    try:
        parts = urlsplit(url)
        host, is_portless = parts.hostname, parts.port is None
    except ValueError as error:
        return str(error)
    if parts.scheme != "https":
        return "its scheme must be https"
    if not host or (is_portless and parts.netloc.endswith(":")):
        return "it must name a host"
    if "@" in parts.netloc:
        return "it must not contain user info"
    return "it must not have a query or a fragment" if "?" in url or "#" in url else ""


def mounted(workspace: JSONObject, reference: MountReference, obj: JSONObject | None, *, now: str) -> JSONObject:
    """A copy of a Workspace as the object that it mounts (None: there is none) wants it to be."""
    wanted: JSONObject = meta.copy_json(workspace)
    reason, message = _fault(reference, obj)
    url = meta.nested(obj or {}, "status", "URL", default="")
    if isinstance(url, str) and url and not url_fault(url):
        meta.ensure(wanted, "spec")["URL"] = url
    status = meta.ensure(wanted, "status")
    if reason:
        condition = conditions.build(MOUNT_READY, conditions.FALSE, reason=reason, message=message, severity="Error", now=now)
    else:
        condition = conditions.build(MOUNT_READY, conditions.TRUE, now=now)
    conditions.set_condition(wanted, condition)
    status["phase"] = kinds.UNAVAILABLE if reason else kinds.READY
    return wanted


def _fault(reference: MountReference, obj: JSONObject | None) -> tuple[str, str]:
    """Reason and message; two empty texts for a mount that is ready."""
    if obj is None:
        return NOT_FOUND, f"{reference} not found"
    if meta.nested(obj, "status", "phase") != kinds.READY:
        return NOT_READY, f'Mount is not reporting ready. See {reference.kind} "{reference.name}" status for more details'
    url = meta.nested(obj, "status", "URL", default="")
    if fault := url_fault(url) if isinstance(url, str) and url else "it is not set":
        return INVALID_URL, f"status.URL of {reference} cannot be mounted: {fault}"
    return "", ""


@dataclass
class MountReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    list_resources: ListResources
    client: Client
    follow: Callable[[GVR], None]
    """Look again whenever an object of this kind changes."""
    commit: Callable[[JSONObject, JSONObject], Awaitable[JSONObject]]
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        workspace = self.get(key)
        reference = MountReference.of(workspace) if workspace is not None else None
        if workspace is None or reference is None or meta.deletion_timestamp(workspace):
            return Result()
        obj = await self._mount(key.cluster, reference)
        wanted = mounted(workspace, reference, obj, now=rfc3339(self.clock.now()))
        status = wanted.pop("status")
        if "status" in workspace:
            wanted["status"] = workspace["status"]
        workspace = await self.commit(workspace, wanted)  # the URL first: a mount that is ready has one
        workspace = await self.commit(workspace, {**workspace, "status": status})
        await self.commit(workspace, labelled(workspace))
        return Result()

    async def _mount(self, cluster: ClusterName, reference: MountReference) -> JSONObject | None:
        wanted = GVK.of(reference.api_version, reference.kind)
        for resource in await self.list_resources(cluster):
            if (resource.gvr.group, resource.kind) == (wanted.group, wanted.kind):
                gvr = GVR(wanted.group, wanted.version, resource.gvr.resource)
                self.follow(gvr)
                try:
                    namespace = reference.namespace if resource.namespaced else ""
                    return await self.client.cluster(cluster).resource(gvr).get(reference.name, namespace=namespace)
                except NotFound:
                    return None
        return None


def _keys(workspace: Mapping[str, Any]) -> list[str]:
    reference = MountReference.of(workspace)
    return [_object_key(meta.cluster(workspace), reference.name)] if reference is not None else []


def _object_key(cluster: str, name: str) -> str:
    """Whatever its kind and namespace: a Workspace that is looked at in vain costs a read."""
    return f"{cluster}|{name}"


def build_mount_controller(client: Client, informers: InformerFactory, clock: Clock, *, list_resources: ListResources) -> Controller:
    """The controller of mounts. `client` may read and write in every cluster."""
    workspaces = informers.informer(
        kinds.WORKSPACES,
        indexers={_BY_OBJECT: _keys, _BY_CLUSTER: lambda w: [meta.cluster(w)] if MountReference.of(w) is not None else []},
    )
    followed: set[GVR] = set()

    def of_object(key: ObjectKey, _old: JSONObject | None, _new: JSONObject | None) -> Iterable[ObjectKey]:
        return workspaces.index_keys(_BY_OBJECT, _object_key(key.cluster, key.name))

    def in_cluster(key: ObjectKey, _old: JSONObject | None, _new: JSONObject | None) -> Iterable[ObjectKey]:
        return workspaces.index_keys(_BY_CLUSTER, key.cluster)

    def follow(gvr: GVR) -> None:
        if gvr not in followed:
            followed.add(gvr)
            controller.watch(informers.informer(gvr, metadata_only=True), of_object)

    fresh = FreshReads(workspaces, client)
    reconciler = MountReconciler(fresh.get, list_resources, client, follow, fresh.commit, clock)
    controller = Controller("workspace-mounts", reconciler.reconcile, clock=clock)
    controller.watch(workspaces)
    for definitions in (_CRDS, kinds.API_BINDINGS):
        controller.watch(informers.informer(definitions), in_cluster)
    return controller
