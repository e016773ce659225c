"""The API server of a simulated cluster: the same parts as kcp's, put together for one cluster without workspaces.

`build` is the list of parts; nothing here has behaviour of its own. Before: `cluster`. After: `apiserver`, `registry`, `storage`.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from kcp.aio.clock import Clock
from kcp.aio.metrics import Meter
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import LOCAL, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import definitions
from kcp.apiserver.admission.certificates import CertificateRequests
from kcp.apiserver.admission.chain import AdmissionChain
from kcp.apiserver.admission.configurable import AdmissionParts, ConfigurableAdmission
from kcp.apiserver.admission.limitranger import LimitRanger
from kcp.apiserver.admission.namespaces import NAMESPACES, NamespaceLifecycle
from kcp.apiserver.admission.podsecurity import PodSecurity
from kcp.apiserver.admission.resourcequota import QuotaAdmission
from kcp.apiserver.admission.runtimeclass import PodRuntimeClass
from kcp.apiserver.admission.serviceaccount import PodServiceAccounts
from kcp.apiserver.aggregation.apis import AggregatedAPIs, Identity
from kcp.apiserver.aggregation.filter import with_aggregation
from kcp.apiserver.asgi import App
from kcp.apiserver.authn.chain import Authentication, with_authentication
from kcp.apiserver.authn.impersonation import with_impersonation
from kcp.apiserver.authn.issuerdiscovery import issuer_discovery
from kcp.apiserver.authn.reviews import token_reviews
from kcp.apiserver.authn.serviceaccounts import ServiceAccountTokens, SigningKeys
from kcp.apiserver.authz.attributes import Authorizer
from kcp.apiserver.authz.bootstrap import bootstrap_policy
from kcp.apiserver.authz.filter import with_authorization
from kcp.apiserver.authz.rbac import RBACAuthorizer, StaticPolicy
from kcp.apiserver.authz.reviews import access_reviews
from kcp.apiserver.authz.union import AllowedPaths, PrivilegedGroups, Union
from kcp.apiserver.authz.watched import WatchedRBAC
from kcp.apiserver.conversion import ConversionWebhooks
from kcp.apiserver.discovery import Discovery
from kcp.apiserver.fairness.fairness import Fairness
from kcp.apiserver.fairness.filter import with_fairness
from kcp.apiserver.filters import (
    chain,
    for_strangers,
    in_single_cluster,
    with_errors,
    with_request_info,
    with_timeouts,
    with_warnings,
)
from kcp.apiserver.health import PROBES, Health, of_store
from kcp.apiserver.metrics import Metrics, with_metrics
from kcp.apiserver.openapi import OpenAPI
from kcp.apiserver.pki import PKI
from kcp.apiserver.request import Filter, Handler
from kcp.apiserver.resources import ResourceHandler
from kcp.apiserver.root import Root
from kcp.apiserver.router import Router
from kcp.apiserver.version import version
from kcp.registry.builtin import CLUSTER_KINDS, builtin_resources
from kcp.registry.catalog import DynamicCatalog, StaticCatalog
from kcp.registry.crd import LocalCRDSource
from kcp.registry.generic import Registry
from kcp.registry.resource import Resource
from kcp.registry.strategy import FieldPath
from kcp.sim import nodetaint, patience, podparts, storageinuse
from kcp.sim.addresses import Allocator, ClusterAdmission
from kcp.sim.choice import Choice
from kcp.sim.components import ensure_component_statuses
from kcp.sim.defaultclasses import DefaultClasses
from kcp.sim.dialing import Dialing
from kcp.sim.execution import Executions
from kcp.sim.faultobjects import FAULTS, definition
from kcp.sim.podchanges import PodChanges
from kcp.sim.podverbs import PodVerbs
from kcp.sim.priority import PodPriority
from kcp.sim.services import ServiceAddresses
from kcp.storage.interface import Store
from kcp.storage.keyspace import object_key, resource_prefix, scope_prefix
from kcp.storage.subscriptions import CacheEvent
from kcp.storage.watchcache import WatchCache

_SEATS = 600
"""Requests that are worked on at a time. Source: --max-requests-inflight and --max-mutating-requests-inflight, together."""
_MAX_WAIT_S = 15.0
"""In a queue: a quarter of the time that a request may take. Source: priority-and-fairness.go, getRequestWaitContext."""

_PODS = GroupResource("", "pods")
_CRDS = GroupResource("apiextensions.k8s.io", "customresourcedefinitions")


@dataclass(frozen=True, slots=True)
class Lookup:
    """Objects as they are now, from the watch cache."""

    cache: WatchCache

    async def __call__(self, resource: GroupResource, cluster: ClusterName, namespace: str, name: str) -> JSONObject | None:
        prefix = resource_prefix(resource)
        item = (await self.cache.prefix(prefix)).get(object_key(prefix, ObjectKey(cluster, namespace, name)))
        return item.decode() if item is not None else None

    async def namespace(self, cluster: ClusterName, name: str) -> JSONObject | None:
        return await self(NAMESPACES, cluster, "", name)

    async def pods(self, cluster: ClusterName, namespace: str) -> Sequence[JSONObject]:
        prefix = resource_prefix(_PODS)
        return [item.decode() for item in (await self.cache.prefix(prefix)).scan(scope_prefix(prefix, cluster, namespace))]


_PARTS: Mapping[tuple[str, str], Mapping[str, tuple[FieldPath, ...]]] = {
    ("", "pods"): {"binding": (("spec", "nodeName"), ("metadata", "annotations"), ("status",))},
}
"""What subresources may change beyond the usual: a binding sets the node and the condition PodScheduled in one write.

