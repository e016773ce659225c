"""Every metric of TMC: the names and labels of the TMC reference §8, and ours, which are said to be so.

A part that measures takes a `Meter` and one of these: `meter.count(RECOVERY_ATTEMPTS, error_type, strategy, component)`. Labels that name
workspaces or objects are bounded by the meter; `cluster` is a SyncTarget's name, `gvk` a resource such as `deployments.apps`.
docs/monitoring.md tells of each, and a test holds the two together.
"""

from __future__ import annotations

from kcp.aio.folding import Fold
from kcp.aio.metrics import Family, counter, gauge, histogram

_COMPONENT = ("component_type", "component_id")
_SPACE = ("logical_cluster", "namespace")
_COMPONENTS = Fold(most=60, rest={"component_type": "Controller", "component_id": "other"})
_SPACES = Fold(most=3, rest={"workspace": "other"})
_PAIR = ("source_cluster", "target_cluster")
_SYNCER = ("sync_target", "workspace", "gvk")

# Components
COMPONENT_HEALTH = gauge("tmc_component_health", "1 Healthy, 0.5 Degraded, 0 Unhealthy, -1 Unknown.", (*_COMPONENT, "cluster"))
COMPONENT_UPTIME = gauge(
    "tmc_component_uptime_seconds", "Seconds since the component was last Unhealthy or Unknown; 0 while it is.", (*_COMPONENT, "cluster")
)
COMPONENT_OPERATIONS = counter(
    "tmc_component_operations_total", "Operations by their end.", (*_COMPONENT, "operation", "status"), fold=_COMPONENTS
)
COMPONENT_ERRORS = counter("tmc_component_errors_total", "Operations that failed.", (*_COMPONENT, "error_type", "severity"))
COMPONENT_DURATIONS = histogram(
    "tmc_component_operation_duration_seconds", "Duration of operations.", (*_COMPONENT, "operation"), buckets=(0.1, 1.0, 10.0),
    fold=_COMPONENTS,
)  # fmt: skip
ERRORS = counter("tmc_errors_total", "Errors by TMC error type.", ("error_type", "severity", "component"))
HEALTH_CHECKS = counter("tmc_health_checks_total", "Looks at components.")
HEALTH_CHECK_DURATION = histogram("tmc_health_check_duration_seconds", "Duration of one look at a component.")
HEALTH_CHECK_ERRORS = counter("tmc_health_check_errors_total", "Looks that failed or were not answered.", ("component_type",))

# Placement
_PLACEMENT_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
PLACEMENTS = gauge("tmc_placements_total", "Placements by phase.", (*_SPACE, "status"), many=_SPACE, alias="tmc_placements")
PLACEMENT_DURATION = histogram(
    "tmc_placement_duration_seconds", "Duration of decisions.", ("logical_cluster", "operation", "status"),
    buckets=_PLACEMENT_BUCKETS_S, many=("logical_cluster",), fold=Fold(most=3, rest={"logical_cluster": "other"}),
)  # fmt: skip
PLACEMENT_ERRORS = counter(
    "tmc_placement_errors_total", "Decisions that left clusters wanting.", ("logical_cluster", "error_type", "cluster"),
    many=("logical_cluster",),
)  # fmt: skip
PLACEMENT_RETRIES = counter(
    "tmc_placement_retries_total", "Decisions that are taken again.", ("logical_cluster", "reason"), many=("logical_cluster",)
)
PLACEMENT_CLUSTERS = gauge(
    "tmc_placement_clusters", "Clusters that a Placement has chosen.", (*_SPACE, "placement"), many=(*_SPACE, "placement")
)
PLACEMENT_REQUESTS = counter("tmc_placement_requests_total", "Decisions taken.", ("strategy", "status"))
PLACEMENT_CLUSTERS_SELECTED = gauge("tmc_placement_clusters_selected", "Clusters that at least one Placement has chosen.")
PLACEMENT_CONSTRAINTS_VIOLATED = gauge("tmc_placement_constraints_violated", "Placements that lack clusters, by reason.", ("type",))
PLACEMENT_QUEUE_SIZE = gauge("tmc_placement_queue_size", "Placements that wait to be decided.")
PLACEMENT_SUCCESS_RATE = gauge("tmc_placement_success_rate", "Share of the Placements that have their clusters.")

