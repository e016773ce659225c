"""Labels, annotations, finalizers and derived names of TMC, exactly as kcp 0.11 wrote them.

`K` stands for the key of a SyncTarget (`sync_target_key`).
Source: kcp release-0.11 pkg/apis/workload/v1alpha1/{types,synctarget_types,helpers}.go, pkg/syncer/shared/namespace.go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.keys import ClusterName, base36_sha224, base62_sha224
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.remember import remembered

STATE_LABEL = "state.workload.kcp.io/"
"""+K, on namespaces and objects upstream: "" pending, `Sync`, `Upsync`."""
STATE_SYNC = "Sync"
STATE_UPSYNC = "Upsync"

DOWNSTREAM_CLUSTER_LABEL = "internal.workload.kcp.io/cluster"
"""On objects downstream: K."""
DELETION_ANNOTATION = "deletion.internal.workload.kcp.io/"
"""+K: RFC 3339; this target should remove its copy."""
SOFT_FINALIZERS_ANNOTATION = "finalizers.workload.kcp.io/"
"""+K: comma list that holds the downstream copy."""
SYNCER_FINALIZER = "workload.kcp.io/syncer-"
"""+K: real finalizer upstream, set before anything is created downstream."""
SPEC_DIFF_ANNOTATION = "experimental.spec-diff.workload.kcp.io/"
"""+K: JSON patch rooted at `spec`, applied when the syncer reads the object."""
STATUS_ANNOTATION = "experimental.status.workload.kcp.io/"
"""+K: JSON status as this target last reported it."""
OBSERVED_ANNOTATION = "observed.tmc.kcp.io/"
"""+K: RFC 3339 time of the last report from this target. Ours."""
SYNC_ERROR_ANNOTATION = "error.tmc.kcp.io/"
"""+K: JSON of the TMC error that keeps this target from running the object; absent when all is well. Ours."""
DRIFT_ANNOTATION = "drift.tmc.kcp.io/"
"""+K: JSON {cluster, fields, by, at, count} of the last time that this target's copy was changed in the cluster and put right. Ours."""
OVERRIDE_ANNOTATION = "override.tmc.kcp.io/"
"""+K: JSON patch of the whole object that OverridePolicies make for this target, applied after the spec diff. Ours."""
OVERRIDE_ERROR_ANNOTATION = "override-error.tmc.kcp.io/"
"""+K: JSON of the TMC error that keeps OverridePolicies from being applied; the copy stays as it is. Ours."""
PROJECTED_ANNOTATION = "projected.tmc.kcp.io/"
"""+K: JSON {by, from}: the ResourceProjections that want this target to have a copy, and where the object is from. Ours."""
MADE_ANNOTATION = "made.tmc.kcp.io/"
"""+K: RFC 3339; when this target's syncer first made the copy that a projection wants there. Ours."""
PROJECTED_LABEL, PROJECTION_SOURCE_LABEL = "workload.kcp.io/projected", "workload.kcp.io/projection-source"
"""On projected copies: "true", and where the object is from. Source: tmc reference §4."""
ORIGIN_CLUSTER_ANNOTATION = "workload.kcp.io/origin-cluster"
PROJECTED_TO_ANNOTATION = "workload.kcp.io/projected-to"
PROJECTED_AT_ANNOTATION = "workload.kcp.io/projected-at"
PROJECTION_STATUS_ANNOTATION = "workload.kcp.io/projection-status"
EPOCH_HEADER = "x-tmc-syncer-epoch"
"""Of requests to the syncer's view: epoch of the lease that the syncer holds. Ours; a syncer that shows none is not fenced."""
UPSYNC_DIFF_ANNOTATION = "internal.workload.kcp.io/upsyncdiff"
"""+K (without a slash), on objects downstream: JSON patch that makes what a workspace shows of them."""
UPSYNCED_VERSION_ANNOTATION = "workload.kcp.io/rv"
"""On upsynced objects upstream: resourceVersion of the object downstream that they show."""
WORKSPACE_URL_ANNOTATION = "internal.workload.kcp.io/workspace-url"
"""On what the syncer's view shows: where its workspace is reached."""
RECOVERY_REQUEST_ANNOTATION = "recovery.tmc.kcp.io/request"
"""On SyncTargets: `reconnect:…`, `authenticate:…` or `resync:…`, which a recovery asks of the syncer; answer: `status.recovery`. Ours."""
KEY_LABEL = "internal.workload.kcp.io/key"
"""On SyncTargets: K."""
PLACEMENT_TARGETS_ANNOTATION = "internal.workload.kcp.io/synctarget"
"""On Placements: the chosen K, several separated by commas in name order."""
HANDOVER_ANNOTATION = "handover.tmc.kcp.io/"
"""+K, on namespaces: RFC 3339; since when this target's copies wait for healthy ones elsewhere before they go. Ours."""
HANDOVER_SECONDS_ANNOTATION = "internal.tmc.kcp.io/hand-over-seconds"
"""On namespaces: how long their Placements let copies wait for healthy ones elsewhere; absent: `DEFAULT_HANDOVER_S`. Ours."""
DEFAULT_HANDOVER_S = 600.0
SHARES_ANNOTATION = "internal.tmc.kcp.io/shares"
"""On Placements, and carried to their namespaces: `placement.shares.Shares` as JSON; absent where replicas are divided evenly. Ours."""
UNPLACED_ANNOTATION = "tmc.kcp.io/unplaced-replicas"
"""On Deployments: how many replicas no cluster may run, and why. Ours."""
WAITING_ANNOTATION = "tmc.kcp.io/waiting"
"""On exclusive objects: why no cluster runs them yet although one is chosen. Ours."""
RESTORE_ACKNOWLEDGED_ANNOTATION = "tmc.kcp.io/restore-acknowledged"
"""On SyncTargets: id of the restoration from a backup after which deletions may be done again. Ours."""
RESTORED_CAUSE = "ControlPlaneRestored"
"""Cause in an answer to a syncer that asks for an object that a restored control plane does not know; says which restoration. Ours."""
OUT_OF_SERVICE_TAINT = "tmc.kcp.io/out-of-service"
"""Key of a taint on a SyncTarget: somebody has made sure that nothing runs there. Source for the idea: Kubernetes' KEP-2268."""
NAMESPACE_PLACEMENT_ANNOTATION = "scheduling.kcp.io/placement"
"""On namespaces: "" says that a placement applies."""
NAMESPACE_LOCATOR_ANNOTATION = "kcp.io/namespace-locator"
TENANT_LABEL = "kcp.io/tenant-id"
LOCATION_LABELS_ANNOTATION = "scheduling.kcp.io/labels"
COMPUTE_EXPORT_ANNOTATION = "extra.apis.kcp.io/compute.workload.kcp.io"
"""On APIExports and, copied, on APIBindings: "true" marks the APIs that TMC syncs."""
SYNCER_FIELD_MANAGER = "syncer"

