"""Status up: what the physical cluster says about each copy is written through the syncer's view.

Source: kcp release-0.11 pkg/syncer/status/status_process.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.controller import Controller, Result
from kcp.controller.informer import Informer
from kcp.tmc.syncer import news
from kcp.tmc.syncer.downstream import upstream_status
from kcp.tmc.syncer.parts import Parts, Turns
from kcp.tmc.syncer.record import UP
from kcp.tmc.syncer.write import retries, write_view


@dataclass(frozen=True, slots=True)
class StatusReconciler:
    """For one resource; keys are downstream keys."""

    gvr: GVR
    parts: Parts
    downstream_get: Callable[[ObjectKey], JSONObject | None]
    upstream_get: Callable[[ObjectKey], JSONObject | None]

    async def reconcile(self, key: ObjectKey) -> Result:
        copy = self.downstream_get(key)
        status = upstream_status(copy) if copy is not None else None
        if status is None:
            return Result()
        upstream_key = self.parts.namespaces.upstream_key(self.gvr.group_resource, key)
        view = self.upstream_get(upstream_key) if upstream_key is not None else None
        if view is None or meta.deletion_timestamp(view):
            return Result()
        if (view.get("status") or {}) == status:
            return Result()
        try:
            client = self.parts.upstream(meta.cluster(view)).resource(self.gvr)
            await write_view(client, view, {**view, "status": status})
        except NotFound:
            pass  # left this target in the meantime
        return Result()


def build_status_controller(reconciler: StatusReconciler, downstream: Informer, upstream: Informer, turns: Turns) -> Controller:
    def of_copy(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> list[ObjectKey]:
        return [key] if news.of_copys_status(old, new) else []

    def of_view(key: ObjectKey, old: JSONObject | None, new: JSONObject | None) -> list[ObjectKey]:
        if not news.of_views_status(old, new):
            return []
        copy = reconciler.parts.namespaces.downstream_key(reconciler.gvr.group_resource, key)
        return [copy] if copy in downstream else []

    parts, resource = reconciler.parts, str(reconciler.gvr.group_resource)
    controller = Controller(
        f"syncer-status-{resource}", turns(reconciler.reconcile), clock=parts.clock, workers=parts.config.workers,
        rate_limiter=retries(parts.clock, parts.identity), observe=parts.record.hook(resource, UP),
    )  # fmt: skip
    controller.watch(downstream, of_copy)
    controller.watch(upstream, of_view)
    return controller
