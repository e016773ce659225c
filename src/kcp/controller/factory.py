"""`InformerFactory`: one informer per resource and selection, shared by all controllers of an endpoint.

Before: whoever puts controllers together. Source: k8s.io/client-go/informers (SharedInformerFactory).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from zlib import crc32

from kcp.aio.clock import Clock
from kcp.aio.supervisor import Supervisor
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.client.rest import Client
from kcp.controller.index import Indexer
from kcp.controller.informer import Informer, Transform


class _Selection(NamedTuple):
    gvr: GVR
    namespace: str
    label_selector: str
    field_selector: str
    metadata_only: bool


def without_managed_fields(obj: JSONObject) -> JSONObject:
    """Half of many an object, which no controller reads: patches, and updates too, leave managedFields as the server has them.

    Source: k8s.io/client-go/tools/cache TransformStripManagedFields.
    """
    obj.get("metadata", {}).pop("managedFields", None)
    return obj


class InformerFactory:
    """Makes informers on first use and runs each once. One asked for after `run_all` starts at once."""

    def __init__(self, client: Client, *, clock: Clock, seed: int = 0, transform: Transform | None = None) -> None:
        """Args: client: of one cluster, or of `*`. seed: of the back-off jitter; each informer gets its own, derived from it.
        transform: what every informer keeps of an object, such as `without_managed_fields`.
        """
        self.client = client
        self._transform = transform
        self.clock = clock
        self._seed = seed
        self._informers: dict[_Selection, Informer] = {}
        self._supervisor: Supervisor | None = None

    def informer(
        self,
        gvr: GVR,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        indexers: Mapping[str, Indexer] | None = None,
    ) -> Informer:
        """The informer of this selection; `indexers` are added to those it has."""
        selection = _Selection(gvr, namespace, label_selector, field_selector, metadata_only)
        held = self._informers.get(selection)
        if held is not None:
            held.add_indexers(indexers or {})
            return held
        made = self._informers[selection] = Informer(
            self.client, gvr, clock=self.clock, namespace=namespace, label_selector=label_selector, field_selector=field_selector,
            metadata_only=metadata_only, indexers=indexers, transform=self._transform, seed=crc32(repr((self._seed, selection)).encode()),
        )  # fmt: skip
        if self._supervisor is not None:
            self._start(self._supervisor, selection, made)
        return made

    def run_all(self, supervisor: Supervisor) -> None:
        """Start every informer, those to come included. They run as long as the first supervisor does; a further call changes nothing."""
        if self._supervisor is not None:
            return
        self._supervisor = supervisor
        for selection, informer in self._informers.items():
            self._start(supervisor, selection, informer)

    @staticmethod
    def _start(supervisor: Supervisor, selection: _Selection, informer: Informer) -> None:
        supervisor.spawn(informer.run(), name=f"informer {selection.gvr}")

    async def wait_all_synced(self) -> None:
        """Wait for the first list of every informer there is now."""
        for informer in list(self._informers.values()):
            await informer.wait_synced()

    def to_come(self) -> str:
        """What has not had its first list yet, for a health check; "" when all is there.

        Source: k8s.io/apiserver/pkg/server/healthz/healthz.go (informer-sync).
        """
        waiting = [str(selection.gvr) for selection, informer in self._informers.items() if not informer.has_synced]
        return f"{len(waiting)} informers not started yet: {', '.join(waiting)}" if waiting else ""

    def hurry(self) -> None:
        """The server is known to answer again: let no informer wait for its next try."""
        for informer in self._informers.values():
            informer.hurry()

    def statistics(self) -> dict[str, int]:
        """Sums over all informers."""
        totals: dict[str, int] = {"informers": len(self._informers)}
        for informer in self._informers.values():
            for name, count in informer.statistics().items():
                totals[name] = totals.get(name, 0) + count
        return totals
