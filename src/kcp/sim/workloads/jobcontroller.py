"""The controller of Jobs: carries out what `job.decide` says, in the order that counts every pod exactly once.

Before: `sim.cluster`, which starts it. After: pods, made, deleted and counted; finished Jobs deleted after their time to live.
Source: pkg/controller/job/job_controller.go, pkg/controller/ttlafterfinished.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, PatchType
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.sim.workloads.claiming import PodClaims, Selectors, wake_for_orphans
from kcp.sim.workloads.job import Plan, decide, ttl_in_s
from kcp.sim.workloads.podbook import PodBook
from kcp.sim.workloads.podview import JOB_TRACKING, PodView
from kcp.sim.workloads.remarks import Voice
from kcp.sim.workloads.wiring import PODS, OwnerKind, Wiring, wake_owner, wake_self
from kcp.sim.workloads.writes import CONTROLLER_MANAGER, create_if_missing, delete_if_there, patch_status

JOB = OwnerKind(GVR("batch", "v1", "jobs"), "Job")
_MANAGER = "kubernetes.io/job-controller"


@dataclass
class JobReconciler:
    jobs: Informer
    pods: PodBook
    get_pod: Callable[[ObjectKey], JSONObject | None]
    claims: PodClaims
    events: Voice
    client: Client
    clock: Clock

    async def reconcile(self, key: ObjectKey) -> Result:
        job = self.jobs.get(key)
        if job is None:
            await self._let_go(key)
            return Result()
        if (meta.nested(job, "spec", "managedBy") or _MANAGER) != _MANAGER:
            return Result()  # somebody else's (KEP-4368)
        ttl_s = ttl_in_s(job, self.clock.now())
        if ttl_s == 0.0 and not meta.deletion_timestamp(job):
            await delete_if_there(self.client.resource(JOB.gvr), key.name, key.namespace, meta.uid(job), propagation="Foreground")
            return Result()
        plan = decide(job, await self.claims.claim(job), self.clock.now(), self.get_pod, self.pods.names(key.namespace))
        failure = await self._carry_out(job, plan)
        if plan.status != (job.get("status") or {}) and not meta.deletion_timestamp(job):
            await patch_status(self.client.resource(JOB.gvr), job, plan.status)
        for is_warning, reason, message in plan.remarks:
            (self.events.warn if is_warning else self.events.normal)(job, reason, message)
        for pod in plan.untrack:
            await self._untrack(pod)
        if failure is not None:
            raise failure
        return Result(requeue_after_s=ttl_s or plan.requeue_after_s or None)

    async def _carry_out(self, job: JSONObject, plan: Plan) -> StatusError | None:
        """Make and delete pods. Returns the refusal that stopped the making."""
        pods = self.client.resource(PODS)
        for view in plan.delete:
            if plan.uncounted and view.tracked:
                await self._untrack(view)
                self.pods.untrack(view)
            await delete_if_there(pods, view.key.name, view.key.namespace, view.uid)
            self.pods.doom(view)
            self.events.normal(job, "SuccessfulDelete", f"Deleted pod: {view.key.name}")
        for pod in plan.create:
            try:
                if (made := await create_if_missing(pods, pod)) is not None:
                    self.pods.assume(made)
                    self.events.normal(job, "SuccessfulCreate", f"Created pod: {meta.name(made)}")
            except StatusError as refusal:
                self.events.warn(job, "FailedCreate", f"Error creating: {refusal.message}")
                plan.status["active"] = len(self.pods.owned_by(meta.uid(job)))
                return refusal
        return None

    async def _untrack(self, pod: PodView) -> None:
        patch = {"metadata": {"uid": pod.uid, "$deleteFromPrimitiveList/finalizers": [JOB_TRACKING]}}
        resource = self.client.resource(PODS)
        try:
            await resource.patch(
                pod.key.name, patch, namespace=pod.key.namespace, type=PatchType.STRATEGIC, field_manager=CONTROLLER_MANAGER
            )
        except NotFound:
            return  # gone: it is counted all the same

    async def _let_go(self, key: ObjectKey) -> None:
        """Pods of a Job that is no more must not wait for being counted. Source: syncOrphanPod."""
        held = self.pods.tracked_by(key.namespace, key.name)
        if not held:
            return
        try:
            uid = meta.uid(await self.client.resource(JOB.gvr).get(key.name, namespace=key.namespace))
        except NotFound:
            uid = ""
        for pod in held:
            if pod.owner_uid != uid:
                await self._untrack(pod)


def controller(wiring: Wiring) -> Controller:
    jobs, pods = wiring.informers.informer(JOB.gvr), wiring.informers.informer(PODS)
    claims = PodClaims(JOB, wiring.pods, wiring.client, finalizer=JOB_TRACKING)
    events = wiring.remarks.by("job-controller")
    reconciler = JobReconciler(jobs, wiring.pods, pods.get, claims, events, wiring.client, wiring.clock)
    made = Controller("job", reconciler.reconcile, clock=wiring.clock, workers=2)
    wake_self(jobs, made)
    wake_owner(wiring.pods, made, JOB.kind)
    wake_for_orphans(Selectors(jobs), wiring.pods, made)
    return made
