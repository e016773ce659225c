"""Two things every namespace has: the service account `default` and the config map `kube-root-ca.crt`.

Before: `server.compose`, simulated clusters.
Source: kubernetes pkg/controller/serviceaccount/serviceaccounts_controller.go,
pkg/controller/certificates/rootcacertpublisher/publisher.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, Forbidden, NotFound
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import ResourceClient
from kcp.controller.builtin.kinds import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS, ForCluster
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.controller.informer import Informer

ROOT_CA = "kube-root-ca.crt"
_DESCRIPTION = "kubernetes.io/description"
_DESCRIBED = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or "
    "kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)


def build_service_account_controller(
    informers: InformerFactory, *, for_cluster: ForCluster, clock: Clock, names: tuple[str, ...] = ("default",), workers: int = 2
) -> Controller:
    """Service accounts that every active namespace has; made again when deleted."""
    namespaces, accounts = informers.informer(NAMESPACES), informers.informer(SERVICE_ACCOUNTS, metadata_only=True)
    reconciler = ServiceAccountReconciler(namespaces, accounts, for_cluster, names)
    controller: Controller = Controller("serviceaccount", reconciler.reconcile, clock=clock, workers=workers)
    controller.watch(namespaces)
    controller.watch(accounts, _to_namespace(frozenset(names)))
    return controller


def build_root_ca_publisher(
    informers: InformerFactory, *, for_cluster: ForCluster, clock: Clock, ca_bundle: Callable[[], str], workers: int = 2
) -> Controller:
    """The server's CA in every active namespace. Args: ca_bundle: PEM, asked for at every reconcile."""
    namespaces, maps = informers.informer(NAMESPACES), informers.informer(CONFIG_MAPS, field_selector=f"metadata.name={ROOT_CA}")
    reconciler = RootCAReconciler(namespaces, maps, for_cluster, ca_bundle)
    controller: Controller = Controller("root-ca", reconciler.reconcile, clock=clock, workers=workers)
    controller.watch(namespaces)
    controller.watch(maps, _to_namespace(frozenset({ROOT_CA})))
    return controller


def _to_namespace(names: frozenset[str]) -> Callable[[ObjectKey, JSONObject | None, JSONObject | None], Iterable[ObjectKey]]:
    def to_namespace(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:  # noqa: ARG001
        return (ObjectKey(key.cluster, "", key.namespace),) if key.name in names else ()

    return to_namespace


def _is_active(namespace: JSONObject | None) -> bool:
    return namespace is not None and not meta.deletion_timestamp(namespace)


async def _create(resource: ResourceClient, obj: JSONObject) -> None:
    """Create, unless it is there already or its namespace is on its way out."""
    try:
        await resource.create(obj)
    except (AlreadyExists, NotFound):
        return  # the mirror is a little behind
    except Forbidden as error:
        if not any(cause.reason == "NamespaceTerminating" for cause in error.causes):
            raise


@dataclass
class ServiceAccountReconciler:
    namespaces: Informer
    accounts: Informer
    for_cluster: ForCluster
    names: tuple[str, ...]

    async def reconcile(self, key: ObjectKey) -> Result:
        if not _is_active(self.namespaces.get(key)):
            return Result()
        for name in self.names:
            if ObjectKey(key.cluster, key.name, name) not in self.accounts:
                await _create(self._resource(key.cluster), _service_account(name, key.name))
        return Result()

    def _resource(self, cluster: ClusterName) -> ResourceClient:
        return self.for_cluster(cluster).resource(SERVICE_ACCOUNTS)


def _service_account(name: str, namespace: str) -> JSONObject:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}


@dataclass
class RootCAReconciler:
    namespaces: Informer
    maps: Informer
    for_cluster: ForCluster
    ca_bundle: Callable[[], str]

    async def reconcile(self, key: ObjectKey) -> Result:
        if not _is_active(self.namespaces.get(key)):
            return Result()
        resource = self.for_cluster(key.cluster).resource(CONFIG_MAPS)
        held = self.maps.get(ObjectKey(key.cluster, key.name, ROOT_CA))
        data = {"ca.crt": self.ca_bundle()}
        if held is None:
            await _create(resource, _root_ca(key.name, data))
        elif not meta.deletion_timestamp(held):
            await commit(resource, held, {**held, "data": data})
        return Result()


def _root_ca(namespace: str, data: dict[str, str]) -> JSONObject:
    metadata = {"name": ROOT_CA, "namespace": namespace, "annotations": {_DESCRIPTION: _DESCRIBED}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
