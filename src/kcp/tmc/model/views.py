"""What is made of an informer's objects, once for each of their versions: who looks at all Placements of a workspace decodes what changed.

Before: the controllers of `placement`. After: informers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from kcp.apimachinery import meta
from kcp.apimachinery.keys import ClusterName, ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.controller.informer import Informer

T = TypeVar("T")


class Views(Generic[T]):
    """At most one view for each object that exists, and only of those somebody asked for."""

    def __init__(self, informer: Informer, make: Callable[[JSONObject], T]) -> None:
        self.informer = self._informer = informer
        self._make = make
        self._held: dict[ObjectKey, tuple[str, T]] = {}
        informer.add_deletion_handler(lambda obj: self._forget(meta.key(obj)))

    def get(self, key: ObjectKey) -> T | None:
        version = self._informer.version_of(key)
        held = self._held.get(key)
        if held is not None and held[0] == version:
            return held[1]
        obj = self._informer.get(key)
        if obj is None or version is None:
            self._forget(key)
            return None
        made = self._make(obj)
        self._held[key] = version, made
        return made

    def of_cluster(self, cluster: ClusterName) -> list[T]:
        """In the order of keys."""
        return [view for key in self._informer.keys(cluster=cluster) if (view := self.get(key)) is not None]

    def _forget(self, key: ObjectKey) -> None:
        self._held.pop(key, None)
