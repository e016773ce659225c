"""The parameter objects of a policy: named or selected by a binding, read from the watch cache.

Before: `hooks`. After: `storage.watchcache`.
Source: k8s.io/apiserver/pkg/admission/plugin/policy/generic/policy_dispatcher.go (CollectParams).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from kcp.apimachinery.errors import BadRequest
from kcp.apimachinery.gvk import GVK
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.apiserver.admission.occasion import Occasion
from kcp.registry.encoding import serve
from kcp.registry.resource import Resource
from kcp.storage.keyspace import object_key, scope_prefix
from kcp.storage.watchcache import WatchCache

Served: TypeAlias = Callable[[ClusterName], Iterable[Resource]]
"""The catalog: everything that a cluster serves."""
_REMEMBERED = 256


class Params:
    def __init__(self, cache: WatchCache, served: Served, version: Callable[[ClusterName], str]) -> None:
        self._cache = cache
        self._served = served
        self._version = version
        self._kinds: dict[tuple[ClusterName, str, GVK], Resource | None] = {}

    async def collect(
        self, param_kind: tuple[str, str] | None, param_ref: Mapping[str, Any] | None, occasion: Occasion
    ) -> Sequence[JSONObject | None]:
        """The parameters to evaluate with, one after the other; [None] for a policy without, empty where there are none and that is fine.

        Raises: BadRequest for a reference that makes no sense, or finds nothing where that is refused.
        """
        if param_kind is None or param_ref is None:
            return [None]
        resource = self._resource(occasion.configured_in, GVK.of(*param_kind))
        if resource is None:
            raise BadRequest(f"paramKind kind `{param_kind[0]}, Kind={param_kind[1]}` not known")
        found = await self._find(resource, param_ref, occasion)
        if not found and param_ref.get("parameterNotFoundAction") == "Deny":
            raise BadRequest("no params found for policy binding with `Deny` parameterNotFoundAction")
        return found

    async def _find(self, resource: Resource, param_ref: Mapping[str, Any], occasion: Occasion) -> list[JSONObject | None]:
        namespace = _namespace(resource, param_ref, occasion)
        items = await self._cache.prefix(resource.storage_prefix)
        name, selector = param_ref.get("name") or "", param_ref.get("selector")
        if name:
            item = items.get(object_key(resource.storage_prefix, ObjectKey(occasion.configured_in, namespace, name)))
            return [serve(item, resource).decode()] if item is not None else []
        wanted = LabelSelector.EVERYTHING if selector is None else LabelSelector.from_object(selector)
        held = items.scan(scope_prefix(resource.storage_prefix, occasion.configured_in, namespace))
        return [serve(item, resource).decode() for item in held if wanted.matches(item.labels)]

    def _resource(self, cluster: ClusterName, kind: GVK) -> Resource | None:
        """Looked for again whenever what the cluster serves has changed."""
        key = (cluster, self._version(cluster), kind)
        if key not in self._kinds:
            if len(self._kinds) >= _REMEMBERED:
                self._kinds.clear()
            self._kinds[key] = next((r for r in self._served(cluster) if r.gvk == kind), None)
        return self._kinds[key]


def _namespace(resource: Resource, param_ref: Mapping[str, Any], occasion: Occasion) -> str:
    given = param_ref.get("namespace") or ""
    if not resource.namespaced:
        if given:
            raise BadRequest("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        return ""
    namespace = given or occasion.namespace
    if not namespace:
        raise BadRequest("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
    return str(namespace)