# Syncing
_SYNC_BUCKETS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SYNC_RESOURCES = gauge(
    "tmc_sync_resources_total", "Objects for a cluster by how they fare there.", ("cluster", "namespace", "gvk", "status"),
    many=("namespace",), alias="tmc_sync_resources",
)  # fmt: skip
SYNC_DURATION = histogram("tmc_sync_duration_seconds", "Duration of one sync.", ("cluster", "gvk", "operation"), buckets=_SYNC_BUCKETS_S)
SYNC_ERRORS = counter("tmc_sync_errors_total", "Syncs that failed.", ("cluster", "gvk", "error_type"))
SYNC_OPERATIONS = counter("tmc_sync_operations_total", "Syncs by their end.", ("status",))
SYNC_BACKLOG = gauge("tmc_sync_backlog_size", "Objects that wait to be synced.", ("cluster", "queue"))
SYNC_LAG = gauge("tmc_sync_lag_seconds", "Age of the oldest change that is not synced; 0 when all are.", ("cluster", "gvk"))

# Migration
MIGRATIONS = gauge("tmc_migrations_total", "Migrations by state.", (*_PAIR, "status"), alias="tmc_migrations")
MIGRATION_DURATION = histogram(
    "tmc_migration_duration_seconds", "Duration of migrations.", (*_PAIR, "strategy"), buckets=(1, 5, 10, 30, 60, 300, 600, 1800, 3600)
)
MIGRATION_ERRORS = counter("tmc_migration_errors_total", "Migrations that failed, by phase.", (*_PAIR, "error_type", "phase"))
MIGRATION_ROLLBACKS = counter("tmc_migration_rollbacks_total", "Migrations that were rolled back.", (*_PAIR, "reason"))
MIGRATION_DATA = histogram(
    "tmc_migration_data_size_bytes", "Size of what was moved.", (*_PAIR, "resource_type"),
    buckets=(2**10, 10 * 2**10, 100 * 2**10, 2**20, 10 * 2**20, 100 * 2**20, 2**30),
)  # fmt: skip

# Clusters
CLUSTER_HEALTH = gauge("tmc_cluster_health", "1 while the SyncTarget is Ready.", ("cluster", "logical_cluster"))
CLUSTER_CONNECTIVITY = gauge("tmc_cluster_connectivity", "1 while its syncer's heartbeat is in time.", ("cluster", "logical_cluster"))
CLUSTER_UTILIZATION = gauge(
    "tmc_cluster_capacity_utilization", "Share of what is allocatable that is in use.", ("cluster", "resource_type")
)
CLUSTER_RESOURCES = gauge(
    "tmc_cluster_resources_total", "Objects for a cluster.", ("cluster", "gvk", "namespace"), many=("namespace",),
    alias="tmc_cluster_resources",
)  # fmt: skip

# Views and projections
AGGREGATIONS = counter("tmc_resource_aggregations_total", "Objects aggregated.", ("gvk", "strategy", "status"))
AGGREGATION_DURATION = histogram(
    "tmc_aggregation_duration_seconds", "Duration of one aggregation.", ("workspace",), many=("workspace",), fold=_SPACES
)
AGGREGATED_RESOURCES = gauge("tmc_aggregated_resources_total", "Objects in views.", ("gvk",), alias="tmc_aggregated_resources")
PROJECTIONS = counter(
    "tmc_resource_projections_total", "Copies of projected objects written.", (*_PAIR, "gvk", "status"), many=("source_cluster",)
)
PROJECTION_DURATION = histogram(
    "tmc_projection_duration_seconds", "Duration of one projection.", ("workspace",), many=("workspace",), fold=_SPACES
)
PROJECTED_RESOURCES = gauge("tmc_projected_resources_total", "Objects that are projected.", ("gvk",), alias="tmc_projected_resources")
CONFLICTS = counter("tmc_resource_conflicts_total", "Conflicts and what became of them.", ("cluster", "gvk", "conflict_type", "resolution"))
TRANSFORMATIONS = counter("tmc_resource_transformations_total", "Transformations applied.", ("transformation_type", "gvk", "status"))
VIRTUAL_WORKSPACES = gauge(
    "tmc_virtual_workspaces_total", "Views by phase.", ("logical_cluster", "status"), many=("logical_cluster",),
    alias="tmc_virtual_workspaces",
)  # fmt: skip
VIRTUAL_WORKSPACE_DURATION = histogram(
    "tmc_virtual_workspace_operation_duration_seconds", "Duration of requests to views.", ("operation", "workspace"), many=("workspace",),
    fold=_SPACES,
)  # fmt: skip
VIRTUAL_WORKSPACE_ERRORS = counter(
    "tmc_virtual_workspace_errors_total", "Requests to views that failed.", ("workspace", "error_type", "component"), many=("workspace",)
)

