"""A workload on its way from one cluster to another, as its own annotation says it; and the pins that keep its namespace on both. Pure.

    copy     both: the old copy stays as it is, the new one gets its replicas      (live)
    halt     the old copy is stopped, there is no new one yet, or it is stopped as well   (halt-resume)
    resume   the old copy is stopped, the new one runs                             (halt-resume)
    remove   neither: the old copy goes, there is no new one yet                   (snapshot)
    moved    the new one only; stays so after the migration

Before: `migration`, which writes them. After: `placement.namespaces`, `placement.resources`, which do what they say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model.kinds import DIVIDED, STOPPABLE
from kcp.tmc.model.names import SPEC_DIFF_ANNOTATION, is_leaving, keys_with, synced_keys

MOVE_ANNOTATION = "migration.tmc.kcp.io/move"
"""On workloads: `Move` as JSON."""
PIN_ANNOTATION = "pin.tmc.kcp.io/"
"""+K, on namespaces: comma list of the workloads that a migration has brought to this target: see `claim`."""
PINNED_ONLY_ANNOTATION = "internal.tmc.kcp.io/pinned-only"
"""On namespaces: K of the targets that no Placement has chosen, separated by commas."""


class Stage(StrEnum):
    COPY = "copy"
    HALT = "halt"
    RESUME = "resume"
    REMOVE = "remove"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Move:
    source: str
    """K."""
    target: str
    """K."""
    stage: Stage
    away: tuple[str, ...] = ()
    """K of the targets that it was moved away from before."""

    def at(self, stage: Stage) -> Move:
        return replace(self, stage=stage)

    def to_json(self) -> str:
        shown = {"from": self.source, "to": self.target, "stage": str(self.stage), "away": list(self.away)}
        return json.dumps(shown, separators=(",", ":"))

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Move | None:
        """None for what is absent or not ours."""
        return cls.parse(meta.annotations(obj).get(MOVE_ANNOTATION, ""))

    @classmethod
    def parse(cls, text: str) -> Move | None:
        try:
            value = json.loads(text or "null")
            return cls(value["from"], value["to"], Stage(value["stage"]), tuple(value.get("away") or ()))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def allows(self, key: str) -> bool:
        """Whether target K may have a copy."""
        if key == self.target:
            return self.stage in (Stage.COPY, Stage.RESUME, Stage.MOVED)
        if key == self.source:
            return self.stage not in (Stage.REMOVE, Stage.MOVED)
        return key not in self.away

    def is_sharing(self, placed: Iterable[str]) -> bool:
        """Whether the replicas are divided now; otherwise everybody keeps what they have."""
        return self.stage is Stage.MOVED or (self.stage in (Stage.COPY, Stage.RESUME) and self.target in placed)

    def takes_no_share(self, key: str) -> bool:
        """Whether a copy keeps what it has while the replicas are divided over the others."""
        return key == self.source and self.stage is not Stage.MOVED


_OURS = "migration"
"""What says in a spec diff that an operation is ours; who applies a patch does not read it (RFC 6902, section 4)."""


def halt(wanted: JSONObject, move: Move | None, resource: GVR) -> None:
    """Stop a copy that is to be still, and no other. `wanted` is changed."""
    if resource not in STOPPABLE:
        return
    stop = [{"op": "add", "path": f"/{name}", "value": value, "by": _OURS} for name, value in STOPPABLE[resource].items()]
    keys = _stopped(wanted, move)
    if resource.group_resource in DIVIDED:  # the shares take them back
        for key in keys & ({move.source} if move is not None else set()):
            meta.set_annotation(wanted, SPEC_DIFF_ANNOTATION + key, _compact(stop))
        return
    for key in keys | keys_with(meta.annotations(wanted), SPEC_DIFF_ANNOTATION).keys():
        text = meta.annotations(wanted).get(SPEC_DIFF_ANNOTATION + key)
        if key in keys or (text and f'"{_OURS}"' in text):
            left = _others(text)
            meta.set_annotation(wanted, SPEC_DIFF_ANNOTATION + key, _compact([*left, *(stop if key in keys else ())]) or None)


def _stopped(obj: JSONObject, move: Move | None) -> set[str]:
    """K of the copies that are to be still: the one that is left; and while that stops, also the one it goes to, if it is there already."""
    if move is None or move.stage not in (Stage.HALT, Stage.RESUME):
        return set()
    return {move.source, *({move.target} & {*synced_keys(obj)} if move.stage is Stage.HALT else ())}


def _others(text: str | None) -> list[JSONObject]:
    """The operations of a spec diff that somebody else wrote."""
    try:
        operations = json.loads(text or "[]")
    except ValueError:
        return []
    return [op for op in operations if isinstance(op, dict) and op.get("by") != _OURS] if isinstance(operations, list) else []


def _compact(operations: list[JSONObject]) -> str:
    return json.dumps(operations, separators=(",", ":")) if operations else ""


def may_run(obj: JSONObject, namespace: JSONObject, key: str, resource: GroupResource) -> bool:
    """Whether an object may be on a target of its namespace, as far as migrations go: only they bring workloads to a pinned one."""
    move = Move.of(obj)
    if move is not None and not move.allows(key):
        is_kept = move.stage is Stage.HALT and key == move.target and key in synced_keys(obj) and not is_leaving(obj, key)
        if not is_kept:
            return False
    if key not in pinned_only(namespace) or not (_runs_pods(obj) or _is_pinned_kind(namespace, key, resource)):
        return True
    return move is not None and key in (move.source, move.target)


def _is_pinned_kind(namespace: JSONObject, key: str, resource: GroupResource) -> bool:
    """Whether the target is pinned for one of this kind: then they are workloads, whatever their specs look like."""
    prefix = f"{resource}/"
    return any(name.startswith(prefix) for name in pins(namespace).get(key, ()))


def claim(resource: GroupResource, name: str) -> str:
    """How a pin names a workload.

    >>> claim(GroupResource("apps", "deployments"), "shop"), claim(GroupResource("batch", "jobs"), "report")
    ('shop', 'jobs.batch/report')
    """
    return name if resource in DIVIDED else f"{resource}/{name}"


def _runs_pods(obj: JSONObject) -> bool:
    spec = obj.get("spec") or {}
    return isinstance(spec, dict) and ("template" in spec or "jobTemplate" in spec)


def pinned_only(namespace: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(filter(None, meta.annotations(namespace).get(PINNED_ONLY_ANNOTATION, "").split(",")))


def pins(namespace: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """K → the workloads that it is pinned to it for."""
    found = keys_with(meta.annotations(namespace), PIN_ANNOTATION)
    return {key: names for key, text in sorted(found.items()) if (names := frozenset(filter(None, text.split(","))))}


def set_pin(namespace: JSONObject, key: str, workload: str, *, is_on: bool) -> None:
    """`namespace` is changed."""
    held = pins(namespace).get(key, frozenset())
    names = held | {workload} if is_on else held - {workload}
    meta.set_annotation(namespace, PIN_ANNOTATION + key, ",".join(sorted(names)) or None)


def keep_pins(wanted: JSONObject, live: frozenset[str] | None) -> None:
    """Drop the pins of workloads that are gone. `wanted` is changed. Args: live: names of those that are there; None: not known yet."""
    if live is not None:
        for key, names in pins(wanted).items():
            meta.set_annotation(wanted, PIN_ANNOTATION + key, ",".join(sorted(names & live)) or None)
