"""The file: gzip around a header line, one record per object in order of revision, and a checksum over all of it.

    {"format": "kcp-snapshot", "version": 1, "revision": …, "created": …, "source": …}\\n
    record = length of key, length of value, create revision, mod revision (big-endian u32 u32 u64 u64), key, value
    end    = a record of lengths 0, the number of records as its mod revision, then SHA-256 of all bytes before the digest

Only what is live is in it: a store made from it begins its history at the snapshot's revision. A file of changes, "kcp-changes", has in
its header `after` too, the revision that it goes on from. Its records are writes: one of create revision 0 is a deletion, one of create
revision 1 changes an object that was created when its snapshot, or an earlier file, says.
Before: `sources`, `shipping`, `restore`, `cli.snapshot`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kcp.storage.interface import KeyValue, Revision, StoreError

_RECORD = struct.Struct(">IIQQ")
_LEVEL = 1
"""Of compression: objects shrink to a tenth at any level, and higher ones cost five times as long."""
_MAX_BYTES = 1 << 26
"""A longer key or value is no object of ours: the file is damaged."""
_SYNC_EVERY = 1_000
SUFFIX, CHANGES_SUFFIX = ".snapshot", ".changes"
DELETION, UPDATE = Revision(0), Revision(1)
"""In place of create revisions in a file of changes; the first write of a store has revision 2."""
_FORMATS = {False: "kcp-snapshot", True: "kcp-changes"}
_LONGEST_HEADER = 65_536


class SnapshotError(StoreError):
    """A file that is no snapshot, not a whole one, or of a newer version."""


@dataclass(frozen=True, slots=True)
class Header:
    revision: int
    """Of the store, when it was taken."""
    created: str
    """When, RFC 3339."""
    source: str
    """What it was taken of, for people."""
    after: int | None = None
    """Of a file of changes: the revision that it goes on from."""

    def line(self) -> bytes:
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps({"format": _FORMATS[self.after is not None], "version": 1, **fields}).encode() + b"\n"

    @classmethod
    def parse(cls, line: bytes, name: str, *, of_changes: bool = False) -> Header:
        """Raises SnapshotError."""
        try:
            found: Any = json.loads(line)
        except ValueError:
            found = {}
        if not isinstance(found, dict) or found.get("format") != _FORMATS[of_changes]:
            raise SnapshotError(f"{name} is no {'file of changes' if of_changes else 'snapshot'}")
        if found.get("version") != 1:
            raise SnapshotError(f"{name} was written by a newer version (format {found.get('version')}, this program knows 1)")
        return cls(int(found["revision"]), str(found["created"]), str(found["source"]), found.get("after"))

    @classmethod
    def of_beginning(cls, packed: bytes, name: str) -> Header:
        """From the first bytes of a file. Raises SnapshotError."""
        try:
            line, _, _ = zlib.decompressobj(wbits=31).decompress(packed, _LONGEST_HEADER).partition(b"\n")
        except zlib.error:
            line = b""
        return cls.parse(line, name)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a file holds, once it was read to its end."""

    header: Header
    objects: int
    bytes: int
    """Of keys and values."""


class _Hashing:
    """A file that knows the digest of what went through it."""

    def __init__(self, inner: gzip.GzipFile) -> None:
        self._inner = inner
        self._sha = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._sha.update(data)
        self._inner.write(data)

    def read(self, size: int) -> bytes:
        data = self._inner.read(size)
        self._sha.update(data)
        return data

    def readline(self, limit: int) -> bytes:
        data = self._inner.readline(limit)
        self._sha.update(data)
        return data

    def digest(self) -> bytes:
        return self._sha.digest()


async def write(
    path: Path, header: Header, pages: AsyncIterator[Sequence[KeyValue]], *, progress: Callable[[int], None] = lambda objects: None
) -> Summary:
    """Write a snapshot; `path` is there only when it is whole and on the disk.

    Raises: StoreError of the source; OSError.
    """
    part = path.with_name(path.name + ".part")
    objects = size = 0
    try:
        with part.open("wb") as raw:
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=_LEVEL, mtime=0) as packed:
                out = _Hashing(packed)
                out.write(header.line())
                async for page in pages:
                    for kv in page:
                        out.write(_RECORD.pack(len(kv.key), len(kv.value), kv.create_revision, kv.mod_revision) + kv.key + kv.value)
                        objects, size = objects + 1, size + len(kv.key) + len(kv.value)
                    progress(objects)
                out.write(_RECORD.pack(0, 0, 0, objects))
                packed.write(out.digest())
            raw.flush()
            os.fsync(raw.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return Summary(header, objects, size)


class Reader:
    """A snapshot that is being read: `header` at once, `records`, and then `summary`."""

    def __init__(self, path: Path, *, of_changes: bool = False) -> None:
        """Raises: SnapshotError, OSError."""
        self._path = path
        self._of_changes = of_changes
        self._packed = gzip.open(path, "rb")  # noqa: SIM115 - closed by `close`
        self._in = _Hashing(self._packed)
        self.header = self._header()
        self.summary: Summary | None = None
        """Once `records` has come to its end and the checksum is right."""

    def close(self) -> None:
        self._packed.close()

    def _header(self) -> Header:
        try:
            line = self._in.readline(_LONGEST_HEADER)
        except (OSError, EOFError, zlib.error):
            line = b""
        return Header.parse(line, str(self._path), of_changes=self._of_changes)

    def records(self) -> Iterator[KeyValue]:
        """In the order of their revisions.

        Raises: SnapshotError where the file is damaged or ends too early: nothing that was read before may be trusted then.
        """
        objects = size = 0
        try:
            while True:
                key_bytes, value_bytes, created, modified = _RECORD.unpack(self._exactly(_RECORD.size))
                if not key_bytes:
                    break
                if max(key_bytes, value_bytes) > _MAX_BYTES:
                    raise SnapshotError(f"{self._path} is damaged after {objects} objects")
                key, value = self._exactly(key_bytes), self._exactly(value_bytes)
                objects, size = objects + 1, size + key_bytes + value_bytes
                yield KeyValue(key, value, Revision(created), Revision(modified))
            digest = self._in.digest()
            if modified != objects or self._packed.read(len(digest) + 1) != digest:
                raise SnapshotError(f"{self._path} is damaged: its checksum is not that of its content")
        except (OSError, EOFError, zlib.error) as e:
            raise SnapshotError(f"{self._path} is damaged after {objects} objects: {e}") from None
        self.summary = Summary(self.header, objects, size)

    def _exactly(self, size: int) -> bytes:
        data = self._in.read(size)
        if len(data) != size:
            raise EOFError("it ends too early")
        return data


def verify(path: Path, progress: Callable[[int], None] = lambda objects: None) -> Summary:
    """Read a snapshot to its end.

    Raises: SnapshotError, OSError.
    """
    reader = Reader(path)
    try:
        for number, _ in enumerate(reader.records(), 1):
            if number % _SYNC_EVERY == 0:
                progress(number)
    finally:
        reader.close()
    assert reader.summary is not None
    return reader.summary
