"""APIResourceSchemas of Kubernetes' workload kinds, for the export `root:compute:kubernetes`.

Made from the published definitions: every `$ref` is written out, merge and list keys stay, so that any tool can read a schema by itself.
Texts are kept for the first levels only; the server itself works from the definitions (`registry.crd`) and publishes all texts.
Before: the bootstrap of `root:compute`. Source: kcp 0.11 config/rootcompute/kube-1.24.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kcp.apimachinery.gvk import GVK, GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apis.kubernetes.crds import APPROVED, is_protected_group
from kcp.apis.kubernetes.definitions import INT_OR_STRING, MINOR, OBJECT_META, QUANTITY, Definitions, load
from kcp.apis.kubernetes.kinds import COMPUTE_KINDS, KindInfo, select

NATIVE = "apis.kcp.io/kubernetes-definitions"
"""Annotation on these schemas; its value is the minor version of the definitions they were made from.

A server that has the definitions compiles those instead: merge keys, quantities and nulls are treated as built in, at no cost in memory.
"""

_DESCRIBED_LEVELS = 3
_NUMBER_OR_TEXT: JSONObject = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
_QUANTITY_PATTERN = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
_DROPPED = frozenset(("x-kubernetes-unions", "x-kubernetes-group-version-kind", "description", "$ref"))
_KEY_DEFAULTS: Mapping[str, str] = {"protocol": "TCP"}


def compute_schemas(which: Iterable[GroupResource] = COMPUTE_KINDS) -> list[JSONObject]:
    """One APIResourceSchema per kind, named `v136.<plural>.<group, or core>`, in the table's order; of the version it is stored in."""
    inliner = _Inliner(load())
    return [_schema(kind, inliner) for kind in select(which) if kind.view_of is None]


def _schema(kind: KindInfo, inliner: _Inliner) -> JSONObject:
    names: JSONObject = {
        "plural": kind.plural,
        "singular": kind.singular or kind.kind.lower(),
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
    }
    if kind.short:
        names["shortNames"] = list(kind.short)
    if kind.categories:
        names["categories"] = list(kind.categories)
    version: JSONObject = {"name": kind.version, "served": True, "storage": True, "schema": inliner.whole(kind.gvk)}
    if subresources := _subresources(kind):
        version["subresources"] = subresources
    if columns := _COLUMNS.get(kind.kind):
        version["additionalPrinterColumns"] = [*(_column(*column) for column in columns), _column("Age", "date", _CREATED)]
    marks = {NATIVE: f"v1.{MINOR}"}
    if is_protected_group(kind.group):
        marks[APPROVED] = f"https://github.com/kubernetes/api/tree/release-1.{MINOR}"
    return {
        "apiVersion": "apis.kcp.io/v1alpha1",
        "kind": "APIResourceSchema",
        "metadata": {"name": f"v1{MINOR}.{kind.plural}.{kind.group or 'core'}", "annotations": marks},
        "spec": {"group": kind.group, "names": names, "scope": "Namespaced" if kind.namespaced else "Cluster", "versions": [version]},
    }


def _subresources(kind: KindInfo) -> JSONObject:
    made: JSONObject = {}
    if kind.has_status:
        made["status"] = {}
    if kind.scale is not None:
        made["scale"] = {"specReplicasPath": kind.scale.spec_replicas, "statusReplicasPath": kind.scale.status_replicas}
    return made


_CREATED = ".metadata.creationTimestamp"
_COLUMNS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "Deployment": (
        ("Ready", "integer", ".status.readyReplicas"),
        ("Up-to-date", "integer", ".status.updatedReplicas"),
        ("Available", "integer", ".status.availableReplicas"),
    ),
    "StatefulSet": (("Ready", "integer", ".status.readyReplicas"), ("Desired", "integer", ".spec.replicas")),
    "DaemonSet": (("Desired", "integer", ".status.desiredNumberScheduled"), ("Ready", "integer", ".status.numberReady")),
    "Job": (("Completions", "integer", ".status.succeeded"),),
    "CronJob": (("Schedule", "string", ".spec.schedule"), ("Last Schedule", "date", ".status.lastScheduleTime")),
    "Pod": (("Status", "string", ".status.phase"), ("Node", "string", ".spec.nodeName")),
    "Service": (("Type", "string", ".spec.type"), ("Cluster-IP", "string", ".spec.clusterIP")),
    "Ingress": (("Class", "string", ".spec.ingressClassName"), ("Hosts", "string", ".spec.rules[*].host")),
    "PersistentVolumeClaim": (("Status", "string", ".status.phase"), ("Volume", "string", ".spec.volumeName")),
    "HorizontalPodAutoscaler": (
        ("MinPods", "integer", ".spec.minReplicas"),
        ("MaxPods", "integer", ".spec.maxReplicas"),
        ("Replicas", "integer", ".status.currentReplicas"),
    ),
    "PodDisruptionBudget": (("Allowed Disruptions", "integer", ".status.disruptionsAllowed"),),
}
"""For tools that print by JSONPath; this server shows the well-known columns instead."""


