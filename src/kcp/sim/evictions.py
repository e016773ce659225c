"""The `eviction` subresource of pods: a deletion that a PodDisruptionBudget may refuse for now, as `kubectl drain` asks for it.

Before: `podverbs`. After: the registry; budgets are kept current by `workloads.disruption`.
Source: pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import Cause, Forbidden, InternalError, MethodNotAllowed, NotFound, TooManyRequests
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.request import Request, Response
from kcp.apiserver.reviews import read_review
from kcp.registry.backend import Backend, DeleteOptions, ListQuery, Scope, WriteOptions
from kcp.registry.resource import Catalog
from kcp.sim.workloads.disruption import BUDGETS, allowed_condition, selector_of

_PODS = GVR("", "v1", "pods")
_VIOLATED = "Cannot evict pod as it would violate the pod's disruption budget."
_MOST_EVICTED = 2_000
"""Pods that a budget remembers as evicted. Source: MaxDisruptedPodSize."""
_STILL_PROCESSED_S = 10


def only(req: Request, method: str) -> None:
    if req.method != method:
        raise MethodNotAllowed("the server does not allow this method on the requested resource")


def success() -> Response:
    return Response(201, orjson.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))


@dataclass(frozen=True, slots=True)
class Evictions:
    catalog: Catalog
    backend: Backend
    clock: Clock

    def _scope(self, req: Request, gvr: GVR, name: str = "", subresource: str = "") -> Scope:
        resource = self.catalog.resolve(req.info.cluster, gvr)
        if resource is None:
            raise NotFound("the server could not find the requested resource")
        return Scope(resource, req.info.cluster, req.info.namespace, name, subresource)

    async def evict(self, req: Request) -> Response:
        """Raises: TooManyRequests while a budget does not allow it; InternalError for several budgets; what deleting says."""
        only(req, "POST")
        eviction = await read_review(req, "Eviction")
        options = eviction.get("deleteOptions") or {}
        preconditions = options.get("preconditions") or {}
        dry_run = "All" in (options.get("dryRun") or ()) or req.query.get("dryRun") == "All"
        scope = self._scope(req, _PODS, req.info.name)
        version = preconditions.get("resourceVersion") or ""
        pod = (await self.backend.get(scope)).decode()
        if _needs_leave(pod):
            budget = await self._budget(req, pod)
            if budget is not None:
                if _is_free(budget, pod):
                    version = meta.resource_version(pod)  # if it becomes healthy meanwhile, the budget counts again
                else:
                    await self._take_leave(req, budget, dry_run=dry_run)
        if options.get("gracePeriodSeconds") != 0 and not dry_run:
            version = await self._mark(req, scope, version)
        await self.backend.delete(
            scope,
            DeleteOptions(
                user=req.user,
                grace_period_s=options.get("gracePeriodSeconds"),
                uid=preconditions.get("uid") or "",
                resource_version=version,
                dry_run=dry_run,
            ),
        )
        return success()

    async def _mark(self, req: Request, scope: Scope, version: str) -> str:
        """Say on the pod that it is evicted. Returns the version to delete at, if one was asked for. Source: addConditionAndDeletePod."""

        def mark(held: JSONObject | None) -> JSONObject:
            if held is None:
                raise NotFound.of(_PODS.group_resource, req.info.name)
            told = conditions.build(
                "DisruptionTarget", "True", reason="EvictionByEvictionAPI", message="Eviction API: evicting", now=rfc3339(self.clock.now())
            )
            conditions.set_condition(held, told)
            return held

        options = WriteOptions(user=req.user, operation="Apply", resource_version=version)
        marked = await self.backend.update(replace(scope, subresource="status"), mark, options)
        return str(marked.item.revision) if version else ""

    async def _budget(self, req: Request, pod: Mapping[str, Any]) -> JSONObject | None:
        held = await self.backend.list(self._scope(req, BUDGETS), ListQuery())
        found = [budget for item in held.items if selector_of(budget := item.decode()).matches(meta.labels(pod))]
        if len(found) > 1:
            text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise InternalError(text)
        return found[0] if found else None

    async def _take_leave(self, req: Request, budget: JSONObject, *, dry_run: bool) -> None:
        """Count the pod as evicted in its budget, again if that moved. Raises: TooManyRequests, Forbidden."""
        now = self.clock.now()

        def spend(held: JSONObject | None) -> JSONObject:
            if held is None:
                raise NotFound.of(BUDGETS.group_resource, meta.name(budget))
            _refuse(held)
            status = held["status"]
            status["disruptionsAllowed"] -= 1
            if not status["disruptionsAllowed"]:
                conditions.set_condition(held, allowed_condition(0, meta.generation(held), now))
            meta.ensure(status, "disruptedPods")[req.info.name] = rfc3339(now)
            return held

        # nobody's fields, as a binding's: see `podverbs.PodVerbs.bind`
        options = WriteOptions(user=req.user, operation="Apply", dry_run=dry_run)
        await self.backend.update(self._scope(req, BUDGETS, meta.name(budget), "status"), spend, options)


def _needs_leave(pod: Mapping[str, Any]) -> bool:
    """Whether budgets count the pod at all. Source: canIgnorePDB."""
    return meta.nested(pod, "status", "phase") not in ("Succeeded", "Failed", "Pending") and not meta.deletion_timestamp(pod)


def _is_free(budget: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether an unhealthy pod may go without being counted. Source: KEP-3017 (unhealthyPodEvictionPolicy)."""
    if conditions.is_true(pod, "Ready"):
        return False
    if meta.nested(budget, "spec", "unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    healthy, desired = (meta.nested(budget, "status", field, default=0) for field in ("currentHealthy", "desiredHealthy"))
    return bool(healthy >= desired > 0)


def _refuse(budget: Mapping[str, Any]) -> None:
    """Raises: TooManyRequests, Forbidden. Source: checkAndDecrement."""
    name, status = meta.name(budget), budget.get("status") or {}
    resource = BUDGETS.group_resource
    if (status.get("observedGeneration") or 0) < meta.generation(budget):
        cause = Cause("", "DisruptionBudget", f"The disruption budget {name} is still being processed by the server.")
        raise TooManyRequests(_VIOLATED, causes=[cause], retry_after_s=_STILL_PROCESSED_S)
    if len(status.get("disruptedPods") or ()) > _MOST_EVICTED:
        text = f'{resource} "{name}" is forbidden: DisruptedPods map too big - too many evictions not confirmed by PDB controller'
        raise Forbidden(text, resource=resource, name=name)
    if not status.get("disruptionsAllowed"):
        needs, has = status.get("desiredHealthy") or 0, status.get("currentHealthy") or 0
        cause = Cause("", "DisruptionBudget", f"The disruption budget {name} needs {needs} healthy pods and has {has} currently")
        raise TooManyRequests(_VIOLATED, causes=[cause])
