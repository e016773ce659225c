"""Profiles of a server while workspaces are made and deleted: CPU as a flame graph, memory as what is held at its highest.

    PYTHONPATH=benchmarks .venv/bin/python -m measure.profiles cpu|memory dist/profiles [--count 300]

`make cpu-profile` and `make memory-profile` install what this needs (the extra `analysis`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from measure.processes import BIN, ControlPlane
from measure.tree import Creator, count_all, delete_all, make


def work(server: ControlPlane, count: int) -> None:
    """What is profiled."""
    places = [("root", f"w{number}") for number in range(count)]
    before = count_all(server.client(server.shard_admin_token()))
    make(server, server.shard_admin_token(), [places], Creator.create_all)
    delete_all(server, server.shard_admin_token(), places, left=before)


def cpu(directory: Path, into: Path, count: int) -> Path:
    """Sampled from outside 100 times a second, system calls and waiting left out."""
    found = into / "cpu.svg"
    server = ControlPlane.start(directory)
    try:
        # Not stopping the server for each look: on a busy machine that would take most of its time.
        command = [str(BIN / "py-spy"), "record", "--nonblocking", "--pid", str(server.program.pid), "--output", str(found)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as sampler:
            work(server, count)
            server.stop()  # the sampler ends with it
            told, _ = sampler.communicate(timeout=60)
        if sampler.returncode != 0 or not found.exists():
            sys.exit(f"py-spy failed; it needs the right to trace processes (root, or kernel.yama.ptrace_scope=0):\n{told[-2000:]}")
    finally:
        server.stop()
    return found


def memory(directory: Path, into: Path, count: int) -> Path:
    """Every allocation is followed: the server takes several times as long as usual."""
    found, record = into / "memory.html", directory / "memory.bin"
    server = ControlPlane.start(directory, under=["memray", "run", "--quiet", "--force", "--output", str(record), "--"])
    try:
        work(server, count)
    finally:
        server.stop()
    subprocess.run(
        [str(BIN / "memray"), "flamegraph", "--force", "--output", str(found), str(record)], check=True, stdout=subprocess.DEVNULL
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["cpu", "memory"])
    parser.add_argument("into", type=Path)
    parser.add_argument("--count", type=int, default=300, help="workspaces")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kcp-profile-") as directory:
        found = {"cpu": cpu, "memory": memory}[options.kind](Path(directory), options.into.resolve(), options.count)
    print(f"{found}: open it in a browser")


if __name__ == "__main__":
    main()
