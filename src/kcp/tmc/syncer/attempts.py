"""How often what fails is tried, where its user limits that.

Before: `spec`. After: nothing.
Source: tmc reference §5.2 (tmc.kcp.io/error-policy, max-retries); what they do is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kcp.apimachinery import meta
from kcp.apimachinery.keys import ObjectKey
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model import wishes
from kcp.tmc.syncer.downstream import APPLIED_ANNOTATION


@dataclass(frozen=True, slots=True)
class Attempts:
    """Of one resource. Holds only objects that failed and limit their retries; after a restart they are tried once more."""

    _failed: dict[ObjectKey, tuple[str, int]] = field(default_factory=dict)
    """What could not be applied, and how often that was tried."""

    def are_spent(self, key: ObjectKey, view: JSONObject, desired: JSONObject) -> bool:
        """Whether this very state was tried as often as its user wants."""
        limit = wishes.max_retries(view)
        version, times = self._failed.get(key, ("", 0))
        return limit is not None and times > limit and version == _version(desired)

    def failed(self, key: ObjectKey, view: JSONObject, desired: JSONObject) -> bool:
        """Count one; whether there may be another."""
        limit, version = wishes.max_retries(view), _version(desired)
        if limit is None:
            return True
        held, times = self._failed.get(key, ("", 0))
        times = times + 1 if held == version else 1
        self._failed[key] = (version, times)
        return times <= limit

    def forget(self, key: ObjectKey) -> None:
        self._failed.pop(key, None)


def _version(desired: JSONObject) -> str:
    return meta.annotations(desired).get(APPLIED_ANNOTATION, "")
