"""What the cluster has taken and its watch has not shown yet: it is not sent once more meanwhile.

A syncer that holds an object hears of its own finalizer, often before it hears of the copy that it has made since.
Before: `spec`. After: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.syncer.downstream import APPLIED_ANNOTATION

_SHOWN_WITHIN_S = 1.0
"""After this time whoever looks sends it again: a watch that is longer in coming may have broken."""


class _Copy(NamedTuple):
    version: str
    until_s: float
    """On the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Of one resource; keys are those of the workspaces' objects. Holds an object for as long as its copy's event takes to come."""

    clock: Clock
    _copies: dict[ObjectKey, _Copy] = field(default_factory=dict)

    def taken(self, key: ObjectKey, desired: JSONObject) -> None:
        """The cluster has answered that the copy is so."""
        self._copies[key] = _Copy(_version(desired), self.clock.monotonic() + _SHOWN_WITHIN_S)

    def is_to_be_shown(self, key: ObjectKey, desired: JSONObject) -> bool:
        """Whether exactly this was taken a moment ago: its event brings us back."""
        held = self._copies.get(key)
        if held is None:
            return False
        if held.version == _version(desired) and self.clock.monotonic() < held.until_s:
            return True
        del self._copies[key]
        return False

    def shown(self, key: ObjectKey, copy: JSONObject | None) -> None:
        """The watch shows the copy, or that it is gone: from here on the mirror is to be believed."""
        held = self._copies.get(key)
        if held is not None and (copy is None or held.version == _version(copy)):
            del self._copies[key]

    def __len__(self) -> int:
        return len(self._copies)


def _version(obj: JSONObject) -> str:
    return meta.annotations(obj).get(APPLIED_ANNOTATION, "")
