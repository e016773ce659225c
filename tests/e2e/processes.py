"""Real processes for end-to-end tests: started, watched for a line, ended by pid."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Process:
    """One program with its output; always stopped at the end of the test."""

    popen: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    reader: threading.Thread | None = None

    @classmethod
    def start(cls, command: Sequence[str], *, cwd: Path) -> Process:
        environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1", "COLUMNS": "140"}
        popen = subprocess.Popen(
            [str(BIN / command[0]), *command[1:]], cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        process = cls(popen)
        process.reader = threading.Thread(target=process._read, daemon=True)
        process.reader.start()
        return process

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as output:
            for line in output:
                self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for_line(self, pattern: str, *, timeout_s: float = 30.0) -> str:
        def found() -> str | None:
            return next((line for line in list(self.lines) if re.search(pattern, line)), None)

        line = eventually(found, timeout_s=timeout_s, what=lambda: f"{pattern!r} in output:\n{self.output}", alive=self)
        assert line is not None
        return line

    def stop(self, number: int = signal.SIGINT, *, timeout_s: float = 15.0) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            code = self.popen.wait(timeout_s)
            self._join()
            return code
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait(5)
            raise

    def kill(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(5)
        self._join()

    def _join(self) -> None:
        """Its output is read to the end and closed."""
        if self.reader is not None:
            self.reader.join(5)


def eventually(look: Callable[[], T | None], *, timeout_s: float, what: Callable[[], str], alive: Process | None = None) -> T:
    """The first true answer of `look`. Real processes give no other signal than what they show."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = look()
        if answer:
            return answer
        if alive is not None and alive.popen.poll() is not None:
            raise AssertionError(f"ended with {alive.popen.returncode}; wanted {what()}")
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout_s:.0f} s, no {what()}")
        time.sleep(0.05)


@dataclass(frozen=True)
class Kubectl:
    """The real kubectl with one kubeconfig."""

    kubeconfig: Path
    cwd: Path
    flags: tuple[str, ...] = ()
    """Put before every command's own arguments."""

    @property
    def environment(self) -> dict[str, str]:
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.cwd)}

    def run(self, *arguments: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["kubectl", *self.flags, *arguments],
            cwd=self.cwd,
            env=self.environment,
            text=True,
            capture_output=True,
            input=stdin,
            timeout=90,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        return self.run(*arguments, stdin=stdin).stdout.strip()

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))

    def until(self, *arguments: str, is_right: Callable[[Any], bool], timeout_s: float = 30.0) -> Any:
        """The JSON of `kubectl get …` once it is right."""
        last: list[Any] = [None]

        def look() -> Any:
            done = self.run(*arguments, "-o", "json", check=False)
            if done.returncode != 0:
                last[0] = done.stderr
                return None
            last[0] = json.loads(done.stdout)
            return last[0] if is_right(last[0]) else None

        return eventually(look, timeout_s=timeout_s, what=lambda: f"kubectl {' '.join(arguments)}: {json.dumps(last[0], indent=1)[:4000]}")
