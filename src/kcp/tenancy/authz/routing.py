"""Which logical cluster a request is about, where its URL alone does not say: accounts in pods, and paths that lead nowhere.

Before: authentication. After: impersonation and authorization.
Source: kcp pkg/server/filters/serviceaccounts.go, pkg/proxy/lookup/lookup.go.
"""

from __future__ import annotations

from kcp.apimachinery.keys import NOWHERE, ClusterName
from kcp.apiserver.authz.effective import account_clusters, effective_groups
from kcp.apiserver.filters import unknown_workspace
from kcp.apiserver.request import Filter, Handler, Request, RequestInfo, Response
from kcp.tenancy import kinds

_ADMINISTRATORS = frozenset((kinds.MASTERS, kinds.KCP_ADMIN))
_DOCUMENTS = ("/api", "/apis", "/openapi")


def with_account_cluster() -> Filter:
    """A service account that names no workspace means its own, as clients in pods do, which know nothing of workspaces."""

    def wrap(handler: Handler) -> Handler:
        async def routed(req: Request) -> Response:
            info, user = req.info, req.user
            if not info.cluster and user.extra and _is_of_a_workspace(info):
                origins = account_clusters(user)
                if len(origins) == 1:
                    info.cluster = ClusterName(origins[0])
            return await handler(req)

        return routed

    return wrap


def _is_of_a_workspace(info: RequestInfo) -> bool:
    return info.is_resource or any(info.path == path or info.path.startswith(f"{path}/") for path in _DOCUMENTS)


def with_word_to_administrators() -> Filter:
    """Those who may enter every workspace are told that there is none at a path. All others get the answer that a closed door gives.

    Raises Forbidden.
    """

    def wrap(handler: Handler) -> Handler:
        async def told(req: Request) -> Response:
            if req.info.cluster == NOWHERE and not _ADMINISTRATORS.isdisjoint(effective_groups(req.user, NOWHERE)):
                raise unknown_workspace(req.info.cluster_path)
            return await handler(req)

        return told

    return wrap
