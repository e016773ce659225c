"""ClusterRole aggregation: writes the rules that an aggregated ClusterRole takes from others, so that everybody can read them there.

The authorizer does not wait for it: it evaluates aggregation itself. Before: `server.controllers`, `sim.cluster`.
Source: kubernetes pkg/controller/clusterroleaggregation/clusterroleaggregation_controller.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import BadRequest
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.controller.builtin.kinds import ForCluster
from kcp.controller.commit import commit
from kcp.controller.controller import Controller, Result, TerminalError
from kcp.controller.factory import InformerFactory

CLUSTER_ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")
_AGGREGATING = "aggregating"
"""Index of aggregated ClusterRoles by cluster."""


def aggregated_rules(role: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> list[JSONObject]:
    """The rules of all that `role` selects, each once, in the order of selectors and names. Raises: BadRequest for a faulty selector."""
    rules: list[JSONObject] = []
    for selector in meta.nested(role, "aggregationRule", "clusterRoleSelectors", default=()):
        wanted = LabelSelector.from_object(selector)
        for other in sorted(others, key=meta.name):
            if meta.name(other) != meta.name(role) and wanted.matches(meta.labels(other)):
                rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return rules


@dataclass(frozen=True, slots=True)
class AggregationReconciler:
    get: Callable[[ObjectKey], JSONObject | None]
    list_roles: Callable[[ClusterName], Sequence[JSONObject]]
    for_cluster: ForCluster

    async def reconcile(self, key: ObjectKey) -> Result:
        role = self.get(key)
        if role is None or role.get("aggregationRule") is None or meta.deletion_timestamp(role):
            return Result()
        try:
            rules = aggregated_rules(role, self.list_roles(key.cluster))
        except BadRequest as fault:
            raise TerminalError(f"aggregationRule: {fault}") from fault
        if rules != (role.get("rules") or []):
            await commit(self.for_cluster(key.cluster).resource(CLUSTER_ROLES), role, {**role, "rules": rules})
        return Result()


def build_cluster_role_aggregation(informers: InformerFactory, *, for_cluster: ForCluster, clock: Clock, workers: int = 2) -> Controller:
    roles = informers.informer(CLUSTER_ROLES, indexers={_AGGREGATING: _aggregating})

    def of_cluster(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> Iterable[ObjectKey]:  # noqa: ARG001
        """A change of any ClusterRole may concern every aggregated one beside it."""
        return roles.index_keys(_AGGREGATING, key.cluster)

    def list_roles(cluster: ClusterName) -> Sequence[JSONObject]:
        return roles.list(cluster=cluster)

    reconciler = AggregationReconciler(roles.get, list_roles, for_cluster)
    controller: Controller = Controller("clusterrole-aggregation", reconciler.reconcile, clock=clock, workers=workers)
    controller.watch(roles, of_cluster)
    return controller


def _aggregating(role: Mapping[str, Any]) -> list[str]:
    return [meta.cluster(role)] if role.get("aggregationRule") is not None else []
