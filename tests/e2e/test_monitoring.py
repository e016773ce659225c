"""A real Prometheus scrapes a server and syncers: every target answers, every panel of the dashboards has data, every alert fires and clears."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import yaml
from tests.e2e.fleet import WORKSPACE, Fleet, deployment
from tests.e2e.processes import BIN, Process, eventually, free_port
from tests.e2e.prometheus import MONITORING, PROMETHEUS, Prometheus

from kcp.apiserver.pki_issue import authority

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not PROMETHEUS.exists(), reason="prometheus is not here: apt-get install prometheus"),
]

DOWN_WITH_CLUSTERS = {
    "TMCComponentDown", "TMCComponentUnhealthy", "TMCSystemDegraded", "TMCHighErrorRate", "TMCSyncLagHigh", "TMCSyncBacklogHigh",
    "SyncerHighErrorRate", "SyncBacklogHigh", "SyncerDisconnected",
}  # fmt: skip
DOWN_WITH_SYNCER = {"SyncerDown", "TMCClusterDisconnected"}
DOWN_WITH_SERVER = {"KCPDown", "HeartbeatMissing"}
BY_MIGRATIONS = {"TMCMigrationFailed"}
CERTIFICATES = {"CertificateExpired", "CertificateExpiresSoon"}


@dataclass
class Watched:
    fleet: Fleet
    prometheus: Prometheus
    metrics: dict[str, int]

    def start_syncer(self, name: str) -> None:
        command = self.fleet.syncer_command(name, heartbeat_period="1s", metrics_bind_address=f"127.0.0.1:{self.metrics[name]}")
        self.fleet.syncers[name] = Process.start(command, cwd=self.fleet.directory)

    def sim(self, fault: str, name: str) -> None:
        process = Process.start([str(BIN / "kcp"), "sim", fault, name, "--kubeconfig", f"{name}.kubeconfig"], cwd=self.fleet.directory)
        process.popen.wait(20)
        assert process.popen.returncode == 0, process.output


def trust(directory: Path, **lifetimes: timedelta) -> None:
    """The authorities that the server is told to trust besides its own."""
    for name, lifetime in lifetimes.items():
        issued = authority(name, now=datetime.now(UTC), lifetime=lifetime)
        (directory / f"{name}.crt").write_bytes(issued.certificate)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    flags = (
        "--enable-tmc",
        "--v=2",
        "--sync-target-heartbeat-threshold=4s",
        "--tmc-health-check-interval=1s",
        "--tmc-eviction-grace=1h",
        "--batteries-included=+metrics-viewer",
        "--client-ca-file=clients.crt",
        "--requestheader-client-ca-file=proxies.crt",
    )
    trust(tmp_path, clients=timedelta(days=365), proxies=timedelta(days=365))
    fleet = Fleet(tmp_path, kcp_flags=flags)
    found = Watched(fleet, Prometheus(tmp_path / "prometheus"), {name: free_port() for name in ("east", "west")})
    fleet.start_syncer = found.start_syncer  # type: ignore[method-assign,assignment]  # with metrics
    try:
        fleet.start()
        found.prometheus.start(fleet, found.metrics)
        yield found
    finally:
        found.prometheus.stop()
        fleet.stop()


def objects(count: int) -> str:
    maps = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"late-{n}"}, "data": {"a": "b"}} for n in range(count)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": maps})


def test_every_target_is_scraped_every_panel_has_data_and_every_alert_fires_and_clears(watched: Watched) -> None:
    fleet, prometheus = watched.fleet, watched.prometheus
    kubectl = fleet.at(WORKSPACE)
    placement = {
        "apiVersion": "scheduling.kcp.io/v1alpha1",
        "kind": "Placement",
        "metadata": {"name": "all"},
        "spec": {"numberOfClusters": 2},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(placement))
    kubectl("apply", "-f", "-", stdin=json.dumps(deployment("web", 4)))
    fleet.wait_deployments({"web": 4})
    everything = {rule["alert"] for rule in _rules()}
    assert everything == DOWN_WITH_CLUSTERS | DOWN_WITH_SYNCER | DOWN_WITH_SERVER | BY_MIGRATIONS | CERTIFICATES
    eventually(lambda: len(prometheus.query("up == 1")) == 3, timeout_s=15, what=lambda: f"all targets: {prometheus.get('targets')}")
    prometheus.wait_clear(everything)

    migrations_are_counted_and_one_that_fails_alerts(watched)

    trust(fleet.directory, clients=timedelta(days=5), proxies=timedelta(seconds=-1))
    watched.sim("pause", "east")
    watched.sim("kill", "west")
    kubectl("apply", "-f", "-", stdin=objects(30))
    prometheus.wait_firing(DOWN_WITH_CLUSTERS | CERTIFICATES)
    trust(fleet.directory, clients=timedelta(days=365), proxies=timedelta(days=365))
    watched.sim("restore", "east")
    watched.sim("restore", "west")
    prometheus.wait_clear(everything)

    fleet.syncers["west"].kill()
    prometheus.wait_firing(DOWN_WITH_SYNCER)
    assert fleet.kcp is not None
    fleet.kcp.kill()
    prometheus.wait_firing(DOWN_WITH_SERVER)
    fleet.start_kcp()
    watched.start_syncer("west")
    prometheus.wait_clear(everything)

    empty = [query for query in _queries() if not has_data(prometheus, query)]
    assert not empty


def migrations_are_counted_and_one_that_fails_alerts(watched: Watched) -> None:
    """`web` leaves east; a second time it cannot: east does not run it."""
    kubectl, prometheus = watched.fleet.at(WORKSPACE), watched.prometheus
    for name, phase in (("away", "Completed"), ("again", "Failed")):
        spec = {"workload": {"name": "web"}, "from": "east", "to": "west"}
        migration = {"apiVersion": "tmc.kcp.io/v1alpha1", "kind": "Migration", "metadata": {"name": name}, "spec": spec}
        kubectl("apply", "-f", "-", stdin=json.dumps(migration))
        kubectl("wait", f"--for=jsonpath={{.status.phase}}={phase}", f"migration/{name}", "--timeout=60s")
    prometheus.wait_firing(BY_MIGRATIONS)
    pair = 'source_cluster="east",target_cluster="west"'
    for query in (
        f'tmc_migrations_total{{{pair},status="Completed"}} == 1',
        f'tmc_migrations_total{{{pair},status="Failed"}} == 1',
        f'tmc_migration_duration_seconds_count{{{pair},strategy="live"}} == 1',
        f'tmc_migration_data_size_bytes_count{{{pair},resource_type="deployments.apps"}} == 1',
        f'tmc_migration_errors_total{{{pair},error_type="MigrationFailure",phase="Pending"}} == 1',
    ):
        eventually(partial(prometheus.query, query), timeout_s=15, what=partial(str, query))
    prometheus.wait_clear(BY_MIGRATIONS)


def has_data(prometheus: Prometheus, query: str) -> bool:
    """Whether a panel shows a number; the window of rates holds the whole test."""
    found = prometheus.query(query.replace("$__rate_interval", "5m"))
    return any(sample["value"][1] != "NaN" for sample in found)


def _queries() -> list[str]:
    files = (MONITORING / "grafana").glob("*.json")
    return [target["expr"] for file in files for panel in json.loads(file.read_text())["panels"] for target in panel["targets"]]


def _rules() -> list[dict[str, str]]:
    files = (MONITORING / "prometheus" / "rules").glob("*.yaml")
    return [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]
