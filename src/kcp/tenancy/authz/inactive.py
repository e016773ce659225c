"""Annotation `core.kcp.io/inactive` (kcp 0.31: `internal…`): nobody gets anything of such a logical cluster but the LogicalCluster itself.

Before: authorization, so that only those who may enter learn why they cannot. After: the handlers.
Source: kcp pkg/server/filters/inactivelogicalcluster.go (there before authentication).
"""

from __future__ import annotations

from collections.abc import Callable

from kcp.apimachinery.errors import Forbidden
from kcp.apimachinery.keys import ClusterName
from kcp.apiserver.request import Filter, Handler, Request, RequestInfo, Response
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.index import ClusterRecord

SERVER_NAME = "system:apiserver"
"""As whom the controllers in this process act: an inactive workspace can be deleted all the same."""


def without_inactive(record: Callable[[ClusterName], ClusterRecord | None]) -> Filter:
    """Refuses requests to inactive clusters. Args: record: `WorkspaceIndex.record`. Raises: Forbidden."""

    def wrap(handler: Handler) -> Handler:
        async def checked(req: Request) -> Response:
            held = record(req.info.cluster)
            if held is not None and held.inactive and not _passes(req):
                raise _inactive(held.name)
            return await handler(req)

        return checked

    return wrap


def _passes(req: Request) -> bool:
    is_server = req.user.name == SERVER_NAME and kinds.MASTERS in req.user.groups
    return is_server or _is_of_the_cluster(req.info)


def _is_of_the_cluster(info: RequestInfo) -> bool:
    if info.is_resource:
        return info.gvr.group_resource == kinds.LOGICAL_CLUSTERS.group_resource
    return info.path == "/openapi" or info.path.startswith("/openapi/")


def _inactive(cluster: ClusterName) -> Forbidden:
    resource = kinds.LOGICAL_CLUSTERS.group_resource
    return Forbidden(f'{resource} "{cluster}" is forbidden: logical cluster is marked inactive', resource=resource, name=cluster)
