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

ALLOWED_ANNOTATIONS = (
    "experimental.tenancy.kcp.io/owner", "authorization.kcp.io/required-groups", "kcp.io/path", "experimental.summarizing.workload.kcp.io",
)  # fmt: skip
"""Other rules watch over these, but for the last, which is for users."""

PRIVILEGED = frozenset(("system:masters", "system:kcp:admin"))
"""kcp's own plugin knows the first only, and is off by default: its admins write what they like."""

ALLOWED_LABELS = ("claimed.internal.apis.kcp.io/*",)


class ReservedMetadata:
    """Keys that *end* in `kcp.io` are reserved, such as `state.workload.kcp.io/x.kcp.io`: that is kcp's rule, and no wider one.

    Keys of the domain (`tenancy.kcp.io/phase`) are watched over by the admission of the kind that has them.
    """

    def __init__(
        self,
        *,
        is_reserved: Callable[[str], bool] = lambda key: key.endswith("kcp.io"),
        annotations: Iterable[str] = ALLOWED_ANNOTATIONS,
        labels: Iterable[str] = ALLOWED_LABELS,
        is_privileged: Callable[[UserInfo], bool] = lambda user: not PRIVILEGED.isdisjoint(user.groups),
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
