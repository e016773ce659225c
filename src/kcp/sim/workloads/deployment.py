"""Deployments: a ReplicaSet per template, rolled out step by step, with a history of revisions.

`decide` is the whole rollout as a pure function over the Deployment and its ReplicaSets; each step waits for the ReplicaSets' status.
Before: `sim.cluster`, which starts it. After: ReplicaSets, made, sized and deleted.
Source: pkg/controller/deployment/{deployment_controller,sync,rolling,recreate}.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads import deployment_status, rollout
from kcp.sim.workloads.claiming import Selectors, adopt, by_label_selector, may_adopt, release
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podtemplate import TEMPLATE_HASH_LABEL, owner_reference, same_template, template_hash
from kcp.sim.workloads.podview import PodView
from kcp.sim.workloads.remarks import Voice
from kcp.sim.workloads.rollout import DESIRED_ANNOTATION, MAX_ANNOTATION, REVISION_ANNOTATION, Bounds, ReplicaSetView
from kcp.sim.workloads.wiring import ORPHAN_INDEX, OWNER_INDEX, OwnerKind, Wiring, by_namespace_of_orphan, by_owner, wake_self
from kcp.sim.workloads.writes import CONTROLLER_MANAGER, IDLE_S, SETTLE_S, delete_if_there, patch_status

DEPLOYMENTS = GVR("apps", "v1", "deployments")
REPLICASETS = GVR("apps", "v1", "replicasets")

REVISION_HISTORY_ANNOTATION = "deployment.kubernetes.io/revision-history"
_OWN_ANNOTATIONS = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration", REVISION_ANNOTATION, REVISION_HISTORY_ANNOTATION,
        DESIRED_ANNOTATION, MAX_ANNOTATION, "deprecated.deployment.rollback.to",
    }
)  # fmt: skip
"""Not copied from a Deployment to its ReplicaSets. Source: annotationsToSkip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The next step of a rollout; empty parts mean nothing to do."""

    create: JSONObject | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    """ReplicaSet name → spec.replicas."""
    annotations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """ReplicaSet name → annotations that differ from what stands there."""
    min_ready_s: Mapping[str, int] = field(default_factory=dict)
    delete: tuple[str, ...] = ()
    revision: str = ""
    """For the Deployment's own annotation; "" leaves it."""
    status: JSONObject = field(default_factory=dict)
    requeue_after_s: float | None = None


def decide(deployment: Mapping[str, Any], sets: Sequence[ReplicaSetView], pods_of_old: int, now: datetime) -> Plan:
    """What a Deployment needs now.

    Args: sets: all ReplicaSets that it controls. pods_of_old: unfinished pods of all but the newest template's; Recreate waits for none.
    """
    spec = deployment.get("spec") or {}
    bounds = Bounds.of(spec)
    new = newest(deployment, sets)
    old = [rs for rs in sets if new is None or rs.name != new.name]
    if meta.deletion_timestamp(deployment):
        return _finish(deployment, bounds, new, old, now)
    active = [rs for rs in sets if rs.replicas > 0]
    if spec.get("paused") or rollout.is_scaling(bounds.desired, active):
        sizes = rollout.rescale(bounds, new, old, meta.nested(deployment, "status", "replicas", default=0))
        return _finish(deployment, bounds, new, old, now, sizes=sizes, annotated=active)
    if new is None:
        if not bounds.rolling and (sizes := {rs.name: 0 for rs in old if rs.replicas}):
            return _finish(deployment, bounds, None, old, now, sizes=sizes)
        if not bounds.rolling and pods_of_old:
            return _finish(deployment, bounds, None, old, now)
        return _with_new_set(deployment, bounds, old)
    return _roll(deployment, bounds, new, old, pods_of_old, now)


def newest(deployment: Mapping[str, Any], sets: Sequence[ReplicaSetView]) -> ReplicaSetView | None:
    """The ReplicaSet of the present template; the oldest if there are several. Source: FindNewReplicaSet."""
    template = meta.nested(deployment, "spec", "template", default={})
    return next((rs for rs in sorted(sets, key=lambda rs: rs.oldest_first) if same_template(rs.template, template)), None)


