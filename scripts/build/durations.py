"""How long building the wheel, importing the server and starting it take: the best of three each.

python scripts/build/durations.py
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from wheel import wheel

BIN = Path(sys.executable).parent


def build() -> None:
    with tempfile.TemporaryDirectory() as directory:
        wheel(Path(directory))


def imports() -> None:
    subprocess.run([sys.executable, "-c", "import kcp.server.compose"], check=True)


def start() -> None:
    """Until it says that it is ready, with nothing stored yet: keys and certificates are made too."""
    with tempfile.TemporaryDirectory() as directory, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [str(BIN / "kcp"), "start", "--root-directory=.kcp", "--enable-tmc", f"--secure-port={port}"]
        with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
            assert server.stdout is not None
            for line in server.stdout:
                if "kcp is ready" in line:
                    break
            server.terminate()
            server.stdout.read()


def best_s(step: Callable[[], None]) -> float:
    taken = []
    for _ in range(3):
        since = time.perf_counter()
        step()
        taken.append(time.perf_counter() - since)
    return min(taken)


def main() -> None:
    table = Table("step", "best of three", box=None)
    for name, step in (("build the wheel", build), ("import the server", imports), ("first start until ready, and stop", start)):
        table.add_row(name, f"{best_s(step):.2f} s")
    Console().print(table)


if __name__ == "__main__":
    main()
