"""What there is to tell of an object's placement: its Placements, their decisions, and what each cluster last reported.

Before: `plugin_why`, `plugin_whynot`. After: the API, `tmc.model` for the names of labels and annotations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.aio.durations import format_duration
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_diagnose import named
from kcp.cli.plugin_flags import PluginParser
from kcp.cli.plugin_session import PluginError, Session
from kcp.cli.plugin_workloads import KINDS, NAMESPACES, PLACEMENTS, namespace_of
from kcp.tmc.model.kinds import PLACEMENT_DECISIONS, RESOURCE_PROJECTIONS, SYNC_TARGETS, Placement
from kcp.tmc.model.names import (
    OBSERVED_ANNOTATION,
    SPEC_DIFF_ANNOTATION,
    STATE_LABEL,
    STATUS_ANNOTATION,
    WAITING_ANNOTATION,
    is_leaving,
    sync_target_key,
    synced_keys,
)
from kcp.tmc.model.shifts import Shift, Stage
from kcp.tmc.model.wishes import exclusive_of
from kcp.tmc.projection.spec import marks

UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Told:
    """One cluster, as one Placement saw it."""

    cluster: str
    decision: str
    """chosen, passed (it fits, others were taken) or rejected; projected: a ResourceProjection wants a copy there."""
    code: str
    reason: str
    replicas: str = "-"
    ready: str = "-"
    observed: str = "-"
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """An object and all that is known of where it is placed."""

    title: str
    placements: Sequence[str]
    clusters: Sequence[Told]
    tie_breaks: Mapping[str, str]
    decided: str
    exclusive: str = ""
    """Of an exclusive object, who has it or why nobody may begin."""
    moving: str = ""
    """Of one whose replicas are moving among its clusters, or did lately, or could not."""
    projected: Mapping[str, str] = field(default_factory=dict)
    """Cluster → which ResourceProjections want a copy there, whatever the Placements say."""


def add_object_arguments(parser: PluginParser, *, more: tuple[str, str] | None = None) -> None:
    """OBJECT and what follows it, and --namespace."""
    metavar, text = (f"OBJECT {more[0]}", f"; then {more[1]}") if more else ("OBJECT", "")
    parser.add_argument("object", nargs="+", metavar=metavar, help=f"KIND/NAME or KIND NAME{text}")
    parser.add_argument("-n", "--namespace", default="", metavar="NAMESPACE", help="of the object; the context's if not given")


async def look_up(session: Session, words: Sequence[str], namespace: str, clock: Clock) -> Seen:
    """Raises PluginError: no such object, no TMC here, or not to be read."""
    kind, name = named(list(words))
    if kind not in KINDS or not name:
        raise PluginError(f'"{" ".join(words)}" is nothing that clusters run: write KIND/NAME with a kind of {", ".join(KINDS)}')
    where = namespace_of(session, namespace)
    try:
        obj = await _object(session, kind, where, name)
        home = await session.workspace.resource(NAMESPACES).get(where)
        placements = (await session.workspace.resource(PLACEMENTS).list()).items
        decisions = (await session.workspace.resource(PLACEMENT_DECISIONS).list()).items
    except NotFound as error:
        raise PluginError(f"{session.path} knows no placements: {error}; is the server started with --enable-tmc?") from None
    except Forbidden as error:
        raise PluginError(f"{error}; ask whoever administers {session.path} for verbs get and list on it") from None
    selecting = {meta.name(placement) for placement in placements if Placement.of(placement, ()).places(obj, home)}
    recorded = [decision for decision in decisions if decision["placement"] in selecting]
    keys = await _keys(session, {meta.nested(decision, "inputs", "workspace", default="") for decision in recorded})
    now = clock.now()
    decided = [told for decision in recorded for told in _clusters(decision, obj, keys, now)]
    chosen = {told.cluster for told in decided if told.decision == "chosen"}
    copied = await _projected(session, obj, now)
    return Seen(
        title=f"{kind.capitalize()} {where}/{name}",
        placements=sorted(selecting),
        clusters=[*decided, *(told for told in copied if told.cluster not in chosen)],
        tie_breaks={decision["placement"]: decision["tieBreak"] for decision in recorded if decision.get("tieBreak")},
        decided=", ".join(_age(decision.get("decidedAt"), now) for decision in recorded) or "not yet",
        exclusive=_exclusive(obj, keys),
        moving=_moving(obj, keys, now),
        projected={told.cluster: told.reason for told in copied},
    )


async def _object(session: Session, kind: str, namespace: str, name: str) -> JSONObject:
    resource = KINDS[kind]
    try:
        return await session.workspace.resource(resource).get(name, namespace=namespace)
    except NotFound:
        look = f"`kubectl get {resource.resource} -n {namespace}` shows what is there"
        raise PluginError(f'{kind} "{name}" not found in namespace {namespace} of {session.path}; {look}') from None


async def _keys(session: Session, paths: Collection[str]) -> Mapping[str, str]:
    """SyncTarget of one of these workspaces → K, by which its share and report stand on the object; nothing of targets one may not see."""
    found: dict[str, str] = {}
    for path in sorted({*paths} - {""}):
        try:
            targets = await session.workspace.cluster(path).resource(SYNC_TARGETS).list()
        except (Forbidden, NotFound):
            continue
        for target in targets.items:
            found[meta.name(target)] = sync_target_key(ClusterName(meta.cluster(target)), meta.name(target))
    return found


def _clusters(decision: JSONObject, obj: JSONObject, keys: Mapping[str, str], now: datetime) -> Iterator[Told]:
    for word in ("chosen", "passed"):
        for entry in decision.get(word) or ():
            name = entry["syncTarget"]
            here = _here(obj, keys.get(name, ""), now) if word == "chosen" else ("-", "-", "-")
            yield Told(name, word, entry["reason"], entry.get("message") or entry["reason"], *here, entry.get("scores") or {})
    for entry in decision.get("rejected") or ():
        for name in entry["syncTargets"]:
            yield Told(name, "rejected", entry["reason"], entry.get("message") or entry["reason"])


async def _projected(session: Session, obj: JSONObject, now: datetime) -> list[Told]:
    """The clusters that ResourceProjections want copies on."""
    wanted = {key: mark for key, mark in marks(obj).items() if not is_leaving(obj, key)}
    if not wanted:
        return []
    parts = session.path.split(":")
    paths = {":".join(parts[:count]) for count in range(1, len(parts) + 1)}
    projections = (await session.workspace.resource(RESOURCE_PROJECTIONS).list()).items
    paths |= {meta.nested(projection, "spec", "locationWorkspace", default="") for projection in projections}
    names = {key: name for name, key in (await _keys(session, paths)).items()}
    return sorted(
        (
            Told(names.get(key, UNKNOWN), "projected", "Projected", f"ResourceProjection {', '.join(mark.by)}", *_here(obj, key, now))
            for key, mark in wanted.items()
        ),
        key=lambda told: told.cluster,
    )


def _exclusive(obj: JSONObject, keys: Mapping[str, str]) -> str:
    wish = exclusive_of(obj)
    if wish is None:
        return ""
    names = {key: name for name, key in keys.items()}
    having = [names.get(key, UNKNOWN) for key in synced_keys(obj) if not is_leaving(obj, key)]
    if waiting := meta.annotations(obj).get(WAITING_ANNOTATION):
        state = f"no cluster may begin: {waiting}"
    else:
        state = f"{', '.join(having)} has it" if having else "no cluster has it yet"
    return f"It is exclusive ({wish}), in one cluster at a time: {state}."


def _moving(obj: JSONObject, keys: Mapping[str, str], now: datetime) -> str:
    shift = Shift.of(obj)
    if shift is None:
        return ""
    names = {key: name for name, key in keys.items()}
    givers, takers = (", ".join(sorted(names.get(key, UNKNOWN) for key in found)) for found in (shift.falling, shift.rising))
    what, age = f"{shift.moved} of {shift.total} replicas from {givers} to {takers}", _age(rfc3339(shift.since), now)
    who = "Rebalancing" if shift.is_optional else "The placement"
    if shift.stage is Stage.DONE:
        return f"{who} moved {what}, {age}."
    if shift.stage is Stage.GIVEN_UP:
        return f"Rebalancing wanted to move {what}; {takers} was not ready in time, so all stayed as it was, {age}."
    return f"{who} moves {what}, begun {age}: {givers} keeps its own until {takers} is ready, or for good at {rfc3339(shift.until)}."


def _here(obj: JSONObject, key: str, now: datetime) -> tuple[str, str, str]:
    """(replicas, ready, age of the last report) of the target K."""
    marks = meta.annotations(obj)
    if not key:
        return UNKNOWN, UNKNOWN, UNKNOWN
    if STATE_LABEL + key not in meta.labels(obj):
        return "0", "0", "-"
    share = _share(marks.get(SPEC_DIFF_ANNOTATION + key, ""))
    if share is None:
        share = (obj.get("spec") or {}).get("replicas")
    status = orjson.loads(marks.get(STATUS_ANNOTATION + key) or "{}")
    ready = str(status.get("readyReplicas", 0)) if status else UNKNOWN
    return "-" if share is None else str(share), ready, _age(marks.get(OBSERVED_ANNOTATION + key), now)


def _share(diff: str) -> int | None:
    operations = orjson.loads(diff) if diff else []
    return next((int(operation["value"]) for operation in operations if operation.get("path") == "/replicas"), None)


def _age(stamp: str | None, now: datetime) -> str:
    if not stamp:
        return "never"
    seconds = max(0, int((now - parse_rfc3339(stamp)).total_seconds()))
    return f"{format_duration(float(seconds)) if seconds else '0s'} ago"
