"""A server of Kubernetes' own kinds and of one custom kind with every type of list and map, for tests of documented behaviour.

The expected texts were read off kube-apiserver's own code at 1.36 (an apiextensions-apiserver answering the same requests).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.behaviour.api.server import Answer, Api, serving

from kcp.registry.builtin import CLUSTER_KINDS, builtin_resources
from kcp.registry.crd import resource_from_crd
from kcp.storage.watchcache import WatchCacheConfig

_TEXT = {"type": "string"}
_PORT = {
    "type": "object",
    "required": ["port"],
    "properties": {
        "port": {"type": "integer"},
        "protocol": {"type": "string", "default": "TCP"},
        "name": _TEXT,
        "opts": {"type": "object", "additionalProperties": _TEXT},
    },
}
_SPEC: dict[str, Any] = {
    "color": {"type": "string", "enum": ["red", "blue"]},
    "size": {"type": "integer", "minimum": 1, "default": 3},
    "replicas": {"type": "integer"},
    "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": _TEXT},
    "raw": {"type": "array", "items": _TEXT},
    "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"], "items": _PORT},
    "atom": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": _TEXT, "b": _TEXT}},
    "reference": {
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {"a": _TEXT, "b": {"type": "string", "default": "x"}},
    },
    "nested": {"type": "object", "properties": {"a": _TEXT, "b": {"type": "object", "properties": {"c": _TEXT}}}},
    "map": {"type": "object", "additionalProperties": _TEXT},
    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "ios": {"x-kubernetes-int-or-string": True},
    "when": {"type": "string", "format": "date-time", "nullable": True},
}
_STATUS = {"type": "object", "properties": {"phase": _TEXT, "replicas": {"type": "integer"}, "selector": _TEXT}}
_SCALE = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}
_KEEP_ALL = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
WIDGETS_CRD: dict[str, Any] = {
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}, "scale": _SCALE},
                "additionalPrinterColumns": [
                    {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "selectableFields": [{"jsonPath": ".spec.color"}],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "description": "A Widget.",
                        "properties": {"spec": {"type": "object", "properties": _SPEC}, "status": _STATUS},
                    }
                },
            },
            {"name": "v1beta1", "served": True, "storage": False, "deprecated": True, "schema": _KEEP_ALL},
        ],
    },
}
GATES_CRD: dict[str, Any] = {
    "metadata": {"name": "gates.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Cluster",
        "names": {"plural": "gates", "kind": "Gate"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": _KEEP_ALL}],
    },
}

WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
BETA_WIDGETS = "/apis/example.com/v1beta1/namespaces/default/widgets"
GATES = "/apis/example.com/v1/gates"
PODS = "/api/v1/namespaces/default/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


@asynccontextmanager
async def conforming(history_events: int = 10_000) -> AsyncIterator[Api]:
    custom = [resource_from_crd(WIDGETS_CRD, "v1"), resource_from_crd(WIDGETS_CRD, "v1beta1"), resource_from_crd(GATES_CRD, "v1")]
    config = WatchCacheConfig(history_events=history_events)
    async with serving(resources=[*builtin_resources(CLUSTER_KINDS), *custom], cache_config=config) as api:
        api.agent = "tester/1"
        yield api


def widget(name: str, metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name, **(metadata or {})}, "spec": spec}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    held = {"containers": [{"name": "app", "image": "app"}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": held}


async def apply(api: Api, name: str, spec: Any, manager: str = "m1", *, query: str = "", **top: Any) -> Answer:
    """Server-side apply of a Widget; `top`: further parts, such as `metadata` and `status`."""
    held = {"apiVersion": "example.com/v1", "kind": "Widget", **top}
    held["metadata"] = {"name": name, **top.get("metadata", {})}
    if spec is not None:
        held["spec"] = spec
    return await api.patch(f"{WIDGETS}/{name}?fieldManager={manager}{query}", held, "apply-patch+yaml")


def names(answer: Answer) -> list[str]:
    return [item["metadata"]["name"] for item in answer.body["items"]]


def causes(answer: Answer) -> list[tuple[str, str]]:
    return [(cause.get("field", ""), cause["message"]) for cause in answer.body["details"]["causes"]]


def managers(obj: dict[str, Any]) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Manager, operation, subresource and fields of each entry, in order."""
    entries = obj["metadata"].get("managedFields", [])
    return [(e["manager"], e["operation"], e.get("subresource", ""), e["fieldsV1"]) for e in entries]
