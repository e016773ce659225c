"""Values of selectable fields that are not simply what stands at their path: Go's zero values, and fields made of others.

Before: `registry.builtin`. Source: the `ToSelectableFields` functions under k8s.io/kubernetes/pkg/registry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject, nested

Reader: TypeAlias = Callable[[JSONObject], str]


def _flag(*path: str) -> Reader:
    return lambda obj: "true" if nested(obj, *path) else "false"


def _count(*path: str) -> Reader:
    return lambda obj: str(nested(obj, *path) or 0)


_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


def _text(*path: str) -> Reader:
    return lambda obj: str(nested(obj, *path) or "")


def _pod_ip(pod: JSONObject) -> str:
    ips = nested(pod, "status", "podIPs") or ({"ip": nested(pod, "status", "podIP")},)
    return str(ips[0].get("ip") or "")


def _event_source(event: JSONObject) -> str:
    return str(nested(event, "source", "component") or event.get("reportingComponent") or "")


_REPLICAS: Mapping[str, Reader] = {"status.replicas": _count("status", "replicas")}
_READERS: Mapping[GroupResource, Mapping[str, Reader]] = {
    GroupResource("", "nodes"): {"spec.unschedulable": _flag("spec", "unschedulable")},
    GroupResource("", "pods"): {
        "spec.hostNetwork": _flag("spec", "hostNetwork"),
        "status.podIP": _pod_ip,
        "status.podIPs": _pod_ip,
    },
    GroupResource("", "events"): {"source": _event_source},
    GroupResource("events.k8s.io", "events"): {
        **{f"regarding.{part}": _text("involvedObject", part) for part in _REFERENCE},
        "reportingController": _text("reportingComponent"),
    },  # of objects as they are stored, see `events`
    GroupResource("", "replicationcontrollers"): _REPLICAS,
    GroupResource("apps", "replicasets"): _REPLICAS,
    GroupResource("batch", "jobs"): {"status.successful": _count("status", "succeeded")},
}
_NONE: Mapping[str, Reader] = MappingProxyType({})


def readers(resource: GroupResource) -> Mapping[str, Reader]:
    return _READERS.get(resource, _NONE)
