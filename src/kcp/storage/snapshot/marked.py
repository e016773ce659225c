"""A backup with the mark of its restoration, as it is restored.

Before: `cli.snapshot`. After: `restore`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace

from kcp.storage.interface import KeyValue, Revision
from kcp.storage.keyspace import RESTORED
from kcp.storage.restored import Restored
from kcp.storage.snapshot.file import Header, Summary
from kcp.storage.snapshot.restore import Content

SKIPPED_REVISIONS = 10_000
"""Between what is restored and what is written next: revisions that were given out after the backup are not given out again, so that
whoever remembers one is told to list anew. Source: etcdutl snapshot restore --bump-revision --mark-compacted."""


class Marked:
    """Content of a backup, with the mark of its restoration as its last record."""

    def __init__(self, content: Content, restored: Restored, skipped: int = SKIPPED_REVISIONS) -> None:
        self._content, self._restored = content, restored
        self._at = Revision(content.header.revision + 1 + skipped)

    @property
    def header(self) -> Header:
        return replace(self._content.header, revision=self._at)

    @property
    def summary(self) -> Summary | None:
        return self._content.summary

    def records(self) -> Iterator[KeyValue]:
        yield from (kv for kv in self._content.records() if kv.key != RESTORED)
        yield KeyValue(RESTORED, json.dumps(asdict(self._restored)).encode(), self._at, self._at)