def _roll(
    deployment: Mapping[str, Any], bounds: Bounds, new: ReplicaSetView, old: Sequence[ReplicaSetView], pods_of_old: int, now: datetime
) -> Plan:
    """One step with the new ReplicaSet in place: grow it, else shrink the old ones. Source: rolloutRolling, rolloutRecreate."""
    if not bounds.rolling:
        sizes = {rs.name: 0 for rs in old if rs.replicas}
        if not sizes and not pods_of_old and new.replicas != bounds.desired:
            sizes = {new.name: bounds.desired}
    else:
        size = rollout.new_size(bounds, new.replicas, new.replicas + sum(rs.replicas for rs in old))
        sizes = {new.name: size} if size != new.replicas else rollout.shrink_old(bounds, new, old)
    return _finish(deployment, bounds, new, old, now, sizes=sizes, annotated=[new])


def _with_new_set(deployment: Mapping[str, Any], bounds: Bounds, old: Sequence[ReplicaSetView]) -> Plan:
    """Create the ReplicaSet of a new template. The status follows when it has come back by the watch."""
    revision = str(max((rs.revision for rs in old), default=0) + 1)
    replicas = rollout.new_size(bounds, 0, sum(rs.replicas for rs in old))
    return Plan(create=_replicaset(deployment, bounds, replicas, revision), revision=revision)


def _replicaset(deployment: Mapping[str, Any], bounds: Bounds, replicas: int, revision: str) -> JSONObject:
    """Source: getNewReplicaSet."""
    spec = deployment.get("spec") or {}
    template = meta.copy_json(spec.get("template") or {})
    digest = template_hash(template, meta.nested(deployment, "status", "collisionCount", default=0))
    selector = meta.copy_json(spec.get("selector") or {})
    meta.ensure(template, "metadata", "labels")[TEMPLATE_HASH_LABEL] = digest
    meta.ensure(selector, "matchLabels")[TEMPLATE_HASH_LABEL] = digest
    wanted: JSONObject = {"replicas": replicas, "selector": selector, "template": template}
    if spec.get("minReadySeconds"):
        wanted["minReadySeconds"] = spec["minReadySeconds"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta.name(deployment)}-{digest}",
            "namespace": meta.namespace(deployment),
            "labels": dict(template["metadata"]["labels"]),
            "annotations": {**_inherited(deployment), **_size_annotations(bounds), REVISION_ANNOTATION: revision},
            "ownerReferences": [owner_reference(deployment, api_version="apps/v1", kind="Deployment")],
        },
        "spec": wanted,
    }


def _inherited(deployment: Mapping[str, Any]) -> dict[str, str]:
    return {k: v for k, v in meta.annotations(deployment).items() if k not in _OWN_ANNOTATIONS}


def _size_annotations(bounds: Bounds) -> dict[str, str]:
    return {DESIRED_ANNOTATION: str(bounds.desired), MAX_ANNOTATION: str(bounds.max_total)}


def _finish(
    deployment: Mapping[str, Any], bounds: Bounds, new: ReplicaSetView | None, old: Sequence[ReplicaSetView], now: datetime, *,
    sizes: Mapping[str, int] | None = None, annotated: Sequence[ReplicaSetView] = (),
) -> Plan:  # fmt: skip
    """The plan around a choice of sizes: annotations, status, and, once complete, the clean-up of history."""
    sizes = sizes or {}
    everything = rollout.resized([*old, *([new] if new else ())], sizes)
    status = deployment_status.counted(deployment, bounds, new, everything, now)
    spec = deployment.get("spec") or {}
    deployment_status.with_pause(status, spec, now)
    if not spec.get("paused"):
        deployment_status.with_progress(status, deployment, new, everything, bounds.desired, now)
    complete = deployment_status.is_complete(deployment, status, bounds.desired)
    limit = spec.get("revisionHistoryLimit", 10)
    delete = rollout.outdated(limit, old) if (complete or spec.get("paused")) and limit is not None else []
    marks = {rs.name: _size_annotations(bounds) for rs in (*annotated, *(rs for rs in everything if rs.name in sizes))}
    revision = ""
    if new is not None and not meta.deletion_timestamp(deployment):
        revision = str(max(new.revision, max((rs.revision for rs in old), default=0) + 1))
        marks[new.name] = {**_inherited(deployment), **marks.get(new.name, {}), **_revision_marks(new, revision)}
    return Plan(
        sizes=sizes,
        annotations={rs.name: m for rs in (*old, *([new] if new else ())) if (m := _differing(marks.get(rs.name, {}), rs.annotations))},
        min_ready_s={new.name: wanted} if new and (wanted := spec.get("minReadySeconds") or 0) != new.min_ready_s else {},
        delete=tuple(delete),
        revision=revision,
        status=status,
        requeue_after_s=deployment_status.deadline_in_s(status, spec, now),
    )


