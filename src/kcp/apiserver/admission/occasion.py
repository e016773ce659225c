"""One write as the rules, selectors and expressions of policies and webhooks see it.

Before: `policies`, `webhooks`. After: `registry.scale` (a scale subresource shows a Scale).
Source: k8s.io/apiserver/pkg/admission/plugin/webhook/request/admissionreview.go, pkg/admission/plugin/cel/condition.go.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.gvk import GVK, GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.registry.backend import Attributes, UserInfo
from kcp.registry.scale import to_scale

_NAMESPACES = GroupResource("", "namespaces")
_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}
_SCALE = GVK("autoscaling", "v1", "Scale")

NamespaceLookup: TypeAlias = Callable[[ClusterName, str], JSONObject | None | Awaitable[JSONObject | None]]


@dataclass(frozen=True, slots=True)
class Occasion:
    """The write in the version that a rule names; `requested` says in which one it came."""

    attributes: Attributes
    gvr: GVR
    kind: GVK
    new: JSONObject | None
    old: JSONObject | None
    requested: tuple[GVR, GVK]

    @classmethod
    def of(cls, attributes: Attributes) -> Occasion:
        resource, subresource = attributes.scope.resource, attributes.scope.subresource
        kind, new, old = resource.gvk, attributes.new, attributes.old
        if subresource == "scale" and resource.scale is not None:
            kind = _SCALE
            new, old = (None if obj is None else to_scale(obj, resource) for obj in (new, old))
        elif attributes.verb == "CONNECT" and new is not None:
            kind = GVK.of(new["apiVersion"], new["kind"])
        return cls(attributes, resource.gvr, kind, new, old, (resource.gvr, kind))

    def in_version(self, gvr: GVR, kind: GVK) -> Occasion:
        """The same write in another version of the resource; versions differ in their name only."""
        if gvr == self.gvr:
            return self
        new, old = (None if obj is None else {**obj, "apiVersion": gvr.api_version} for obj in (self.new, self.old))
        return replace(self, gvr=gvr, kind=kind, new=new, old=old)

    def with_new(self, new: JSONObject) -> Occasion:
        return replace(self, new=new)

    # --- what selectors and rules ask ---

    @property
    def cluster(self) -> ClusterName:
        return self.attributes.scope.cluster

    @property
    def configured_in(self) -> ClusterName:
        """Where the policies, their parameters and the webhooks are that decide."""
        return self.attributes.configured_in or self.attributes.scope.cluster

    @property
    def subresource(self) -> str:
        return self.attributes.scope.subresource

    @property
    def operation(self) -> str:
        return self.attributes.verb

    @property
    def is_namespace(self) -> bool:
        return self.attributes.scope.resource.group_resource == _NAMESPACES

    @property
    def namespace(self) -> str:
        """A Namespace is in itself, as upstream has it."""
        return self.name if self.is_namespace else self.attributes.scope.namespace

    @property
    def name(self) -> str:
        return self.attributes.scope.name or meta.name(self.new or self.old or {})

    async def namespace_object(self, lookup: NamespaceLookup) -> JSONObject | None:
        """The namespace of a namespaced object, None for others. Raises NotFound where it is gone."""
        name = "" if self.is_namespace else self.attributes.scope.namespace
        if not name:
            return None
        found = lookup(self.cluster, name)
        namespace = await found if inspect.isawaitable(found) else found
        if namespace is None:
            raise NotFound.of(_NAMESPACES, name)
        return namespace

    # --- what expressions and webhooks are told ---

    def request(self) -> JSONObject:
        """The AdmissionRequest without its objects and uid; what is empty is left out, as upstream encodes it."""
        gvr, kind = self.requested
        told: JSONObject = {
            "kind": _kind(self.kind), "resource": _resource(self.gvr), "subResource": self.subresource, "requestKind": _kind(kind),
            "requestResource": _resource(gvr), "requestSubResource": self.subresource, "name": self.name, "namespace": self.namespace,
            "operation": self.operation, "userInfo": _user(self.attributes.user),
        }  # fmt: skip
        told = {name: value for name, value in told.items() if value}
        told["dryRun"] = self.attributes.dry_run
        if options := _OPTIONS.get(self.operation):
            told["options"] = {"kind": options, "apiVersion": "meta.k8s.io/v1", **({"dryRun": ["All"]} if self.attributes.dry_run else {})}
        return told


def _kind(kind: GVK) -> JSONObject:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _resource(gvr: GVR) -> JSONObject:
    return {"group": gvr.group, "version": gvr.version, "resource": gvr.resource}


def _user(user: UserInfo) -> Mapping[str, Any]:
    told = {
        "username": user.name,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {key: list(values) for key, values in user.extra.items()},
    }
    return {name: value for name, value in told.items() if value}