# Recovery
_RECOVERY = ("error_type", "strategy", "component")
RECOVERY_ATTEMPTS = counter("tmc_recovery_attempts_total", "Recoveries begun.", _RECOVERY)
RECOVERY_SUCCESSES = counter("tmc_recovery_successes_total", "Recoveries that helped.", _RECOVERY)
RECOVERY_FAILURES = counter("tmc_recovery_failures_total", "Recoveries that did not help.", _RECOVERY)
RECOVERY_DURATION = histogram(
    "tmc_recovery_duration_seconds", "Duration of recoveries.", ("error_type", "strategy"), buckets=(1, 5, 10, 30, 60, 300, 600)
)
ACTIVE_RECOVERIES = gauge("tmc_active_recoveries_total", "Recoveries in progress.", alias="tmc_active_recoveries")
ERROR_RECOVERY_ATTEMPTS = counter("tmc_error_recovery_attempts_total", "Recoveries begun.", ("error_type", "strategy"))
ERROR_RECOVERY_SUCCESS_RATE = gauge("tmc_error_recovery_success_rate", "Share of the recoveries that helped.", ("error_type",))
BREAKER_STATE = gauge("tmc_circuit_breaker_state", "0 closed, 1 open, 2 half open; of our own.", ("cluster", "operation"))
BREAKER_TRIPS = counter("tmc_circuit_breaker_trips_total", "Times that a breaker opened; of our own.", ("cluster", "operation"))
BREAKER_REFUSALS = counter(
    "tmc_circuit_breaker_refusals_total", "Calls that an open breaker refused; of our own.", ("cluster", "operation")
)

# The process, and its API
TASKS = gauge("tmc_goroutines_total", "Running asyncio tasks.", alias="tmc_tasks")
MEMORY = gauge("tmc_memory_usage_bytes", "Resident memory.")
CPU = gauge("tmc_cpu_usage_percent", "Processor time used since the last scrape, in percent of one core.")
_ENDPOINT = ("method", "endpoint", "status_code")
API_REQUESTS = counter("tmc_api_requests_total", "Requests to this server.", _ENDPOINT, fold=Fold(most=120, rest={"endpoint": "other"}))
API_REQUEST_DURATION = histogram(
    "tmc_api_request_duration_seconds", "Duration of requests to this server.", _ENDPOINT, buckets=(0.1, 1.0, 5.0),
    fold=Fold(most=6, often=100, rest={"endpoint": "other", "status_code": "other"}),
)  # fmt: skip

# The syncer
_SYNCER_BUCKETS_S = (0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30)
SYNCER_SYNCED = counter("syncer_resources_synced_total", "Objects synced.", (*_SYNCER, "direction"))
SYNCER_DURATION = histogram("syncer_sync_duration_seconds", "Time to sync one object.", (*_SYNCER, "operation"), buckets=_SYNCER_BUCKETS_S)
SYNCER_ERRORS = counter("syncer_sync_errors_total", "Objects that could not be synced.", (*_SYNCER, "error_type"))
SYNCER_BACKLOG = gauge("syncer_sync_backlog_size", "Objects that wait to be synced.", _SYNCER)
SYNCER_HEARTBEATS = counter("syncer_heartbeat_total", "Heartbeats written.")
SYNCER_HEARTBEAT_ERRORS = counter("syncer_heartbeat_errors_total", "Heartbeats that failed.")
SYNCER_CONNECTION = gauge("syncer_connection_status", "1 while this side answers.", ("sync_target", "workspace", "target"))
SYNCER_CONNECTED = gauge("syncer_connected", "1 while both sides answer.")
SYNCER_CONTROLLERS = gauge("syncer_resource_controllers", "Controllers that sync resources.")
SYNCER_UPTIME = gauge("syncer_uptime_seconds", "Seconds since the syncer started.")
SYNCER_DRIFT = counter("syncer_drift_corrected_total", "Copies changed in the cluster and put right; of our own.", _SYNCER)
SYNCER_WATCHES_HELD = gauge("syncer_watches_held", "1 while watches are not read because too many objects wait.", _SYNCER[:2])
SYNCER_HOLDS = counter("syncer_watch_holds_total", "How often watches were held because too many objects waited.", _SYNCER[:2])

FAMILIES = tuple(value for value in tuple(globals().values()) if isinstance(value, Family))
"""All of the above."""