UNSYNCED_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease", "kcp-system"})


@lru_cache(maxsize=4096)
def sync_target_key(cluster: ClusterName, name: str) -> str:
    """K of the SyncTarget `name` in logical cluster `cluster`.

    >>> sync_target_key(ClusterName("root"), "us-west-1")
    '7KZT6Wj3gT4HxVS6pMnIbk9MITS04SRrkuUgcu'
    """
    return base62_sha224(f"{cluster}:{name}")


@dataclass(frozen=True, slots=True)
class NamespaceLocator:
    """Which namespace of which workspace a downstream namespace stands for, on behalf of which SyncTarget."""

    target_cluster: ClusterName
    target_name: str
    target_uid: str
    cluster: ClusterName
    namespace: str

    def to_json(self) -> str:
        """Compact JSON with fields in the order that the name depends on."""
        return _locator_text(self)

    @classmethod
    def from_json(cls, text: str) -> NamespaceLocator:
        """Inverse of `to_json`. Raises ValueError for anything else."""
        return _locator_of(text)

    @property
    def downstream_namespace(self) -> str:
        """Name of the namespace in the physical cluster.

        >>> cluster, uid = ClusterName("2lpvmbh5xyj8ljfs"), "0e5c1c3c-6f1b-4c8a-9a53-0d7a3c0b9a11"
        >>> NamespaceLocator(cluster, "east", uid, ClusterName("1abcdefghij23456"), "default").downstream_namespace
        'kcp-2r3jppfx03ol'
        """
        return _downstream_namespace(self)

    @property
    def tenant_id(self) -> str:
        """Same for all namespaces of one workspace on one target: base-62 SHA-224 of the locator without its namespace."""
        target = {"cluster": self.target_cluster, "name": self.target_name, "uid": self.target_uid}
        return base62_sha224(json.dumps({"syncTarget": target, "cluster": self.cluster, "namespace": ""}, separators=(",", ":")))


@lru_cache(maxsize=4096)
def _locator_text(locator: NamespaceLocator) -> str:
    target = {"cluster": locator.target_cluster, "name": locator.target_name, "uid": locator.target_uid}
    return json.dumps({"syncTarget": target, "cluster": locator.cluster, "namespace": locator.namespace}, separators=(",", ":"))


