"""Field management: server-side apply, and tracking who changed what on every other write.

Before: registry (every write). After: `walk` (which fields), `merge` (the new object), `managers` (who owns them).
Source: apimachinery/pkg/util/managedfields/internal/{fieldmanager.go,structuredmerge.go,managedfieldsupdater.go,skipnonapplied.go,
stripmeta.go,conflict.go}; structured-merge-diff merge/update.go; KEP-555.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from kcp.apimachinery.apply import lastapplied
from kcp.apimachinery.apply.fields import FieldSet, path_text
from kcp.apimachinery.apply.managers import Managed, Managers, Operation, Owner
from kcp.apimachinery.apply.merge import merge, with_nulls
from kcp.apimachinery.apply.typed import problems, without_absent
from kcp.apimachinery.apply.versions import Changes, Show, Shown, changes_for, pruned, take_away
from kcp.apimachinery.apply.view import merge_untracked, tracked
from kcp.apimachinery.apply.walk import Comparison, compare, field_set
from kcp.apimachinery.errors import BadRequest, Cause, Conflict
from kcp.apimachinery.meta import JSONObject, copy_json, gvk, metadata, name, namespace
from kcp.apimachinery.schema.structural import Schema

BEFORE_FIRST_APPLY = "before-first-apply"
"""Owns what an object without managed fields held when it was first applied to."""

_GO_STRUCTS = frozenset(
    "metadata spec status template strategy updateStrategy jobTemplate names acceptedNames scaleTargetRef loadBalancer podSelector roleRef "
    "involvedObject source regarding deprecatedSource nodeInfo daemonEndpoints kubeletEndpoint".split()
)
"""Structs of Kubernetes' types that are no pointers, by the names of their fields; see `protobuf.json.gz`."""
_OTHERWISE = {"ReplicationController": _GO_STRUCTS - {"template"}, "PersistentVolumeClaim": _GO_STRUCTS | {"resources"}}
"""Kinds in which a field of such a name is something else."""
_METADATA = FieldSet.of(("f:metadata",))
_NOBODY = FieldSet()


async def server_side_apply(  # noqa: PLR0913 - each is a word of the request
    live: JSONObject | None,
    config: JSONObject,
    *,
    manager: str,
    force: bool,
    schema: Schema | None,
    subresource: str = "",
    now: str,
    ignored: FieldSet = _NOBODY,
    show: Show | None = None,
) -> JSONObject:
    """The object after `manager` applied `config`; a new object, neither argument is changed.

    Applying the same again gives back `live` unchanged, times included. An apply that only changes who owns what leaves its manager's time
    alone, so that a new manager has none (managedfieldsupdater.go).
    Args: ignored fields that this endpoint resets (`status` on the main one): nobody comes to own them here. show see `versions`.
    Raises: Conflict naming the managers and fields in the way (never with `force`); BadRequest for a configuration that breaks the schema.
    """
    _check(config, schema)
    owner = Owner.of(manager, Operation.APPLY, "", subresource)
    managers = _managers_before_apply(live, schema, now)
    said = without_absent(schema, tracked(config), keep_empty=True)
    applied = (field_set(schema, said) - _METADATA).without(ignored)  # who applies an empty list owns it, though it is never stored
    config_view = without_absent(schema, said)
    last = managers.get(owner)
    entry = Managed(owner, config.get("apiVersion") or "", now, applied)
    managers.put(entry)
    live_view = {} if live is None else tracked(live)
    view = merge(schema, live_view, config_view)
    if last is not None and (last.fields != applied or last.api_version != entry.api_version):
        view = await pruned(Shown(merge_untracked(live, config, view), schema), last, managers, show)
        view = with_nulls(view, config_view)
    if others := managers.others(owner):
        change = compare(schema, live_view, view).without(ignored)
        show = show if any(other.api_version != entry.api_version for other in others) else None
        shown = merge_untracked(live, config, view) if show is not None else config
        changes = await changes_for(others, change, live, shown, show, partial(_tracked_change, ignored=ignored))
        if not force:
            own = _NOBODY
            if manager == lastapplied.MANAGER and live is not None:
                own = lastapplied.taken_over(live, schema, entry.api_version)
            _refuse_conflicts(others, changes, own)
        take_away(managers, others, changes)
    if view == live_view and live is not None:
        managers.put(replace(entry, time=last.time if last is not None else ""))
    merged = merge_untracked(live, config, view)
    _set_entries(merged, managers.encode())
    result: JSONObject = copy_json(merged)
    if manager == lastapplied.MANAGER:
        lastapplied.note(result, config)
    return result


async def track_update(
    old: JSONObject | None,
    new: JSONObject,
    *,
    manager: str,
    schema: Schema | None,
    subresource: str = "",
    now: str,
    ignored: FieldSet = _NOBODY,
    show: Show | None = None,
) -> None:
    """Record in `new.metadata.managedFields` what `manager` changed from `old`; an update that changes nothing leaves every time alone.

    A client may rewrite managedFields with its update (kubectl does, to adopt an object), and reset them with `[{}]`; a missing or empty
    list means a client that does not know of them. An object that has none is not tracked until it is first applied to.
    """
    held: Sequence[JSONObject] = metadata(old).get("managedFields") or () if old is not None else ()
    given: Sequence[JSONObject] = held if subresource else metadata(new).get("managedFields") or ()
    change = _changes(old, new, schema, ignored)
    if not given and held:
        given = held
    if given == held and change.is_same:
        _set_entries(new, held)
        return
    managers = _decoded(given, held)
    if not managers and old is not None:
        _set_entries(new, ())
        return
    owner = Owner.of(manager, Operation.UPDATE, new.get("apiVersion") or "", subresource)
    written = change.written
    if not managers:
        _set_entries(new, [Managed(owner, owner.api_version, now, written.in_order()).to_json()] if written else ())
        return
    before, others = managers.get(owner), managers.others(owner)
    changes = await changes_for(others, change, old, new, show, lambda at, was, now_is: _changes(was, now_is, at, ignored))
    take_away(managers, others, changes)
    kept = before.fields - change.removed if before is not None else _NOBODY
    if written:
        managers.put(Managed(owner, owner.api_version, now, kept | written))
    elif before is not None:
        managers.leave(before, kept)
    managers.cap()
    _set_entries(new, managers.encode())