def _revision_marks(new: ReplicaSetView, revision: str) -> dict[str, str]:
    """The revision, and the earlier ones that an old template had before it came back. Source: SetNewReplicaSetAnnotations."""
    held = new.annotations.get(REVISION_ANNOTATION, "")
    marks = {REVISION_ANNOTATION: revision}
    if held and held != revision:
        history = new.annotations.get(REVISION_HISTORY_ANNOTATION, "")
        marks[REVISION_HISTORY_ANNOTATION] = f"{history},{held}" if history else held
    return marks


def _differing(wanted: Mapping[str, str], held: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in wanted.items() if held.get(k) != v}


@dataclass
class DeploymentReconciler:
    """Carries out the next step of a rollout, then writes the status."""

    deployments: Informer
    replicasets: Informer
    pods: PodBook
    events: Voice
    client: Client
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        deployment = self.deployments.get(key)
        if deployment is None:
            return Result()  # the garbage collector takes its ReplicaSets
        sets = [ReplicaSetView.of(obj) for obj in await self._claim(deployment)]
        plan = decide(deployment, sets, self._pods_of_old(deployment, sets), self.clock.now())
        if plan.create is not None and not await self._create(deployment, plan.create):
            return Result()
        await self._size(deployment, plan, sets)
        by_name = {rs.name: rs for rs in sets}
        for name in plan.delete:
            await delete_if_there(self.client.resource(REPLICASETS), name, key.namespace, by_name[name].uid)
        if plan.create is not None or not all(rs.is_observed for rs in sets):
            return Result(requeue_after_s=IDLE_S)  # a ReplicaSet will report sooner: one status then, instead of one now and one then
        marks = {REVISION_ANNOTATION: plan.revision} if plan.revision else {}
        await patch_status(self.client.resource(DEPLOYMENTS), deployment, plan.status, annotations=marks)
        return Result(requeue_after_s=plan.requeue_after_s)

    async def _claim(self, deployment: JSONObject) -> list[JSONObject]:
        """Its ReplicaSets, after adoption and release by labels. Source: getReplicaSetsForDeployment."""
        selector, resource = by_label_selector(deployment), self.client.resource(REPLICASETS)
        held = self.replicasets.by_index(OWNER_INDEX, meta.uid(deployment))
        if meta.deletion_timestamp(deployment):
            return held
        mine = [rs for rs in held if selector.matches(meta.labels(rs))]
        for rs in held:
            if not selector.matches(meta.labels(rs)):
                await release(resource, deployment, meta.name(rs), meta.uid(rs))
        free = self.replicasets.by_index(ORPHAN_INDEX, meta.namespace(deployment))
        orphans = [rs for rs in free if selector.matches(meta.labels(rs)) and not meta.deletion_timestamp(rs)]
        if orphans and await may_adopt(self.client.resource(DEPLOYMENTS), deployment):
            kind = OwnerKind(DEPLOYMENTS, "Deployment")
            mine += [rs for rs in orphans if await adopt(resource, deployment, kind, meta.name(rs), meta.uid(rs))]
        return mine

    def _pods_of_old(self, deployment: JSONObject, sets: Sequence[ReplicaSetView]) -> int:
        new = newest(deployment, sets)
        old = [rs for rs in sets if new is None or rs.name != new.name]
        return sum(1 for rs in old for pod in self.pods.owned_by(rs.uid) if pod.phase not in ("Succeeded", "Failed"))

    async def _create(self, deployment: JSONObject, replicaset: JSONObject) -> bool:
        """Create the new ReplicaSet. False if its name belongs to another: the next hash will differ. Source: collisionCount."""
        resource = self.client.resource(REPLICASETS)
        try:
            await resource.create(replicaset, field_manager=CONTROLLER_MANAGER)
            if size := replicaset["spec"]["replicas"]:
                self._scaled(deployment, meta.name(replicaset), 0, size)
        except AlreadyExists:
            try:
                live = await resource.get(meta.name(replicaset), namespace=meta.namespace(replicaset))
            except NotFound:
                return False  # gone again; its deletion wakes us
            owner = meta.controller_of(live)
            if owner is None or owner.get("uid") != meta.uid(deployment):
                count = meta.nested(deployment, "status", "collisionCount", default=0) + 1
                await patch_status(
                    self.client.resource(DEPLOYMENTS), deployment, {**(deployment.get("status") or {}), "collisionCount": count}
                )
                return False
        return True

    async def _size(self, deployment: JSONObject, plan: Plan, sets: Sequence[ReplicaSetView]) -> None:
        """Write sizes, annotations and minReadySeconds, one patch per ReplicaSet that differs."""
        for rs in sets:
            spec: JSONObject = {}
            if rs.name in plan.sizes:
                spec["replicas"] = plan.sizes[rs.name]
            if rs.name in plan.min_ready_s:
                spec["minReadySeconds"] = plan.min_ready_s[rs.name]
            patch: JSONObject = {"metadata": {"uid": rs.uid}}
            if rs.name in plan.annotations:
                patch["metadata"]["annotations"] = dict(plan.annotations[rs.name])
            if spec:
                patch["spec"] = spec
            if spec or rs.name in plan.annotations:
                await self._patch(rs.name, meta.namespace(deployment), patch)
            if plan.sizes.get(rs.name, rs.replicas) != rs.replicas:
                self._scaled(deployment, rs.name, rs.replicas, plan.sizes[rs.name])

    def _scaled(self, deployment: JSONObject, name: str, before: int, after: int) -> None:
        direction = "up" if after > before else "down"
        self.events.normal(deployment, "ScalingReplicaSet", f"Scaled {direction} replica set {name} from {before} to {after}")

    async def _patch(self, name: str, namespace: str, patch: JSONObject) -> None:
        try:
            await self.client.resource(REPLICASETS).patch(name, patch, namespace=namespace, field_manager=CONTROLLER_MANAGER)
        except NotFound:
            return  # deleted meanwhile; its event wakes us


