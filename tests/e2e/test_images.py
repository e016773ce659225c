"""The three images, built by buildah on Debian's packages, started as containers, and asked with kubectl.

It runs where a container can run: as root, with the Debian packages buildah and mmdebstrap, and with package indexes in reach.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.e2e.processes import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def image_store(tmp_path: Path) -> Path:
    """A store of images of its own, in which a container was run. Skips with the reason where none can."""
    if os.geteuid() != 0:
        pytest.skip("images are built as root: a base is made of Debian's packages, and chroot isolates the steps")
    for program, package in (("buildah", "buildah"), ("mmdebstrap", "mmdebstrap"), ("kubectl", "kubernetes-client")):
        if shutil.which(program) is None:
            pytest.skip(f"needs the Debian package {package}")
    store = tmp_path / "store"
    buildah = ["buildah", "--root", f"{store}/root", "--runroot", f"{store}/run", "--storage-driver", "overlay"]
    probe = f"""set -e
    container=$({" ".join(buildah)} from scratch)
    {" ".join(buildah)} copy --quiet $container /sbin/ldconfig /ldconfig
    {" ".join(buildah)} run --isolation chroot $container -- /ldconfig --version
    {" ".join(buildah)} rm $container"""
    tried = subprocess.run(["bash", "-c", probe], capture_output=True, text=True, timeout=60, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no container can run here: {tried.stderr.strip()[-300:]}")
    return store


def test_images_are_built_started_and_answer_kubectl(image_store: Path) -> None:
    environment = {**os.environ, "IMAGE_STORE": str(image_store), "PORT": str(free_port())}
    environment.pop("KUBECONFIG", None)
    done = subprocess.run(
        ["scripts/images/test"], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=840, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "the images work" in done.stdout
    assert done.stdout.count("kcp, version") == 3
