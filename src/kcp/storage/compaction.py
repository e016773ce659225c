"""Keeps the store's history short: what was superseded some minutes ago is forgotten, as kube-apiserver does with etcd.

Before: `server.compose` runs it as a supervised task. After: `Store.compact`, `WatchCache.compact`.
Source: k8s.io/apiserver/pkg/storage/etcd3/compact.go (every 5 minutes to the revision of 5 minutes ago).
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.aio.memory import give_back
from kcp.storage.interface import Revision, Store, StoreClosed, StoreError
from kcp.storage.watchcache import WatchCache

log = logging.getLogger(__name__)

_MUCH_BYTES = 1 << 24
"""Of forgotten objects, after which freed memory is given back to the system."""
_LITTLE_BYTES = 1 << 20
"""Forgotten in one step: what was going on is over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactionConfig:
    """How much history is kept."""

    keep_s: float = 300.0
    """Lists and watches from this long ago still work; kube-apiserver's value."""
    keep_revisions: int = 1_000_000
    """But never more revisions than these, so that a flood of writes cannot fill the disk."""
    interval_s: float = 30.0
    """Time between two compactions."""

    @classmethod
    def keeping(cls, keep_s: float) -> CompactionConfig:
        """
        >>> CompactionConfig.keeping(10).interval_s
        10
        """
        return cls(keep_s=keep_s, interval_s=min(keep_s, cls().interval_s))


class Compactor:
    """Compacts a store, and its watch cache's histories, by the clock."""

    def __init__(self, store: Store, *, clock: Clock, cache: WatchCache | None = None, config: CompactionConfig | None = None) -> None:
        self._store = store
        self._cache = cache
        self._clock = clock
        self._config = config or CompactionConfig()
        self._forgotten_bytes = 0
        """Since memory was last given back."""
        self._marks: deque[tuple[float, int]] = deque()
        """When the store was seen at which revision."""

    async def run(self) -> None:
        """Compact until cancelled or the store is closed. A failure, such as a full disk, is logged and tried again."""
        while True:
            try:
                await self.step()
            except StoreClosed:
                return
            except StoreError as e:
                log.warning("compaction failed, again in %.0f s: %s", self._config.interval_s, e)
            await self._clock.sleep(self._config.interval_s)

    async def step(self) -> int:
        """Compact what is due now; the revision compacted to, 0 if none is due."""
        now, current = self._clock.monotonic(), await self._store.current_revision()
        self._marks.append((now, current))
        due = current - self._config.keep_revisions
        while self._marks and self._marks[0][0] <= now - self._config.keep_s:
            due = max(due, self._marks.popleft()[1])
        if due <= 1:
            return 0
        await self._store.compact(Revision(due))
        self._forget(self._cache.compact(due) if self._cache is not None else 0)
        return due

    def _forget(self, forgotten: int) -> None:
        """Give memory back while much is forgotten, and what is left of it once little is."""
        self._forgotten_bytes += forgotten
        if self._forgotten_bytes >= (_MUCH_BYTES if forgotten >= _LITTLE_BYTES else _LITTLE_BYTES):
            self._forgotten_bytes = 0
            give_back()
