"""What an object of a workspace looks like in a physical cluster. Pure.

Source: kcp release-0.11 pkg/syncer/spec/spec_process.go (applyToDownstream), pkg/syncer/spec/mutators.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import CLUSTER_ANNOTATION
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.names import DOWNSTREAM_CLUSTER_LABEL, NAMESPACE_LOCATOR_ANNOTATION, STATE_LABEL, TENANT_LABEL, NamespaceLocator
from kcp.tmc.model.wishes import EXCLUSIVE, exclusive_of

GENERATION_ANNOTATION = "internal.tmc.kcp.io/generation"
"""On objects downstream: generation of the upstream object they were made from."""
APPLIED_ANNOTATION = "internal.tmc.kcp.io/applied"
"""On objects downstream: hash of what was applied, so that a removed field is noticed without reading managedFields."""

_SECRETS, _DEFAULT_TOKEN = GroupResource("", "secrets"), "default-token"
_RENAMED = {GroupResource("", "configmaps"): {"kube-root-ca.crt": "kcp-root-ca.crt"}}
_NOT_SENT = frozenset({"kubectl.kubernetes.io", "deployment.kubernetes.io", "deprecated.daemonset.template.generation"})
_DROPPED_METADATA = (
    "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences",
    "finalizers", "managedFields", "selfLink", "namespace",
)  # fmt: skip
_SERVICE_FIELDS_OF_THE_CLUSTER = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")


def downstream_name(resource: GroupResource, name: str) -> str:
    """A few names that every cluster fills itself are renamed on the way down.

    >>> downstream_name(GroupResource("", "configmaps"), "kube-root-ca.crt")
    'kcp-root-ca.crt'
    """
    if resource == _SECRETS and name.startswith(_DEFAULT_TOKEN):
        return f"kcp-{name}"
    return _RENAMED.get(resource, {}).get(name, name)


def upstream_name(resource: GroupResource, name: str) -> str:
    """Inverse of `downstream_name`."""
    if resource == _SECRETS and name.startswith(f"kcp-{_DEFAULT_TOKEN}"):
        return name.removeprefix("kcp-")
    back = {down: up for up, down in _RENAMED.get(resource, {}).items()}
    return back.get(name, name)


def namespace_object(locator: NamespaceLocator, key: str) -> JSONObject:
    """The downstream namespace for a namespace of a workspace."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": locator.downstream_namespace,
            "labels": {DOWNSTREAM_CLUSTER_LABEL: key, TENANT_LABEL: locator.tenant_id},
            "annotations": {NAMESPACE_LOCATOR_ANNOTATION: locator.to_json()},
        },
    }


def to_downstream(view: JSONObject, resource: GroupResource, *, key: str, namespace: str) -> JSONObject:
    """The object to apply downstream, from the syncer's view of it. `view` is not changed."""
    metadata = {k: v for k, v in meta.metadata(view).items() if k not in _DROPPED_METADATA}
    metadata["name"] = downstream_name(resource, meta.name(view))
    metadata["namespace"] = namespace
    labels = {k: v for k, v in meta.labels(view).items() if not k.startswith(STATE_LABEL)}
    metadata["labels"] = {**labels, DOWNSTREAM_CLUSTER_LABEL: key}
    if exclusive := exclusive_of(view):
        metadata["labels"][EXCLUSIVE] = str(exclusive)
    annotations = {k: v for k, v in meta.annotations(view).items() if not _is_kcps(k)}
    desired: JSONObject = {k: v for k, v in view.items() if k not in ("metadata", "status")}
    if resource == _SECRETS and desired.get("type") == "kubernetes.io/service-account-token":
        desired["type"] = "Opaque"
    if resource == GroupResource("", "services"):
        desired["spec"] = {k: v for k, v in (view.get("spec") or {}).items() if k not in _SERVICE_FIELDS_OF_THE_CLUSTER}
    annotations[GENERATION_ANNOTATION] = str(meta.generation(view))
    desired["metadata"] = {**metadata, "annotations": annotations}
    annotations[APPLIED_ANNOTATION] = hashlib.sha256(orjson.dumps(desired, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    return desired


def _is_kcps(annotation: str) -> bool:
    """Annotations about the control plane, those that kubectl would misread downstream, and those that each cluster counts by itself."""
    domain = annotation.partition("/")[0]
    return annotation == CLUSTER_ANNOTATION or domain.endswith("kcp.io") or domain in _NOT_SENT


def is_applied(actual: JSONObject, desired: JSONObject) -> bool:
    """Whether `actual` was made from exactly this and still has all of it: no drift, nothing to do."""
    if meta.annotations(actual).get(APPLIED_ANNOTATION) != meta.annotations(desired).get(APPLIED_ANNOTATION):
        return False
    return covers(actual, {k: v for k, v in desired.items() if k != "stringData"})


def covers(actual: Any, desired: Any) -> bool:
    """Whether `actual` holds everything in `desired`; more is fine in objects, not in lists."""
    if isinstance(desired, Mapping):
        return isinstance(actual, Mapping) and all(covers(actual.get(k), v) for k, v in desired.items())
    if isinstance(desired, list):
        return isinstance(actual, list) and len(actual) == len(desired) and all(map(covers, actual, desired))
    return bool(actual == desired) or (desired in ({}, [], None, "") and not actual)


def upstream_status(downstream: JSONObject) -> JSONObject | None:
    """The status to report for a downstream object; None while it has none.

    `observedGeneration` is translated to the upstream generation once the cluster's controllers have seen what was applied last.
    """
    status = downstream.get("status")
    if not status:
        return None
    reported: JSONObject = meta.copy_json(status)
    if "observedGeneration" in reported:
        seen = reported["observedGeneration"] >= meta.generation(downstream)
        applied = int(meta.annotations(downstream).get(GENERATION_ANNOTATION, "0"))
        reported["observedGeneration"] = applied if seen else max(applied - 1, 0)
    return reported