def controller(wiring: Wiring) -> Controller:
    """The controller of Deployments; wakes on its ReplicaSets, and on the end of old pods for Recreate."""
    deployments = wiring.informers.informer(DEPLOYMENTS)
    replicasets = wiring.informers.informer(REPLICASETS, indexers={OWNER_INDEX: by_owner, ORPHAN_INDEX: by_namespace_of_orphan})
    events = wiring.remarks.by("deployment-controller")
    reconciler = DeploymentReconciler(deployments, replicasets, wiring.pods, events, wiring.client, wiring.clock)
    made = Controller("deployment", reconciler.reconcile, clock=wiring.clock, workers=4)
    wake_self(deployments, made)
    selectors = Selectors(deployments)

    def wake(key: ObjectKey, before: JSONObject | None, after: JSONObject | None) -> None:
        awaits_report = after is not None and not ReplicaSetView.of(after).is_observed
        for obj in (before, after):
            owner = meta.controller_of(obj) if obj is not None else None
            if owner is not None and owner.get("kind") == "Deployment":
                made.enqueue_after(ObjectKey(key.cluster, key.namespace, owner["name"]), IDLE_S if awaits_report else SETTLE_S)
        if after is not None and meta.controller_of(after) is None:
            for owner_key in selectors.matching(key.namespace, meta.labels(after)):
                made.enqueue_after(owner_key, SETTLE_S)

    def wake_for_ended(before: PodView | None, after: PodView | None) -> None:
        """Recreate waits for pods to end, and their ReplicaSet may be settled by then."""
        if before is None or before.owner_kind != "ReplicaSet" or (after is not None and after.phase not in ("Succeeded", "Failed")):
            return
        owner = replicasets.get(ObjectKey(before.key.cluster, before.key.namespace, before.owner_name))
        if owner is not None:
            wake(before.key, None, owner)

    replicasets.add_handler(wake)
    wiring.pods.listen(wake_for_ended)
    return made
