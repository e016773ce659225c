"""APIServices of what a cluster serves itself, and whether those of others answer: `kubectl get apiservices` lists them, and tools ask
there whether an API is available.

Before: `cluster`. After: the cluster's own API.
Source: k8s.io/kube-aggregator/pkg/controllers/autoregister, k8s.io/kubernetes/pkg/controlplane/controller/crdregistration.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import AlreadyExists
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.discovery import GROUP_PRIORITIES
from kcp.client.rest import Client
from kcp.controller.builtin.crds import CRDS
from kcp.controller.commit import commit, commit_both
from kcp.controller.controller import Controller, Result
from kcp.controller.factory import InformerFactory
from kcp.registry.resource import Origin, Resource

SERVICES = GVR("", "v1", "services")
API_SERVICES = GVR("apiregistration.k8s.io", "v1", "apiservices")
_MANAGED = "kube-aggregator.kubernetes.io/automanaged"
_CUSTOM_GROUP, _CUSTOM_VERSION = 1000, 100
_VERSIONS = {("autoscaling", "v2"): 30, ("", "v1"): 1}
_VERSION = 15
_CHECK_AGAIN_S, _RETRY_S = 30.0, 5.0


def api_service(group: str, version: str, *, is_builtin: bool, now: str) -> JSONObject:
    """The APIService of a group version that the cluster serves itself. Source: pkg/controlplane/apiserver/aggregator.go."""
    of_group = GROUP_PRIORITIES.get(group, _CUSTOM_GROUP) if is_builtin else _CUSTOM_GROUP
    of_version = _VERSIONS.get((group, version), _VERSION) if is_builtin else _CUSTOM_VERSION
    spec: JSONObject = {"version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version}
    if group:
        spec["group"] = group
    available = conditions.build("Available", "True", reason="Local", message="Local APIServices are always available", now=now)
    return {
        "apiVersion": API_SERVICES.api_version,
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}", "labels": {_MANAGED: "onstart" if is_builtin else "true"}},
        "spec": spec,
        "status": {"conditions": [available]},
    }


def unavailability(api_service: JSONObject, service_of: Callable[[ObjectKey], JSONObject | None]) -> tuple[str, str] | None:
    """Reason and message of why an API behind a Service cannot be available; None where only its server can tell.

    Source: k8s.io/kube-aggregator/pkg/controllers/status/remote/remote_available_controller.go.
    """
    behind = meta.nested(api_service, "spec", "service")
    name, namespace, port = behind.get("name") or "", behind.get("namespace") or "", behind.get("port") or 443
    service = service_of(ObjectKey(ClusterName(""), namespace, name))
    if service is None:
        return "ServiceNotFound", f'service/{name} in "{namespace}" is not present'
    is_local = meta.nested(service, "spec", "type", default="ClusterIP") == "ClusterIP"
    if is_local and not any(held.get("port") == port for held in meta.nested(service, "spec", "ports", default=())):
        return "ServicePortError", f'service/{name} in "{namespace}" is not listening on port {port}'
    return None


@dataclass(frozen=True, slots=True)
class APIServiceReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    service_of: Callable[[ObjectKey], JSONObject | None]
    served: Callable[[], Iterable[Resource]]
    check: Callable[[JSONObject], Awaitable[str]]
    """Ask the server behind one: "", or what is wrong."""
    client: Client
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        """What somebody else registered is left alone; a Local one follows what is served."""
        found, resource = self.get(key), self._first(key.name)
        services = self.client.resource(API_SERVICES)
        if found is not None and _MANAGED not in meta.labels(found):
            return await self._of_others(found)
        if resource is None:
            if found is not None and _MANAGED in meta.labels(found):
                await services.delete(key.name, uid=meta.uid(found))
            return Result()
        is_builtin = resource.origin is Origin.BUILTIN
        wanted = api_service(resource.gvr.group, resource.gvr.version, is_builtin=is_builtin, now=rfc3339(self.clock.now()))
        if found is None:
            try:
                found = await services.create({part: value for part, value in wanted.items() if part != "status"})
            except AlreadyExists:
                return Result()  # its own event leads here again
        if not conditions.is_true(found, "Available"):
            await commit_both(services, found, {**found, "status": wanted["status"]})
        return Result()

    async def _of_others(self, found: JSONObject) -> Result:
        """One behind a Service is available while a server there answers; it is asked time and again."""
        if not meta.nested(found, "spec", "service"):
            return Result()
        told = unavailability(found, self.service_of)
        again_s = None if told is not None else _CHECK_AGAIN_S
        if told is None and (fault := await self.check(found)):
            told, again_s = ("FailedDiscoveryCheck", fault), _RETRY_S
        status, (reason, message) = ("True", ("Passed", "all checks passed")) if told is None else ("False", told)
        wanted = meta.copy_json(found)
        now = rfc3339(self.clock.now())
        conditions.set_condition(wanted, conditions.build("Available", status, reason=reason, message=message, now=now))
        await commit(self.client.resource(API_SERVICES), found, wanted)
        return Result(requeue_after_s=again_s)

    def _first(self, name: str) -> Resource | None:
        """Any resource of the group version that an APIService of this name is for."""
        return next((r for r in self.served() if f"{r.gvr.version}.{r.gvr.group}" == name), None)


def build_api_service_controller(
    informers: InformerFactory,
    client: Client,
    *,
    served: Callable[[], Iterable[Resource]],
    check: Callable[[JSONObject], Awaitable[str]],
    clock: Clock,
) -> Controller:
    """Args: served: what the catalog has of this cluster. check: what is wrong with the server behind an APIService; "" for nothing."""
    services, crds, behind = (informers.informer(gvr) for gvr in (API_SERVICES, CRDS, SERVICES))

    def of_crd(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:  # noqa: ARG001
        return sorted({ObjectKey(ClusterName(""), "", name) for crd in (old, new) if crd is not None for name in _names(crd)})

    controller: Controller = Controller(
        "apiservice", APIServiceReconciler(services.get, behind.get, served, check, client, clock).reconcile, clock=clock, workers=1
    )

    def of_service(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:  # noqa: ARG001
        named = {"namespace": key.namespace, "name": key.name}
        return [meta.key(s) for s in services.list() if named.items() <= (meta.nested(s, "spec", "service") or {}).items()]

    controller.watch(services)
    controller.watch(crds, of_crd)
    controller.watch(behind, of_service)
    for name in sorted({f"{r.gvr.version}.{r.gvr.group}" for r in served()}):
        controller.enqueue(ObjectKey(ClusterName(""), "", name))
    return controller


def _names(crd: Mapping[str, object]) -> Iterator[str]:
    for version in meta.nested(crd, "spec", "versions", default=()):
        yield f"{version.get('name')}.{meta.nested(crd, 'spec', 'group', default='')}"
