"""Whether a uid that is not its SyncTarget's tells that a syncer was meant for another one.

The uid keeps a syncer from serving a SyncTarget that was made anew, whose objects it would take for those of the former one. The guide
starts syncers by hand with `--sync-target-uid=$(uuidgen)`: a uid that no SyncTarget ever had keeps nobody from anything, so it is warned
of, and the SyncTarget's own is taken.
Before: `engine.find_target`. After: the control plane, the physical cluster.
"""

from __future__ import annotations

from uuid import UUID

from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound, StatusError
from kcp.client.rest import Client
from kcp.client.transport import TransportError
from kcp.tmc.model.kinds import NAMESPACES, SYNC_TARGETS
from kcp.tmc.model.names import DOWNSTREAM_CLUSTER_LABEL, syncer_id
from kcp.tmc.syncer.former import locator_of


async def is_nobodys(uid: str, name: str, workspace: Client, downstream: Client) -> bool:
    """Whether no SyncTarget is known that has this uid, or had it: not in the workspace, and by no trace in the cluster.

    Args: name: of the SyncTarget that the syncer was told to serve.
    Raises: what the control plane answers. A cluster that cannot be asked may hold a trace.
    """
    if not _is_uid(uid):
        return False
    targets = await workspace.resource(SYNC_TARGETS).list()
    if any(meta.uid(target) == uid for target in targets.items):
        return False
    try:
        return not await _left_a_trace(uid, name, downstream)
    except (StatusError, TransportError):
        return False


def _is_uid(text: str) -> bool:
    """
    >>> _is_uid("0E5C1C3C-6F1B-4C8A-9A53-0D7A3C0B9A11"), _is_uid("1234")
    (True, False)
    """
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


async def _left_a_trace(uid: str, name: str, downstream: Client) -> bool:
    """The namespace of a syncer that was installed for it, or of what was synced for it."""
    namespaces = downstream.resource(NAMESPACES)
    try:
        await namespaces.get(syncer_id(name, uid))
    except NotFound:
        found = (await namespaces.list(label_selector=DOWNSTREAM_CLUSTER_LABEL)).items
        locators = (locator_of(namespace) for namespace in found)
        return any(locator is not None and locator.target_uid == uid for locator in locators)
    return True
