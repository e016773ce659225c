"""Which controllers and admission plugins a cluster has, for whoever wants an API server and nothing that acts on its objects.

Before: `cluster` and `server`. After: nothing.
Source: k8s.io/controller-manager/pkg/genericcontrollermanager (--controllers), k8s.io/apiserver/pkg/server/options/admission.go
(--disable-admission-plugins).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

ALL = "*"
_SUFFIX = "-controller"
_OF_THE_API_SERVER = frozenset(("crd", "apiservice", "event-ttl", "ip-addresses", "kubernetes-service", "priority-and-fairness"))
"""Not kube-controller-manager's: no choice of controllers turns them off."""


class ChoiceError(ValueError):
    """A name that nothing has; the message names the flag and what there is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    controllers: tuple[str, ...] = (ALL,)
    """`*` for all, `NAME` for one, `-NAME` for not that one; the name may end in `-controller`, as upstream's do."""
    without_admission: tuple[str, ...] = ()
    """Names of plugins."""

    def is_on(self, controller: str) -> bool:
        if controller in _OF_THE_API_SERVER:
            return True
        said = {_short(name) for name in self.controllers}
        return controller in said or (ALL in said and f"-{controller}" not in said)

    def check(self, controllers: Collection[str]) -> None:
        """Raises: ChoiceError for a controller that there is not."""
        _check("--controllers", (_short(name).removeprefix("-") for name in self.controllers if name != ALL), controllers)

    def check_admission(self, plugins: Collection[str]) -> None:
        """Raises: ChoiceError for a plugin that there is not."""
        _check("--disable-admission-plugins", self.without_admission, plugins)


def _short(name: str) -> str:
    return name.removesuffix(_SUFFIX)


def _check(flag: str, wanted: Iterable[str], there: Collection[str]) -> None:
    if unknown := [name for name in wanted if name not in there]:
        raise ChoiceError(f"{flag}: there is no {', '.join(unknown)}; there are {', '.join(sorted(set(there)))}")
