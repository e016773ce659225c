"""Programs under measurement: started in a directory of their own, observed through /proc, ended by pid.

Before: `server.py`, `growth.py`, `fleet.py`. After: the console scripts of this project.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from measure.plain import Plain

BIN = Path(sys.executable).parent
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Program:
    """One process. Its output goes to a file, so that reading it costs the measured machine nothing."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    started_s: float = field(default_factory=time.perf_counter)

    @classmethod
    def start(cls, name: str, command: Sequence[str], *, cwd: Path) -> Program:
        log = cwd / f"{name}.log"
        started_s = time.perf_counter()
        with log.open("wb") as output:
            popen = subprocess.Popen([str(BIN / command[0]), *command[1:]], cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
        return cls(name, popen, log, started_s)

    @property
    def pid(self) -> int:
        return self.popen.pid

    def rss_kib(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        return int(found.group(1)) if found else 0

    def cpu_s(self) -> float:
        """User and system time of all threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def check(self) -> None:
        if self.popen.poll() is not None:
            raise SystemExit(f"{self.name} ended with {self.popen.returncode}:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGINT)
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        self.popen.wait(5)


@dataclass
class ControlPlane:
    """A `kcp start` that serves."""

    program: Program
    url: str
    ready_after_s: float
    """From the start of the process to the first 200 of /readyz."""
    root: Path

    @classmethod
    def start(  # noqa: PLR0913 - all but the first by name
        cls, directory: Path, *, tmc: bool = True, tokens: Path | None = None, name: str = "kcp", port: int = 0, flags: Sequence[str] = (),
        under: Sequence[str] = (),
    ) -> ControlPlane:  # fmt: skip
        """Args: port: of an earlier start with what is stored there, whose URLs are in the objects; default: a free one.
        under: a profiler's command, which runs the server.
        """
        root, port = directory / f".{name}", port or free_port()
        command = [*under, str(BIN / "kcp"), "start", f"--root-directory={root}", f"--secure-port={port}", "--v=1"]
        command += ["--enable-tmc"] if tmc else []
        command += [f"--token-auth-file={tokens}"] if tokens else []
        command += flags
        program = Program.start(name, command, cwd=directory)
        url = f"https://127.0.0.1:{port}"
        try:
            ready_after_s = wait_ready(program, url)
        except BaseException:
            program.stop()
            raise
        return cls(program, url, ready_after_s, root)

    def client(self, token: str) -> Plain:
        return Plain(self.url, token)

    def admin_token(self) -> str:
        """Of kcp-admin, group system:kcp:admin."""
        return self._tokens()[0]

    def shard_admin_token(self) -> str:
        """Of shard-admin, group system:masters: reads over all workspaces at once."""
        return self._tokens()[1]

    def _tokens(self) -> list[str]:
        return re.findall(r'token: "([^"]+)"', (self.root / "admin.kubeconfig").read_text())

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        self.program.stop()


def wait_ready(program: Program, url: str, timeout_s: float = 30.0) -> float:
    """Seconds from the process's start to its first ready answer, to within 5 ms. Asked over one connection: handshakes cost the server."""
    client = Plain(url, "")
    while (waited_s := time.perf_counter() - program.started_s) < timeout_s:
        program.check()
        try:
            if client.call("GET", "/readyz")[0] == 200:
                return time.perf_counter() - program.started_s
        except OSError:
            client = Plain(url, "")
        time.sleep(0.005)
    raise SystemExit(f"{program.name} is not ready after {waited_s:.0f} s:\n{program.log.read_text()[-3000:]}")
