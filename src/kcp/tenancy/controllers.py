"""All controllers of tenancy, put together: they share what they read and wrote.

Before: `server.compose`, which runs them. After: the build functions of each feature.
"""

from __future__ import annotations

from collections.abc import Callable

from kcp.aio.clock import Clock
from kcp.client.rest import Client
from kcp.controller.controller import Controller
from kcp.controller.factory import InformerFactory
from kcp.tenancy import kinds
from kcp.tenancy.fresh import FreshReads
from kcp.tenancy.logicalcluster.deletion import ListResources, build_deletion
from kcp.tenancy.logicalcluster.index import WorkspaceIndex
from kcp.tenancy.logicalcluster.lifecycle import build_lifecycle
from kcp.tenancy.shardstatus import build_shard_controller
from kcp.tenancy.workspace.controller import build_workspace_controller
from kcp.tenancy.workspacetype.bindings import claims_from
from kcp.tenancy.workspacetype.initialization import build_initialization
from kcp.tenancy.workspacetype.lister import TypeLister
from kcp.tenancy.workspacetype.maintenance import build_maintenance
from kcp.tenancy.workspacetype.urls import build_type_controller


def build_controllers(
    client: Client,
    informers: InformerFactory,
    clock: Clock,
    *,
    index: WorkspaceIndex,
    url_of: Callable[[str], str],
    list_held: ListResources,
    shard_client: Callable[[str], Client] | None = None,
) -> list[Controller]:
    """Every controller that a server with workspaces runs.

    Args:
    client: of the whole server, as system:masters.
    informers: over all clusters.
    index: already following these informers, so that it is up to date when a controller runs.
    url_of: URL of a workspace path.
    list_held: of what a cluster serves, that of which it holds objects.
    shard_client: reaches the shard of this name; default: this server is the only one.
    """
    types = TypeLister(informers.informer(kinds.WORKSPACE_TYPES).peek, index.resolve, index.path_of)
    clusters = FreshReads(informers.informer(kinds.LOGICAL_CLUSTERS), client)
    claims_of = claims_from(informers.informer(kinds.API_EXPORTS).peek, index.resolve)
    return [
        build_workspace_controller(
            client,
            informers,
            clock,
            clusters=clusters,
            resolve_type=types.resolve,
            path_of=index.path_of,
            shard_client=shard_client,
            count=index.count,
        ),
        build_shard_controller(client, informers, clock, count=index.count),
        build_lifecycle(client, informers, clock, clusters=clusters, url_of=url_of),
        build_initialization(client, informers, clock, clusters=clusters, resolve_type=types.resolve, claims_of=claims_of),
        build_maintenance(client, informers, clock, clusters=clusters, resolve_type=types.resolve, claims_of=claims_of),
        build_deletion(client, informers, clock, clusters=clusters, list_held=list_held),
        build_type_controller(client, informers, clock),
    ]
