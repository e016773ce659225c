"""Writing to the syncer's view: only the difference, and without a resourceVersion.

Everything in the view that a syncer may change belongs to its target alone, so a write can overwrite nobody else's and needs no guard
against other writers of the object; a write from a stale view is put right by the next look.
"""

from __future__ import annotations

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import ResourceClient
from kcp.controller.commit import difference
from kcp.tmc.model.names import SYNCER_FIELD_MANAGER


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
