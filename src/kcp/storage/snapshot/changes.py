"""A snapshot with the files of changes that were shipped after it: the chain that belongs together, and what it comes to.

    kcp-20260101-020000-r4711.snapshot
    kcp-20260101-020000-r4711.000000004711-000000004720.changes     named after its snapshot: a control plane that was restored and
    kcp-20260101-020000-r4711.000000004720-000000004800.changes     wrote another history has other names for its changes

Before: `shipping`, `cli.snapshot`. After: `file`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from kcp.storage.interface import SEALED, KeyValue, Revision
from kcp.storage.keyspace import RESTORED
from kcp.storage.snapshot.file import CHANGES_SUFFIX, DELETION, SUFFIX, UPDATE, Reader, SnapshotError, Summary

PREFIX = "kcp-"


@dataclass(frozen=True, slots=True)
class Chain:
    """Names of what is restored together."""

    snapshot: str
    changes: tuple[str, ...] = ()


def changes_name(snapshot: str, after: int, revision: int) -> str:
    """
    >>> changes_name("kcp-20260101-020000-r4711.snapshot", 4711, 4720)
    'kcp-20260101-020000-r4711.000000004711-000000004720.changes'
    """
    return f"{snapshot.removesuffix(SUFFIX)}.{after:012}-{revision:012}{CHANGES_SUFFIX}"


def chains(names: Iterable[str]) -> list[Chain]:
    """Those of a place, oldest first. Changes behind a gap are of no use, and left out."""
    names = sorted(name for name in names if name.startswith(PREFIX))
    return [Chain(name, tuple(_followed(name, names))) for name in names if name.endswith(SUFFIX)]


def _followed(snapshot: str, names: Sequence[str]) -> Iterator[str]:
    stem = snapshot.removesuffix(SUFFIX)
    reached = stem.rpartition("-r")[2].zfill(12)
    for name in names:
        if name.startswith(f"{stem}.") and name.endswith(CHANGES_SUFFIX):
            after, _, revision = name.removeprefix(f"{stem}.").removesuffix(CHANGES_SUFFIX).partition("-")
            if after != reached:
                return
            yield name
            reached = revision


def superfluous(names: Iterable[str], keep: int) -> list[str]:
    """What is not needed where the newest `keep` snapshots are kept, with their changes; nothing for 0."""
    names = list(names)
    old = [name.removesuffix(SUFFIX) for name in sorted(names) if name.startswith(PREFIX) and name.endswith(SUFFIX)][: -keep or None]
    if not keep:
        return []
    return sorted(name for name in names if any(name.startswith(f"{stem}.") for stem in old))


class Caught:
    """A snapshot caught up with the changes after it; read as the snapshot alone would be."""

    def __init__(self, base: Reader, changes: Sequence[Path]) -> None:
        """Raises: SnapshotError, OSError."""
        self._base = base
        self.header = base.header
        self.summary: Summary | None = None
        self._latest: dict[bytes, KeyValue] = {}
        for path in changes:
            self._take(path)

    def _take(self, path: Path) -> None:
        reader = Reader(path, of_changes=True)
        try:
            if reader.header.after != self.header.revision:
                raise SnapshotError(f"{path} goes on from revision {reader.header.after}, and not from {self.header.revision}")
            for kv in reader.records():
                held = self._latest.get(kv.key)
                if kv.create_revision == UPDATE and held is not None and held.create_revision != DELETION:
                    kv = replace(kv, create_revision=held.create_revision)
                self._latest[kv.key] = kv
        finally:
            reader.close()
        self.header = replace(self.header, revision=reader.header.revision, created=reader.header.created)

    def records(self) -> Iterator[KeyValue]:
        """In the order of their revisions. Raises: SnapshotError."""
        objects = size = 0
        created: dict[bytes, Revision] = {}
        for kv in self._base.records():
            if kv.key in self._latest:
                created[kv.key] = kv.create_revision
                continue
            objects, size = objects + 1, size + len(kv.key) + len(kv.value)
            yield kv
        for kv in sorted(self._latest.values(), key=lambda held: held.mod_revision):
            if kv.create_revision == DELETION:
                continue
            if kv.create_revision == UPDATE:
                kv = replace(kv, create_revision=created.get(kv.key, kv.mod_revision))
            objects, size = objects + 1, size + len(kv.key) + len(kv.value)
            yield kv
        self.summary = Summary(self.header, objects, size)

    def close(self) -> None:
        self._base.close()


def fault_of(kv: KeyValue) -> str:
    """ "" for a record that a control plane can be made of: an object under the key of its name, or one that is encrypted."""
    if kv.key == RESTORED or kv.value.startswith(SEALED):
        return ""
    try:
        metadata = orjson.loads(kv.value)["metadata"]
        name = metadata["name"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"{kv.key.decode(errors='replace')} holds no object"
    own = kv.key.rpartition(b"/")[2].decode(errors="replace")
    return "" if name == own else f"{kv.key.decode(errors='replace')} holds an object called {name}"
