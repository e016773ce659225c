"""The example that publishes an API, run as its README says, line by line, by a shell with kubectl and the plugins."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.fleet import EXAMPLES, Fleet

pytestmark = pytest.mark.e2e
README = EXAMPLES / "02-publish-an-api" / "README.md"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path, kcp_flags=())
    try:
        made.start_kcp()
        (tmp_path / "examples").symlink_to(EXAMPLES)
        yield made
    finally:
        made.stop()


def test_the_readme_does_what_it_says(fleet: Fleet) -> None:
    script = "set -eo pipefail\n" + "\n".join(re.findall(r"```\n(.*?)```", README.read_text(), re.DOTALL))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=fleet.directory,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    said = done.stdout
    assert "apiexport.apis.kcp.io/widgets created" in said
    assert "In centimetres." in said
    assert re.search(r"default +widget\.example\.com/first +3", said), said
    assert re.search(r"default +configmap/kube-root-ca\.crt", said), said
    assert fleet.at("root:consumer")("get", "widget", "first", "-o", "jsonpath={.status.phase}") == "Made"
