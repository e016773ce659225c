"""Names on their way into a workspace: of a binding and a CustomResourceDefinition made at the same time, one gets the name.

What is stored is known from the catalog; this is what this server has decided and is writing. What others may be writing is in `shared`.
Before: the binding controller, admission of CRDs. After: `conflicts`, `sharedlocks`.
Source: kcp pkg/reconciler/apis/apibinding/apibinding_reconcile.go, pkg/admission/crdnooverlappinggvr (resource bindings annotation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from kcp.aio.clock import Clock
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.exports.conflicts import ApiNames, Taken
from kcp.exports.sharedlocks import SharedNameLocks

_ADMITTED_S = 5.0
"""How long an admitted CustomResourceDefinition may take to be stored; one that is not stored after all frees its name then."""


class NameLocks:
    def __init__(self, clock: Clock, is_defined: Callable[[ClusterName, GroupResource], bool]) -> None:
        """Args: is_defined: whether a workspace has a CustomResourceDefinition, established or not."""
        self._clock = clock
        self._is_defined = is_defined
        self._bindings: dict[ClusterName, dict[str, tuple[ApiNames, ...]]] = {}
        self._crds: dict[tuple[ClusterName, GroupResource], float] = {}
        """Until when each is waited for."""
        self.shared: SharedNameLocks | None = None
        """None where no other server works on the same objects."""

    def hold(self, cluster: ClusterName, binding: str, names: Iterable[ApiNames]) -> None:
        """Names that a binding is being written with."""
        self._bindings.setdefault(cluster, {})[binding] = tuple(names)

    def release(self, cluster: ClusterName, binding: str) -> None:
        held = self._bindings.get(cluster, {})
        held.pop(binding, None)
        if not held:
            self._bindings.pop(cluster, None)

    def binding_of(self, cluster: ClusterName, resource: GroupResource) -> str:
        """The binding that is being written with this resource; "" for none."""
        held = self._bindings.get(cluster, {}).items()
        return next((binding for binding, names in held if any(each.group_resource == resource for each in names)), "")

    def admit(self, cluster: ClusterName, resource: GroupResource) -> None:
        """A CustomResourceDefinition may be stored from now on."""
        now = self._clock.monotonic()
        self._crds = {key: until for key, until in self._crds.items() if until > now}
        self._crds[cluster, resource] = now + _ADMITTED_S

    def stored(self, cluster: ClusterName, crd: str) -> None:
        """It has been, and whoever asks sees it itself; or it is gone. Args: crd: its name."""
        if self._crds:
            plural, _, group = crd.partition(".")
            self._crds.pop((cluster, GroupResource("" if group == "core" else group, plural)), None)

    def taken(self, cluster: ClusterName, binding: str, wanted: Iterable[ApiNames]) -> Sequence[Taken]:
        """What others are being written with. Args: wanted: the names asked for."""
        now = self._clock.monotonic()
        by_bindings = [
            Taken(names, f'APIBinding "{other}"')
            for other, held in self._bindings.get(cluster, {}).items()
            if other != binding
            for names in held
        ]
        defined = [
            names
            for names in wanted
            if self._is_defined(cluster, names.group_resource) or self._crds.get((cluster, names.group_resource), 0.0) > now
        ]
        return [*by_bindings, *(Taken.by_crd(names) for names in defined)]
