"""What a simulated cluster tells of its start at `/livez` and `/readyz`, by the names of kube-apiserver's checks.

Before: `cluster`, which says what is done. After: `apiserver.health`.
Source: k8s.io/kubernetes/test/e2e/apimachinery/health_handlers.go (what clients may look for), pkg/controlplane/instance.go,
k8s.io/apiserver/pkg/server/healthz.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kcp.apimachinery import conditions
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apiserver.health import HealthCheck, Steps
from kcp.controller.factory import InformerFactory
from kcp.registry.resource import Origin, Resource
from kcp.sim.apiservices import API_SERVICES

ADMISSION = ("start-apiserver-admission-initializer",)
"""Webhooks and policies are followed."""
NAMESPACES = ("start-system-namespaces-controller",)
PRIORITIES = ("scheduling/bootstrap-system-priority-classes",)
AUTHENTICATION = ("start-cluster-authentication-info-controller",)
SERVICE = ("bootstrap-controller", "start-service-ip-repair-controllers")
"""The Service `kubernetes`, with its address."""
INFORMERS = (
    "generic-apiserver-start-informers", "start-apiextensions-informers", "crd-informer-synced", "start-kube-aggregator-informers",
    "storage-readiness",
)  # fmt: skip
CONTROLLERS = (
    "start-apiextensions-controllers", "apiservice-registration-controller", "apiservice-status-local-available-controller",
    "apiservice-status-remote-available-controller", "kube-apiserver-autoregistration", "apiservice-openapi-controller",
)  # fmt: skip


def steps() -> Steps:
    return Steps((*ADMISSION, *NAMESPACES, *PRIORITIES, *AUTHENTICATION, *SERVICE, *INFORMERS, *CONTROLLERS))


def checks(
    informers: InformerFactory, served: Callable[[], Iterable[Resource]], is_stopping: Callable[[], bool]
) -> tuple[HealthCheck, ...]:
    services = informers.informer(API_SERVICES)

    def autoregistered() -> str:
        wanted = {f"{r.gvr.version}.{r.gvr.group}" for r in served() if r.origin is Origin.BUILTIN}
        found = {name: services.get(ObjectKey(ClusterName(""), "", name)) for name in wanted}
        missing = sorted(name for name, held in found.items() if held is None or not conditions.is_true(held, "Available"))
        return f"missing APIService: {missing}" if missing else ""

    return (
        HealthCheck("autoregister-completion", autoregistered),
        HealthCheck("informer-sync", informers.to_come, ("readyz",)),
        HealthCheck("shutdown", lambda: "process is shutting down" if is_stopping() else "", ("readyz",)),
    )
