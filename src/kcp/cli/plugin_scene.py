"""What a preview looks at: the Placements of a workspace, what they place, the clusters they may use; and files laid over them.

Reads, and asks the server what it would store by dry runs; writes nothing.
Before: `plugin_preview`. After: the API, `tmc.placement.preview`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from kcp.apimachinery import meta
from kcp.apimachinery.errors import Forbidden, NotFound
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.cli.plugin_bind import BINDINGS
from kcp.cli.plugin_session import PluginError, Session
from kcp.cli.plugin_tree import children
from kcp.cli.plugin_workloads import KINDS, namespace_of
from kcp.client.rest import Client
from kcp.exports.boundresources import bound_resources
from kcp.tmc.model.kinds import (
    LOCATIONS,
    NAMESPACES,
    NOT_SYNCED_DOWN,
    OVERRIDE_POLICIES,
    PLACEMENT_POLICIES,
    PLACEMENTS,
    SYNC_TARGETS,
    Placement,
    SyncTarget,
)
from kcp.tmc.model.names import COMPUTE_EXPORT_ANNOTATION, sync_target_key
from kcp.tmc.placement.observe import location_of, target_of
from kcp.tmc.placement.preview import Ground, Scene, Town, ancestry
from kcp.tmc.placement.snapshot import Fleet

DEPLOYMENTS = KINDS["deployment"]
PREVIEWED: Mapping[str, GVR] = {
    "Placement": PLACEMENTS, "Location": LOCATIONS, "SyncTarget": SYNC_TARGETS, "OverridePolicy": OVERRIDE_POLICIES,
    "Deployment": DEPLOYMENTS, "PlacementPolicy": PLACEMENT_POLICIES,
}  # fmt: skip
_OF_FLEETS = ("Location", "SyncTarget")


@dataclass(slots=True)
class Sight:
    """Objects as they are, by workspace path. `notes`: what could not be seen, and what was assumed."""

    towns: dict[str, dict[str, list[JSONObject]]] = field(default_factory=dict)
    """Path → kind → objects."""
    grounds: dict[str, dict[str, list[JSONObject]]] = field(default_factory=dict)
    apis: dict[str, Mapping[str, str] | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def scene(self, now: datetime, eviction_grace_s: float) -> Scene:
        def fleet(objects: Sequence[JSONObject]) -> Fleet:
            return Fleet.of(target_of(o, now) for o in objects if not meta.deletion_timestamp(o))

        return Scene(
            towns=[
                Town(
                    path, {meta.name(p): p for p in held["Placement"] if not meta.deletion_timestamp(p)}, held["Namespace"],
                    held["Deployment"], held["OverridePolicy"], self.apis.get(path), held["PlacementPolicy"],
                )
                for path, held in sorted(self.towns.items())
            ],
            grounds={
                path: Ground(fleet(held["SyncTarget"]), [location_of(o) for o in held["Location"]])
                for path, held in sorted(self.grounds.items())
            },
            now=now,
            eviction_grace_s=eviction_grace_s,
            heard={
                sync_target_key(target.cluster, target.name): target.heartbeat
                for held in self.grounds.values()
                for target in map(SyncTarget.of, held["SyncTarget"])
                if target.heartbeat is not None
            },
        )  # fmt: skip

    def put(self, where: str, kind: str, obj: JSONObject) -> Sight:
        """The same with one object more, or another one in its place."""
        side = self.grounds if kind in _OF_FLEETS else self.towns
        others = [o for o in side[where][kind] if (meta.namespace(o), meta.name(o)) != (meta.namespace(obj), meta.name(obj))]
        changed = {**side, where: {**side[where], kind: [*others, obj]}}
        return replace(self, grounds=changed) if kind in _OF_FLEETS else replace(self, towns=changed)

    def find(self, where: str, kind: str, namespace: str, name: str) -> JSONObject | None:
        held = (self.grounds if kind in _OF_FLEETS else self.towns)[where][kind]
        return next((o for o in held if (meta.namespace(o), meta.name(o)) == (namespace, name)), None)


async def look_around(session: Session, *, below: bool, edits: Sequence[JSONObject]) -> Sight:
    """Raises PluginError where TMC is not to be seen.

    Args: below: also the workspaces below. edits: whose location workspaces count, too.
    """
    sight = Sight()
    try:
        await _see_town(session, sight, session.path)
    except NotFound as error:
        raise PluginError(f"{session.path} knows no placements: {error}; is the server started with --enable-tmc?") from None
    except Forbidden as error:
        raise PluginError(f"{error}; ask whoever administers {session.path} for verbs get and list on it") from None
    if below:
        await _see_below(session, sight, session.path)
    placements = [(path, p) for path, held in sight.towns.items() for p in held["Placement"]]
    placements += [(session.path, doc) for doc in edits if doc.get("kind") == "Placement"]
    homes = {Placement.of(p, ()).location_workspace or path for path, p in placements} | set(sight.towns)
    for home in sorted({above for path in homes for above in ancestry(path)}):
        await _see_ground(session, sight, home)
    return sight


async def _see_town(session: Session, sight: Sight, path: str) -> None:
    workspace = session.client.cluster(path)
    sight.towns[path] = {
        "Placement": await _list(workspace, PLACEMENTS),
        "Namespace": await _list(workspace, NAMESPACES),
        "Deployment": await _list_if_there(workspace, DEPLOYMENTS),
        "OverridePolicy": await _list_if_there(workspace, OVERRIDE_POLICIES),
        "PlacementPolicy": [],
    }
    try:
        sight.towns[path]["PlacementPolicy"] = await _list_if_there(workspace, PLACEMENT_POLICIES)
    except Forbidden:
        sight.notes.append(f"the PlacementPolicies of {path} may not be read: what they add to its Placements is not known")
    try:
        sight.apis[path] = _required(await _list(workspace, BINDINGS))
    except Forbidden:
        sight.notes.append(f"the APIBindings of {path} may not be read: whether clusters accept its APIs is not known")


async def _see_below(session: Session, sight: Sight, path: str) -> None:
    """Those that have no Placements have nothing to tell; those that may not be entered are named."""
    try:
        found = await children(session, path)
    except (NotFound, Forbidden):
        return  # nothing is below, or not for this user: the workspaces that are known are told of
    for workspace in found:
        child = f"{path}:{meta.name(workspace)}"
        try:
            await _see_town(session, sight, child)
        except NotFound:
            pass  # binds no scheduling API
        except Forbidden:
            sight.notes.append(f"{child} may not be read: it is left out")
            continue
        await _see_below(session, sight, child)


async def _see_ground(session: Session, sight: Sight, path: str) -> None:
    workspace = session.client.cluster(path)
    try:
        sight.grounds[path] = {"SyncTarget": await _list(workspace, SYNC_TARGETS), "Location": await _list(workspace, LOCATIONS)}
    except NotFound:
        return
    except Forbidden:
        sight.notes.append(f"the SyncTargets of {path} may not be read: if it has any, they are left out")


async def _list(workspace: Client, gvr: GVR) -> list[JSONObject]:
    return list((await workspace.resource(gvr).list()).items)


async def _list_if_there(workspace: Client, gvr: GVR) -> list[JSONObject]:
    """None of a resource that the workspace does not bind."""
    try:
        return await _list(workspace, gvr)
    except NotFound:
        return []


def _required(bindings: Sequence[JSONObject]) -> Mapping[str, str]:
    """Group-resource → identity of the APIs for TMC that these bind."""
    compute = [b for b in bindings if meta.annotations(b).get(COMPUTE_EXPORT_ANNOTATION) == "true"]
    entries = [entry for binding in compute for entry in bound_resources(binding)]
    return {str(e.group_resource): e.identity for e in entries if e.group_resource not in NOT_SYNCED_DOWN}


# --- files ---


def documents(names: Sequence[str]) -> list[JSONObject]:
    """Raises PluginError: a file that cannot be read, or holds what cannot be previewed."""
    found: list[JSONObject] = []
    for name in names:
        for document in parsed(name):
            items = document.get("items") if document.get("kind") == "List" else [document]
            found += items or []
    for document in found:
        kind = document.get("kind")
        if kind not in PREVIEWED or not meta.name(document):
            what = f"{kind or 'a document without kind'} {meta.name(document) or 'without name'}"
            raise PluginError(f"cannot preview {what}: only {', '.join(PREVIEWED)}, each with a name")
    return found


def parsed(name: str) -> list[JSONObject]:
    import yaml

    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        held: list[Any] = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except OSError as error:
        raise PluginError(f"{name}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PluginError(f"{name} is no YAML: {error}") from None
    if not all(document is None or isinstance(document, dict) for document in held):
        raise PluginError(f"{name}: every document must be an object with apiVersion, kind and metadata")
    return [document for document in held if document]


async def lay_over(session: Session, sight: Sight, edits: Sequence[JSONObject], namespace: str) -> Sight:
    """The objects as they would be if the specs, labels and annotations of the files were stored."""
    for document in edits:
        kind = document["kind"]
        where = _place_of(session, sight, document)
        if kind in ("OverridePolicy", "Deployment"):
            held_in = meta.namespace(document) or namespace_of(session, namespace)
            document["metadata"]["namespace"] = held_in
        known = sight.find(where, kind, meta.namespace(document), meta.name(document))
        wanted = _merged(known, document)
        stored = await _as_stored(session, sight, where, PREVIEWED[kind], wanted, is_new=known is None)
        if kind == "SyncTarget" and known is None:
            stored = _assumed_ready(stored, document, sight.notes.append)
        sight = sight.put(where, kind, stored)
    return sight


def _place_of(session: Session, sight: Sight, document: JSONObject) -> str:
    """SyncTargets and Locations belong to the fleet that has one of this name, or else to the nearest fleet."""
    kind, name = document["kind"], meta.name(document)
    if kind not in _OF_FLEETS:
        return session.path
    owners = [path for path in sight.grounds if sight.find(path, kind, "", name) is not None]
    near = [path for path in ancestry(session.path) if path in sight.grounds]
    fleets = [path for path in (*near, *sight.grounds) if sight.grounds[path]["SyncTarget"]]
    places = [*(path for path in near if path in owners), *owners, *fleets, *near]
    if not places:
        raise PluginError(f"{kind} {name}: no workspace with SyncTargets can be seen from {session.path}")
    return places[0]


def _merged(known: JSONObject | None, document: JSONObject) -> JSONObject:
    """The file's spec in place of the one that is there; its labels and annotations besides those that are there."""
    if known is None:
        return {k: v for k, v in document.items() if k != "status"}
    said = document["metadata"]
    metadata = dict(known["metadata"])
    for part in ("labels", "annotations"):
        metadata[part] = {**(metadata.get(part) or {}), **(said.get(part) or {})}
    return {**known, "metadata": metadata, "spec": document.get("spec") or {}}


