"""A real Prometheus over a fleet of processes: it scrapes the server with TLS and a token, and the syncers, every second.

Rules are the shipped ones with their times and thresholds made small (`FASTER`), so that a minute is enough to see them fire and clear.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.e2e.fleet import Fleet
from tests.e2e.processes import Process, eventually, free_port

MONITORING = Path(__file__).parents[2] / "monitoring"
PROMETHEUS = Path("/usr/bin/prometheus")

FASTER = (
    (r"(?m)^(\s+)for: \S+", r"\1for: 1s"),
    (r"\[\d+m\]", "[6s]"),
    (r"offset \d+m", "offset 6s"),
    (r"> 300\b", "> 3"),
    (r"> 1000?\b", "> 5"),
    (r"< 0\.8\b", "< 0.999"),
)
"""What takes minutes in production, and sizes that a test does not reach."""


def faster(rules: str) -> str:
    for pattern, text in FASTER:
        rules = re.sub(pattern, text, rules)
    return rules


@dataclass
class Prometheus:
    """Its process; `fired` collects the names of the alerts that were seen firing."""

    directory: Path
    port: int = field(default_factory=free_port)
    process: Process | None = None

    def start(self, fleet: Fleet, syncers: Mapping[str, int]) -> None:
        """Args: syncers: name → port of its metrics."""
        self.directory.mkdir()
        (self.directory / "kcp-token").write_bytes(_token(fleet))
        for rules in (MONITORING / "prometheus" / "rules").glob("*.yaml"):
            (self.directory / rules.name).write_text(faster(rules.read_text()))
        config = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = ["*.yaml"]
        del config["alerting"]
        server, clusters = config["scrape_configs"]
        server["authorization"]["credentials_file"] = "kcp-token"
        server["tls_config"]["ca_file"] = str(_authority(fleet, self.directory))
        server["static_configs"] = [{"targets": [f"127.0.0.1:{fleet.kcp_port}"]}]
        clusters["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in syncers.values()]}]
        (self.directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.process = Process.start(
            [str(PROMETHEUS), "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{self.port}"],
            cwd=self.directory,
        )
        self.process.wait_for_line("Server is ready to receive web requests")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()

    def get(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[Any]:
        found: list[Any] = self.get("query", query=expression)["result"]
        return found

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.get("alerts")["alerts"] if alert["state"] == "firing"}

    def wait_firing(self, wanted: set[str], *, timeout_s: float = 40.0) -> None:
        """Wait until each of them was seen firing."""
        missing = set(wanted)

        def look() -> bool:
            missing.difference_update(self.firing())
            return not missing

        eventually(look, timeout_s=timeout_s, what=lambda: f"alerts {sorted(missing)} to fire; firing: {sorted(self.firing())}")

    def wait_clear(self, names: set[str], *, timeout_s: float = 40.0) -> None:
        def look() -> bool:
            return not names & self.firing()

        eventually(look, timeout_s=timeout_s, what=lambda: f"alerts to clear; firing: {sorted(names & self.firing())}")


def _token(fleet: Fleet) -> bytes:
    """Of the battery metrics-viewer, which may read /metrics and nothing else."""
    secret = fleet.at("root").until("get", "secret", "metrics", is_right=lambda found: "token" in (found.get("data") or {}))
    return base64.b64decode(secret["data"]["token"])


def _kubeconfig(fleet: Fleet) -> Any:
    return yaml.safe_load((fleet.directory / ".kcp" / "admin.kubeconfig").read_text())


def _authority(fleet: Fleet, directory: Path) -> Path:
    file = directory / "kcp-ca.crt"
    file.write_bytes(base64.b64decode(_kubeconfig(fleet)["clusters"][0]["cluster"]["certificate-authority-data"]))
    return file
