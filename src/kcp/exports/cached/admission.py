"""Admission of ClusterCachedResources and their endpoint slices.

Whose objects a slice opens is said by the owner of the ClusterCachedResource: as with exports, by the verb `bind`. kcp asks nothing there.
Source: kcp pkg/admission/clustercachedresource/admission.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Invalid
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import NOWHERE, ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import checks
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.exports.cached.index import CachedIndex
from kcp.exports.cached.names import Reference, cached_gvr
from kcp.registry.backend import Attributes, UserInfo
from kcp.registry.resource import Origin, Resource


@dataclass(frozen=True, slots=True)
class CachedAdmission:
    index: CachedIndex
    resolve: Callable[[ClusterName, GVR], Resource | None]
    """The catalog's."""
    may_bind: Callable[[UserInfo, ClusterName, str], Awaitable[bool]]
    """(user, cluster of the cached resource, its name): verb `bind`."""

    def plugin(self) -> Plugin:
        kinds = self.index.kinds
        both = frozenset((kinds.resources.group_resource, kinds.slices.group_resource))
        return Plugin(name=kinds.kind, validate=self.validate, resources=both)

    async def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden and Invalid."""
        new = attributes.new or {}
        if attributes.scope.resource.group_resource == self.index.kinds.resources.group_resource:
            self._check_resource(attributes, new)
        elif attributes.verb == "CREATE":
            await self._check_slice(attributes, Reference.of(new, self.index.kinds.field))

    def _check_resource(self, attributes: Attributes, new: JSONObject) -> None:
        resource, cluster = attributes.scope.resource, attributes.scope.cluster
        if faults := list(checks.selector(new["spec"].get("labelSelector"), "spec.labelSelector")):
            raise Invalid.of(resource.group_resource, resource.kind, meta.name(new), faults)
        gvr = cached_gvr(new)
        if attributes.verb != "CREATE" and cached_gvr(attributes.old or new) == gvr:
            return
        if fault := unfit(self.resolve(cluster, gvr)):
            raise forbidden(attributes, f'spec: Invalid value: "{gvr.group_resource}": Resource referenced in {resource.kind} {fault}')
        if any(name != meta.name(new) for name in self.index.same_resource(cluster, gvr)):
            text = f'{resource.kind} with this GVR already exists in the "{cluster}" workspace'
            raise forbidden(attributes, f'spec: Invalid value: "{gvr.group}.{gvr.version}.{gvr.resource}": {text}')

    async def _check_slice(self, attributes: Attributes, reference: Reference) -> None:
        """Raises Forbidden. Whether the workspace or the object exists is nobody's business who may not bind to it."""
        cluster = attributes.scope.cluster
        key = self.index.at(cluster, reference) or ObjectKey(NOWHERE, "", reference.name)
        if key.cluster != cluster and not await self.may_bind(attributes.user, key.cluster, key.name):
            raise forbidden(attributes, f"no permission to bind to {self.index.kinds.kind} {reference.path}:{reference.name}")


def unfit(resource: Resource | None) -> str:
    """Why a resource cannot be cached; "" if it can, or is not there yet."""
    if resource is None:
        return ""
    if resource.namespaced:
        return "must be cluster-scoped"
    if resource.origin in (Origin.BUILTIN, Origin.SYSTEM):
        return "must not be built-in: only those of CustomResourceDefinitions and APIBindings are cached"
    return "must have objects of its own: these are shown by an APIBinding" if resource.projection is not None else ""
