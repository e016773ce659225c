"""Fills `root` at the first start, and puts back what is missing at later ones.

Before: `server.compose`, when the API answers and the controllers run. After: the API, in process.
Source: kcp config/helpers/bootstrap.go, pkg/server/server.go (bootstrap hooks).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from kcp.apimachinery import meta
from kcp.apimachinery.errors import AlreadyExists, NotFound
from kcp.apimachinery.meta import JSONObject
from kcp.apimachinery.patch import merge_patch
from kcp.client.rest import Client, ResourceClient
from kcp.tenancy import kinds
from kcp.tenancy.bootstrap import content
from kcp.tenancy.bootstrap.content import BootstrapOptions, Piece
from kcp.tenancy.waiting import wait_for

log = logging.getLogger(__name__)

_PATIENCE_S = 30.0


async def bootstrap(client: Client, options: BootstrapOptions, *, on_root_apis: Callable[[], Awaitable[None]] | None = None) -> None:
    """Make sure that `root` has what every installation has. `client`: of the whole server, as system:masters.

    Args: on_root_apis: called when `root` serves its own APIs, so that controllers which watch them start when they can.
    Idempotent: objects that exist are left alone if annotated bootstrap.kcp.io/create-only, else brought back to what they should say.
    Raises: Timeout if the APIs of `root` do not get bound, or `root` not ready.
    """
    root = client.cluster("root")
    await ensure(root, content.root_cluster())
    await ensure_all(root, content.root_foundation(options))
    await ensure_in_order(root, options.root_apis)
    await wait_bound(root, (p.obj for p in options.root_apis if p.gvr.group_resource == kinds.API_BINDINGS.group_resource))
    if on_root_apis is not None:
        await on_root_apis()
    await ensure_all(root, content.root_tenancy(options))
    await _wait_ready(root.resource(kinds.LOGICAL_CLUSTERS), kinds.LOGICAL_CLUSTER_NAME, "the logical cluster of root")
    if options.has_compute:
        await _ensure_compute(client, options)


async def _ensure_compute(client: Client, options: BootstrapOptions) -> None:
    root = client.cluster("root")
    await ensure(root, content.compute_workspace())
    await _wait_ready(root.resource(kinds.WORKSPACES), "compute", "workspace root:compute")
    await ensure_in_order(client.cluster("root:compute"), options.compute_apis)


async def _wait_ready(resource: ResourceClient, name: str, what: str) -> None:
    """Until then users are not let in."""
    await wait_for(resource, name, lambda obj: bool(meta.nested(obj, "status", "phase") == kinds.READY), timeout_s=_PATIENCE_S, what=what)


async def ensure_all(client: Client, pieces: Sequence[Piece]) -> None:
    """Side by side: the writes share their way to the disk."""
    await asyncio.gather(*(ensure(client, piece) for piece in pieces))


async def ensure_in_order(client: Client, pieces: Sequence[Piece]) -> None:
    """Kind after kind, because later kinds refer to earlier ones; the objects of one kind side by side."""
    start = 0
    for end in range(1, len(pieces) + 1):
        if end == len(pieces) or pieces[end].gvr != pieces[start].gvr:
            await ensure_all(client, pieces[start:end])
            start = end


async def ensure(client: Client, piece: Piece) -> None:
    """Create one object, or bring it in line."""
    resource = client.resource(piece.gvr)
    name, namespace = meta.name(piece.obj), meta.namespace(piece.obj)
    try:
        held = await resource.get(name, namespace=namespace)
    except NotFound:
        try:
            await resource.create(piece.obj)
        except AlreadyExists:
            return  # another server starts at the same time
        log.info("created", extra=_about(piece, client))
        return
    patch = _difference(held, piece.obj)
    if patch:
        await resource.patch(name, patch, namespace=namespace)
        log.info("updated", extra=_about(piece, client))


def _difference(held: JSONObject, wanted: JSONObject) -> JSONObject:
    """What has to change: whole parts of the object, such as `spec`. Nothing for create-only objects."""
    if meta.annotations(held).get(kinds.CREATE_ONLY) == "true":
        return {}
    patch: JSONObject = {}
    for part, value in wanted.items():
        if part in ("apiVersion", "kind", "metadata", "status"):
            continue
        added = merge_patch.diff(held.get(part), merge_patch.apply(held.get(part), value))
        if part not in held or added:
            patch[part] = value
    return patch


async def wait_bound(client: Client, bindings: Iterable[JSONObject]) -> None:
    """Wait until each of these APIBindings is Bound."""
    resource = client.resource(kinds.API_BINDINGS)

    async def wait(name: str) -> None:
        await wait_for(
            resource,
            name,
            lambda binding: bool(meta.nested(binding, "status", "phase") == "Bound"),
            timeout_s=_PATIENCE_S,
            what=f"APIBinding {name} in {client.base_path}",
        )

    await asyncio.gather(*(wait(meta.name(binding)) for binding in bindings))


def _about(piece: Piece, client: Client) -> dict[str, str]:
    """For the log."""
    return {
        "workspace": client.base_path.removeprefix("/clusters/"), "resource": str(piece.gvr.group_resource), "key": meta.name(piece.obj),
    }  # fmt: skip
