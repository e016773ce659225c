"""Issuers that are trusted in single workspaces only: named by a workspace's type, configured beside the type.

Nothing is kept per workspace: a token that nobody else knows is looked at by the issuers of its workspace's type, as the type and its
WorkspaceAuthenticationConfigurations are now. What is kept for a configuration is its issuers' keys, and recent tokens for some seconds.
Before: `apiserver.authn.chain`, for tokens and their reviews. After: `apiserver.authn.jwt`, imported with the first such configuration.
Source: kcp pkg/authentication/{index,index_lazy,filters,groups,usernames,extra}.go, docs/content/concepts/authentication/workspace.md.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Unauthorized
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.authn.identity import CLUSTER_EXTRA, TokenIdentity, as_authenticated
from kcp.apiserver.authn.tokens import first_of
from kcp.apiserver.authz.effective import scoped
from kcp.registry.backend import UserInfo
from kcp.tenancy.logicalcluster.index import WorkspaceIndex

if TYPE_CHECKING:
    from kcp.apiserver.authn.jwt.authenticator import JWTAuthenticators
    from kcp.apiserver.authn.jwt.config import JWTConfig

log = logging.getLogger(__name__)

_MOST_CONFIGURATIONS = 1_024
_TOKENS_EACH = 512
_SYSTEM = "system:"
_RESERVED_EXTRA = "kcp.io"


class Objects(Protocol):
    """`Informer`, of one kind."""

    def get(self, key: ObjectKey, /) -> JSONObject | None: ...

    def version_of(self, key: ObjectKey, /) -> str | None: ...


@dataclass(slots=True)
class WorkspaceIssuers:
    """Who somebody is in one workspace, by a token that is worth nothing elsewhere."""

    index: WorkspaceIndex
    types: Callable[[], Objects]
    """Those of WorkspaceTypes, asked for when they are needed: they can be had only once `root` binds the tenancy API."""
    configurations: Callable[[], Objects]
    own_issuers: Sequence[str]
    """Of this server's tokens; nobody else may sign for them."""
    clock: Clock
    _held: OrderedDict[ObjectKey, tuple[str, JWTAuthenticators]] = field(default_factory=OrderedDict)
    """By configuration, with its resourceVersion."""

    async def identify(self, cluster: ClusterName, token: str) -> TokenIdentity | None:
        """Whom the token proves in this workspace; None if no issuer there knows it. Raises Unauthorized."""
        issuers = [found for key in self._configured(cluster) if (found := self._issuers(key)) is not None]
        identity = await first_of(issuers, token) if issuers else None
        return None if identity is None else replace(identity, user=_confined(identity.user, cluster))

    def _configured(self, cluster: ClusterName) -> Iterator[ObjectKey]:
        """The configurations that the type of a workspace names. Types that it extends do not count."""
        record = self.index.record(cluster)
        path, _, name = record.type.rpartition(":") if record is not None else ("", "", "")
        where = self.index.resolve(path) if path else None
        found = self.types().get(ObjectKey(where, "", name)) if where is not None else None
        if where is None or found is None:
            return
        for reference in meta.nested(found, "spec", "authenticationConfigurations", default=()):
            yield ObjectKey(where, "", str(reference.get("name") or ""))

    def _issuers(self, key: ObjectKey) -> JWTAuthenticators | None:
        """Those of a configuration as it is now."""
        configurations = self.configurations()
        version = configurations.version_of(key)
        held = self._held.get(key)
        if held is not None and held[0] == version:
            self._held.move_to_end(key)
            return held[1]
        found = configurations.get(key) if version is not None else None
        if version is None or found is None:
            self._held.pop(key, None)
            return None
        from kcp.apiserver.authn.jwt.authenticator import JWTAuthenticators

        issuers = held[1] if held is not None else JWTAuthenticators(clock=self.clock, max_entries=_TOKENS_EACH)
        issuers.use(_usable(found, key, self.own_issuers))
        self._held[key] = (version, issuers)
        if len(self._held) > _MOST_CONFIGURATIONS:
            self._held.popitem(last=False)
        return issuers

    def statistics(self) -> dict[str, int]:
        return {"workspace_authentication_configurations": len(self._held)}


def _usable(configuration: Mapping[str, Any], key: ObjectKey, own_issuers: Sequence[str]) -> list[JWTConfig]:
    """All issuers of a configuration, or none if it has a fault: half of its rules are not what somebody meant."""
    from kcp.apiserver.authn.jwt import validation
    from kcp.apiserver.authn.jwt.config import AuthenticationConfiguration, ConfigurationError, JWTConfig

    try:
        items = meta.nested(configuration, "spec", "jwt", default=())
        read = AuthenticationConfiguration(tuple(JWTConfig.from_object(item, f"jwt[{index}]") for index, item in enumerate(items)))
        faults = [str(fault) for fault in validation.faults(read, own_issuers)]
    except ConfigurationError as fault:
        faults = [str(fault)]
    if not faults:
        return list(read.jwt)
    log.warning("WorkspaceAuthenticationConfiguration %s lets nobody in: %s", key, "; ".join(faults))
    return []


def _confined(user: UserInfo, cluster: ClusterName) -> UserInfo:
    """The user in this workspace and nowhere else, without what the server alone gives. Raises Unauthorized for names of its own users."""
    if user.name.startswith(_SYSTEM):
        raise Unauthorized("system usernames are not admitted")
    groups = tuple(group for group in user.groups if not group.startswith(_SYSTEM))
    extra = {key: values for key, values in user.extra.items() if _RESERVED_EXTRA not in key}
    confined = scoped(replace(user, groups=groups, extra=extra), cluster)
    return as_authenticated(replace(confined, extra={**confined.extra, CLUSTER_EXTRA: (str(cluster),)}))
