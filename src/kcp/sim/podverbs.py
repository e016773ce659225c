"""Subresources of pods that only a physical cluster has: `binding` and `log`; `eviction` is in `evictions`, what a log says in `podlogs`.

Before: `apiserver.resources`, as connectors. After: the registry.
Source: pkg/registry/core/pod/storage/storage.go, pkg/registry/core/pod/rest/log.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kcp.aio.clock import Clock, rfc3339
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import BadRequest, Conflict, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.apiserver.request import Handler, Request, Response
from kcp.apiserver.requestinfo import is_true
from kcp.apiserver.reviews import read_review
from kcp.registry.backend import Backend, Scope, WriteOptions
from kcp.registry.resource import Catalog
from kcp.sim.evictions import Evictions, only, success
from kcp.sim.podchanges import PodChanges
from kcp.sim.podlogs import Following, container_name, follow, log, options

_PODS = GVR("", "v1", "pods")


@dataclass(frozen=True, slots=True)
class PodVerbs:
    catalog: Catalog
    backend: Backend
    clock: Clock
    changes: PodChanges

    def connectors(self) -> Mapping[tuple[str, str, str], Handler]:
        evictions = Evictions(self.catalog, self.backend, self.clock)
        return {
            ("", "pods", "binding"): self.bind,
            ("", "bindings", ""): self.bind,
            ("", "pods", "eviction"): evictions.evict,
            ("", "pods", "log"): self.log,
        }

    def scope(self, req: Request, subresource: str = "") -> Scope:
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
        scope, now = self.scope(req, "binding"), rfc3339(self.clock.now())
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
        asked = options(req)
        pod = (await self.backend.get(self.scope(req))).decode()
        text = log(pod, req, asked, self.clock.now())
        if not is_true(req.query.get("follow")) or not meta.nested(pod, "spec", "nodeName"):
            return Response(body=text, content_type="text/plain")
        name = container_name(pod, req.query.get("container") or "")
        return Response(stream=follow(text, self.following(req, pod, name), req, asked), content_type="text/plain")

    def following(self, req: Request, pod: JSONObject, container: str) -> Following:
        scope = self.scope(req)

        async def get() -> JSONObject | None:
            try:
                return (await self.backend.get(scope)).decode()
            except NotFound:
                return None

        return Following(pod, container, get, self.changes, self.clock)


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
    meta.ensure(pod, "status").pop("nominatedNodeName", None)
    for annotation, value in annotations.items():
        meta.set_annotation(pod, annotation, value)
    conditions.set_condition(pod, conditions.build("PodScheduled", "True", now=now))
    return pod
