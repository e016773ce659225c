"""Which key is at which revision, in memory and in key order: what the embedded stores decide by and list from.

The index holds revisions only; values stay in the store's log. It belongs to the event loop's thread.
Before: `memory`, `sqlite`; `SortedKeys` also `prefixcache`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kcp.storage.interface import Compacted, FutureRevision, Revision

_CHUNK_KEYS = 1_000
"""Keys per chunk of a sorted set; it is split at twice as many. An insertion moves at most that many pointers."""

FIRST_REVISION = 1
"""Revision of an empty store, as in etcd: a list of it can be watched from, "0" could not (it means "any")."""


def prefix_end(prefix: bytes) -> bytes | None:
    """The first key after all keys that start with `prefix`; None if there is no such key.

    >>> prefix_end(b"/registry/")
    b'/registry0'
    """
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None


class SortedKeys:
    """An ordered set of keys: chunked sorted lists, so that insertion stays cheap at a million keys."""

    __slots__ = ("_chunks", "_lasts", "_size")

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        ordered = sorted(keys)
        self._chunks = [ordered[i : i + _CHUNK_KEYS] for i in range(0, len(ordered), _CHUNK_KEYS)]
        self._lasts = [chunk[-1] for chunk in self._chunks]
        self._size = len(ordered)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            yield from chunk

    def add(self, key: bytes) -> None:
        """Insert a key that is not in the set."""
        self._size += 1
        if not self._chunks:
            self._chunks.append([key])
            self._lasts.append(key)
            return
        at = min(bisect_left(self._lasts, key), len(self._lasts) - 1)
        chunk = self._chunks[at]
        insort(chunk, key)
        if len(chunk) > 2 * _CHUNK_KEYS:
            self._chunks.insert(at + 1, chunk[_CHUNK_KEYS:])
            self._lasts.insert(at + 1, chunk[-1])
            del chunk[_CHUNK_KEYS:]
        self._lasts[at] = chunk[-1]

    def discard(self, key: bytes) -> None:
        at = bisect_left(self._lasts, key)
        if at == len(self._lasts):
            return
        chunk = self._chunks[at]
        i = bisect_left(chunk, key)
        if chunk[i] != key:
            return
        del chunk[i]
        self._size -= 1
        if chunk:
            self._lasts[at] = chunk[-1]
        else:
            del self._chunks[at], self._lasts[at]

    def scan(self, prefix: bytes, after: bytes = b"", limit: int = 0) -> list[bytes]:
        """Keys that start with `prefix` and sort after `after` (exclusive), in order; `limit` 0 for all."""
        (at, start), (last, stop) = self._range(prefix, after)
        found: list[bytes] = []
        while at <= last and at < len(self._chunks):
            chunk = self._chunks[at]
            end = stop if at == last else len(chunk)
            found += chunk[start : min(end, start + limit - len(found)) if limit else end]
            if limit and len(found) >= limit:
                break
            at, start = at + 1, 0
        return found

    def count(self, prefix: bytes, after: bytes = b"") -> int:
        (at, start), (last, stop) = self._range(prefix, after)
        if at == last:
            return max(stop - start, 0)
        return stop - start + sum(len(self._chunks[i]) for i in range(at, last))

    def _range(self, prefix: bytes, after: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
        end = prefix_end(prefix)
        stop = (len(self._chunks), 0) if end is None else self._position(end)
        start = self._position(after + b"\x00") if after >= prefix else self._position(prefix)
        return min(start, stop), stop

    def _position(self, key: bytes) -> tuple[int, int]:
        """Chunk and offset of the first key >= `key`."""
        at = bisect_left(self._lasts, key)
        return (at, bisect_left(self._chunks[at], key)) if at < len(self._chunks) else (at, 0)


@dataclass(frozen=True, slots=True)
class Found:
    """What a scan of the index found: keys with the revision of the value they had."""

    keys: list[tuple[bytes, int]]
    revision: Revision
    remaining: int


class KeyIndex:
    """Live keys with their revisions, and per changed key the revisions since the compaction mark.

    Revisions are applied without gaps: the key written at each one is known, so that a list at an older revision costs what has
    changed since, and a compaction what it drops.
    """

    def __init__(self) -> None:
        self.revision = FIRST_REVISION
        self.compacted = 0
        self._current: dict[bytes, int] = {}
        self._created: dict[bytes, int] = {}
        """Revision of creation, for keys that were changed since."""
        self._history: dict[bytes, list[int]] = {}
        """Every kept revision of a key that has more than one, ascending; a deletion is negative."""
        self._written: list[bytes] = []
        """Keys by revision; the first `_skipped` are compacted, the next one was written at `_base + 1`."""
        self._skipped = 0
        self._base = FIRST_REVISION
        self._live = SortedKeys()

    @classmethod
    def load(cls, rows: Iterable[tuple[int, bytes, int, bool]], compacted: int) -> KeyIndex:
        """Rebuild from log rows (revision, key, revision of creation, is deletion) in ascending order.

        Raises: ValueError if a revision above the compaction mark is missing.
        """
        index = cls()
        index.compacted = compacted
        index._base = index.revision = max(compacted, FIRST_REVISION)
        for revision, key, created, is_delete in rows:
            if revision <= compacted:
                index._current[key] = revision
                if created != revision:
                    index._created[key] = created
            elif revision != index.revision + 1:
                raise ValueError(f"revision {index.revision + 1} is missing from the log, the next one is {revision}")
            else:
                index._record(key, revision, is_delete=is_delete)
        index._live = SortedKeys(index._current)
        return index

    def __len__(self) -> int:
        return len(self._current)

    def current(self, key: bytes) -> int:
        """Mod revision of the live value, 0 if there is none."""
        return self._current.get(key, 0)

    def created(self, key: bytes) -> int:
        """Revision at which the live value was created, 0 if there is none."""
        return self._created.get(key) or self._current.get(key, 0)

    def apply(self, key: bytes, revision: int, *, is_delete: bool) -> None:
        """Take in the write at `revision`, which is the next one."""
        if is_delete:
            self._live.discard(key)
        elif key not in self._current:
            self._live.add(key)
        self._record(key, revision, is_delete=is_delete)

    def _record(self, key: bytes, revision: int, *, is_delete: bool) -> None:
        old = self._current.get(key)
        if is_delete:
            self._current.pop(key, None)
            self._created.pop(key, None)
        else:
            self._current[key] = revision
            if old is not None:
                self._created.setdefault(key, old)
        if (history := self._history.get(key)) is not None:
            history.append(-revision if is_delete else revision)
        elif old is not None:
            self._history[key] = [old, -revision if is_delete else revision]
        self._written.append(key)
        self.revision = revision

    def at(self, key: bytes, revision: int) -> int:
        """Revision of the value that `key` had at `revision`, 0 if it had none."""
        current = self._current.get(key, 0)
        if 0 < current <= revision:
            return current
        history = self._history.get(key)
        if not history:
            return 0
        i = bisect_right(history, revision, key=abs)
        return max(history[i - 1], 0) if i else 0

    def scan(self, prefix: bytes, after: bytes, limit: int, revision: int) -> Found:
        """Keys as they were at `revision` (0: latest).

        Raises: Compacted, FutureRevision.
        """
        if revision > self.revision:
            raise FutureRevision(Revision(self.revision))
        if revision and revision < self.compacted:
            raise Compacted(Revision(self.compacted))
        if not revision or revision == self.revision:
            keys = self._live.scan(prefix, after, limit)
            remaining = self._live.count(prefix, after) - len(keys) if limit else 0
            current = self._current
            return Found([(key, current[key]) for key in keys], Revision(self.revision), remaining)
        return self._scan_old(prefix, after, limit, revision)

    def _scan_old(self, prefix: bytes, after: bytes, limit: int, revision: int) -> Found:
        changed = {key for key in self.written_since(revision) if key > after and key.startswith(prefix)}
        then = {key: was for key in changed if (was := self.at(key, revision))}
        total = self._live.count(prefix, after) - sum(key in self._current for key in changed) + len(then)
        candidates = self._live.scan(prefix, after, limit + len(changed) if limit else 0)
        found = [(key, self._current[key]) for key in candidates if key not in changed]
        found += then.items()
        found.sort()
        if limit:
            del found[limit:]
        return Found(found, Revision(revision), total - len(found))

    def written_since(self, revision: int) -> list[bytes]:
        """The keys written after `revision`, in order, with repetitions."""
        return self._written[self._skipped + max(revision - self._base, 0) :]

    def compact(self, revision: int) -> list[int]:
        """Forget what was superseded at or before `revision`; returns the revisions whose rows nobody can see any more."""
        dropped: list[int] = []
        stop = self._skipped + revision - self._base
        for key in dict.fromkeys(self._written[self._skipped : stop]):
            history = self._history.get(key)
            if history is None:
                continue
            newest = bisect_right(history, revision, key=abs) - 1
            keep_from = newest + 1 if newest >= 0 and history[newest] < 0 else max(newest, 0)
            dropped += map(abs, history[:keep_from])
            del history[:keep_from]
            if len(history) <= 1 and (not history or self._current.get(key) == history[0]):
                del self._history[key]
        self._skipped, self._base = stop, revision
        self.compacted = revision
        if self._skipped > len(self._written) // 2:
            del self._written[: self._skipped]
            self._skipped = 0
        return dropped
