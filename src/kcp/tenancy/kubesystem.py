"""Namespace `kube-system` of workspaces: made when somebody first asks for it by name, puts something into it, or has everything counted.

Programs made for clusters keep leases and roles there, and take its uid for the cluster's. kcp makes it with each workspace; of thousands
of workspaces hardly one needs it, so that here it costs nothing until then. Workspaces without `default` have no `kube-system` either.
Before: the composition root. After: Namespaces, through their API.
Source: kcp config/universal/kube-system-namespace.yaml; k8s.io/kubernetes/plugin/pkg/admission/namespace/autoprovision/admission.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kcp.apimachinery.errors import AlreadyExists, Forbidden
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes.quota import is_cluster_scoped
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.request import Filter, Handler, Request, Response
from kcp.client.rest import Client
from kcp.registry.backend import Attributes
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.index import ClusterRecord

KUBE_SYSTEM = "kube-system"


@dataclass(frozen=True, slots=True)
class KubeSystem:
    client: Client
    """Of the whole server."""
    namespace: Callable[[ClusterName, str], Awaitable[JSONObject | None]]
    record: Callable[[ClusterName], ClusterRecord | None]

    async def ensure(self, cluster: ClusterName) -> None:
        """See that a workspace that is there to stay has it."""
        if await self.namespace(cluster, KUBE_SYSTEM) is not None or await self.namespace(cluster, "default") is None:
            return
        record = self.record(cluster)
        if record is None or record.deleting or record.inactive:
            return
        wanted: JSONObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": KUBE_SYSTEM}}
        try:
            await self.client.cluster(cluster).resource(kinds.NAMESPACES).create(wanted)
        except (AlreadyExists, Forbidden):
            return  # made by another request at the same time; or the workspace is full, and whoever asks hears that there is none

    def plugin(self) -> Plugin:
        """Before the one that refuses what is created in a namespace that is missing, and before quota."""
        return Plugin(name="NamespaceAutoProvision", mutate=self._provide, verbs=("CREATE",), subresources=None)

    async def _provide(self, attributes: Attributes) -> JSONObject | None:
        if not attributes.dry_run and (attributes.scope.namespace == KUBE_SYSTEM or _counts_everything(attributes)):
            await self.ensure(attributes.scope.cluster)
        return attributes.new


def _counts_everything(attributes: Attributes) -> bool:
    """A quota over a whole workspace would find no room left for the namespace's ConfigMap, were it made later."""
    return attributes.scope.resource.kind == "ResourceQuota" and is_cluster_scoped(attributes.new or {})


def with_kube_system(kube_system: KubeSystem) -> Filter:
    """For who may read the namespace: behind authorization."""

    def wrap(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            info = request.info
            if info.name == KUBE_SYSTEM and info.verb == "get" and info.resource == "namespaces" and not info.group:
                await kube_system.ensure(info.cluster)
            return await handler(request)

        return handle

    return wrap
