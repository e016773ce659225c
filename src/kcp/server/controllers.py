"""The controllers of a kcp server, as one list in the order they start.

Before: `server.compose`. After: `tenancy`, `exports`, `controller.builtin`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import WILDCARD, ClusterName
from kcp.client.discovery import APIResource
from kcp.client.rest import Client
from kcp.controller.builtin.clusterroles import build_cluster_role_aggregation
from kcp.controller.builtin.crds import build_crd_controller
from kcp.controller.builtin.eventttl import build_event_sweeper
from kcp.controller.builtin.garbagecollector import build_garbage_collector
from kcp.controller.builtin.namespace import build_namespace_controller
from kcp.controller.builtin.resourcequota import build_quota_controller
from kcp.controller.builtin.serviceaccounts import build_root_ca_publisher, build_service_account_controller
from kcp.controller.builtin.tokensecrets import IssueToken, build_token_secret_controller
from kcp.controller.controller import Controller
from kcp.controller.factory import InformerFactory
from kcp.exports.apibinding import build_binding_controller
from kcp.exports.apiexport import build_export_controller
from kcp.exports.boundresources import BoundResource
from kcp.exports.cached.controller import build_cached_resource_controller
from kcp.exports.cached.counting import Counting
from kcp.exports.cached.slices import build_cached_slice_controllers
from kcp.exports.claimlabels import build_claim_label_controller
from kcp.exports.endpointslices import build_endpoint_slice_controllers
from kcp.exports.keptschemas import build_kept_schema_controller
from kcp.exports.partitionsets import build_partition_set_controller
from kcp.registry.crd import CUSTOM_RESOURCES
from kcp.registry.resource import ALL_VERBS, Origin, Resource
from kcp.server.foundation import Foundation
from kcp.storage.keyspace import resource_prefix, scope_prefix
from kcp.tenancy.controllers import build_controllers as build_tenancy
from kcp.tenancy.workspace.mounts import build_mount_controller


@dataclass(frozen=True, slots=True)
class ControllerParts:
    """What controllers are built from."""

    foundation: Foundation
    client: Client
    """Of the whole server, as system:masters."""
    informers: InformerFactory
    """Over all workspaces."""
    clock: Clock
    url_of: Callable[[str], str]
    """Workspace path → URL."""
    server_url: Callable[[], str]
    """Of virtual workspaces; known once the socket is bound."""
    ca_bundle: Callable[[], str]
    issue_token: IssueToken
    """The token of a service account's Secret."""
    new_identity: Callable[[], str]
    """A secret key nobody can guess: whoever has it may serve an export's API in its place."""
    has_mounts: bool = False
    has_export_urls: bool = True
    """Whether APIExports list the URLs of their virtual workspaces, beside their endpoint slices."""
    has_cache: bool = False
    """Whether there are ClusterCachedResources."""

    def for_cluster(self, cluster: ClusterName) -> Client:
        return self.client.cluster(cluster)

    async def list_resources(self, cluster: ClusterName) -> Sequence[APIResource]:
        """What a workspace serves, each resource once."""
        found: dict[GroupResource, APIResource] = {}
        for resource in self.foundation.catalog.resources(cluster):
            found.setdefault(resource.group_resource, _described(resource, resource.gvr.resource, resource.verbs))
        return list(found.values())

    async def list_held(self, cluster: ClusterName) -> Sequence[APIResource]:
        """Of what a workspace serves, that of which it holds objects, every write counted that was answered before.

        A workspace serves ten times as many resources as most hold: who empties one need not ask for each.
        """
        found: dict[GroupResource, APIResource] = {}
        await self.foundation.cache.fresh()
        for resource in self.foundation.catalog.resources(cluster):
            if resource.group_resource not in found and "list" in resource.verbs and await self._holds(cluster, resource.storage_prefix):
                found[resource.group_resource] = _described(resource, resource.gvr.resource, resource.verbs)
        return list(found.values())

    async def may_hold(self, cluster: ClusterName, bound: BoundResource) -> bool:
        """Whether a workspace may hold objects of what is bound there, every write counted that was answered before."""
        await self.foundation.cache.fresh()
        return await self._holds(cluster, resource_prefix(bound.group_resource, source=bound.identity))

    async def _holds(self, cluster: ClusterName, prefix: bytes) -> bool:
        cache = self.foundation.cache
        items = cache.prefix_nowait(prefix) or await cache.prefix(prefix)
        return items.count(scope_prefix(prefix, cluster)) > 0

    async def list_everything(self) -> Sequence[APIResource]:
        """Every resource of any workspace, bound ones by identity: for wildcard watches.

        Custom resources can only be read across workspaces; what a controller wants to know is that they can be deleted in each.
        """
        catalog, bound = self.foundation.catalog, self.foundation.bound
        everywhere = {
            r.group_resource: _described(r, f"{r.gvr.resource}:{CUSTOM_RESOURCES}", ALL_VERBS)
            if r.origin is Origin.CRD
            else _described(r, r.gvr.resource, r.verbs)
            for r in catalog.resources(WILDCARD)
        }
        with_identity = [_described(r, f"{r.gvr.resource}:{r.identity}", r.verbs) for r in bound.everywhere()]
        return [*everywhere.values(), *with_identity]


