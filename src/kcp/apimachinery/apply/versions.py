"""Managers that know an object in another version: each one's fields are compared, and pruned, in the version that its entry names.

Most objects have managers of one version only; they never come here. A version that is gone has no fields any more, and its managers
are forgotten. Before: `manager`. After: `merge`, `walk`, and who shows an object in another version (`registry.versions`).
Source: structured-merge-diff merge/update.go; apimachinery/pkg/util/managedfields/internal/versionconverter.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from kcp.apimachinery.apply.fields import FieldSet
from kcp.apimachinery.apply.managers import Managed, Managers
from kcp.apimachinery.apply.merge import prune
from kcp.apimachinery.apply.view import merge_untracked, tracked
from kcp.apimachinery.apply.walk import Comparison, whole
from kcp.apimachinery.errors import Unexplained
from kcp.apimachinery.meta import JSONObject, metadata
from kcp.apimachinery.schema.structural import Schema


@dataclass(frozen=True, slots=True)
class Shown:
    """A whole object in some version."""

    obj: JSONObject
    schema: Schema | None

    @property
    def api_version(self) -> str:
        return self.obj.get("apiVersion") or ""


Show: TypeAlias = Callable[[JSONObject, str], Awaitable[Shown | None]]
"""(object, apiVersion) → the object in that version; None: there is no such version. Changes nothing. Raises Unexplained."""
Differ: TypeAlias = Callable[[Schema | None, JSONObject, JSONObject], Comparison]

_IDENTITY = FieldSet.of(("f:apiVersion",), ("f:kind",), ("f:metadata", "f:name"))


@dataclass(frozen=True, slots=True)
class Changes:
    """What a write changed, as the version of each manager tells it."""

    own: Comparison
    """In the version of the request, and in every other one that `elsewhere` does not name: those look alike."""
    elsewhere: Mapping[str, Comparison | None] = field(default_factory=dict)
    """By apiVersion; None: there is no such version."""

    def of(self, entry: Managed) -> Comparison | None:
        return self.elsewhere.get(entry.api_version, self.own)


async def changes_for(
    entries: Iterable[Managed], own: Comparison, old: JSONObject | None, new: JSONObject, show: Show | None, differ: Differ
) -> Changes:
    """The change from `old` to `new`, which is `own` in their version, in the versions of `entries`. Raises Unexplained."""
    foreign = sorted({entry.api_version for entry in entries} - {new.get("apiVersion") or ""}) if show is not None else ()
    if show is None or old is None or not foreign:
        return Changes(own)
    elsewhere: dict[str, Comparison | None] = {}
    for version in foreign:
        before = await _shown(show, old, version, "failed to convert old object")
        after = await _shown(show, new, version, "failed to convert new object") if before is not None else None
        elsewhere[version] = differ(after.schema, before.obj, after.obj) if before is not None and after is not None else None
    return Changes(own, elsewhere)


def take_away(managers: Managers, entries: Iterable[Managed], changes: Changes) -> None:
    """Remove what changed from these entries; those of versions that are gone go. Times stay: these managers did nothing."""
    for entry in entries:
        change = changes.of(entry)
        if change is None:
            managers.drop(entry.owner)
        elif not change.is_same:
            managers.leave(entry, entry.fields - (change.written | change.removed))


async def pruned(merged: Shown, last: Managed, managers: Managers, show: Show | None) -> JSONObject:
    """The tracked part of `merged` without what the manager of `last` applied then, and nobody has now. Raises Unexplained."""
    versions = {entry.api_version for entry in managers} | {merged.api_version, last.api_version}
    if show is None or len(versions) == 1:
        return _prune(merged, last.fields, managers.fields())
    told = "failed to prune fields: failed to convert merged object to last applied version"
    there = await _at(merged, last.api_version, show, told)
    if there is None:
        return tracked(merged.obj)
    left = _around(there, _prune(there, last.fields, managers.fields(last.api_version)))
    for version in sorted({entry.api_version for entry in managers} - {last.api_version}):
        left = await _with_owned_at(version, there, left, managers.fields(version), show)
    kept = await _at(left, last.api_version, show, "failed to prune fields: failed to convert pruned object to last applied version")
    if kept is None:
        return tracked(merged.obj)
    left = _around(there, _prune(there, last.fields, _everything(kept)))
    back = await _at(left, merged.api_version, show, "failed to prune fields")
    return tracked(back.obj if back is not None else merged.obj)


async def _with_owned_at(version: str, merged: Shown, left: Shown, owned: FieldSet, show: Show) -> Shown:
    """`left` with what of `merged` is owned by managers of this version, in this version; `left` itself if there is no such one."""
    told = f"failed to prune fields: failed add back owned items: failed to convert merged object at version {version}"
    whole_there = await _at(merged, version, show, told)
    left_there = await _at(left, version, show, told) if whole_there is not None else None
    if whole_there is None or left_there is None:
        return left
    return _around(whole_there, _prune(whole_there, _everything(whole_there), _everything(left_there) | owned))


def _prune(shown: Shown, last: FieldSet, owned: FieldSet) -> JSONObject:
    view: JSONObject = prune(shown.schema, tracked(shown.obj), last.tree, (owned | _IDENTITY).tree)
    return view


def _everything(shown: Shown) -> FieldSet:
    return FieldSet(whole(shown.schema, tracked(shown.obj)))


def _around(shown: Shown, view: JSONObject) -> Shown:
    head: JSONObject = {key: shown.obj[key] for key in ("apiVersion", "kind") if key in shown.obj}
    return Shown(merge_untracked(shown.obj, head, view), shown.schema)


async def _at(shown: Shown, version: str, show: Show, told: str) -> Shown | None:
    return shown if shown.api_version == version else await _shown(show, shown.obj, version, told)


async def _shown(show: Show, obj: JSONObject, version: str, told: str) -> Shown | None:
    held = {key: value for key, value in metadata(obj).items() if key != "managedFields"}
    try:
        return await show({**obj, "metadata": held}, version)
    except Unexplained as error:
        raise Unexplained(f"{told}: {error}") from error
