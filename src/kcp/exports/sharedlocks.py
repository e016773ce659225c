"""Names on their way into a workspace where several servers decide: noted on its LogicalCluster while they are being written.

Any server may admit a CustomResourceDefinition while the one that leads binds the same name. Both first note it in the same object, so that
one of them comes second and sees the other. A note counts for a while only: by then what it is about is stored, or was given up, and
whoever has just read the LogicalCluster has everything that was stored before. A server alone has no need of this (`namelocks`).
Before: `namelocks`, the binding controller, admission of CRDs. After: LogicalClusters, through their API.
Source: kcp pkg/reconciler/apis/apibinding/resource_bindings.go, pkg/admission/crdnooverlappinggvr.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from kcp.aio.clock import Clock, parse_rfc3339, rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import Conflict, NotFound
from kcp.apimachinery.gvk import GVR, GroupResource
from kcp.apimachinery.keys import ClusterName
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.commit import commit

ANNOTATION = "internal.apis.kcp.io/resource-bindings"
"""JSON: resource → `n`, the binding that takes its name, or `c`, that a CustomResourceDefinition does; `e`, until when."""
HELD_S = 15.0
"""Longer than a server may lead without being heard of; servers' clocks must agree better than this."""
_LOGICAL_CLUSTERS = GVR("core.kcp.io", "v1alpha1", "logicalclusters")
_NAME = "cluster"
_TRIES = 50
"""Each lost one is another's success."""

Notes = dict[str, JSONObject]
T = TypeVar("T")


class SharedNameLocks:
    def __init__(self, for_cluster: Callable[[ClusterName], Client], clock: Clock) -> None:
        self._for_cluster = for_cluster
        self._clock = clock

    async def hold(self, cluster: ClusterName, binding: str, names: Sequence[GroupResource]) -> Sequence[GroupResource]:
        """Note that a binding takes these names. Returns: those that a CustomResourceDefinition is taking; then nothing is noted."""

        def note(notes: Notes, until: str) -> Sequence[GroupResource]:
            taken = [name for name in names if notes.get(str(name), {}).get("c")]
            if not taken:
                notes.update({str(name): {"n": binding, "e": until} for name in names})
            return taken

        return await self._change(cluster, note) or ()

    async def admit(self, cluster: ClusterName, name: GroupResource) -> str:
        """Note that a CustomResourceDefinition takes a name. Returns: the binding that is taking it; "" for none."""

        def note(notes: Notes, until: str) -> str:
            binding = str(notes.get(str(name), {}).get("n") or "")
            if not binding:
                notes[str(name)] = {"c": True, "e": until}
            return binding

        return await self._change(cluster, note) or ""

    async def _change(self, cluster: ClusterName, note: Callable[[Notes, str], T]) -> T | None:
        """Raises Conflict. None where there is no LogicalCluster: nobody can bind anything there."""
        resource = self._for_cluster(cluster).resource(_LOGICAL_CLUSTERS)
        for tries_left in reversed(range(_TRIES)):
            try:
                held = await resource.get(_NAME)
            except NotFound:
                return None
            now = self._clock.now()
            notes = _notes(held, now)
            said = note(notes, rfc3339(now + timedelta(seconds=HELD_S)))
            wanted: JSONObject = meta.copy_json(held)
            meta.set_annotation(wanted, ANNOTATION, json.dumps(notes, separators=(",", ":"), sort_keys=True) if notes else None)
            try:
                await commit(resource, held, wanted)
            except Conflict:
                if not tries_left:
                    raise
                continue
            return said
        raise AssertionError("the last try returns or raises")


def _notes(logical_cluster: Mapping[str, object], now: datetime) -> Notes:
    """Those that still count; what is illegible was written by none of us."""
    try:
        found = json.loads(meta.annotations(dict(logical_cluster)).get(ANNOTATION) or "{}")
    except ValueError:
        return {}
    return {name: dict(note) for name, note in found.items() if note.get("e") and parse_rfc3339(note["e"]) > now}
