"""Which keys an informer holds in a cluster, and in a namespace there.

Before: `informer`. Ten thousand workspaces have one object of most kinds, or a few: those of a cluster stand in one tuple, which is a
fraction of two dicts in memory, and in what the garbage collector looks at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from kcp.apimachinery.keys import ClusterName, ObjectKey

_FEW = 8
"""Keys that a tuple may hold: each change makes it anew."""

_Many: TypeAlias = dict[str, dict[ObjectKey, None]]
"""By namespace."""


class Scopes:
    """Keys by cluster and namespace."""

    def __init__(self) -> None:
        self._held: dict[ClusterName, tuple[ObjectKey, ...] | _Many] = {}

    def add(self, key: ObjectKey) -> None:
        """Take in a key that is not there."""
        held = self._held.get(key.cluster)
        if isinstance(held, dict):
            held.setdefault(key.namespace, {})[key] = None
        elif held is None:
            self._held[key.cluster] = (key,)
        elif len(held) < _FEW:
            self._held[key.cluster] = (*held, key)
        else:
            many: _Many = {}
            for each in (*held, key):
                many.setdefault(each.namespace, {})[each] = None
            self._held[key.cluster] = many

    def discard(self, key: ObjectKey) -> None:
        """Forget a key that is there."""
        held = self._held[key.cluster]
        if isinstance(held, dict):
            del held[key.namespace][key]
            if not held[key.namespace]:
                del held[key.namespace]
        else:
            held = self._held[key.cluster] = tuple(each for each in held if each != key)
        if not held:
            del self._held[key.cluster]

    def keys(self, cluster: ClusterName | None, namespace: str | None) -> Iterator[ObjectKey]:
        """Those of one cluster or all, and of one namespace or all, in no order."""
        for held in self._held.values() if cluster is None else (self._held.get(cluster, ()),):
            if isinstance(held, dict):
                for keys in held.values() if namespace is None else (held.get(namespace, {}),):
                    yield from keys
            else:
                yield from (key for key in held if namespace is None or key.namespace == namespace)

    def count(self, cluster: ClusterName, namespace: str | None) -> int:
        """How many `keys` gives, of many objects without looking at them."""
        held = self._held.get(cluster, ())
        if not isinstance(held, dict):
            return sum(1 for _ in self.keys(cluster, namespace))
        return sum(map(len, held.values())) if namespace is None else len(held.get(namespace, ()))

    def clusters(self) -> list[ClusterName]:
        """Those with at least one key, in order."""
        return sorted(self._held)
