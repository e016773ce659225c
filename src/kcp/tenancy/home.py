"""Home workspaces: `GET workspaces/~` in `root` answers the caller's own workspace, and makes it on the first call.

A home workspace is a logical cluster whose name is derived from the user's; it has no Workspace object, its path is `user:<name>`.
Before: `server.compose` puts `with_home_workspaces` behind authorization (verb get on workspace `~` is what users need).
After: the API, in process; the ordinary controllers initialize the cluster.
Source: kcp pkg/server/home_workspaces.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson

from kcp.aio.clock import Clock, parse_rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, InternalError, NotFound, Timeout, TooManyRequests
from kcp.apimachinery.keys import ROOT, ClusterName, ClusterPath
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authz.attributes import AuthzAttributes, forbidden
from kcp.apiserver.request import Filter, Handler, Request, Response
from kcp.client.rest import Client
from kcp.registry.backend import UserInfo
from kcp.tenancy import kinds
from kcp.tenancy.logicalcluster.labels import phase_labels
from kcp.tenancy.logicalcluster.names import home_cluster_name
from kcp.tenancy.waiting import wait_for
from kcp.tenancy.workspace.admission import owner_annotation
from kcp.tenancy.workspacetype.lister import TypeLister
from kcp.tenancy.workspacetype.model import TypeReference

_HOME_TYPE = TypeReference("root", "home")
_LONGEST_CREATION_S = 60.0
_COMING = ("", kinds.SCHEDULING, kinds.INITIALIZING)


@dataclass(frozen=True, slots=True)
class HomeWorkspaces:
    client: Client
    """Of the whole server, as system:masters."""
    types: TypeLister
    url_of: Callable[[str], str]
    expect: Callable[[ClusterName], None]
    """Told of a cluster that is about to be written: `WorkspaceIndex.expect`."""
    clock: Clock
    may_create: Callable[[UserInfo], Awaitable[bool]]
    """Whether a user has verb `create` on workspace `~` of root."""
    patience_s: float = 20.0
    """How long a request waits; upstream never does, but not every client comes again by itself."""

    async def get(self, user: UserInfo) -> JSONObject:
        """The user's home as a Workspace.

        Raises: Forbidden for those who may not have one; TooManyRequests (with Retry-After) while it is being made; InternalError if that
        has taken more than a minute.
        """
        name = home_cluster_name(user.name)
        self.expect(name)
        resource = self.client.cluster(name).resource(kinds.LOGICAL_CLUSTERS)
        try:
            cluster = await resource.get(kinds.LOGICAL_CLUSTER_NAME)
        except NotFound:
            await self._create(user, name)
            cluster = {}
        if meta.nested(cluster, "status", "phase", default="") in _COMING:
            if cluster and self._is_late(cluster):
                raise InternalError("home workspace creation timeout")
            try:
                cluster = await wait_for(
                    resource, kinds.LOGICAL_CLUSTER_NAME, _is_ready, timeout_s=self.patience_s, what="the home workspace"
                )
            except Timeout as error:
                raise TooManyRequests(error.message, retry_after_s=1) from error
        return self._workspace(user, name, cluster)

    async def _create(self, user: UserInfo, name: ClusterName) -> None:
        if not await self.may_create(user):
            asked = AuthzAttributes(user, "create", ROOT, kinds.WORKSPACES.group, kinds.WORKSPACES.resource, name="~")
            raise forbidden(asked, "workspace access not permitted")
        type_ = await self.types.resolve_live(_HOME_TYPE)
        initializers, terminators = list(type_.initializers), list(type_.terminators)
        wanted: JSONObject = {
            "apiVersion": kinds.LOGICAL_CLUSTERS.api_version,
            "kind": "LogicalCluster",
            "metadata": {
                "name": kinds.LOGICAL_CLUSTER_NAME,
                "annotations": {
                    kinds.PATH: _path(user, name),
                    kinds.TYPE: str(_HOME_TYPE),
                    kinds.OWNER: owner_annotation(user),
                },
                "labels": phase_labels(kinds.INITIALIZING, initializers, terminators),
                "finalizers": [kinds.DELETION_FINALIZER],
            },
            "spec": {
                "initializers": initializers,
                "createdBy": orjson.loads(owner_annotation(user)),
                **({"terminators": terminators} if terminators else {}),
            },
        }
        try:
            await self.client.cluster(name).resource(kinds.LOGICAL_CLUSTERS).create(wanted)
        except AlreadyExists:
            return  # asked for twice at the same time

    def _is_late(self, cluster: JSONObject) -> bool:
        return (self.clock.now() - parse_rfc3339(meta.creation_timestamp(cluster))).total_seconds() > _LONGEST_CREATION_S

    def _workspace(self, user: UserInfo, name: ClusterName, cluster: JSONObject) -> JSONObject:
        path = _path(user, name)
        return {
            "apiVersion": kinds.WORKSPACES.api_version,
            "kind": "Workspace",
            "metadata": {
                "name": kinds.LOGICAL_CLUSTER_NAME,
                "annotations": {"kcp.io/cluster": str(ROOT), kinds.PATH: path},
                "creationTimestamp": meta.creation_timestamp(cluster) or None,
            },
            "spec": {"type": _HOME_TYPE.to_object(), "cluster": str(name), "URL": self.url_of(path)},
            "status": {"phase": meta.nested(cluster, "status", "phase"), **_conditions(cluster)},
        }


def _path(user: UserInfo, name: ClusterName) -> str:
    path = f"user:{user.name}"
    return path if ClusterPath(path).is_valid else str(name)


def _conditions(cluster: JSONObject) -> JSONObject:
    told = meta.nested(cluster, "status", "conditions")
    return {"conditions": told} if told else {}


def _is_ready(cluster: JSONObject) -> bool:
    return bool(meta.nested(cluster, "status", "phase") == kinds.READY)


def with_home_workspaces(homes: HomeWorkspaces) -> Filter:
    """Answer `GET …/workspaces/~` in root; everything else goes on."""

    def wrap(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            info = request.info
            is_home = info.name == "~" and info.verb == "get" and info.resource == "workspaces" and info.cluster == ROOT
            if not is_home or info.group != kinds.WORKSPACES.group:
                return await handler(request)
            return Response(body=orjson.dumps(await homes.get(request.user)))

        return handle

    return wrap
