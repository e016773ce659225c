"""Writing to the syncer's view: only the difference, and without a resourceVersion; and how soon a failed write is tried again.

Everything in the view that a syncer may change belongs to its target alone, so a write can overwrite nobody else's and needs no guard
against other writers of the object; a write from a stale view is put right by the next look.
"""

from __future__ import annotations

from kcp.aio.clock import Clock
from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import ResourceClient
from kcp.controller.commit import difference
from kcp.controller.ratelimit import RateLimiter
from kcp.tmc.model.names import SYNCER_FIELD_MANAGER
from kcp.tmc.retry import RetryPolicy
from kcp.tmc.syncer.identity import Identity


def retries(clock: Clock, identity: Identity) -> RateLimiter:
    """Back-off of a syncer's controllers: what keeps an object from a cluster may end without anybody telling us."""
    return RetryPolicy().limiter(clock, seed=identity.key)


async def write_view(resource: ResourceClient, view: JSONObject, wanted: JSONObject) -> JSONObject:
    """Make `view` into `wanted` by one merge patch. Returns the view as it is now. Raises NotFound once it left this target."""
    main, status = difference(view, wanted)
    if not main and not status:
        return view
    return await resource.patch(
        meta.name(view),
        main or status,
        namespace=meta.namespace(view),
        subresource="" if main else "status",
        field_manager=SYNCER_FIELD_MANAGER,
    )
