"""Strategies for objects: merge what cluster and workspace disagree on, place anew what has no cluster.

Before: `controller`. After: the objects in their workspace, and from there the syncers and the placement controller.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kcp.aio.metrics import Meter
from kcp.apimachinery import conditions, meta
from kcp.apimachinery.errors import NotFound
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client, ResourceClient
from kcp.controller.commit import commit
from kcp.tmc.errors import ErrorType, TMCError
from kcp.tmc.metrics import families
from kcp.tmc.model.kinds import NAMESPACES, PLACEMENTS, SCHEDULED, Placement
from kcp.tmc.model.names import (
    DRIFT_ANNOTATION,
    PLACEMENT_TARGETS_ANNOTATION,
    SPEC_DIFF_ANNOTATION,
    SYNC_ERROR_ANNOTATION,
    chosen_keys,
    keys_with,
    sync_target_key,
)
from kcp.tmc.placement.rebalancing import REBALANCE_ANNOTATION
from kcp.tmc.recovery.model import Done, NeedsPerson, Recovery, Step, Waiting


class Change(NamedTuple):
    """One field that a cluster changed: as the syncer had applied it, and as it was found."""

    path: tuple[str, ...]
    ours: Any
    theirs: Any


def merged(obj: JSONObject, changes: Sequence[Change]) -> tuple[JSONObject, list[str], list[str]]:
    """Three ways: what the syncer applied is the base, the object and the cluster's copy are the two sides. Pure.

    A field that only the cluster changed is taken over; one that the workspace has changed since stays as the workspace wants it.
    Returns: the object, the fields taken over, the fields kept.
    """
    wanted: JSONObject = meta.copy_json(obj)
    taken: list[str] = []
    kept: list[str] = []
    for change in changes:
        parent = _at(wanted, change.path[:-1])
        if parent is not None and change.path[-1] in parent and parent[change.path[-1]] == change.ours and change.theirs is not None:
            parent[change.path[-1]] = change.theirs
            taken.append(".".join(change.path))
        else:
            kept.append(".".join(change.path))
    return wanted, taken, kept


def _at(obj: JSONObject, path: Sequence[str]) -> JSONObject | None:
    found: Any = obj
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, dict) else None


def changes_of(obj: JSONObject) -> Iterator[tuple[str, str, Change]]:
    """(K, name of the cluster, change) of all that clusters changed, by the accounts on the object."""
    for key, text in sorted(keys_with(meta.annotations(obj), DRIFT_ANNOTATION).items()):
        account = _json(text)
        divided = SPEC_DIFF_ANNOTATION + key in meta.annotations(obj)
        for change in account.get("changes") or ():
            path = tuple(change.get("path") or ())
            if path and not (divided and path == ("spec", "replicas")):  # a share is not the whole
                yield key, str(account.get("cluster") or ""), Change(path, change.get("ours"), change.get("theirs"))


def _json(text: str) -> JSONObject:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Conflict:
    """Merge."""

    for_cluster: Callable[[ClusterName], Client]
    meter: Meter

    async def step(self, recovery: Recovery) -> Step:
        subject = recovery.subject
        if subject.gvr is None:
            error = TMCError(ErrorType.CONFIGURATION, "spec.resource must name the object that is in conflict", subject.cluster, "recover")
            return NeedsPerson(error, ["name the object: kubectl tmc recover KIND/NAME --strategy ResourceConflict"])
        resource = self.for_cluster(recovery.key.cluster).resource(subject.gvr)
        obj = await _get(resource, recovery)
        errors = [_json(text) for text in keys_with(meta.annotations(obj), SYNC_ERROR_ANNOTATION).values()]
        disputed = [e for e in errors if e.get("type") in (ErrorType.SYNC_CONFLICT, ErrorType.RESOURCE_CONFLICT)]
        found = list(changes_of(obj))
        if found:
            return await self._merge(resource, obj, recovery)
        if not disputed:
            return Done("workspace and clusters agree")
        worst = disputed[0]
        error = TMCError(
            ErrorType(worst["type"]),
            str(worst.get("message")),
            str(worst.get("cluster", "")),
            "merge",
            advice=str(worst.get("hint", "")),
            retryable=True,
        )
        if worst["type"] == ErrorType.RESOURCE_CONFLICT and not worst.get("retryable"):
            return NeedsPerson(error, self.next_steps(recovery, error))
        return Waiting(error)

    async def _merge(self, resource: ResourceClient, obj: JSONObject, recovery: Recovery) -> Step:
        found = list(changes_of(obj))
        wanted, taken, kept = merged(obj, [change for _, _, change in found])
        for key in {key for key, _, _ in found}:
            meta.set_annotation(wanted, DRIFT_ANNOTATION + key, None)
        await commit(resource, obj, wanted, field_manager="tmc-recovery")
        for _, cluster, change in found:
            resolution = "theirs" if ".".join(change.path) in taken else "ours"
            self.meter.count(
                families.CONFLICTS, cluster, str(recovery.subject.gvr and recovery.subject.gvr.group_resource), "drift", resolution
            )
        actions = [f"took over from {found[0][1]}: {', '.join(taken)}"] if taken else []
        actions += [f"kept as the workspace has it: {', '.join(kept)}"] if kept else []
        error = TMCError(ErrorType.SYNC_CONFLICT, "the clusters have not agreed yet", recovery.subject.cluster, "merge", retryable=True)
        return Waiting(error, actions)

    def next_steps(self, recovery: Recovery, error: TMCError) -> list[str]:
        return [error.hint, f"`kubectl describe` of {recovery.subject} shows who changes what"]


async def _get(resource: ResourceClient, recovery: Recovery) -> JSONObject:
    try:
        return await resource.get(recovery.subject.name, namespace=recovery.subject.namespace)
    except NotFound as error:
        raise TMCError(
            ErrorType.RESOURCE_NOT_FOUND, f"{recovery.subject} does not exist", operation="recover", advice="nothing is left to recover"
        ) from error


@dataclass(frozen=True, slots=True)
class Replacement:
    """Place anew: a Placement, the Placements of an object's namespace, or those that have chosen a cluster."""

    for_cluster: Callable[[ClusterName], Client]

    async def step(self, recovery: Recovery) -> Step:
        workspace = self.for_cluster(recovery.key.cluster)
        concerned = await self._concerned(workspace, recovery)
        if not concerned:
            error = TMCError(ErrorType.PLACEMENT_CONSTRAINT, f"no Placement concerns {recovery.subject}", recovery.subject.cluster, "place")
            return NeedsPerson(error, ["make a Placement that selects the namespace: `kubectl kcp bind compute PATH` makes one"])
        new = [p for p in concerned if meta.annotations(p).get(REBALANCE_ANNOTATION) != recovery.request]
        for placement in new:
            patch = {"metadata": {"annotations": {REBALANCE_ANNOTATION: recovery.request}}}
            await workspace.resource(PLACEMENTS).patch(meta.name(placement), patch)
        actions = [f"asked for Placement {meta.name(p)} to be decided anew" for p in new]
        without = [p for p in concerned if not _is_placed(p, recovery)]
        if new or without:
            problem = (conditions.get((without or new)[0], SCHEDULED) or {}).get("message") or "it has no cluster yet"
            error = TMCError(
                ErrorType.PLACEMENT_CONSTRAINT,
                f"Placement {meta.name((without or new)[0])}: {problem}",
                recovery.subject.cluster,
                "place",
                retryable=True,
            )
            return Waiting(error, actions)
        return Done(f"placed: {', '.join(meta.name(p) for p in concerned)}")

    async def _concerned(self, workspace: Client, recovery: Recovery) -> list[JSONObject]:
        subject, listed = recovery.subject, (await workspace.resource(PLACEMENTS).list()).items
        if subject.gvr is None:
            key = sync_target_key(recovery.key.cluster, subject.cluster)
            return [p for p in listed if key in chosen_keys(p)] if subject.cluster else list(listed)
        if subject.gvr.group_resource == PLACEMENTS.group_resource:
            return [p for p in listed if meta.name(p) == subject.name]
        namespace = await workspace.resource(NAMESPACES).get(subject.namespace or subject.name)
        return [p for p in listed if Placement.of(p, chosen_keys(p)).selects(namespace)]

    def next_steps(self, recovery: Recovery, error: TMCError) -> list[str]:
        return [error.hint, "`kubectl tmc why KIND/NAME` says of each cluster why it was not chosen"]


def _is_placed(placement: JSONObject, recovery: Recovery) -> bool:
    answered = meta.nested(placement, "status", "rebalanceRequest", default="") == recovery.request
    return answered and bool(meta.annotations(placement).get(PLACEMENT_TARGETS_ANNOTATION))
