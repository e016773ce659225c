"""Who controls what by labels: orphans that a selector matches are adopted, what it no longer matches is released.

`PodClaims` does it for pods; `sort_out` is the decision, pure, for objects of any kind. Before: the workload controllers.
Source: pkg/controller/controller_ref_manager.go (BaseControllerRefManager.ClaimObject).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Invalid, NotFound
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.selectors import LabelSelector
from kcp.client.rest import Client, PatchType, ResourceClient
from kcp.controller.controller import Controller
from kcp.controller.informer import Informer
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podtemplate import owner_reference
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.wiring import PODS, OwnerKind
from kcp.sim.workloads.writes import CONTROLLER_MANAGER, SETTLE_S

SelectorOf = Callable[[Mapping[str, Any]], LabelSelector]


def by_label_selector(owner: Mapping[str, Any]) -> LabelSelector:
    """The selector of everything but ReplicationControllers."""
    return LabelSelector.from_object(meta.nested(owner, "spec", "selector"))


def by_labels(owner: Mapping[str, Any]) -> LabelSelector:
    """The selector of a ReplicationController: a plain map."""
    labels = meta.nested(owner, "spec", "selector")
    return LabelSelector.from_labels(labels) if labels else LabelSelector.from_object(None)


async def adopt(resource: ResourceClient, owner: Mapping[str, Any], kind: OwnerKind, name: str, uid: str, finalizer: str = "") -> bool:
    """Make `owner` the controller of an orphan. Returns whether it is now."""
    reference = owner_reference(owner, api_version=kind.gvr.api_version, kind=kind.kind)
    metadata: JSONObject = {"uid": uid, "ownerReferences": [reference]}
    if finalizer:
        metadata["finalizers"] = [finalizer]
    try:
        await resource.patch(
            name, {"metadata": metadata}, namespace=meta.namespace(owner), type=PatchType.STRATEGIC, field_manager=CONTROLLER_MANAGER
        )
    except (NotFound, Invalid):
        return False  # gone, or another's by now
    return True


async def release(resource: ResourceClient, owner: Mapping[str, Any], name: str, uid: str, finalizer: str = "") -> None:
    metadata: JSONObject = {"uid": uid, "ownerReferences": [{"$patch": "delete", "uid": meta.uid(owner)}]}
    if finalizer:
        metadata["$deleteFromPrimitiveList/finalizers"] = [finalizer]
    try:
        await resource.patch(
            name, {"metadata": metadata}, namespace=meta.namespace(owner), type=PatchType.STRATEGIC, field_manager=CONTROLLER_MANAGER
        )
    except (NotFound, Invalid):
        return  # gone, or released already


async def may_adopt(owners: ResourceClient, owner: Mapping[str, Any]) -> bool:
    """What the server itself says: it is there, the same one, and stays. Source: RecheckDeletionTimestamp."""
    try:
        live = await owners.get(meta.name(owner), namespace=meta.namespace(owner))
    except NotFound:
        return False
    return meta.uid(live) == meta.uid(owner) and not meta.deletion_timestamp(live)


@dataclass(frozen=True, slots=True)
class PodClaims:
    """The pods of the owners of one kind."""

    kind: OwnerKind
    pods: PodBook
    client: Client
    selector_of: SelectorOf = by_label_selector
    finalizer: str = ""
    """That pods of this kind carry while they are controlled."""
    fits: Callable[[Mapping[str, Any], PodView], bool] = lambda _owner, _pod: True
    """What an orphan has to fulfil beside the labels."""

    async def claim(self, owner: Mapping[str, Any]) -> list[PodView]:
        """The pods that `owner` controls, after adoption and release."""
        selector = self.selector_of(owner)
        held = self.pods.owned_by(meta.uid(owner))
        mine = [p for p in held if self._is_mine(owner, selector, p)]
        if meta.deletion_timestamp(owner):
            return held
        resource = self.client.resource(PODS)
        for pod in held:
            if not self._is_mine(owner, selector, pod):
                await release(resource, owner, pod.key.name, pod.uid, self.finalizer)
        orphans = [p for p in self._orphans(owner, selector) if self.fits(owner, p)]
        if orphans and await may_adopt(self.client.resource(self.kind.gvr), owner):
            for pod in orphans:
                if await adopt(resource, owner, self.kind, pod.key.name, pod.uid, self.finalizer):
                    mine.append(replace(pod, owner_uid=meta.uid(owner), owner_kind=self.kind.kind, owner_name=meta.name(owner)))
        return mine

    def _is_mine(self, owner: Mapping[str, Any], selector: LabelSelector, pod: PodView) -> bool:
        return selector.matches(pod.labels) and self.fits(owner, pod)

    def _orphans(self, owner: Mapping[str, Any], selector: LabelSelector) -> Sequence[PodView]:
        return [p for p in self.pods.orphans(meta.namespace(owner)) if not p.terminating and selector.matches(p.labels)]


class Selectors:
    """The selectors of all owners of one kind, at hand for events: decoding every owner for each pod would cost too much."""

    def __init__(self, owners: Informer, selector_of: SelectorOf = by_label_selector) -> None:
        self._selector_of = selector_of
        self._held: dict[str, dict[ObjectKey, LabelSelector]] = {}
        owners.add_handler(self._know)

    def _know(self, key: ObjectKey, _old: JSONObject | None, new: JSONObject | None) -> None:
        there = self._held.setdefault(key.namespace, {})
        there.pop(key, None)
        if new is not None:
            there[key] = self._selector_of(new)
        if not there:
            del self._held[key.namespace]

    def matching(self, namespace: str, labels: Mapping[str, str]) -> Iterable[ObjectKey]:
        return [key for key, selector in self._held.get(namespace, {}).items() if selector.matches(labels)]


def wake_for_orphans(selectors: Selectors, pods: PodBook, controller: Controller) -> None:
    """Wake the controllers that may adopt a pod without one. Source: getPodReplicaSets and its likes, called for orphans."""

    def listen(_before: PodView | None, after: PodView | None) -> None:
        if after is None or after.owner_uid or after.terminating:
            return
        for key in selectors.matching(after.key.namespace, after.labels):
            controller.enqueue_after(key, SETTLE_S)

    pods.listen(listen)
