"""Commands of the build and production guides, as they stand there (docs/spec-coverage.md keeps them), where no other test runs them."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.compat.servers import simulated_cluster
from tests.delivery.charts import ROOT, engine, objects, one
from tests.delivery.combinations import values_of
from tests.delivery.test_chart_objects import FOREIGN, KUBERNETES
from tests.e2e.processes import BIN, Process, free_port
from tests.guides import guides

pytestmark = pytest.mark.e2e
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl (Debian package kubernetes-client)")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl (Debian package openssl)")
INGRESS = """
tls:
- hosts:
  - kcp.your-domain.com
  secretName: kcp-tls-cert
rules:
- host: kcp.your-domain.com
  http:
    paths:
    - path: /
      pathType: Prefix
      backend:
        service:
          name: kcp-server
          port:
            number: 6443
"""
INSTALLATIONS = {
    "1. Install KCP with TMC using Helm": "kcp-tmc",
    "2. Deploy Syncers to Target Clusters": "kcp-syncer",
    "1. Persistent Storage for KCP etcd": "kcp-tmc",
}


def facts(section: str) -> list[str]:
    return [fact for sections in guides().values() for row in sections.get(section, ()) for fact in row.facts]


def values_set(section: str) -> dict[str, Any]:
    """By the `--set` of a section, as Helm reads them."""
    given = [found[1] for fact in facts(section) if (found := re.match(r"--set (\S+)", fact))]
    assert given
    engine()
    from helm_python import parse_set_string

    found_values: dict[str, Any] = parse_set_string(",".join(given))
    return found_values


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_make_build_makes_the_programs_and_a_wheel_for_any_architecture(tmp_path: Path) -> None:
    """In a copy, as it writes into the tree; `make` itself is not asked to install anything."""
    for name in ("Makefile", "make", "scripts", "pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    venv = BIN.parent
    make = ["make", f"VENV={venv}", f"--old-file={venv}/.installed", "build"]
    (components,) = [fact for fact in facts("TMC Feature Flags") if fact.startswith("make build")]
    run(*make, "GOARCH=arm64", "GOOS=linux", components.removeprefix("make build ").replace('"', ""), cwd=tmp_path)
    assert {"kcp", "workload-syncer", "kubectl-kcp", "kubectl-workspaces"} <= {path.name for path in (tmp_path / "bin").iterdir()}
    assert "KCP_TMC_RECOVERY" in (tmp_path / "bin" / "kcp").read_text()
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "kcp/tmc/errors.py" in zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize("section", sorted(INSTALLATIONS))
def test_what_the_guides_set_makes_objects_of_kubernetes(section: str) -> None:
    values = values_set(section)
    found = objects(INSTALLATIONS[section], values)
    for obj in found:
        if obj["apiVersion"].partition("/")[0] not in FOREIGN:
            kubernetes_validate.validate(obj, KUBERNETES, strict=True)
    (held,) = one(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    if "image" in values:
        assert held["image"] == f"your-registry.com/{INSTALLATIONS[section]}:v0.11.0"
    else:
        (claim,) = one(found, "StatefulSet")["spec"]["volumeClaimTemplates"]
        assert claim["spec"]["storageClassName"] == "fast-ssd"
        assert (claim["spec"]["accessModes"], claim["spec"]["resources"]["requests"]["storage"]) == (["ReadWriteOnce"], "100Gi")


@needs_kubectl
def test_manifests_of_the_syncer_are_applied_to_a_cluster(tmp_path: Path) -> None:
    with simulated_cluster(tmp_path) as cluster:
        kubectl = cluster.namespace("kcp-system")
        kubectl("config", "rename-context", kubectl("config", "current-context").strip(), "production-east")
        (tmp_path / "syncer-east.yaml").write_text(
            yaml.safe_dump_all(objects("kcp-syncer", values_set("2. Deploy Syncers to Target Clusters")))
        )
        cluster.kubectl()("--context=production-east", "apply", "-f", "syncer-east.yaml")
        arguments = kubectl.json("get", "deployment", "kcp-syncer")["spec"]["template"]["spec"]["containers"][0]["args"]
        assert {"--sync-target-name=production-east", "--workspace-cluster=root:production"} <= set(arguments)


def test_the_ingress_of_the_production_plan_is_what_the_chart_makes() -> None:
    tls = [{"hosts": ["kcp.your-domain.com"], "secretName": "kcp-tls-cert"}]
    hosts = [{"host": "kcp.your-domain.com", "paths": [{"path": "/", "pathType": "Prefix"}]}]
    wanted = {"enabled": True, "tlsMode": "reencrypt", "tls": tls, "hosts": hosts}
    assert one(objects("kcp-tmc", {"ingress": wanted}), "Ingress")["spec"] == yaml.safe_load(INGRESS)
    annotations = one(objects("kcp-tmc", {"ingress": {**wanted, "grpcAnnotations": True}}), "Ingress")["metadata"]["annotations"]
    asked = [fact.partition(": ") for fact in facts("6. Load Balancing and Ingress") if fact.startswith("nginx.")]
    assert {name: yaml.safe_load(value) for name, _, value in asked}.items() <= annotations.items()


def test_the_performance_configuration_reaches_both_programs() -> None:
    server = objects(*values_of("tuning of the server"))
    told = one(server, "ConfigMap", "kcp-tmc-features")["data"]
    assert (told["KCP_TMC_MAX_CONCURRENT_OPERATIONS"], told["KCP_TMC_WORKERS"], told["KCP_TMC_OPERATION_TIMEOUT"]) == ("50", "20", "10m")
    (kcp,) = one(server, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert kcp["resources"] == {"requests": {"cpu": 2, "memory": "4Gi"}, "limits": {"cpu": 4, "memory": "8Gi"}}
    (syncer,) = one(objects(*values_of("tuning of the syncer")), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"--workers=20", "--sync-backlog-limit=5000", "--max-concurrent-syncs=100"} <= set(syncer["args"])
    assert syncer["resources"] == {"requests": {"cpu": 1, "memory": "2Gi"}, "limits": {"cpu": 2, "memory": "4Gi"}}


def test_the_backup_is_made_when_and_where_the_production_plan_says() -> None:
    job = one(objects("kcp-tmc", {"backup": {"enabled": True, "s3": {"bucket": "kcp-backups"}}}), "CronJob")["spec"]
    assert f'schedule: "{job["schedule"]}"' in facts("4. Backup and Disaster Recovery")
    (held,) = job["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert held["command"] == ["kcp", "snapshot", "save"]
    assert "s3://kcp-backups/etcd" in held["args"]


@needs_kubectl
def test_the_dashboard_goes_into_a_config_map() -> None:
    command = " ".join(fact for fact in facts("3. Monitoring with Prometheus") if fact.startswith(("kubectl create", "--from-file", "-n ")))
    made = yaml.safe_load(run(*command.split(), "--dry-run=client", "-o", "yaml", cwd=ROOT))
    kubernetes_validate.validate(made, KUBERNETES, strict=True)
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == ("tmc-dashboard", "monitoring")
    assert yaml.safe_load(made["data"]["dashboard.json"])["panels"]


@needs_openssl
def test_a_certificate_made_by_openssl_is_served(tmp_path: Path) -> None:
    (command,) = [fact for fact in facts("2. TLS Certificate Configuration") if fact.startswith("openssl")]
    run(*command.split(), "-subj", "/CN=kcp.your-domain.com", "-addext", "subjectAltName=DNS:kcp.your-domain.com", cwd=tmp_path)
    port = free_port()
    files = ("--tls-cert-file=kcp-server.crt", "--tls-private-key-file=kcp-server.key")
    server = Process.start(["kcp", "start", "--root-directory=.kcp", f"--secure-port={port}", *files], cwd=tmp_path)
    try:
        server.wait_for_line("kcp is ready")
        shown = ssl.get_server_certificate(("127.0.0.1", port))
        assert ssl.PEM_cert_to_DER_cert(shown) == ssl.PEM_cert_to_DER_cert((tmp_path / "kcp-server.crt").read_text())
    finally:
        server.kill()


def test_the_deployment_is_the_production_plans() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy-tmc.yml").read_text())
    trigger = workflow[True]["push"]  # YAML reads `on` as a truth value
    assert (workflow["name"], trigger["branches"]) == ("Deploy TMC", ["main"])
    assert {"charts/**", "config/**"} <= set(trigger["paths"])
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    lines = {line.strip().removesuffix(" \\") for step in steps for line in step.splitlines()}
    asked = facts("11. CI/CD Pipeline")
    commands = {fact for fact in asked if fact.startswith(("helm ", "--namespace ", "--values ", "kubectl "))}
    assert len(commands) == 7
    assert commands <= lines