async def _as_stored(session: Session, sight: Sight, where: str, gvr: GVR, wanted: JSONObject, *, is_new: bool) -> JSONObject:  # noqa: PLR0913
    """What the server would make of it: checked, with defaults. Raises StatusError if it would refuse it."""
    resource = session.client.cluster(where).resource(gvr)
    try:
        if is_new:
            return await resource.create(wanted, namespace=meta.namespace(wanted), dry_run=True)
        return await resource.update(wanted, dry_run=True)
    except Forbidden:
        sight.notes.append(f"you may not write {gvr.resource} in {where}: {meta.name(wanted)} is previewed as the file says, unchecked")
        generation = meta.generation(wanted) + 1
        return {**wanted, "metadata": {**wanted["metadata"], "generation": generation}}


def _assumed_ready(stored: JSONObject, document: JSONObject, note: Callable[[str], None]) -> JSONObject:
    """A cluster that is not there yet: as its file's status says, and ready."""
    name = meta.name(stored)
    status = dict(document.get("status") or {})
    conditions = [*(c for c in status.get("conditions") or () if c.get("type") != "Ready"), {"type": "Ready", "status": "True"}]
    said = "with status.allocatable of the file" if status.get("allocatable") else "without known resources: give status.allocatable"
    note(f"SyncTarget {name} is new: it counts as ready, {said}")
    return {**stored, "status": {**status, "conditions": conditions}}
