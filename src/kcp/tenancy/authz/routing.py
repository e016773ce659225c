"""Which logical cluster a request is about, where its URL alone does not say: accounts in pods, URLs below system:admin, paths to nowhere.

Before: authentication. After: impersonation and authorization.
Source: kcp pkg/server/filters/serviceaccounts.go, pkg/proxy/lookup/lookup.go, pkg/server/options/authentication.go.
"""

from __future__ import annotations

from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.keys import NOWHERE, ClusterName
from kcp.apiserver.authz.effective import account_clusters, effective_groups
from kcp.apiserver.filters import unknown_workspace, unknown_workspace_text
from kcp.apiserver.request import Filter, Handler, Request, RequestInfo, Response
from kcp.tenancy import kinds

_ADMINISTRATORS = frozenset((kinds.MASTERS, kinds.KCP_ADMIN))
_DOCUMENTS = ("/api", "/apis", "/openapi")
_ADMIN_BASE = f"/clusters/{kinds.SYSTEM_ADMIN}"
_BELOW_ADMIN_BASE = (f"{_ADMIN_BASE}/clusters/", f"{_ADMIN_BASE}/services/")
_IN_VIEWS = f"{_ADMIN_BASE}/clusters/"


def with_bases_of_administrators() -> Filter:
    """`/clusters/system:admin/clusters/<path>/…` means `/clusters/<path>/…`, and `…/services/…` likewise; so it is in virtual workspaces.

    The context system:admin of a kubeconfig was the bare server in kcp 0.11 and is a logical cluster in today's: programs that take it for
    the base of all workspaces find them behind both. No resource is hidden by that, since there are none under these paths.
    Source: kcp 0.11 and main, pkg/server/options/authentication.go (WriteKubeConfig).
    """

    def wrap(handler: Handler) -> Handler:
        async def based(req: Request) -> Response:
            if req.path.startswith(_BELOW_ADMIN_BASE):
                req.path = req.path.removeprefix(_ADMIN_BASE)
            elif req.path.startswith("/services/") and _IN_VIEWS in req.path:
                req.path = req.path.replace(_IN_VIEWS, "/clusters/", 1)
            return await handler(req)

        return based

    return wrap


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

    Raises: NotFound; Forbidden for discovery, of which clients show the text only then.  Source: kcp main, pkg/server/localproxy.go.
    """

    def wrap(handler: Handler) -> Handler:
        async def told(req: Request) -> Response:
            if req.info.cluster == NOWHERE and not _ADMINISTRATORS.isdisjoint(effective_groups(req.user, NOWHERE)):
                path = req.info.cluster_path
                if not req.info.is_resource:
                    raise unknown_workspace(path)
                raise NotFound(unknown_workspace_text(path), resource=kinds.WORKSPACES.group_resource, name=path)
            return await handler(req)

        return told

    return wrap
