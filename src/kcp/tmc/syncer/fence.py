"""What a syncer stops in its cluster when it has lost touch: exclusive workloads, which may be started elsewhere from then on.

They are stopped, not deleted: replicas to none, Jobs suspended, daemons to no node. Back in touch, the syncer applies what is wanted, after
it has asked whether the object is still this cluster's. All is in the copies: whoever runs next finds what is to be stopped or restored.
Before: `lease`, at its end. After: the cluster. `placement.exclusive` is the other half.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from kcp.aio.clock import Clock
from kcp.aio.deadline import within
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.client.transport import TransportError
from kcp.tmc.model.kinds import STOPPABLE
from kcp.tmc.model.names import DOWNSTREAM_CLUSTER_LABEL, SYNCER_FIELD_MANAGER
from kcp.tmc.model.wishes import EXCLUSIVE
from kcp.tmc.syncer.downstream import APPLIED_ANNOTATION
from kcp.tmc.syncer.identity import Identity
from kcp.tmc.syncer.put import CLUSTER_LABEL

log = logging.getLogger(__name__)

FENCED = "fenced"
"""In place of the hash of what was applied: the copy is to be applied anew, and nobody has meddled with it."""
_LIFTED: dict[GVR, JSONObject] = {GVR("apps", "v1", "daemonsets"): {"template": {"spec": {"nodeSelector": {"tmc.kcp.io/fenced": None}}}}}
"""What applying the wanted state alone would not take back."""
_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Fence:
    cluster: str
    """Name of the SyncTarget."""
    downstream: Client
    clock: Clock
    selector: str
    """Of this syncer's copies."""

    @classmethod
    def of(cls, identity: Identity, downstream: Client, clock: Clock) -> Fence:
        return cls(identity.name, downstream, clock, f"{DOWNSTREAM_CLUSTER_LABEL}={identity.key},{EXCLUSIVE}")

    @classmethod
    def by_name(cls, target: str, downstream: Client, clock: Clock) -> Fence:
        """For a syncer that could not ask yet what its copies' key is. Args: target: name of the SyncTarget."""
        return cls(target, downstream, clock, f"{CLUSTER_LABEL}={target},{DOWNSTREAM_CLUSTER_LABEL},{EXCLUSIVE}")

    async def is_needed(self) -> bool:
        """Whether there is anything to stop; where the cluster does not answer there may be."""
        try:
            lists = [await within(self.clock, _LIMIT_S, self._copies(gvr)) for gvr in STOPPABLE]
        except (StatusError, TransportError, TimeoutError):
            return True
        return any(lists)

    async def _copies(self, gvr: GVR) -> list[JSONObject]:
        try:
            found = (await self.downstream.resource(gvr).list(label_selector=self.selector)).items
        except NotFound:  # the cluster does not serve the kind
            return []
        return [copy for copy in found if meta.annotations(copy).get(APPLIED_ANNOTATION) != FENCED]

    async def stop(self) -> bool:
        """Stop every exclusive copy. Whether all are stopped; what does not work now is tried by the next call."""
        is_done = True
        for gvr, spec in STOPPABLE.items():
            try:
                await within(self.clock, _LIMIT_S, self._stop_all(gvr, spec))
            except NotFound:
                is_done = False  # the copy went; the next call looks at the others
            except (StatusError, TransportError, TimeoutError) as error:
                log.warning("cluster %s: exclusive %s cannot be stopped; it is tried again: %s", self.cluster, gvr.resource, error)
                return False
        return is_done

    async def _stop_all(self, gvr: GVR, spec: JSONObject) -> None:
        resource = self.downstream.resource(gvr)
        for copy in await self._copies(gvr):
            patch: JSONObject = {"metadata": {"annotations": {APPLIED_ANNOTATION: FENCED}}, "spec": spec}
            await resource.patch(meta.name(copy), patch, namespace=meta.namespace(copy), field_manager=SYNCER_FIELD_MANAGER)
            log.warning("cluster %s: exclusive %s %s is stopped until kcp is heard of", self.cluster, gvr.resource, meta.key(copy))


async def lift(downstream: Client, gvr: GVR, copy: JSONObject) -> None:
    """Before the wanted state is applied to a stopped copy."""
    if gvr in _LIFTED and meta.annotations(copy).get(APPLIED_ANNOTATION) == FENCED:
        patch: JSONObject = {"spec": _LIFTED[gvr]}
        await downstream.resource(gvr).patch(meta.name(copy), patch, namespace=meta.namespace(copy), field_manager=SYNCER_FIELD_MANAGER)
