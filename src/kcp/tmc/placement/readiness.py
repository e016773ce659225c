"""Whether what a cluster runs of an object is ready, by the status that its syncer reported: of those kinds that can be ready at all.

Before: `handover`, `moving`, `server.tmc`. After: nothing. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.names import STATUS_ANNOTATION, synced_keys
from kcp.tmc.placement.shares import share_of

Judge: TypeAlias = Callable[[JSONObject, JSONObject, int], bool]
"""(object, status in the cluster, replicas that it is asked for) → whether it is ready there."""


def is_ready_on(resource: GroupResource, obj: JSONObject, key: str) -> bool:
    """Whether target K runs what it is asked to run of the object. Args: resource: one of `JUDGED`."""
    wanted = share_of(obj, key)
    if wanted is None or key not in synced_keys(obj):
        return False
    return JUDGED[resource](obj, reported(obj, key), wanted)


def reported(obj: JSONObject, key: str) -> JSONObject:
    """The status in the cluster of target K; empty: nothing was heard of it."""
    try:
        status = json.loads(meta.annotations(obj).get(STATUS_ANNOTATION + key, "{}"))
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}


def ready_by_key(obj: JSONObject, keys: Iterable[str]) -> dict[str, int]:
    """K → replicas of a Deployment that are ready there."""
    return {key: int(reported(obj, key).get("readyReplicas") or 0) for key in keys}


def _replicas(obj: JSONObject, status: JSONObject, wanted: int) -> bool:  # noqa: ARG001 - the shape of a judge
    return wanted == 0 or int(status.get("readyReplicas") or 0) >= wanted


def _daemon_set(obj: JSONObject, status: JSONObject, wanted: int) -> bool:  # noqa: ARG001
    """On every node that it belongs to; an unobserved one has not counted its nodes yet.

    Source: kubectl rollout status (k8s.io/kubectl pkg/polymorphichelpers/rollout_status.go).
    """
    return bool(status.get("observedGeneration")) and int(status.get("numberReady") or 0) >= int(status.get("desiredNumberScheduled") or 0)


def _job(obj: JSONObject, status: JSONObject, wanted: int) -> bool:  # noqa: ARG001
    """It has ended, or as many of its Pods are ready as may run at once. A suspended one runs nothing.

    Source: KEP-2879 (status.ready; a cluster without it counts active Pods); batch/v1 JobSpec for parallelism and completions.
    """
    ended = any(conditions.is_true({"status": status}, kind) for kind in ("Complete", "Failed"))
    if ended or meta.nested(obj, "spec", "suspend", default=False):
        return True
    done = int(status.get("succeeded") or 0)
    parallel = int(meta.nested(obj, "spec", "parallelism", default=1))
    completions = meta.nested(obj, "spec", "completions")
    running = status["ready"] if "ready" in status else status.get("active")
    return bool(status) and int(running or 0) >= (parallel if completions is None else min(parallel, max(int(completions) - done, 0)))


JUDGED: Mapping[GroupResource, Judge] = MappingProxyType(
    {
        GroupResource("apps", "deployments"): _replicas,
        GroupResource("apps", "replicasets"): _replicas,
        GroupResource("apps", "statefulsets"): _replicas,
        GroupResource("apps", "daemonsets"): _daemon_set,
        GroupResource("batch", "jobs"): _job,
    }
)
"""What a hand-over waits for. Of other kinds nobody can say that they are ready."""