Source: pkg/registry/core/pod/storage/storage.go (setPodNodeAndMetadata).
"""


def cluster_resources() -> list[Resource]:
    """What a physical cluster serves: no beta versions unless somebody turns them on. Source: KEP-3136."""
    return [_with_parts(resource) for resource in builtin_resources(CLUSTER_KINDS) if "beta" not in resource.gvr.version]


def _with_parts(resource: Resource) -> Resource:
    more = _PARTS.get((resource.gvr.group, resource.gvr.resource))
    if more is None:
        return resource
    parts = MappingProxyType({**resource.strategy.subresource_parts, **more})
    return replace(resource, strategy=replace(resource.strategy, subresource_parts=parts))


@dataclass(frozen=True, slots=True)
class ClusterServer:
    """The parts that `cluster` goes on working with."""

    app: App
    authentication: Authentication
    catalog: DynamicCatalog
    metrics: Metrics
    tokens: ServiceAccountTokens
    health: Health
    aggregated: AggregatedAPIs
    close: Callable[[], Awaitable[None]]
    """Ends the connections to webhooks and to servers of aggregated APIs."""


async def build(
    store: Store, cache: WatchCache, allocator: Allocator, *, clock: Clock, pki: PKI | None, seed: int, choice: Choice
) -> ClusterServer:
    """Args: cache: started and running. pki: None for a server that is reached in the same process only.

    Raises: ChoiceError for admission plugins that there are not.
    """
    lookup = Lookup(cache)
    crds = await _local_crds(cache)
    catalog = DynamicCatalog([StaticCatalog(cluster_resources()), crds])
    lifecycle, limits = NamespaceLifecycle(lookup.namespace), await LimitRanger.open(cache)
    accounts = await PodServiceAccounts.open(cache, clock, random.Random(seed or None))
    classes, quotas = await DefaultClasses.open(cache), await QuotaAdmission.open(store, cache, clock=clock)
    priorities = await PodPriority.open(cache)
    rbac = RBACAuthorizer(await WatchedRBAC.open(cache), static=StaticPolicy(bootstrap_policy()))
    authorizer = Union([PrivilegedGroups(), AllowedPaths(), rbac])
    services = ServiceAddresses(lookup)
    configurable = await ConfigurableAdmission.open(AdmissionParts(cache, catalog, lookup.namespace, authorizer, services.resolve))
    plugins = [
        *lifecycle.plugins(), *podparts.plugins(), patience.plugin(), *accounts.plugins(),
        *priorities.plugins(), PodRuntimeClass(lookup).plugin(),
        nodetaint.plugin(), storageinuse.plugin(), *classes.plugins(), *CertificateRequests(authorizer, clock).plugins(), *limits.plugins(),
        *configurable.plugins(), *PodSecurity(lookup.namespace, lookup.pods).plugins(), quotas.plugin(),
    ]  # fmt: skip
    choice.check_admission([plugin.name for plugin in plugins])
    on = [plugin for plugin in plugins if plugin.name not in choice.without_admission]
    admission = ClusterAdmission(AdmissionChain(on), allocator)
    converter = ConversionWebhooks(services.resolve)
    registry = Registry(
        store, cache, clock=clock, admission=admission, annotate_cluster=False, random=random.Random(seed or None), converter=converter
    )
    crds.on_retired(registry.end_watches)

    keys = SigningKeys(pki.service_accounts.key, [pki.service_accounts.certificate]) if pki else SigningKeys(None, ())
    tokens = ServiceAccountTokens(keys, lookup, clock=clock, issuer="https://kubernetes.default.svc.cluster.local", cluster_claim=False)
    authentication = Authentication(tokens=[tokens], audiences=tokens.audiences)
    verbs = PodVerbs(catalog, registry, clock, await PodChanges.open(cache))
    connectors = {
        **access_reviews(authorizer, rbac),
        **token_reviews(authentication, tokens, lookup),
        **verbs.connectors(),
        **Dialing(catalog, registry, admission, authorizer, lookup.pods, verbs, Executions(lookup, clock)).connectors(),
    }
    await ensure_component_statuses(catalog, registry)
    fairness = await Fairness.open(cache, clock, seats=_SEATS, wait_s=_MAX_WAIT_S)
    aggregated = await AggregatedAPIs.open(cache, services.resolve, LOCAL, _identity(pki))
    metrics, health = _metrics(fairness), Health(tuple(of_store(store.current_revision)))
    handler = chain(
        Router(
            ResourceHandler(catalog, registry, clock, connectors=connectors, authorizer=authorizer),
            _routes(catalog, aggregated, metrics, health, clock, issuer_discovery(tokens)),
        ),
        *_filters(authentication, authorizer, fairness, metrics, clock),
        with_aggregation(aggregated),
    )

    close = _closing(configurable, converter, aggregated)
    return ClusterServer(App(handler), authentication, catalog, metrics, tokens, health, aggregated, close)


def _closing(
    configurable: ConfigurableAdmission, converter: ConversionWebhooks, aggregated: AggregatedAPIs
) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        await configurable.close()
        await converter.close()
        await aggregated.close()

    return close


PROXY = "front-proxy-client"
"""As whom the server of a cluster asks servers of aggregated APIs."""


def _identity(pki: PKI | None) -> Identity:
    if pki is None:
        return Identity()
    pair, _ = pki.ensure_proxy_client(PROXY)
    return Identity(pair.certificate.read_bytes(), pair.key.read_bytes())


async def _local_crds(cache: WatchCache) -> LocalCRDSource:
    source = LocalCRDSource()
    source.changed(LOCAL, f"{FAULTS.resource}.{FAULTS.group}", definition())

    def changed(event: CacheEvent) -> None:
        crd = None if event.type == "DELETED" else event.item.decode()
        source.changed(event.item.key.cluster, event.item.key.name, crd)

    (await cache.prefix(resource_prefix(_CRDS))).listen(changed)
    return source


def _routes(
    catalog: DynamicCatalog, aggregated: AggregatedAPIs, metrics: Metrics, health: Health, clock: Clock, more: Mapping[str, Handler]
) -> dict[str, Handler]:
    discovery = Discovery(catalog, elsewhere=aggregated)
    openapi = OpenAPI(catalog, lambda name: definitions.load().published(name), clock, elsewhere=aggregated)  # loaded when somebody asks
    routes: dict[str, Handler] = {f"/{probe}{end}": health.handle for probe in PROBES for end in ("", "/")}
    routes |= {
        "/api": discovery, "/api/": discovery, "/apis": discovery, "/apis/": discovery, "/openapi/": openapi,
        "/openapi/v2": openapi, "/openapi/v3": openapi, "/version": version, "/metrics": metrics.handle,
    }  # fmt: skip
    routes |= more
    return {**routes, "/": Root(catalog, tuple(routes))}


def _metrics(fairness: Fairness) -> Metrics:
    made, meter = Metrics(), Meter()
    fairness.show(meter)
    made.add_families(meter.text)
    return made


def _filters(
    authentication: Authentication, authorizer: Authorizer, fairness: Fairness, metrics: Metrics, clock: Clock
) -> Iterable[Filter]:
    """From the outside in."""
    return (
        with_metrics(metrics.requests, clock),
        with_warnings(),
        with_errors(),
        with_timeouts(),
        with_request_info(),
        for_strangers(with_authentication(authentication)),
        in_single_cluster(LOCAL),
        with_impersonation(authorizer),
        with_fairness(fairness),
        with_authorization(authorizer),
    )
