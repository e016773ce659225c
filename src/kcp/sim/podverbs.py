"""Subresources of pods that only a physical cluster has: `binding` and `log` here, `eviction` in `evictions`.

Before: `apiserver.resources`, as connectors. After: the registry.
Source: pkg/registry/core/pod/storage/storage.go, pkg/registry/core/pod/rest/log.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import BadRequest, Cause, Conflict, Invalid, NotFound
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.handlers.options import number
from kcp.apiserver.request import Handler, Request, Response
from kcp.apiserver.requestinfo import is_true
from kcp.apiserver.reviews import read_review
from kcp.registry.backend import Backend, Scope, WriteOptions
from kcp.registry.resource import Catalog
from kcp.sim.evictions import Evictions, only, success

_PODS = GVR("", "v1", "pods")
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


@dataclass(frozen=True, slots=True)
class PodVerbs:
    catalog: Catalog
    backend: Backend
    clock: Clock

    def connectors(self) -> Mapping[tuple[str, str, str], Handler]:
        evictions = Evictions(self.catalog, self.backend, self.clock)
        return {
            ("", "pods", "binding"): self.bind,
            ("", "bindings", ""): self.bind,
            ("", "pods", "eviction"): evictions.evict,
            ("", "pods", "log"): self.log,
        }

    def _scope(self, req: Request, subresource: str = "") -> Scope:
        resource = self.catalog.resolve(req.info.cluster, _PODS)
        if resource is None:
            raise NotFound("the server could not find the requested resource")
        return Scope(resource, req.info.cluster, req.info.namespace, req.info.name, subresource)

    async def bind(self, req: Request) -> Response:
        """Assign a pod to a node. Raises: Conflict if it has one, or is on its way out."""
        only(req, "POST")
        binding = await read_review(req, "Binding")
        node = meta.nested(binding, "target", "name", default="")
        if not node:
            raise BadRequest("target.name: Required value")
        scope, now = self._scope(req, "binding"), rfc3339(self.clock.now())
        if not scope.name:  # posted to the collection of bindings: its own name is the pod's
            scope = replace(scope, name=meta.name(binding))

        def assign(pod: JSONObject | None) -> JSONObject:
            if pod is None:
                raise NotFound.of(_PODS.group_resource, scope.name)
            return _assigned(pod, node, scope.name, meta.annotations(binding), now)

        # nobody's field: as upstream, a binding leaves no trace in managedFields, which `Apply` says is already taken care of
        options = WriteOptions(user=req.user, operation="Apply", uid=meta.uid(binding), dry_run=req.query.get("dryRun") == "All")
        await self.backend.update(scope, assign, options)
        return success()

    async def log(self, req: Request) -> Response:
        """What a simulated container has to say."""
        only(req, "GET")
        tail = _tail(req)
        pod = (await self.backend.get(self._scope(req))).decode()
        wanted = _container(pod, req.query.get("container") or "")
        if not meta.nested(pod, "spec", "nodeName"):
            return Response(content_type="text/plain")  # there is no kubelet to ask
        held = {c["name"]: c for part in _STATUSES for c in meta.nested(pod, "status", part, default=())}.get(wanted, {})
        state = held.get("state") or {}
        if is_true(req.query.get("previous")):
            state = held.get("lastState") or {}
            if "terminated" not in state:
                raise BadRequest(f'previous terminated container "{wanted}" in pod "{meta.name(pod)}" not found')
        lines = _lines(pod, wanted, state)
        if tail is not None:
            lines = lines[len(lines) - min(tail, len(lines)) :]
        return Response(body="".join(f"{line}\n" for line in lines).encode(), content_type="text/plain")


def _container(pod: JSONObject, wanted: str) -> str:
    """The container meant. Raises BadRequest. Source: pkg/registry/core/pod/strategy.go (validateContainer)."""
    names, first, others = ([c["name"] for c in meta.nested(pod, "spec", part, default=())] for part in _CONTAINERS)
    if wanted:
        if wanted not in (*names, *first, *others):
            raise BadRequest(f"container {wanted} is not valid for pod {meta.name(pod)}")
        return wanted
    if len(names) == 1:
        return str(names[0])
    more = f" or one of the init containers: [{' '.join(first)}]" if first else ""
    raise BadRequest(f"a container name must be specified for pod {meta.name(pod)}, choose one of: [{' '.join(names)}]{more}")


def _tail(req: Request) -> int | None:
    """How many lines are asked for. Raises BadRequest, Invalid. Source: pkg/apis/core/validation/validation.go (ValidatePodLogOptions)."""
    if "tailLines" not in req.query:
        return None
    asked = number(req.query, "tailLines")
    if asked < 0:
        cause = Cause.invalid("tailLines", asked, "must be greater than or equal to 0")
        raise Invalid.of(GroupResource("", "pods"), "PodLogOptions", "", [cause])
    return asked


def _assigned(pod: JSONObject, node: str, name: str, annotations: Mapping[str, str], now: str) -> JSONObject:
    """Source: storage.go setPodNodeAndMetadata."""
    if meta.deletion_timestamp(pod):
        raise Conflict(f"pod {name} is being deleted, cannot be assigned to a host", resource=_PODS.group_resource, name=name)
    held = meta.nested(pod, "spec", "nodeName", default="")
    if held:
        raise Conflict(
            f'Operation cannot be fulfilled on pods/binding "{name}": pod {name} is already assigned to node "{held}"',
            resource=_PODS.group_resource, name=name,
        )  # fmt: skip
    meta.ensure(pod, "spec")["nodeName"] = node
    for annotation, value in annotations.items():
        meta.set_annotation(pod, annotation, value)
    conditions.set_condition(pod, conditions.build("PodScheduled", "True", now=now))
    return pod


def _lines(pod: Mapping[str, Any], container: str, state: Mapping[str, Any]) -> list[str]:
    """Raises: BadRequest while the container waits."""
    if not state or "waiting" in state:
        reason = meta.nested(state, "waiting", "reason", default="ContainerCreating")
        raise BadRequest(f'container "{container}" in pod "{meta.name(pod)}" is waiting to start: {reason}')
    held = state.get("running") or state.get("terminated") or {}
    lines = [f"{held.get('startedAt', '')} container {container} of pod {meta.name(pod)} started (simulated)"]
    if "terminated" in state:
        lines.append(f"{held.get('finishedAt', '')} container {container} ended with exit code {held.get('exitCode', 0)}")
    return lines
