"""The processes that hold simulated clusters with their syncers, as the measuring program handles them.

Before: `fleet.py`. After: `site`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure.processes import ControlPlane, Program


@dataclass
class Site:
    """One such process."""

    program: Program
    names: Sequence[str]

    @classmethod
    def start(
        cls, server: ControlPlane, directory: Path, workspace: str, first: int, count: int, restart: int = 0, resource: str = "deployments"
    ) -> Site:  # noqa: PLR0913 - what such a process is told
        log = directory / f"site-{first:04}-{restart}.log"
        started_s = time.perf_counter()
        command = [sys.executable, str(Path(__file__).with_name("site.py")), str(server.root / "admin.kubeconfig"), workspace]
        command += [str(directory / "clusters"), str(first), str(count), resource]
        with log.open("wb") as errors:
            popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        names = [f"c-{number:04}" for number in range(first, first + count)]
        return cls(Program(f"site {first}", popen, log, started_s), names)

    def say(self, do: str, **more: Any) -> None:
        assert self.program.popen.stdin is not None
        self.program.popen.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
        self.program.popen.stdin.flush()

    def hear(self, key: str) -> Any:
        """The next answer that has `key`."""
        assert self.program.popen.stdout is not None
        for line in self.program.popen.stdout:
            answer = json.loads(line)
            if key in answer:
                return answer[key]
        self.program.popen.wait(10)
        self.program.check()
        raise SystemExit(f"{self.program.name} says nothing more:\n{self.program.log.read_text()[-3000:]}")

    def ask(self, do: str, **more: Any) -> Any:
        self.say(do, **more)
        return self.hear("done")

    def kill(self) -> None:
        """As by a power cut."""
        self.program.popen.kill()
        self.program.popen.wait(10)
        for pipe in (self.program.popen.stdin, self.program.popen.stdout):
            if pipe is not None:
                pipe.close()


@dataclass
class Sites:
    """All of them."""

    sites: list[Site]

    @classmethod
    def start(
        cls,
        stack: ExitStack,
        server: ControlPlane,
        directory: Path,
        workspace: str,
        clusters: int,
        processes: int,
        resource: str = "deployments",
    ) -> Sites:  # noqa: PLR0913 - the same
        """Begin; `wait` for the clusters."""
        each = -(-clusters // processes)
        firsts = range(0, clusters, each)
        restart = len(list(directory.glob("site-*.log")))
        sites = [Site.start(server, directory, workspace, first, min(each, clusters - first), restart, resource) for first in firsts]
        for site in sites:
            stack.callback(site.kill)
        return cls(sites)

    def wait(self) -> None:
        for site in self.sites:
            site.hear("started")

    def sync(self) -> None:
        for site in self.sites:
            site.ask("sync")

    def of(self, cluster: str) -> Site:
        return next(site for site in self.sites if cluster in site.names)

    def copies(self) -> dict[str, int]:
        return {name: count for site in self.sites for name, count in site.ask("count")["copies"].items()}

    def report(self) -> tuple[dict[str, float], dict[str, float]]:
        """(stamp → when it was applied, stamp → when all its replicas were ready) since the last report."""
        applied: dict[str, float] = {}
        ready: dict[str, float] = {}
        for site in self.sites:
            found = site.ask("report")
            applied |= found["applied"]
            ready |= found["ready"]
        return applied, ready

    def cpu_s(self) -> float:
        return sum(site.program.cpu_s() for site in self.sites)

    def rss_kib(self) -> int:
        return sum(site.program.rss_kib() for site in self.sites)

    def faults(self) -> list[str]:
        """Lines that say that something went wrong."""
        return [line for site in self.sites for line in site.program.log.read_text().splitlines() if line.startswith(("WARN", "ERROR"))]
