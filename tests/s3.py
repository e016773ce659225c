"""A real S3 for tests, in a process of its own: moto's server, with a bucket in it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from time import monotonic

import pytest

BIN = Path(sys.executable).parent
SERVER = next((path for path in (BIN.parent / "moto" / "bin" / "moto_server", BIN / "moto_server") if path.exists()), None)
"""In an environment of its own, since it needs other versions than the clients do."""
MISSING = "there is no moto_server (PyPI: moto[server]): make setup installs it into .venv/moto"
BUCKET = "kcp-backups"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret", "AWS_REGION": "us-east-1"}


class S3:
    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> S3:
        if SERVER is None:
            pytest.skip(MISSING)
        command = [str(SERVER), "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, env={**os.environ, **CREDENTIALS}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = monotonic() + 30
        while not self._made_bucket():
            assert self._process.poll() is None, "moto_server ended"
            assert monotonic() < deadline, "moto_server does not answer"
        return self

    def _made_bucket(self) -> bool:
        """By the virtual path of a bucket, unsigned, which moto takes."""
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/{BUCKET}", method="PUT"), timeout=5):
                return True
        except urllib.error.HTTPError:
            raise
        except OSError:
            return False

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
