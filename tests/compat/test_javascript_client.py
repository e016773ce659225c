"""`@kubernetes/client-node`, unchanged from npm, against a simulated cluster and a workspace; the programs are in `javascript/`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.compat.servers import WORKLOAD, Server
from tests.e2e.processes import Kubectl

pytestmark = pytest.mark.e2e

PROGRAMS = Path(__file__).parent / "javascript"


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the programs and the client they import."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("needs node and npm (Debian package npm)")
    directory = tmp_path_factory.mktemp("javascript")
    for source in PROGRAMS.iterdir():
        shutil.copy(source, directory)
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"npm cannot install @kubernetes/client-node: {done.stderr}"
    return directory


def run(directory: Path, program: str, *arguments: str) -> Any:
    environment = {**os.environ, "NODE_NO_WARNINGS": "1"}
    done = subprocess.run(
        ["node", program, *arguments], cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["cluster", "workspace"])
def test_objects_of_any_kind(name: str, node_modules: Path, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    server.namespace("javascript")
    assert run(node_modules, "client.mjs", str(server.kubeconfig), "javascript") == {
        "created": {"x": "1"},
        "again": {"code": 409, "reason": "AlreadyExists"},
        "listed": ["a"],
        "patched": {"x": "2"},
        "applied": {"a": "Yg=="},
        "read": "Opaque",
        "watched": ["ADDED b", "DELETED b"],
        "informed": "c",
        "missing": 404,
        "version": "36",
        "allowed": True,
        "deleted": "Success",
    }


def test_a_workload(cluster: Server, kubectl: Kubectl, node_modules: Path, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(WORKLOAD)
    seen = run(node_modules, "workload.mjs", str(cluster.kubeconfig), kubectl.flags[1], str(tmp_path / "web.yaml"))
    assert seen == {"ready": 2, "scaled": 3, "phases": ["Running"] * 3, "logged": True}