def _column(name: str, kind: str, path: str) -> JSONObject:
    return {"name": name, "type": kind, "jsonPath": path}


class _Inliner:
    """Writes definitions out as structural schemas; each definition once per level of detail, however often it is referred to."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._made: dict[tuple[str, bool], JSONObject] = {}

    def whole(self, gvk: GVK) -> JSONObject:
        name = self._definitions.of_kind(gvk)
        assert name is not None, f"{gvk} stands in the table of kinds, so it has a definition"
        raw = self._definitions.raw(name)
        made = self._node({**raw, "properties": {k: v for k, v in raw["properties"].items() if k != "metadata"}}, level=0, within=(name,))
        for field in ("apiVersion", "kind"):
            made["properties"][field] = {"type": "string"}
        made["properties"]["metadata"] = {"type": "object"}
        return made

    def _reference(self, name: str, *, level: int, within: tuple[str, ...]) -> JSONObject:
        if name == INT_OR_STRING:
            return dict(_NUMBER_OR_TEXT)
        if name == QUANTITY:
            return {**_NUMBER_OR_TEXT, "pattern": _QUANTITY_PATTERN}
        if name in within:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        described = level < _DESCRIBED_LEVELS
        if described:  # few and different at each level: not worth keeping
            return self._node(self._definitions.raw(name), level=level, within=(*within, name))
        key = (name, described)
        if key not in self._made:
            self._made[key] = self._node(self._definitions.raw(name), level=level, within=(*within, name))
        return self._made[key]

    def _node(self, raw: Mapping[str, Any], *, level: int, within: tuple[str, ...]) -> JSONObject:
        made: JSONObject = {}
        if "$ref" in raw:
            made.update(self._reference(raw["$ref"].rpartition("/")[2], level=level, within=within))
        made |= {field: value for field, value in raw.items() if field not in _DROPPED}
        if level < _DESCRIBED_LEVELS and raw.get("description"):
            made["description"] = raw["description"]
        self._type(made, raw)
        if properties := raw.get("properties"):
            inner = properties if within[-1] != OBJECT_META else {k: v for k, v in properties.items() if k != "managedFields"}
            made["properties"] = {field: self._node(value, level=level + 1, within=within) for field, value in inner.items()}
        for part in ("items", "additionalProperties"):
            if isinstance(raw.get(part), Mapping):
                made[part] = self._node(raw[part], level=level, within=within)
        if raw.get("x-kubernetes-list-type") == "map":
            made["items"] = _with_keys(made["items"], raw.get("x-kubernetes-list-map-keys") or ())
        return made

    @staticmethod
    def _type(made: JSONObject, raw: Mapping[str, Any]) -> None:
        declared = raw.get("type")
        if isinstance(declared, list):
            made["type"] = next(kind for kind in declared if kind != "null")
            if made.get("format") == "date-time":
                made["nullable"] = True
        if made.get("type") == "object" and not any(made.get(k) or raw.get(k) for k in ("properties", "additionalProperties")):
            made["x-kubernetes-preserve-unknown-fields"] = True


def _with_keys(items: JSONObject, keys: Iterable[str]) -> JSONObject:
    """Structural schemas want each list key required or defaulted."""
    properties, required = dict(items.get("properties") or {}), items.get("required") or ()
    for key in keys:
        if key not in required and "default" not in properties[key]:
            properties[key] = {**properties[key], "default": _KEY_DEFAULTS.get(key, "")}
    return {**items, "properties": properties}
