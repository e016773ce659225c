"""What TMC can be told. Flag, variable and place in the `--config` file of each: `server.settings`.

Before: `options`. After: `server.tmc`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class TMCOptions:
    """Transparent Multi-Cluster. A part that is off is not loaded: no controller, no endpoint, no metric of it."""

    enabled: bool = False
    """Off: nothing of `kcp.tmc` is loaded."""
    error_handling: bool = True
    """Typed errors of clusters are shown on the user's objects."""
    health_monitoring: bool = True
    """A late heartbeat makes a SyncTarget NotReady; every component is watched, /healthz/tmc and ComponentHealth objects say how it is."""
    health_interval_s: float = 5.0
    """Between two looks at every component; the reference's 30 s would show a failure after a minute only."""
    health_timeout_s: float = 10.0
    """A component that does not answer for so long is Unhealthy."""
    health_degraded_s: float = 120.0
    """A controller whose work stands still for so long is Degraded."""
    health_unhealthy_s: float = 300.0
    """And Unhealthy."""
    metrics: bool = True
    """`tmc_*` metrics at /metrics."""
    recovery: bool = True
    """What fails is mended: work of a cluster that stays NotReady is placed elsewhere after `eviction_grace_s`."""
    eviction_grace_s: float = 300.0
    """Kubernetes waits as long before it evicts pods of an unreachable node."""
    virtual_workspaces: bool = True
    """Views over all clusters at /services/tmc. (Those that syncers work through are always there.)"""
    projection: bool = True
    """ResourceProjections."""
    placement_controller: bool = True
    """Placements are decided on, namespaces and objects placed. Off: who else labels them decides."""
    migration: bool = True
    """Workloads are moved between clusters on request."""
    heartbeat_threshold_s: float = 60.0
    """Seconds without a heartbeat after which a SyncTarget is NotReady."""
    clock_skew_limit_s: float = 10.0
    """How far the clock of a syncer may be off before its SyncTarget says so; a heartbeat may be as long on its way."""
    bind_compute: bool = True
    """New universal workspaces bind `root:compute:kubernetes`, so that Deployments work at once."""
    push: bool = True
    """The server syncs to clusters whose SyncTarget names a Secret with a kubeconfig."""
    push_heartbeat_s: float = 20.0
    """Seconds between the heartbeats of those syncers; kcp 0.11's."""
    push_workers: int = 2
    """Workers of each of those syncers, per resource and direction."""
    push_backlog_limit: int = 1000
    """Objects that may wait in one of them before it reports itself overloaded."""
    push_upsync: str = ""
    """Comma list: what of those clusters is shown in workspaces, as `workload-syncer --upsync-resources`; `pods`: also a way to them."""
    breaker_failures: int = 5
    """Failures in a row after which they send no writes to their cluster for a while; 0: never."""
    breaker_reset_s: float = 60.0
    """Seconds until one write is tried again."""
    workers: int = 0
    """Workers of each controller of TMC; 0: as many as each has by itself."""
    operation_limit: int = 0
    """Objects that TMC's controllers work on at once, all together; 0: as many as there are workers."""
    operation_timeout_s: float = 300.0
    """A reconcile that takes longer is given up and tried again."""

    def problems(self) -> list[str]:
        found = []
        if min(self.health_interval_s, self.health_timeout_s) <= 0:
            found.append("--tmc-health-check-interval and --tmc-health-timeout: must be longer than 0s")
        if not 0 < self.health_degraded_s <= self.health_unhealthy_s:
            found.append("--tmc-health-degraded-threshold: must be longer than 0s, and no longer than --tmc-health-unhealthy-threshold")
        if self.heartbeat_threshold_s <= 0:
            found.append("--sync-target-heartbeat-threshold: must be longer than 0s")
        if self.clock_skew_limit_s <= 0:
            found.append("--sync-target-clock-skew-limit: must be longer than 0s")
        if self.eviction_grace_s < 0:
            found.append("--tmc-eviction-grace: must not be negative")
        if self.breaker_reset_s <= 0:
            found.append("--tmc-circuit-breaker-timeout: must be longer than 0s")
        if self.operation_timeout_s <= 0:
            found.append("--tmc-operation-timeout: must be longer than 0s")
        return found
