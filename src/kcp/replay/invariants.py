"""What must hold in a fleet, whatever happens to it; looked at from outside, past all faults.

At any time
    kept       what a user made is there, as the user last said, until the user deletes it
    single     no cluster has two copies of one Deployment
    foreign    what was in a cluster before is never touched
    deleted    a copy goes only when its original goes, when its cluster is no longer chosen, or when somebody removes it there
Once nothing has happened for a while
    placed     the copies' replicas add up to what the user wants, in as many clusters as asked for at most
    told       the user's status says so: all ready, `Synced`
    orphans    there is no copy without an original
    targets    every SyncTarget is Ready

Before: `player`. After: the fleet, read through clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import orjson

from kcp.apimachinery import conditions, meta
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.replay.fleet import PATH, Fleet
from kcp.replay.ledger import Ledger
from kcp.tmc.model.kinds import SYNC_TARGETS, SYNCED
from kcp.tmc.model.names import DOWNSTREAM_CLUSTER_LABEL, STATE_LABEL, is_leaving, sync_target_key, synced_keys

DEPLOYMENTS = GVR("apps", "v1", "deployments")
NAMESPACE = "default"
FOREIGN_NAMESPACE, FOREIGN = "theirs", "not-ours"
PATIENCE_S = 180.0
"""How long the fleet may take to come to rest: a restart, back-offs, a heartbeat."""


@dataclass(frozen=True, slots=True)
class Violation:
    at_s: float
    invariant: str
    detail: str

    def __str__(self) -> str:
        return f"{self.at_s:.3f} s: {self.invariant}: {self.detail}"


@dataclass
class View:
    """Everything at one instant."""

    upstream: dict[str, JSONObject] | None
    """Deployments of the workspace; None while there is no server to ask."""
    targets: dict[str, JSONObject]
    copies: dict[str, list[JSONObject]]
    """By cluster: copies of Deployments, whatever their namespace."""
    foreign: dict[str, JSONObject | None]


async def look(fleet: Fleet) -> View:
    """Raises what a broken server raises."""
    upstream, targets = None, {}
    if fleet.control_plane.server is not None:
        client = fleet.control_plane.client(through_faults=False).cluster(PATH)
        upstream = await _by_name(client, DEPLOYMENTS, NAMESPACE)
        targets = await _by_name(client, SYNC_TARGETS, "")
    copies, foreign = {}, {}
    for name, cluster in fleet.clusters.items():
        held = (await cluster.observer().resource(DEPLOYMENTS).list()).items
        copies[name] = [obj for obj in held if meta.namespace(obj) != FOREIGN_NAMESPACE]
        foreign[name] = next((obj for obj in held if meta.namespace(obj) == FOREIGN_NAMESPACE), None)
    return View(upstream, targets, copies, foreign)


async def _by_name(client: Client, gvr: GVR, namespace: str) -> dict[str, JSONObject]:
    return {meta.name(obj): obj for obj in (await client.resource(gvr).list(namespace=namespace)).items}


def always(view: View, ledger: Ledger, unsure: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """(invariant, detail) of each that does not hold. Pure. Args: unsure: Deployments that were being written while we looked."""
    for name, replicas in ledger.wanted.items() if view.upstream is not None else ():
        if name in ledger.pending or name in unsure:
            continue
        held = (view.upstream or {}).get(name)
        if held is None:
            yield "kept", f"Deployment {name} is gone, and nobody deleted it"
        elif held["spec"]["replicas"] != replicas:
            yield "kept", f"Deployment {name} wants {held['spec']['replicas']} replicas; its user said {replicas}"
    for cluster, copies in view.copies.items():
        for name, count in Counter(meta.name(copy) for copy in copies).items():
            if count > 1:
                yield "single", f"{cluster} has {count} copies of {name}"
    for cluster, obj in view.foreign.items():
        if obj is None or meta.generation(obj) != 1 or meta.labels(obj):
            yield "foreign", f"{FOREIGN} in {cluster} was {'deleted' if obj is None else 'changed'}"


def at_rest(view: View, ledger: Ledger, number_of_clusters: int) -> Iterator[tuple[str, str]]:
    """The same for a fleet that had its time. Pure."""
    for cluster, copies in view.copies.items():
        for copy in copies:
            if meta.name(copy) not in ledger.wanted:
                yield "orphans", f"{cluster} still has a copy of {meta.name(copy)}"
    for name, target in view.targets.items():
        if not conditions.is_true(target, "Ready"):
            yield "targets", f"SyncTarget {name} is not Ready: {conditions.get(target, 'Ready')}"
    for name, replicas in ledger.wanted.items():
        asked = {c: copy["spec"]["replicas"] for c, copies in view.copies.items() for copy in copies if meta.name(copy) == name}
        if sum(asked.values()) != replicas or len(asked) > number_of_clusters:
            yield "placed", f"Deployment {name} wants {replicas} replicas in at most {number_of_clusters} clusters; asked for are {asked}"
        obj = (view.upstream or {}).get(name)
        status = (obj or {}).get("status") or {}
        if obj is not None and (status.get("readyReplicas", 0) != replicas or not conditions.is_true(obj, SYNCED)):
            yield "told", f"Deployment {name} with {replicas} replicas says {_told(status)}"


def _told(status: Mapping[str, object]) -> str:
    synced = conditions.get({"status": dict(status)}, SYNCED) or {}
    said = f"{synced.get('status')} {synced.get('message', '')}".strip()
    return f"replicas {status.get('replicas', 0)}, ready {status.get('readyReplicas', 0)}, {SYNCED} {said}"


@dataclass
class DeletionWatch:
    """Sees every copy go, and asks whether it had to."""

    fleet: Fleet
    ledger: Ledger
    found: list[tuple[str, str]] = field(default_factory=list)
    _sent_away: set[tuple[str, str]] = field(default_factory=set)
    """(K, Deployment) where a target was told to remove its copy, and nobody has seen the copy go since."""

    async def follow_originals(self) -> None:
        """Until cancelled. The store is watched itself, because it outlives the server."""
        async for events in self.fleet.control_plane.changes():
            for event in events:
                obj = orjson.loads(event.value or b"{}")
                if obj.get("kind") == "Deployment":
                    keys = (key for key in synced_keys(obj) if is_leaving(obj, key))
                    self._sent_away.update((key, meta.name(obj)) for key in keys)

    async def follow(self, cluster: str) -> None:
        """Until cancelled."""
        resource = self.fleet.clusters[cluster].observer().resource(DEPLOYMENTS)
        start = (await resource.list()).resource_version
        async for event in resource.watch(resource_version=start):
            if event.type == "DELETED" and meta.labels(event.object).get(DOWNSTREAM_CLUSTER_LABEL):
                reason = await self._unjustified(cluster, event.object)
                if reason:
                    self.found.append(("deleted", f"{cluster} lost its copy of {meta.name(event.object)}: {reason}"))

    async def _unjustified(self, cluster: str, copy: JSONObject) -> str:
        """Why the copy should still be there; "" if it rightly went."""
        name = meta.name(copy)
        if (cluster, name) in self.ledger.meddled or name not in self.ledger.wanted or name in self.ledger.pending:
            return ""
        if self.fleet.control_plane.server is None:
            return "the control plane is away, so nobody can have said so"
        client = self.fleet.control_plane.client(through_faults=False).cluster(PATH)
        obj = (await _by_name(client, DEPLOYMENTS, NAMESPACE)).get(name)
        target = (await _by_name(client, SYNC_TARGETS, "")).get(cluster)
        if obj is None or target is None or meta.deletion_timestamp(obj):
            return ""
        key = sync_target_key(meta.cluster(target), cluster)
        if (key, name) in self._sent_away:
            self._sent_away.discard((key, name))
            return ""
        return f"{cluster} is chosen for it" if f"{STATE_LABEL}{key}" in meta.labels(obj) else ""
