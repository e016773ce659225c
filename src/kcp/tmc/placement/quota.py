"""The quota of PlacementPolicies: a workload that would ask for more than its namespaces may have together is refused at the door.

Counted is what the workloads of a workspace ask for as they are written, each replica of its Pods once, wherever they are placed:
Deployments, StatefulSets and Jobs. What is there already stays, and may become less. Two writes at the same moment may both find room.
Before: `tmc.admission`. After: the workspace's API, asked only where a policy has a quota.
Source: the TMC reference §2.2 (PlacementPolicy); k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go for the words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kcp.apimachinery import meta, quantity
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.registry.backend import Attributes
from kcp.tmc.model.kinds import NAMESPACES
from kcp.tmc.placement.placementpolicies import PlacementPolicy

COUNTED: Mapping[GroupResource, tuple[str, str]] = {
    GroupResource("apps", "deployments"): ("v1", "replicas"),
    GroupResource("apps", "statefulsets"): ("v1", "replicas"),
    GroupResource("batch", "jobs"): ("v1", "parallelism"),
}
"""Resource → its version, and the field of its spec that says how many Pods run at once."""
Amounts = dict[str, Fraction]


def asked(resource: GroupResource, obj: Mapping[str, Any] | None) -> Amounts:
    """What one workload asks for, all its Pods together. Pure."""
    if obj is None:
        return {}
    spec = obj.get("spec") or {}
    _, counting = COUNTED[resource]
    pods = Fraction(int(1 if spec.get(counting) is None else spec[counting]))
    found: Amounts = {"pods": pods}
    for container in meta.nested(spec, "template", "spec", "containers", default=()):
        for part, amounts in (container.get("resources") or {}).items():
            if part in ("requests", "limits") and isinstance(amounts, Mapping):
                for name, text in amounts.items():
                    found[f"{part}.{name}"] = found.get(f"{part}.{name}", Fraction(0)) + _amount(text) * pods
    return found


def _amount(text: Any) -> Fraction:
    try:
        return quantity.parse(text)
    except (quantity.QuantityError, TypeError):
        return Fraction(0)  # validation refuses it


@dataclass(frozen=True, slots=True)
class QuotaAdmission:
    """Validates creations and updates of the workloads that count."""

    policies: Callable[[ClusterName], Sequence[PlacementPolicy]]
    for_cluster: Callable[[ClusterName], Client]

    async def check(self, attributes: Attributes) -> None:
        """Raises: Forbidden, in the words of a ResourceQuota."""
        scope, new = attributes.scope, attributes.new
        with_quota = [p for p in self.policies(scope.cluster) if p.hard]
        if not with_quota or new is None:
            return
        resource = scope.resource.group_resource
        before, after = asked(resource, attributes.old), asked(resource, new)
        more = {name: after[name] - before.get(name, 0) for name in after if after[name] > before.get(name, 0)}
        concerned = [p for p in with_quota if p.hard.keys() & more.keys()]
        if not concerned:
            return
        workspace = self.for_cluster(scope.cluster)
        labels = {meta.name(ns): meta.labels(ns) for ns in (await workspace.resource(NAMESPACES).list()).items}
        for policy in concerned:
            if policy.namespaces.matches(labels.get(scope.namespace, {})):
                used = await self._used(workspace, {name for name, held in labels.items() if policy.namespaces.matches(held)})
                self._refuse(attributes, policy, used, more)

    async def _used(self, workspace: Client, namespaces: set[str]) -> Amounts:
        found: Amounts = {}
        for resource, (version, _) in COUNTED.items():
            try:
                listed = await workspace.resource(GVR(resource.group, version, resource.resource)).list()
            except NotFound:
                continue  # the workspace has no such API
            for obj in listed.items:
                if meta.namespace(obj) in namespaces:
                    for name, amount in asked(resource, obj).items():
                        found[name] = found.get(name, Fraction(0)) + amount
        return found

    def _refuse(self, attributes: Attributes, policy: PlacementPolicy, used: Mapping[str, Fraction], more: Mapping[str, Fraction]) -> None:
        over = [n for n in sorted(more) if n in policy.hard and used.get(n, Fraction(0)) + more[n] > Fraction(policy.hard[n])]
        if not over:
            return
        obj: JSONObject = attributes.new or {}
        resource, name = attributes.scope.resource.group_resource, meta.name(obj)
        requested, taken, limits = (
            ",".join(f"{n}={_text(n, amounts.get(n, 0))}" for n in over) for amounts in (more, used, policy.hard)
        )  # fmt: skip
        raise Forbidden(
            f'{resource} "{name}" is forbidden: exceeded quota: placementpolicy {policy.name}, requested: {requested}, used: {taken}, '
            f"limited: {limits}",
            resource=resource,
            name=name,
        )


def _text(name: str, amount: Fraction | float) -> str:
    if name.endswith("memory"):
        return f"{int(amount)}" if amount % 2**20 else f"{int(amount / 2**20)}Mi"
    return f"{int(amount)}" if amount % 1 == 0 else f"{int(amount * 1000)}m"
