"""ReservedMetadata: labels and annotations that the server keeps for itself are written by privileged users only.

Before: `admission.chain`. After: nothing.
Source: kcp pkg/admission/reservedmetadata/admission.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from kcp.apimachinery import meta
from kcp.apiserver.admission.chain import Plugin
from kcp.apiserver.admission.refusal import forbidden
from kcp.registry.backend import Attributes, UserInfo

ALLOWED_ANNOTATIONS = ("experimental.tenancy.kcp.io/owner", "authorization.kcp.io/required-groups", "kcp.io/path")
"""Other rules watch over these."""

ALLOWED_LABELS = ("claimed.internal.apis.kcp.io/*",)


def is_reserved(key: str) -> bool:
    """Below `workload.kcp.io` users say how TMC is to treat their objects, and what they mark so goes down into clusters with its labels.

    >>> is_reserved("some.kcp.io"), is_reserved("experimental.summarizing.workload.kcp.io"), is_reserved("test.workload.kcp.io")
    (True, False, False)
    """
    return key.endswith("kcp.io") and ("/" in key or not key.endswith(".workload.kcp.io"))


class ReservedMetadata:
    """Keys that *end* in `kcp.io` are reserved, such as `state.workload.kcp.io/x.kcp.io`: that is kcp's rule, and no wider one
    (there the plugin is off by default, and kcp 0.11's suites mark objects so, see `is_reserved`).

    Keys of the domain (`tenancy.kcp.io/phase`) are watched over by the admission of the kind that has them.
    """

    def __init__(
        self,
        *,
        is_reserved: Callable[[str], bool] = is_reserved,
        annotations: Iterable[str] = ALLOWED_ANNOTATIONS,
        labels: Iterable[str] = ALLOWED_LABELS,
        is_privileged: Callable[[UserInfo], bool] = lambda user: "system:masters" in user.groups,
    ) -> None:
        """`annotations`, `labels`: allowed all the same; a trailing `*` allows all that start so."""
        self._is_reserved = is_reserved
        self._annotations = tuple(annotations)
        self._labels = tuple(labels)
        self._is_privileged = is_privileged

    def plugin(self) -> Plugin:
        return Plugin(name="ReservedMetadata", validate=self.check, subresources=None)

    async def check(self, attributes: Attributes) -> None:
        new, old = attributes.new or {}, attributes.old or {}
        if self._is_privileged(attributes.user):
            return
        for what, allowed in (("annotations", self._annotations), ("labels", self._labels)):
            before, after = meta.metadata(old).get(what) or {}, meta.metadata(new).get(what) or {}
            if before != after and (key := self._changed(before, after, allowed)):
                raise forbidden(attributes, f'modification of reserved {what[:-1]}: "{key}"')

    def _changed(self, before: Mapping[str, str], after: Mapping[str, str], allowed: tuple[str, ...]) -> str:
        """The first reserved key, in alphabetical order, that differs; "" if none does."""
        differing = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        return next((key for key in differing if self._is_reserved(key) and not _is_allowed(key, allowed)), "")


def _is_allowed(key: str, allowed: tuple[str, ...]) -> bool:
    return any(key.startswith(a[:-1]) if a.endswith("*") else key == a for a in allowed)
