"""`metadata.managedFields`: who owns which fields, as a value.

Before: `manager`. After: `fields`.
Source: apimachinery/pkg/util/managedfields/internal/{managedfields.go,buildmanagerinfo.go,capmanagers.go,stripmeta.go}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from kcp.apimachinery.apply.fields import FieldSet
from kcp.apimachinery.meta import JSONObject

MAX_UPDATE_MANAGERS = 10
"""More Update entries than this are merged, the oldest first. Source: managedfields/fieldmanager.go (DefaultMaxUpdateManagers)."""

OLD_UPDATES_MANAGER = "ancient-changes"


class Operation(StrEnum):
    APPLY = "Apply"
    UPDATE = "Update"


@dataclass(frozen=True, slots=True)
class Owner:
    """What tells one manager's entry from another's. An applier keeps its entry when it applies another version of the object."""

    manager: str
    operation: Operation
    api_version: str
    """"" for Apply."""
    subresource: str = ""

    @classmethod
    def of(cls, manager: str, operation: Operation, api_version: str, subresource: str) -> Owner:
        return cls(manager, operation, "" if operation is Operation.APPLY else api_version, subresource)


@dataclass(frozen=True, slots=True)
class Managed:
    """One manager's entry."""

    owner: Owner
    api_version: str
    time: str
    fields: FieldSet

    def to_json(self) -> JSONObject:
        entry: JSONObject = {"manager": self.owner.manager, "operation": str(self.owner.operation), "apiVersion": self.api_version}
        if self.time:
            entry["time"] = self.time
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": self.fields.to_v1()}
        if self.owner.subresource:
            entry["subresource"] = self.owner.subresource
        return entry


class Managers:
    """All managers of one object; changes stay in here until `encode`."""

    def __init__(self, entries: Iterable[Managed] = ()) -> None:
        self._entries: dict[Owner, Managed] = {entry.owner: entry for entry in entries}  # of two of one owner the later counts

    @classmethod
    def decode(cls, entries: Sequence[Mapping[str, Any]], *, trusted: bool) -> Managers:
        """Read `metadata.managedFields`.

        Args: trusted the entries were written by `encode`, so their field sets need no check.
        Raises: ValueError for an entry that no manager can have written.
        """
        return cls(_decode(entry, trusted=trusted) for entry in entries)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def get(self, owner: Owner) -> Managed | None:
        return self._entries.get(owner)

    def others(self, owner: Owner) -> list[Managed]:
        return [entry for entry in self._entries.values() if entry.owner != owner]

    def __iter__(self) -> Iterator[Managed]:
        return iter(self._entries.values())

    def fields(self, api_version: str | None = None) -> FieldSet:
        """What anybody owns, of managers of one version if it is given."""
        owned = FieldSet()
        for entry in self._entries.values():
            if api_version is None or entry.api_version == api_version:
                owned |= entry.fields
        return owned

    def put(self, entry: Managed) -> None:
        """Set one entry; an entry without fields goes."""
        if entry.fields:
            self._entries[entry.owner] = replace(entry, fields=entry.fields.in_order())
        else:
            self._entries.pop(entry.owner, None)

    def leave(self, entry: Managed, fields: FieldSet) -> None:
        """Take from an entry all but these fields; an entry without fields goes."""
        self.put(replace(entry, fields=fields))

    def drop(self, owner: Owner) -> None:
        self._entries.pop(owner, None)

    def cap(self) -> None:
        """Merge the oldest Update entries of each version into one, until there are few enough."""
        updates = sorted((e for e in self._entries.values() if e.owner.operation is Operation.UPDATE), key=_age)
        surplus = len(updates) - MAX_UPDATE_MANAGERS
        first_of_version: dict[str, Owner] = {}
        for entry in updates:
            if surplus <= 0:
                return
            first = first_of_version.setdefault(entry.api_version, entry.owner)
            if first == entry.owner:
                continue
            bucket = Owner(OLD_UPDATES_MANAGER, Operation.UPDATE, entry.api_version)
            older = self._entries.get(bucket) or self._entries.pop(first)
            self._entries.pop(entry.owner)
            self._entries[bucket] = Managed(bucket, entry.api_version, entry.time, older.fields | entry.fields)
            surplus -= 1

    def encode(self) -> list[JSONObject]:
        """The entries in their fixed order: Apply before Update, then by time and name."""
        return [entry.to_json() for entry in sorted(self._entries.values(), key=_order)]


def _age(entry: Managed) -> tuple[str, str, str, str]:
    return (entry.time, entry.owner.manager, entry.api_version, entry.owner.subresource)


def _order(entry: Managed) -> tuple[str, str, str, str, str]:
    return (str(entry.owner.operation), *_age(entry))


def _decode(entry: Mapping[str, Any], *, trusted: bool) -> Managed:
    operation = Operation(entry.get("operation") or "")
    api_version, fields = entry.get("apiVersion") or "", entry.get("fieldsV1") or {}
    if not isinstance(fields, dict):
        raise ValueError("managedFields: fieldsV1 must be an object")
    if not trusted and entry.get("fieldsType") != "FieldsV1":
        raise ValueError(f"managedFields: missing or invalid fieldsType {entry.get('fieldsType')!r}")
    owner = Owner.of(entry.get("manager") or "", operation, api_version, entry.get("subresource") or "")
    return Managed(owner, api_version, entry.get("time") or "", FieldSet(fields) if trusted else FieldSet.from_v1(fields))
