"""The drill that operators run each month runs, and brings everything back from a bucket; what was in no backup stays until somebody says so."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.processes import BIN
from tests.s3 import BUCKET, CREDENTIALS, S3

pytestmark = pytest.mark.e2e
SCRIPT = Path(__file__).parents[2] / "scripts" / "dr-drill.sh"


@pytest.fixture
def s3() -> Iterator[S3]:
    server = S3()
    try:
        yield server.start()
    finally:
        server.stop()


def test_the_drill_brings_a_control_plane_back_from_a_bucket_and_says_how_long_it_took(tmp_path: Path, s3: S3) -> None:
    place = {**CREDENTIALS, "KCP_S3_ENDPOINT": s3.endpoint, "BACKUP": f"s3://{BUCKET}/drill"}
    environment = {**os.environ, **place, "KCP_BIN": str(BIN), "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([str(SCRIPT)], env=environment, text=True, capture_output=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line[0] for line in done.stdout.splitlines() if line[0].isdigit()] == list("0123456")
    assert "whole" in done.stdout
    assert "default/lost" in done.stdout, "what no backup knows is told of, and stays until that is acknowledged"
    assert "east: 1 object may be deleted" in done.stdout
    recovery = re.search(r"served again after ([\d.]+) s, new work done after ([\d.]+) s", done.stdout)
    assert recovery, done.stdout
    assert float(recovery[2]) < 120
    assert list(tmp_path.glob("kcp-drill.*")) == [], "nothing is left behind"
