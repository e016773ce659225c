"""Admission that the users of a cluster configure: policies and webhooks.

Here stands only what every write passes: whether its cluster has any. The engines behind, and CEL, are imported when one has.
Before: the composition roots (`server.security`, `sim.server`). After: `engine`.
Source: k8s.io/kubernetes/pkg/kubeapiserver/options/plugins.go (their order).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.admission.chain import ALL_VERBS, Plugin
from kcp.apiserver.admission.configured import Configured
from kcp.apiserver.admission.occasion import NamespaceLookup
from kcp.apiserver.admission.policytypes import policy_types
from kcp.apiserver.authz.attributes import Authorizer
from kcp.registry.backend import Attributes
from kcp.registry.resource import Catalog
from kcp.storage.watchcache import WatchCache

if TYPE_CHECKING:
    from kcp.apiserver.admission.engine import Engine
    from kcp.apiserver.admission.webhooks.model import ServiceResolver

_GROUP = "admissionregistration.k8s.io"
_CHANGING = ("mutatingadmissionpolicies", "mutatingwebhookconfigurations")
_CHECKING = ("validatingadmissionpolicies", "validatingwebhookconfigurations")
_BINDINGS = ("mutatingadmissionpolicybindings", "validatingadmissionpolicybindings")


@dataclass(frozen=True, slots=True)
class AdmissionParts:
    """What policies and webhooks work with."""

    cache: WatchCache
    catalog: Catalog
    namespace_of: NamespaceLookup
    authorizer: Authorizer
    resolve: ServiceResolver | None = None
    """Where the Services of webhooks lead; None: nowhere, as in a workspace."""
    configured_in: Callable[[ClusterName, GroupResource], ClusterName] = lambda cluster, resource: cluster
    """Whose policies and webhooks decide about a resource of a cluster: for a bound one its provider's, and those alone."""


class ConfigurableAdmission:
    """The last plugins of the chain. `close` it in the end."""

    def __init__(self, parts: AdmissionParts, configured: dict[str, Configured[Any]]) -> None:
        self._parts = parts
        self._configured = configured
        self._engine: Engine | None = None

    @classmethod
    async def open(cls, parts: AdmissionParts) -> ConfigurableAdmission:
        """Follows the six kinds that configure it."""
        resources = (*_CHANGING, *_CHECKING, *_BINDINGS)
        parsers = {resource: _parser(resource) for resource in resources}
        return cls(parts, {r: await Configured.open(parts.cache, GroupResource(_GROUP, r), parsers[r]) for r in resources})

    def plugins(self) -> tuple[Plugin, ...]:
        """To stand at the end of the chain: what changes objects, what is noted of policies, then what only looks at objects."""
        return (
            Plugin(name="MutatingAdmissionPolicy and Webhook", mutate=self.mutate, verbs=ALL_VERBS, subresources=None),
            policy_types(self._parts.catalog),
            Plugin(name="ValidatingAdmissionPolicy and Webhook", validate=self.validate, verbs=ALL_VERBS, subresources=None),
        )

    def _placed(self, attributes: Attributes, resources: tuple[str, ...]) -> Attributes | None:
        """The write and who decides about it; None if nobody has configured any of these resources there."""
        scope = attributes.scope
        cluster = self._parts.configured_in(scope.cluster, scope.resource.group_resource)
        if not any(self._configured[resource].has_any(cluster) for resource in resources):
            return None
        return attributes if cluster == scope.cluster else replace(attributes, configured_in=cluster)

    def _started(self) -> Engine:
        if self._engine is None:
            from kcp.apiserver.admission.engine import Engine

            self._engine = Engine(self._parts, self._configured)
        return self._engine

    async def mutate(self, attributes: Attributes) -> JSONObject | None:
        placed = self._placed(attributes, _CHANGING)
        return attributes.new if placed is None else await self._started().mutate(placed)

    async def validate(self, attributes: Attributes) -> None:
        placed = self._placed(attributes, _CHECKING)
        if placed is not None:
            await self._started().validate(placed)

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.close()


def _parser(resource: str) -> Any:
    """Parses an object of one of the six kinds; what it needs is imported when there is one."""

    def parse(obj: JSONObject) -> Any:
        from kcp.apiserver.admission import engine

        return engine.PARSERS[resource](obj)

    return parse
