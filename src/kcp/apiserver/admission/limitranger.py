"""LimitRanger: pods get the defaults of their namespace's LimitRanges; pods and claims out of bounds are refused.

Before: `admission.chain`. After: `apis.kubernetes.limits`; the watch cache of LimitRanges, of which one namespace is looked at.
Source: k8s.io/kubernetes/plugin/pkg/admission/limitranger/admission.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes import limits
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.registry.backend import Attributes, Scope
from kcp.storage.keyspace import resource_prefix, scope_prefix
from kcp.storage.prefixcache import PrefixCache
from kcp.storage.watchcache import WatchCache

LIMIT_RANGES = GroupResource("", "limitranges")
_PODS = GroupResource("", "pods")
_CLAIMS = GroupResource("", "persistentvolumeclaims")


class LimitRanger:
    def __init__(self, limit_ranges: PrefixCache) -> None:
        self._limit_ranges = limit_ranges

    @classmethod
    async def open(cls, cache: WatchCache) -> LimitRanger:
        """Fills the cache of LimitRanges."""
        return cls(await cache.prefix(resource_prefix(LIMIT_RANGES)))

    def plugins(self) -> tuple[Plugin, ...]:
        """Pods are looked at when made, for their containers hardly change later; claims may grow."""
        pods, claims = frozenset((_PODS,)), frozenset((_CLAIMS,))
        return (
            Plugin(name="LimitRanger", mutate=self.set_defaults, validate=self.check_pod, verbs=("CREATE",), resources=pods),
            Plugin(name="LimitRanger", validate=self.check_claim, resources=claims),
        )

    def _of(self, scope: Scope) -> list[JSONObject]:
        if not len(self._limit_ranges):
            return []
        return [item.decode() for item in self._limit_ranges.scan(scope_prefix(self._limit_ranges.prefix, scope.cluster, scope.namespace))]

    async def set_defaults(self, attributes: Attributes) -> JSONObject | None:
        if attributes.new is not None:
            for limit_range in self._of(attributes.scope):
                limits.apply_defaults(attributes.new, limit_range)
        return attributes.new

    async def check_pod(self, attributes: Attributes) -> None:
        pod = attributes.new or {}
        _refuse(attributes, [fault for limit_range in self._of(attributes.scope) for fault in limits.pod_faults(pod, limit_range)])

    async def check_claim(self, attributes: Attributes) -> None:
        claim = attributes.new or {}
        if not meta.deletion_timestamp(claim):
            _refuse(attributes, [fault for limit_range in self._of(attributes.scope) for fault in limits.claim_faults(claim, limit_range)])


def _refuse(attributes: Attributes, faults: Sequence[str]) -> None:
    """Raises Forbidden with every fault. Source: k8s.io/apimachinery/pkg/util/errors (aggregate)."""
    faults = list(dict.fromkeys(faults))
    if faults:
        raise forbidden(attributes, faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]")
