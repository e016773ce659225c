"""docs/production-deployment.md is true: a shell runs its blocks against the server that it starts, from certificates to the three checklists."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.e2e.processes import BIN, Process, free_port

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```(bash|start)\n(.*?)```", (ROOT / "docs" / "production-deployment.md").read_text(), re.DOTALL)


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
