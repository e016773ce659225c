"""Watches of what may cease to be served: they end when their resource is gone, or is served otherwise than when they began.

Before: `watches`; the catalog's sources say what has changed. After: nothing.
Source: apiextensions-apiserver/pkg/apiserver/customresource_handler.go, removeStorage_locked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.keys import ClusterName

_ENDS_KEPT = 1024
"""Ends that a watch which has just been asked for can still be told of."""


class Lifetime:
    """Of one watch."""

    __slots__ = ("_ring", "is_over")

    def __init__(self) -> None:
        self.is_over = False
        self._ring: Callable[[], None] | None = None

    def end(self) -> None:
        self.is_over = True
        if self._ring is not None:
            self._ring()

    def wake(self, ring: Callable[[], None]) -> None:
        """Call `ring` at the end, or now if it is over already."""
        self._ring = ring
        if self.is_over:
            ring()


class Lifetimes:
    """Of the running watches."""

    def __init__(self) -> None:
        self._running: dict[tuple[ClusterName, GVR], set[Lifetime]] = {}
        self.now = 0
        """How many ends there were: to be given to `lifetime` by a watch that was asked for now."""
        self._ended: deque[tuple[int, ClusterName, GVR | None]] = deque(maxlen=_ENDS_KEPT)

    def end(self, cluster: ClusterName, resources: Iterable[GVR]) -> None:
        """Let the watches end of resources that this cluster does not serve any more as it did: clients ask again, and are told."""
        for gvr in resources:
            self.now += 1
            self._ended.append((self.now, cluster, gvr))
            for lifetime in self._running.get((cluster, gvr), ()):
                lifetime.end()

    def end_all(self, cluster: ClusterName) -> None:
        """Let every watch of this cluster end; those of all clusters go on."""
        self.now += 1
        self._ended.append((self.now, cluster, None))
        for (watched, _), lifetimes in list(self._running.items()):
            if watched == cluster:
                for lifetime in lifetimes:
                    lifetime.end()

    @contextmanager
    def lifetime(self, cluster: ClusterName, gvr: GVR, since: int) -> Iterator[Lifetime]:
        """Of a watch that was asked for at `since` and runs inside the block."""
        lifetime = Lifetime()
        if self._has_ended(cluster, gvr, since):
            lifetime.end()
        self._running.setdefault((cluster, gvr), set()).add(lifetime)
        try:
            yield lifetime
        finally:
            running = self._running[cluster, gvr]
            running.discard(lifetime)
            if not running:
                del self._running[cluster, gvr]

    def _has_ended(self, cluster: ClusterName, gvr: GVR, since: int) -> bool:
        """Also true where that is not known any more."""
        if self.now == since:
            return False
        return self.now - since > _ENDS_KEPT or any(c == cluster and g in (gvr, None) for n, c, g in self._ended if n > since)
