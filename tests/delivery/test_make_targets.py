"""What the targets of make/delivery.mk make: manifests that Kubernetes takes, and a bill of materials that is signed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.delivery.charts import ROOT
from tests.delivery.test_chart_objects import FOREIGN, KUBERNETES

pytestmark = pytest.mark.e2e

WANTED = {
    "security-manifests": ("security", {"Namespace", "NetworkPolicy", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}),
    "rbac-manifests": ("rbac", {"ServiceAccount", "Role", "ClusterRole", "ClusterRoleBinding"}),
    "build-ha": ("ha", {"Deployment", "StatefulSet", "PodDisruptionBudget", "CronJob"}),
    "prometheus-rules": ("prometheus-rules", {"PrometheusRule"}),
    "grafana-dashboards": ("grafana-dashboards", {"ConfigMap"}),
}


def make(target: str, folder: Path) -> None:
    """A target by itself: the environment is there, wheels take the network."""
    quiet = [f"VENV={Path(sys.executable).parent.parent}", f"MANIFESTS={folder}"]
    stamps = [f"--old-file={Path(sys.executable).parent.parent}/{stamp}" for stamp in (".installed-compat", ".installed-dev", ".installed")]
    command = ["make", *quiet, *stamps, "--old-file=dist-wheel", target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", sorted(WANTED))
def test_manifests_are_what_their_target_says(target: str, tmp_path: Path) -> None:
    make(target, tmp_path)
    name, kinds = WANTED[target]
    found = list(yaml.safe_load_all((tmp_path / f"{name}.yaml").read_text()))
    assert kinds <= {obj["kind"] for obj in found}
    for obj in found:
        if obj["apiVersion"].partition("/")[0] not in FOREIGN:
            kubernetes_validate.validate(obj, KUBERNETES, strict=True)


def test_the_bill_of_materials_names_what_the_product_needs_and_is_signed(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py", reason="needs cyclonedx-bom: pip install -e .[delivery]")
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path = tmp_path / "sbom.json"
    subprocess.run([sys.executable, str(ROOT / "scripts" / "security" / "sbom.py"), str(path), str(tmp_path / "key.pem")], check=True)
    document = json.loads(path.read_text())
    names = {component["name"].lower() for component in document["components"]}
    assert {"aiohttp", "cryptography", "orjson", "uvicorn"} <= names
    assert not names & {"pytest", "mypy", "ruff", "kr8s"}, "tools of development are no part of the product"
    key.public_key().verify(path.with_name("sbom.json.sig").read_bytes(), path.read_bytes(), ec.ECDSA(hashes.SHA256()))
