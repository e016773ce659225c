"""What the checks of `kcp ops` look at: the server's API, what it measured, and what was said on the command line.

Before: `ops`. After: the checks; `client.rest`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from kcp.aio.clock import rfc3339
from kcp.apimachinery import meta
from kcp.apimachinery.errors import NotFound, StatusError
from kcp.apimachinery.gvk import GVR
from kcp.apimachinery.meta import JSONObject
from kcp.cli.ops_figures import Figures, Run, run_of, since
from kcp.cli.ops_report import Check, State
from kcp.client.transport import Transport, TransportError
from kcp.storage.interface import StoreError
from kcp.storage.snapshot.places import PlaceError

if TYPE_CHECKING:
    from kcp.client.rest import Client

LOGICAL_CLUSTERS = GVR("core.kcp.io", "v1alpha1", "logicalclusters")
_CLUSTER, _PATH = "kcp.io/cluster", "kcp.io/path"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What was said on the command line."""

    backup: str = ""
    """File, directory or s3://BUCKET/PREFIX of snapshots; "" if nobody said."""
    s3_endpoint: str = ""
    s3_region: str = ""
    max_backup_age_s: float = 26 * 3600.0
    certificate_days: int = 30
    syncers: tuple[str, ...] = ()
    """URLs of syncers' metrics."""
    policies: Path = Path("policies")
    administrators: frozenset[str] = frozenset()
    """Users and groups who may be cluster-admin."""
    drill: Path = Path("scripts/dr-drill.sh")
    is_drill_wanted: bool = True


@dataclass
class Inspection:
    """One run. Objects are listed once, however many checks look at them."""

    client: Client
    """Of the whole server; may list over all workspaces."""
    anonymous: Transport
    """To the same server, with no credentials."""
    command: str
    now: datetime
    wanted: Wanted
    figures: Figures
    runs: Sequence[Run] = ()
    """Earlier ones of this server, of any command."""
    name: str = ""
    """Host and port of a further server; "" for the kubeconfig's."""
    _listed: dict[tuple[GVR, str], list[JSONObject]] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        return replace(run_of(self.figures, self.command, rfc3339(self.now)), server=self.name)

    @property
    def before(self) -> Run | None:
        """The last run of the same command."""
        return next((run for run in reversed(self.runs) if run.command == self.command), None)

    @property
    def lately(self) -> Run:
        """What was counted since the last run of this command, or since the server's start."""
        return since(self.run, self.before)

    @property
    def period(self) -> str:
        before = self.before
        if before is None or before.started_s != self.run.started_s:
            return "since the server's start"
        return f"since {before.at}"

    async def everywhere(self, gvr: GVR, *, field_selector: str = "") -> list[JSONObject]:
        """Of all workspaces; none of a kind that the server does not serve, as without TMC. Raises StatusError."""
        what = gvr, field_selector
        if what not in self._listed:
            try:
                self._listed[what] = (await self.client.cluster("*").resource(gvr).list(field_selector=field_selector)).items
            except NotFound:
                self._listed[what] = []
        return self._listed[what]

    async def paths(self) -> dict[str, str]:
        """Cluster name → path of its workspace."""
        found = await self.everywhere(LOGICAL_CLUSTERS)
        return {cluster_of(obj): meta.annotations(obj).get(_PATH) or cluster_of(obj) for obj in found}


def cluster_of(obj: JSONObject) -> str:
    """The logical cluster that an object of a list over all of them is in."""
    return meta.annotations(obj).get(_CLUSTER, "")


Look: TypeAlias = Callable[[Inspection], Awaitable[Check]]


async def look_at(name: str, look: Look, inspection: Inspection) -> Check:
    """What cannot be looked at is a finding of its own; the other checks go on."""
    try:
        return await look(inspection)
    except (StatusError, TransportError, StoreError, PlaceError, OSError) as error:
        return Check(name, State.UNKNOWN, str(error), "see that it is there, and that you may read it (--context, --kubeconfig, --backup)")


def some(names: Sequence[str], most: int = 5) -> str:
    """
    >>> some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
