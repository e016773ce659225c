"""The families of TMC's metrics: every name and label of the TMC reference §8, and promtool's rules for names."""

from __future__ import annotations

import pytest

from kcp.aio.exposition import scrape
from kcp.aio.metrics import Family, Kind, Meter
from kcp.tmc.metrics.controlplane import show_recovery_rate
from kcp.tmc.metrics.families import FAMILIES, RECOVERY_FAILURES, RECOVERY_SUCCESSES

BY_NAME = {family.name: family for family in FAMILIES}

REFERENCE = """
tmc_component_health gauge component_type component_id cluster
tmc_component_uptime_seconds gauge component_type component_id cluster
tmc_component_operations_total counter component_type component_id operation status
tmc_component_errors_total counter component_type component_id error_type severity
tmc_component_operation_duration_seconds histogram component_type component_id operation
tmc_placements_total gauge logical_cluster namespace status
tmc_placement_duration_seconds histogram logical_cluster operation status
tmc_placement_errors_total counter logical_cluster error_type cluster
tmc_placement_retries_total counter logical_cluster reason
tmc_placement_clusters gauge logical_cluster namespace placement
tmc_sync_resources_total gauge cluster namespace gvk status
tmc_sync_duration_seconds histogram cluster gvk operation
tmc_sync_errors_total counter cluster gvk error_type
tmc_sync_backlog_size gauge cluster queue
tmc_sync_lag_seconds gauge cluster gvk
tmc_migrations_total gauge source_cluster target_cluster status
tmc_migration_duration_seconds histogram source_cluster target_cluster strategy
tmc_migration_errors_total counter source_cluster target_cluster error_type phase
tmc_migration_rollbacks_total counter source_cluster target_cluster reason
tmc_migration_data_size_bytes histogram source_cluster target_cluster resource_type
tmc_cluster_health gauge cluster logical_cluster
tmc_cluster_connectivity gauge cluster logical_cluster
tmc_cluster_capacity_utilization gauge cluster resource_type
tmc_cluster_resources_total gauge cluster gvk namespace
tmc_resource_aggregations_total counter gvk strategy status
tmc_resource_projections_total counter source_cluster target_cluster gvk status
tmc_resource_conflicts_total counter cluster gvk conflict_type resolution
tmc_resource_transformations_total counter transformation_type gvk status
tmc_virtual_workspaces_total gauge logical_cluster status
tmc_virtual_workspace_operation_duration_seconds histogram operation workspace
tmc_virtual_workspace_errors_total counter workspace error_type component
tmc_recovery_attempts_total counter error_type strategy component
tmc_recovery_successes_total counter error_type strategy component
tmc_recovery_failures_total counter error_type strategy component
tmc_recovery_duration_seconds histogram error_type strategy
tmc_goroutines_total gauge
tmc_memory_usage_bytes gauge
tmc_cpu_usage_percent gauge
tmc_api_request_duration_seconds histogram method endpoint status_code
tmc_api_requests_total counter method endpoint status_code
syncer_resources_synced_total counter sync_target workspace gvk direction
syncer_sync_duration_seconds histogram sync_target workspace gvk operation
syncer_sync_errors_total counter sync_target workspace gvk error_type
syncer_sync_backlog_size gauge sync_target workspace gvk
syncer_heartbeat_total counter
syncer_heartbeat_errors_total counter
syncer_connection_status gauge sync_target workspace target
syncer_resource_controllers gauge
syncer_uptime_seconds gauge
tmc_placement_requests_total counter strategy status
tmc_placement_clusters_selected gauge
tmc_placement_constraints_violated gauge type
tmc_placement_queue_size gauge
tmc_placement_success_rate gauge
tmc_aggregated_resources_total gauge gvk
tmc_projected_resources_total gauge gvk
tmc_aggregation_duration_seconds histogram workspace
tmc_projection_duration_seconds histogram workspace
tmc_errors_total counter error_type severity component
tmc_error_recovery_attempts_total counter error_type strategy
tmc_error_recovery_success_rate gauge error_type
tmc_health_checks_total counter
tmc_health_check_duration_seconds histogram
tmc_health_check_errors_total counter component_type
tmc_active_recoveries_total gauge
tmc_sync_operations_total counter status
syncer_connected gauge
"""


@pytest.mark.parametrize("line", REFERENCE.split("\n")[1:-1])
def test_a_metric_of_the_reference_is_here_with_its_type_and_labels(line: str) -> None:
    name, kind, *labels = line.split()
    family = BY_NAME[name]
    assert (family.kind, family.labels) == (Kind(kind), tuple(labels))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_follow_the_rules_or_have_an_alias_that_does(family: Family) -> None:
    is_total = family.name.endswith("_total")
    assert bool(family.alias) is (family.kind is not Kind.COUNTER and is_total)
    assert is_total or family.kind is not Kind.COUNTER
    assert not family.alias.endswith("_total")
    assert set(family.many) <= set(family.labels)
    assert not {"logical_cluster", "namespace", "workspace", "placement"} & set(family.labels) - set(family.many) - of_clusters(family)


def of_clusters(family: Family) -> set[str]:
    """Where there is one value for each cluster: the workspace of its SyncTarget."""
    return {"logical_cluster", "workspace"} if {"sync_target", "cluster"} & set(family.labels) else set()


def test_a_name_is_there_once() -> None:
    names = [name for family in FAMILIES for name in (family.name, family.alias) if name]
    assert len(names) == len(set(names))


def test_the_share_of_recoveries_that_helped_is_told_by_type_of_error() -> None:
    meter = Meter()
    show_recovery_rate(meter)
    for family, times in ((RECOVERY_SUCCESSES, 3), (RECOVERY_FAILURES, 1)):
        for _ in range(times):
            meter.count(family, "SyncFailure", "Sync", "syncer-east")
    assert 'tmc_error_recovery_success_rate{error_type="SyncFailure"} 0.75' in scrape(meter.text).decode()
