"""A mirror that does not show yet what was written a moment ago: who decides on it once more writes on stale ground, and loses.

Before: reconcilers that write an object several times. After: nothing. Versions are compared for equality only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kcp.apimachinery import meta
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject


@dataclass(frozen=True, slots=True)
class Superseded:
    """Of one resource: versions of objects that the server has told us are old. The event of the newer one is on its way for certain."""

    _versions: dict[ObjectKey, set[str]] = field(default_factory=dict)

    def wrote(self, old: JSONObject, written: JSONObject) -> None:
        """Args: written: what the server answered to a write on the ground of `old`."""
        version = meta.resource_version(old)
        if version and version != meta.resource_version(written):
            self._versions.setdefault(meta.key(old), set()).add(version)

    def holds(self, obj: JSONObject) -> bool:
        """Whether there is a newer one. Its event brings the reconciler back."""
        key = meta.key(obj)
        versions = self._versions.get(key)
        if versions is None:
            return False
        if meta.resource_version(obj) in versions:
            return True
        del self._versions[key]
        return False

    def forget(self, key: ObjectKey) -> None:
        """It is gone."""
        self._versions.pop(key, None)

    def __len__(self) -> int:
        return len(self._versions)
