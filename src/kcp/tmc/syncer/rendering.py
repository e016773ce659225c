"""From the syncer's view of an object to what is applied in the cluster: every change on the way down, in its order. Pure.

    annotations of the object → transformations of the cluster → access to the workspace, pods shown → names, labels, what is the cluster's

The syncer and `kubectl tmc render` call the same function, so what is shown is what is sent.
Before: `spec`, `kubectl tmc render`. After: `adapt`, `transformations`, `access`, `upsync`, `downstream`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kcp.apimachinery import meta
from kcp.apimachinery.gvk import GroupResource
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.model import wishes
from kcp.tmc.model.names import WORKSPACE_URL_ANNOTATION
from kcp.tmc.syncer.access import TEMPLATED, with_access
from kcp.tmc.syncer.adapt import adapted
from kcp.tmc.syncer.downstream import to_downstream
from kcp.tmc.syncer.identity import Identity
from kcp.tmc.syncer.upsync import upsyncing


@dataclass(frozen=True, slots=True)
class Rendering:
    """For one target."""

    identity: Identity
    transform: Callable[[JSONObject], JSONObject]
    """The cluster's transformations. Raises: TMCError."""
    token_of: Callable[[JSONObject], str]
    """Name downstream of the token Secret that a workload's pods get; "" if its account has none."""
    shows_pods: bool

    def of(self, view: JSONObject, resource: GroupResource) -> JSONObject:
        """The object to apply. `view` is not changed. Raises: TMCError."""
        here = adapted(view, self.identity.name)
        if wishes.is_transformed(view):
            here = self.transform(here)
        if resource in TEMPLATED:
            here = self._at_home(here)
        namespace = self.identity.locator(meta.cluster(view), meta.namespace(view)).downstream_namespace
        return to_downstream(here, resource, key=self.identity.key, namespace=namespace)

    def _at_home(self, view: JSONObject) -> JSONObject:
        """A workload whose pods find their workspace, and are shown in it."""
        if secret := self.token_of(view):
            view = with_access(view, secret, meta.annotations(view).get(WORKSPACE_URL_ANNOTATION, ""))
        return upsyncing(view, self.identity.key) if self.shows_pods else view
