"""What a syncer can be told: periods, limits, and which objects of its workspaces it takes.

Before: `cli.workload_syncer`, the sandbox. After: every part of the syncer.
Source: tmc reference §5.1; kcp release-0.11 cmd/syncer/options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import inf

from kcp.apimachinery import meta
from kcp.apimachinery.meta import JSONObject
from kcp.tmc.breaker import BreakerConfig
from kcp.tmc.model.kinds import DEFAULT_HEARTBEAT_PERIOD_S


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Which objects of the workspaces go to this cluster; what is left out says so on itself."""

    namespaces: tuple[str, ...] = ()
    """Names or patterns (`team-*`) of workspace namespaces to sync; empty: all."""
    excluded_namespaces: tuple[str, ...] = ()
    """Left out even if `namespaces` names them."""
    required_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that an object must bear with these values."""

    def refusal(self, view: JSONObject) -> str:
        """Why this object is not synced to this cluster; "" if it is.

        >>> Filters(namespaces=("prod-*",)).refusal({"metadata": {"namespace": "dev"}})
        'the syncer takes only namespaces prod-* (--sync-namespaces)'
        """
        namespace = meta.namespace(view)
        if self.namespaces and not any(fnmatchcase(namespace, pattern) for pattern in self.namespaces):
            return f"the syncer takes only namespaces {', '.join(self.namespaces)} (--sync-namespaces)"
        if any(fnmatchcase(namespace, pattern) for pattern in self.excluded_namespaces):
            return f"the syncer leaves out namespaces {', '.join(self.excluded_namespaces)} (--exclude-namespaces)"
        labels = meta.labels(view)
        missing = [f"{name}={value}" for name, value in self.required_labels.items() if labels.get(name) != value]
        return f"the syncer takes only objects with label {', '.join(missing)} (its config file, sync.filters)" if missing else ""


_SHORTEST_LEASE_S = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncerConfig:
    heartbeat_period_s: float = DEFAULT_HEARTBEAT_PERIOD_S
    """Seconds between heartbeats; kcp 0.11 uses 20."""
    discovery_period_s: float = 30.0
    """Seconds between looks for resources that appeared on either side (kcp 0.11 --api-import-poll-interval is 60)."""
    resync_period_s: float = inf
    """Seconds in which every object is looked at once more, spread evenly over them; infinite: only when something happens."""
    workers: int = 2
    """Workers per resource and direction (tmc reference §5.1 --workers)."""
    max_concurrent_syncs: int = 0
    """Objects in work at once, over all resources; 0: as many as there are workers."""
    backlog_limit: int = 1000
    """Objects that may wait before the syncer reports itself overloaded (tmc reference §2.4 syncBacklogLimit). With twice as many waiting
    it reads no more watches, until no more than this wait."""
    lease_duration_s: float = 0.0
    """Seconds after which an epoch lease that was not renewed may be taken by another syncer; 0: three heartbeats, at least 15."""
    namespace_clean_delay_s: float = 30.0
    """Seconds between looks at a downstream namespace that should go (kcp 0.11 --downstream-namespace-clean-delay)."""
    wanted: tuple[str, ...] = ()
    """`resource.group` that the user counts on; told of while they cannot be synced (kcp 0.11 --resources)."""
    upsync: tuple[str, ...] = ()
    """`resource` or `resource.group` whose objects in the cluster are shown in workspaces; `pods`: also those of synced workloads."""
    tunnel: bool = False
    """Open a tunnel to the control plane, for logs, exec and port-forward of upsynced pods (kcp 0.11 feature gate KCPSyncerTunnel)."""
    breaker: BreakerConfig = BreakerConfig()
    """When writes to the cluster fail at once instead of being tried."""
    transformations: str = ""
    """`namespace/name` of the ConfigMap with transformations, in the SyncTarget's workspace; "" for none."""
    filters: Filters = field(default_factory=Filters)

    @property
    def lease_s(self) -> float:
        return self.lease_duration_s or max(3 * self.heartbeat_period_s, _SHORTEST_LEASE_S)