@remembered(maxsize=4096)
def _locator_of(text: str) -> NamespaceLocator:
    try:
        value = json.loads(text)
        target = value["syncTarget"]
        return NamespaceLocator(
            ClusterName(target["cluster"]), target["name"], target["uid"], ClusterName(value["cluster"]), value["namespace"]
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a namespace locator: {text!r}") from error


@lru_cache(maxsize=4096)
def _downstream_namespace(locator: NamespaceLocator) -> str:
    return "kcp-" + base36_sha224(locator.to_json())[:12]


def syncer_id(target_name: str, target_uid: str) -> str:
    """`kcp-syncer-<name>-<8 characters>`: namespace and accounts of a deployed syncer."""
    return f"kcp-syncer-{target_name}-{base36_sha224(target_uid)[:8]}"


def keys_with(values: Mapping[str, str], prefix: str) -> dict[str, str]:
    """K → value of every label or annotation that starts with `prefix`.

    >>> keys_with({"state.workload.kcp.io/A": "Sync", "app": "web"}, STATE_LABEL)
    {'A': 'Sync'}
    """
    return {name[len(prefix) :]: value for name, value in values.items() if name.startswith(prefix)}


def synced_keys(obj: Mapping[str, Any]) -> list[str]:
    """K of every target that holds, or should hold, a copy of this object; in order."""
    return sorted(key for key, state in keys_with(meta.labels(obj), STATE_LABEL).items() if state == STATE_SYNC)


def upsyncing_key(obj: Mapping[str, Any]) -> str:
    """K of the target that this object is a picture of something in; "" for an object of the workspace's own.

    >>> upsyncing_key({"metadata": {"labels": {"state.workload.kcp.io/A": "Upsync"}}})
    'A'
    """
    return next((key for key, state in keys_with(meta.labels(obj), STATE_LABEL).items() if state == STATE_UPSYNC), "")


_PER_TARGET_ANNOTATIONS = (
    DELETION_ANNOTATION, DRIFT_ANNOTATION, HANDOVER_ANNOTATION, MADE_ANNOTATION, OBSERVED_ANNOTATION, OVERRIDE_ANNOTATION,
    OVERRIDE_ERROR_ANNOTATION, PROJECTED_ANNOTATION, SOFT_FINALIZERS_ANNOTATION, SPEC_DIFF_ANNOTATION, STATUS_ANNOTATION,
    SYNC_ERROR_ANNOTATION,
)  # fmt: skip


def owner_of(annotation: str) -> str:
    """K of the target whose state an annotation holds; "" for any other annotation.

    >>> owner_of("made.tmc.kcp.io/A"), owner_of("example.com/note")
    ('A', '')
    """
    return annotation.rpartition("/")[2] if annotation.startswith(_PER_TARGET_ANNOTATIONS) else ""


def is_foreign(annotation: str, key: str) -> bool:
    """Whether an annotation holds the state of another target than K."""
    return annotation.startswith(_PER_TARGET_ANNOTATIONS) and not annotation.endswith("/" + key)


def chosen_keys(placement: Mapping[str, Any]) -> tuple[str, ...]:
    """K of the targets that a Placement has chosen."""
    return tuple(k for k in meta.annotations(placement).get(PLACEMENT_TARGETS_ANNOTATION, "").split(",") if k)


def held_keys(obj: Mapping[str, Any]) -> list[str]:
    """K of every target that left a mark on this object: a state label or its syncer's finalizer; in order."""
    finalized = {f.removeprefix(SYNCER_FINALIZER) for f in meta.finalizers(obj) if f.startswith(SYNCER_FINALIZER)}
    return sorted({*keys_with(meta.labels(obj), STATE_LABEL), *finalized})


def forget_target(obj: JSONObject, key: str) -> None:
    """Remove every trace of target K from the object, its syncer's finalizer included. `obj` is changed."""
    meta.set_label(obj, STATE_LABEL + key, None)
    for prefix in _PER_TARGET_ANNOTATIONS:
        meta.set_annotation(obj, prefix + key, None)
    held = meta.finalizers(obj)
    kept = [f for f in held if f != SYNCER_FINALIZER + key]
    if kept != held:
        meta.set_finalizers(obj, kept)


def forget_report(obj: JSONObject, key: str) -> None:
    """Remove what target K said of its copy, which may be gone: only a new report says that it is there. `obj` is changed."""
    for prefix in (STATUS_ANNOTATION, OBSERVED_ANNOTATION):
        meta.set_annotation(obj, prefix + key, None)


def is_leaving(obj: JSONObject, key: str) -> bool:
    """Whether target K has been told to remove its copy."""
    return bool(meta.deletion_timestamp(obj)) or DELETION_ANNOTATION + key in meta.annotations(obj)
