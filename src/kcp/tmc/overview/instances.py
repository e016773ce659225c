"""What each cluster says of one object, read from the object itself; what has not changed is not read again. Pure.

Before: `resourceview`. After: `knowledge`, `rules`. Where it stands on the object: docs/adr/0006.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import json_patch
from kcp.tmc.health.states import Status
from kcp.tmc.model.names import (
    OBSERVED_ANNOTATION,
    OVERRIDE_ANNOTATION,
    SPEC_DIFF_ANNOTATION,
    STATUS_ANNOTATION,
    SYNC_ERROR_ANNOTATION,
    SYNCER_FINALIZER,
    is_leaving,
    synced_keys,
    upsyncing_key,
)
from kcp.tmc.overview import knowledge
from kcp.tmc.overview.knowledge import FINE, Finding
from kcp.tmc.overview.rules import RuleError, StatusRule

NOT_REPORTED = Finding(Status.UNKNOWN, "has not reported yet")
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Target:
    """One cluster as a view sees it."""

    key: str
    """K."""
    name: str
    labels: Mapping[str, str]
    priority: int = 0
    weight: float = 1.0
    trouble: str = ""
    """Why its word is not to be had; "" while it is."""


@dataclass(frozen=True, slots=True)
class Instance:
    """What one cluster says of one object."""

    key: str
    signature: tuple[object, ...]
    """Of all that it was made of."""
    status: JSONObject | None
    """None: nothing reported."""
    reported: str
    """RFC 3339: when the cluster last reported a change; "" if it does not say."""
    finding: Finding
    replicas: tuple[int, int] | None
    """(wanted, ready)."""
    override: str = ""
    """JSON patch that makes this cluster's copy differ."""
    problem: str = ""
    """A StatusRule that failed."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is the same for all objects of one resource in one view."""

    resource: GroupResource
    kind: str
    has_status: bool
    rule: StatusRule | None = None


def keys_of(obj: JSONObject) -> list[str]:
    """K of the clusters that should run this object, or that it shows something of."""
    upsynced = upsyncing_key(obj)
    return [upsynced] if upsynced else [key for key in synced_keys(obj) if not is_leaving(obj, key)]


def read(obj: JSONObject, target: Target, kind: Kind, held: Instance | None) -> Instance:
    """What the cluster says now. Args: held: what it said before, given back if it says so still."""
    marks, key = meta.annotations(obj), target.key
    if upsyncing_key(obj):
        signature: tuple[object, ...] = (meta.resource_version(obj), kind.rule and kind.rule.version)
    else:
        signature = (
            marks.get(STATUS_ANNOTATION + key), marks.get(OBSERVED_ANNOTATION + key), marks.get(SPEC_DIFF_ANNOTATION + key),
            marks.get(OVERRIDE_ANNOTATION + key), marks.get(SYNC_ERROR_ANNOTATION + key), meta.generation(obj),
            SYNCER_FINALIZER + key in meta.finalizers(obj), kind.rule and (kind.rule.version, dict(meta.labels(obj))),
        )  # fmt: skip
    if held is not None and held.signature == signature:
        return held
    return _read(obj, target, kind, signature)


def _read(obj: JSONObject, target: Target, kind: Kind, signature: tuple[object, ...]) -> Instance:
    marks, key = meta.annotations(obj), target.key
    is_shown = bool(upsyncing_key(obj))
    status = obj.get("status") if is_shown else json_of(marks.get(STATUS_ANNOTATION + key))
    copy = obj if is_shown else copy_for(obj, key)
    error = json_of(marks.get(SYNC_ERROR_ANNOTATION + key))
    finding, problem = _finding(copy, status, target, kind, is_taken=is_shown or SYNCER_FINALIZER + key in meta.finalizers(obj))
    if error and not is_shown:
        health = Status.DEGRADED if status is not None else Status.UNHEALTHY
        finding = Finding(max(finding.health, health, key=_BADNESS.__getitem__), f"{error.get('type', '')}: {error.get('message', '')}")
    return Instance(
        key, signature, status, marks.get(OBSERVED_ANNOTATION + key, ""), finding, knowledge.replicas(kind.resource, copy, status),
        marks.get(OVERRIDE_ANNOTATION + key, ""), problem,
    )  # fmt: skip


def of_cluster(obj: JSONObject, target: Target, kind: Kind) -> Instance:
    """What a cluster says whose object this is, status and all."""
    status = obj.get("status")
    finding, problem = _finding(obj, status, target, kind, is_taken=True)
    return Instance(target.key, (), status, "", finding, knowledge.replicas(kind.resource, obj, status), problem=problem)


_BADNESS = {Status.HEALTHY: 0, Status.UNKNOWN: 1, Status.DEGRADED: 2, Status.UNHEALTHY: 3}


def _finding(copy: JSONObject, status: JSONObject | None, target: Target, kind: Kind, *, is_taken: bool) -> tuple[Finding, str]:
    """And the failure of a StatusRule, "" for none."""
    if status is None and kind.has_status:
        return NOT_REPORTED, ""
    if kind.rule is not None and kind.rule.health:
        try:
            seen = knowledge.object_of(copy, status)
            return kind.rule.judge(seen, {"name": target.name, "labels": dict(target.labels)}), ""
        except RuleError as error:
            return Finding(Status.UNKNOWN, f"StatusRule {kind.rule.name}: {error}"), str(error)
    if not kind.has_status:
        return (FINE, "") if is_taken else (NOT_REPORTED, "")
    return knowledge.judge(kind.resource, copy, status or {}), ""


def copy_for(obj: JSONObject, key: str) -> JSONObject:
    """The object as the cluster is asked to run it: its share, and what OverridePolicies make of it. `obj` is not changed."""
    marks = meta.annotations(obj)
    diff, override = marks.get(SPEC_DIFF_ANNOTATION + key), marks.get(OVERRIDE_ANNOTATION + key)
    copy = obj
    if diff:
        copy = {**obj, "spec": _patched(obj.get("spec") or {}, diff)}
    return _patched(copy, override) if override else copy


def _patched(value: JSONObject, patch: str) -> JSONObject:
    """One that does not fit any more is on its way to be replaced; one that is no patch somebody wrote by hand."""
    try:
        changed: JSONObject = json_patch.apply(value, json.loads(patch))
    except (ValueError, TypeError, LookupError, AttributeError):
        return value
    return changed


def json_of(text: str | None) -> JSONObject | None:
    """What an annotation holds; None for nothing, and for what is no object."""
    try:
        value = orjson.loads(text) if text else None
    except ValueError:
        return None  # somebody wrote the annotation by hand
    return value if isinstance(value, dict) else None
