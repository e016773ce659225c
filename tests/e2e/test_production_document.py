"""docs/production-deployment.md is true: a shell runs its blocks against the server that it starts, from certificates to the three checklists."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.e2e.fleet import EXAMPLES, Fleet
from tests.e2e.processes import BIN, Process, eventually, free_port

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "production-deployment.md").read_text()
BLOCKS = re.findall(r"```(bash|start)\n(.*?)```", TEXT, re.DOTALL)
PLACEMENT = """
apiVersion: scheduling.kcp.io/v1alpha1
kind: Placement
metadata: {name: all}
spec: {}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """With what the sources have that the blocks name."""
    for name in ("environments", "policies", "charts", "monitoring"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def shell(directory: Path, script: str, *, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        ["bash", "-c", f"set -eo pipefail\nexport KUBECONFIG=.kcp/admin.kubeconfig\n{script}"],
        cwd=directory,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(directory)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in codes, f"{script}\n{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_an_installation_is_made_backed_up_and_looked_after_as_the_document_says(directory: Path) -> None:
    server: Process | None = None
    said: dict[str, str] = {}
    try:
        for kind, block in BLOCKS:
            if kind == "start":
                words = block.replace("--secure-port=6443", f"--secure-port={free_port()}").split()
                server = Process.start(words, cwd=directory)
                server.wait_for_line("kcp is ready")
            elif "kcp ops" in block:
                for line in block.splitlines():
                    said[line.split()[2]] = shell(directory, f"{line} -o json", codes=(0, 1))
            else:
                said[block.split()[0]] = shell(directory, block)
    finally:
        if server is not None:
            server.kill()
    assert (directory / "production.yaml").stat().st_size > 0
    assert (directory / "restored" / "kcp.db").exists()
    assert "syncer" in (directory / "syncer-east.yaml").read_text()
    checks = {command: json.loads(text)["checks"] for command, text in said.items() if command in ("daily", "weekly", "monthly")}
    unwell = {(command, c["name"]): c["result"] for command, found in checks.items() for c in found if c["state"] in ("look", "unknown")}
    assert list(unwell) in ([("daily", "Components"), ("daily", "Clusters")], [("daily", "Clusters")]), unwell
    assert unwell["daily", "Clusters"].startswith("1 of 1 not Ready: east in root:production"), "whose syncer nobody applied"
    assert len((directory / "figures.jsonl").read_text().splitlines()) == 3


def test_the_table_is_for_people_and_the_exit_code_for_programs(directory: Path) -> None:
    server = Process.start(["kcp", "start", "--root-directory=.kcp", f"--secure-port={free_port()}", "--in-memory"], cwd=directory)
    try:
        server.wait_for_line("kcp is ready")
        shown = shell(directory, "kcp ops daily")
        assert shown.splitlines()[2].split() == ["CHECK", "STATE", "RESULT"]
        assert re.search(r"^Server +ok +ready \(HTTP 200\)", shown, re.MULTILINE)
        assert re.search(r"^Components +left out +the server runs without TMC", shown, re.MULTILINE)
        shown = shell(directory, "kcp ops daily --certificate-days=1000", codes=(1,))
        assert re.search(r"^Certificates +look +3; ", shown, re.MULTILINE)
        assert "WHAT TO DO" in shown
    finally:
        server.kill()
    assert shell(directory, "kcp ops daily", codes=(1,)) == "", "nobody answers: an error, and no table"


def test_a_fleet_that_works_needs_nobody_and_its_syncers_are_asked(directory: Path) -> None:
    fleet = Fleet(directory)
    metrics = free_port()
    try:
        fleet.start_cluster("east", wait=False)
        fleet.start_kcp()
        fleet.kubectl("ws", "create", "hello-world", "--enter")
        fleet.clusters["east"].wait_for_line("serves")
        fleet.kubectl("apply", "-f", str(EXAMPLES / "synctarget-east.yaml"))
        command = fleet.syncer_command("east", metrics_bind_address=f"127.0.0.1:{metrics}")
        fleet.syncers["east"] = Process.start(command, cwd=directory)
        fleet.wait_target("east", ready=True)
        fleet.kubectl("apply", "-f", "-", stdin=PLACEMENT)
        fleet.kubectl("create", "deployment", "web", "--image=nginx")
        fleet.kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=30s")
        with_rights = _kubeconfig_with_rights(directory)
        asked = f"kcp ops daily --kubeconfig={with_rights} --syncer-metrics=http://127.0.0.1:{metrics}/metrics"
        shown = eventually(
            lambda: text if " look " not in (text := shell(directory, asked, codes=(0, 1))) else None,
            timeout_s=20,
            what=lambda: shell(directory, asked, codes=(0, 1)),
        )
    finally:
        fleet.stop()
    assert re.search(r"^Clusters +ok +1, all Ready$", shown, re.MULTILINE), shown
    assert re.search(r"^Sync errors +ok +\d+ of [1-9]\d* syncs failed", shown, re.MULTILINE), shown
    assert shown.splitlines()[-1] == "14 checks: 13 ok, 1 left out"


def _kubeconfig_with_rights(directory: Path) -> str:
    """As the document makes it of what the chart hands out: the administrator's kubeconfig and the tokens of the identity."""
    recipe = [line for line in TEXT.splitlines() if line.startswith("kubectl --kubeconfig=kcp.kubeconfig config ")]
    assert len(recipe) == 2
    handed_out = "cp .kcp/admin.kubeconfig kcp.kubeconfig; cp .kcp/.admin-token-store tokens.json"
    config = "kubectl --kubeconfig=kcp.kubeconfig config"
    stripped = f"{config} delete-context system:admin; {config} unset users.shard-admin"
    shell(directory, "\n".join([handed_out, stripped, *recipe]))
    return "kcp.kubeconfig"