def _check(config: JSONObject, schema: Schema | None) -> None:
    if metadata(config).get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    found = problems(schema, config)
    if found:
        text = found[0] if len(found) == 1 else "errors:\n" + "\n".join(f"  {problem}" for problem in found)
        kind = gvk(config)
        shown = f"{kind.group}/{kind.version}, Kind={kind.kind}"
        raise BadRequest(f"failed to create typed patch object ({namespace(config)}/{name(config)}; {shown}): {text}")


def _decoded(given: Sequence[JSONObject], held: Sequence[JSONObject]) -> Managers:
    """The managers a client sent, unless they cannot be read; those of the old object are known to be well-formed."""
    if len(given) == 1 and not given[0]:
        return Managers()
    if given == held:
        return Managers.decode(held, trusted=True)
    try:
        sent = Managers.decode(given, trusted=False)
    except ValueError:
        sent = Managers()
    return sent or Managers.decode(held, trusted=True)


def _managers_before_apply(live: JSONObject | None, schema: Schema | None, now: str) -> Managers:
    if live is None:
        return Managers()
    managers = Managers.decode(metadata(live).get("managedFields") or (), trusted=True)
    if not managers:
        written = _changes(None, live, schema, _NOBODY).written
        owner = Owner(BEFORE_FIRST_APPLY, Operation.UPDATE, live.get("apiVersion") or "")
        managers.put(Managed(owner, owner.api_version, now, written))
    return managers


def _changes(old: JSONObject | None, new: JSONObject, schema: Schema | None, ignored: FieldSet) -> Comparison:
    view = tracked(new)
    structs = _OTHERWISE.get(new.get("kind") or "", _GO_STRUCTS)
    if old is None:
        before = _zero(schema, view, structs)
    else:
        before = tracked(old)
        if schema is not None and schema.native:
            before = _with_structs(schema, before, view, structs)
    return compare(schema, before, view).without(ignored)


def _tracked_change(schema: Schema | None, old: JSONObject, new: JSONObject, ignored: FieldSet) -> Comparison:
    return compare(schema, tracked(old), tracked(new)).without(ignored)


def _zero(schema: Schema | None, value: Mapping[str, Any], structs: frozenset[str]) -> JSONObject:
    """What a new object is compared with: in Go, a struct that is no pointer, and a required list, are there from the start, but empty."""
    zero: JSONObject = {"metadata": {}} if "metadata" in value else {}
    if schema is None or not schema.native:
        return zero
    for part, held in value.items():
        if part in structs and isinstance(held, dict) and (node := schema.properties.get(part)) is not None and node.properties:
            zero[part] = _zero(node, held, structs)
    for part in schema.required:
        node = schema.properties.get(part)
        if node is not None and node.type == "array":
            zero[part] = None
    return zero


def _with_structs(schema: Schema, old: JSONObject, new: Mapping[str, Any], structs: frozenset[str]) -> JSONObject:
    """`old` with the structs that it does not mention, but `new` does; `old` itself where there is none."""
    filled = old
    for part, held in new.items():
        if part not in structs or not isinstance(held, dict):
            continue
        node, had = schema.properties.get(part), old.get(part)
        if node is None or not node.properties:
            continue
        inner = _with_structs(node, had, held, structs) if isinstance(had, dict) else _zero(node, held, structs)
        if inner is not had:
            filled = {**filled, part: inner}
    return filled


def _set_entries(obj: JSONObject, entries: Sequence[JSONObject]) -> None:
    if entries:
        obj.setdefault("metadata", {})["managedFields"] = list(entries)
    elif "managedFields" in metadata(obj):
        del obj["metadata"]["managedFields"]


def _refuse_conflicts(others: Sequence[Managed], changes: Changes, own: FieldSet) -> None:
    """Raise for fields that this apply would set and somebody else owns with another value; `own` are ours all the same."""
    changed = ((entry, changes.of(entry)) for entry in others)
    found = [(entry, path_text(path)) for entry, change in changed if change for path in entry.fields & (change.written - own)]
    if not found:
        return
    causes = [Cause(path, "FieldManagerConflict", f"conflict with {_shown(entry)}") for entry, path in found]
    if len(found) == 1:
        entry, path = found[0]
        raise Conflict(f"Apply failed with 1 conflict: conflict with {_shown(entry)}: {path}", causes=causes)
    by_manager: dict[str, list[str]] = {}
    for entry, path in found:
        by_manager.setdefault(_shown(entry), []).append(path)
    texts = [
        f"conflicts with {shown}:\n" + "\n".join(f"- {path}" for path in sorted(set(paths))) for shown, paths in sorted(by_manager.items())
    ]
    raise Conflict(f"Apply failed with {len(found)} conflicts: " + "\n".join(texts), causes=causes)


def _shown(entry: Managed) -> str:
    owner = entry.owner
    text = f'"{owner.manager}"' + (f' with subresource "{owner.subresource}"' if owner.subresource else "")
    return f"{text} using {entry.api_version}" if owner.operation is Operation.UPDATE else text