def _described(resource: Resource, name: str, verbs: tuple[str, ...]) -> APIResource:
    gvr = type(resource.gvr)(resource.gvr.group, resource.gvr.version, name)
    return APIResource(gvr, resource.kind, resource.namespaced, verbs)


def build_first(parts: ControllerParts) -> list[Controller]:
    """What the bootstrap of `root` waits for: exports get identities, bindings get bound."""

    bound, crds = parts.foundation.bound, parts.foundation.crds

    def apis(cluster: ClusterName) -> Iterable[tuple[Resource, str]]:
        owners = bound.owners(cluster)
        yield from ((resource, owners.get(resource.group_resource, "")) for resource in bound.resources(cluster))
        yield from ((resource, "") for resource in crds.resources(cluster))

    return [
        build_export_controller(
            parts.informers,
            parts.for_cluster,
            new_key=parts.new_identity,
            server_url=parts.server_url if parts.has_export_urls else None,
            clock=parts.clock,
        ),  # fmt: skip
        build_binding_controller(
            parts.informers,
            parts.for_cluster,
            resolve=parts.foundation.index.resolve,
            apis=apis,
            may_hold=parts.may_hold,
            locks=parts.foundation.names,
            is_known=lambda key: not key.identity or parts.foundation.exports.provides(key),
            clock=parts.clock,
        ),  # fmt: skip
    ]


def build_rest(parts: ControllerParts) -> list[Controller[Any]]:
    """What needs the tenancy API to be bound in `root`, and what can come later."""
    informers, clock, for_cluster = parts.informers, parts.clock, parts.for_cluster
    index = parts.foundation.index
    tenancy = build_tenancy(parts.client, informers, clock, index=index, url_of=parts.url_of, list_held=parts.list_held)
    everywhere = parts.client.cluster(WILDCARD)
    return [
        *tenancy,
        *([build_mount_controller(parts.client, informers, clock, list_resources=parts.list_resources)] if parts.has_mounts else ()),
        build_claim_label_controller(
            informers, for_cluster, index=parts.foundation.claims, list_resources=parts.list_resources, clock=clock
        ),
        *build_endpoint_slice_controllers(informers, for_cluster, resolve=index.resolve, server_url=parts.server_url, clock=clock),
        *(_build_cache(parts) if parts.has_cache else ()),
        build_kept_schema_controller(informers, for_cluster, is_bound=parts.foundation.bound.is_bound, clock=clock),
        build_partition_set_controller(informers, for_cluster, clock=clock),
        build_crd_controller(informers, for_cluster=for_cluster, resolve=parts.foundation.catalog.resolve, clock=clock),
        build_namespace_controller(informers, for_cluster=for_cluster, list_resources=parts.list_held, clock=clock),
        build_service_account_controller(informers, for_cluster=for_cluster, clock=clock),
        build_root_ca_publisher(informers, for_cluster=for_cluster, clock=clock, ca_bundle=parts.ca_bundle),
        build_token_secret_controller(informers, for_cluster=for_cluster, clock=clock, issue=parts.issue_token, ca_bundle=parts.ca_bundle),
        build_cluster_role_aggregation(informers, for_cluster=for_cluster, clock=clock),
        build_event_sweeper(everywhere, for_cluster=for_cluster, clock=clock),
        build_quota_controller(everywhere, informers, for_cluster=for_cluster, resources=parts.list_everything, clock=clock),
        build_garbage_collector(everywhere, for_cluster=for_cluster, resources=parts.list_everything, clock=clock),
    ]


def _build_cache(parts: ControllerParts) -> list[Controller[Any]]:
    foundation, informers, clock = parts.foundation, parts.informers, parts.clock
    found: list[Controller[Any]] = []
    for index in foundation.cached:
        found.append(
            build_cached_resource_controller(
                informers, parts.for_cluster, kinds=index.kinds, resolve=foundation.catalog.resolve, counting=Counting(foundation.cache),
                new_key=parts.new_identity, clock=clock,
            )
        )  # fmt: skip
        found += build_cached_slice_controllers(informers, parts.for_cluster, index=index, server_url=parts.server_url, clock=clock)
    return found
